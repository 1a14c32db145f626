"""Mistral AI: POST /v1/embeddings."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import KEY, Call, Provider, bearer, tokens
from wire.server import Reply, Request


class Mistral(Provider):
    model = "mistral:mistral-embed"
    dimensions = 1_024
    has_roles = False

    @property
    def variables(self) -> Mapping[str, str]:
        return {"MISTRAL_API_KEY": KEY, "MISTRAL_BASE_URL": f"{self.url}/v1"}

    def read(self, request: Request) -> Call:
        assert (request.method, request.path) == ("POST", "/v1/embeddings")
        assert self.others or request.json["model"] == "mistral-embed"
        return Call(request.json["input"], key=bearer(request))

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        data = [
            {"object": "embedding", "embedding": row, "index": index}
            for index, row in enumerate(rows)
        ]
        count = tokens(call)
        usage = {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0}
        return Reply(
            body={
                "id": "cf79f7daaee244b1a0ae5c7b1444424a",
                "object": "list",
                "data": data,
                "model": "mistral-embed",
                "usage": usage,
            }
        )

    def error(self, status: int, message: str) -> Reply:
        error = {"object": "error", "message": message, "type": "error", "param": None}
        return Reply(status, {**error, "code": "3505"})

    def denied(self, message: str) -> Reply:
        return Reply(401, {"detail": message})

    def fewer(self, body: Any) -> Any:
        return {**body, "data": body["data"][:-1]}
