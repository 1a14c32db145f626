"""Hugging Face: feature extraction as a dedicated endpoint (text-embeddings-inference) does it."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import KEY, Call, Provider, bearer
from wire.server import Reply, Request

ROLES = {"passage": "document", "query": "query"}


class HuggingFace(Provider):
    model = "huggingface:intfloat/e5-small?query_prompt_name=query&document_prompt_name=passage"
    dimensions = 384
    counts = False

    @property
    def variables(self) -> Mapping[str, str]:
        return {"HF_TOKEN": KEY, "HF_ENDPOINT_URL": self.url}

    def read(self, request: Request) -> Call:
        assert (request.method, request.path) == ("POST", "/")
        role = ROLES[request.json["prompt_name"]]
        return Call(request.json["inputs"], role, None, bearer(request))

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        return Reply(body=rows)

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"error": message, "error_type": "Backend"})

    def fewer(self, body: Any) -> Any:
        return body[:-1]
