"""Cohere: POST /v2/embed."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import KEY, Call, Provider, bearer, tokens
from wire.server import Reply, Request

ROLES = {"search_document": "document", "search_query": "query"}


class Cohere(Provider):
    model = "cohere:embed-v4.0"
    dimensions = 1_536
    shortens = 256

    @property
    def variables(self) -> Mapping[str, str]:
        return {"COHERE_API_KEY": KEY, "CO_API_URL": self.url}

    def read(self, request: Request) -> Call:
        assert (request.method, request.path) == ("POST", "/v2/embed")
        body = request.json
        assert self.others or body["model"] == "embed-v4.0"
        assert body["embedding_types"] == ["float"]
        assert body["truncate"] == "NONE"
        role, dimensions = ROLES[body["input_type"]], body.get("output_dimension")
        return Call(body["texts"], role, dimensions, bearer(request))

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        return Reply(
            body={
                "id": "da6e531f-54c5-4a73-bf92-f60566d8d753",
                "embeddings": {"float": rows},
                "texts": list(call.texts),
                "meta": {
                    "api_version": {"version": "2"},
                    "billed_units": {"input_tokens": tokens(call)},
                },
                "response_type": "embeddings_by_type",
            }
        )

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"id": "1b5c3b1e", "message": message})

    def fewer(self, body: Any) -> Any:
        return {**body, "embeddings": {"float": body["embeddings"]["float"][:-1]}}
