"""Mistral AI: POST /v1/chat/completions, streamed."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import bearer
from wire.llms import KEY, LLM, Talk, sse
from wire.server import Reply, Request


class MistralChat(LLM):
    spec = "mistral:mistral-large-latest"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"MISTRAL_API_KEY": KEY, "MISTRAL_BASE_URL": f"{self.url}/v1"}

    def read(self, request: Request) -> Talk:
        assert (request.method, request.path) == ("POST", "/v1/chat/completions")
        body = request.json
        assert body["stream"] is True
        return Talk(
            model=body["model"],
            messages=body["messages"],
            temperature=body.get("temperature"),
            max_tokens=body.get("max_tokens"),
            top_p=body.get("top_p"),
            stop=body.get("stop") or (),
            key=bearer(request),
        )

    def opening(self, talk: Talk) -> list[bytes]:
        return [sse(_chunk(talk, {"role": "assistant", "content": ""}))]

    def word(self, text: str, talk: Talk) -> bytes:
        return sse(_chunk(talk, {"content": text}))

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        counts = {"prompt_tokens": read, "completion_tokens": written}
        usage = {**counts, "total_tokens": read + written}
        return [sse({**_chunk(talk, {"content": ""}, finish), "usage": usage}), sse("[DONE]")]

    def error(self, status: int, message: str) -> Reply:
        error = {"object": "error", "message": message, "type": "error", "param": None}
        return Reply(status, {**error, "code": "3505"})

    def denied(self, message: str) -> Reply:
        return Reply(401, {"detail": message})


def _chunk(talk: Talk, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1_700_000_000}
    return {**head, "model": talk.model, "choices": [choice]}
