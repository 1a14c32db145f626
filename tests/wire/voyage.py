"""Voyage AI: POST /v1/embeddings."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from wire.embeddings import KEY, Call, Provider, bearer, tokens
from wire.server import Reply, Request


class Voyage(Provider):
    model = "voyage:voyage-3.5"
    dimensions = 1_024
    shortens = 256

    @property
    def variables(self) -> Mapping[str, str]:
        return {"VOYAGE_API_KEY": KEY, "VOYAGE_BASE_URL": f"{self.url}/v1"}

    def read(self, request: Request) -> Call:
        assert (request.method, request.path) == ("POST", "/v1/embeddings")
        body = request.json
        assert self.others or body["model"] == "voyage-3.5"
        assert body["truncation"] is False
        assert body["encoding_format"] == "base64"
        dimensions = body.get("output_dimension")
        return Call(body["input"], body["input_type"], dimensions, bearer(request))

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        data = [
            {"object": "embedding", "embedding": _base64(row), "index": index}
            for index, row in enumerate(rows)
        ]
        usage = {"total_tokens": tokens(call)}
        return Reply(body={"object": "list", "data": data, "model": "voyage-3.5", "usage": usage})

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"detail": message})

    def fewer(self, body: Any) -> Any:
        return {**body, "data": body["data"][:-1]}


def _base64(row: list[float]) -> str:
    return b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()
