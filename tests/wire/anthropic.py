"""Anthropic: POST /v1/messages, streamed."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import bearer
from wire.llms import KEY, LLM, Talk, sse
from wire.server import Reply, Request

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}


class Anthropic(LLM):
    spec = "anthropic:claude-haiku-4-5"

    garbage = b"event: content_block_delta\ndata: {not JSON\n\n"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": self.url}

    def read(self, request: Request) -> Talk:
        assert (request.method, request.path) == ("POST", "/v1/messages")
        assert request.headers["anthropic-version"]
        body = request.json
        assert body["stream"] is True
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        system = body.get("system")
        given = [{"role": "system", "content": _text(system)}] if system else []
        given += [{**each, "content": _text(each["content"])} for each in body["messages"]]
        return Talk(
            model=body["model"],
            messages=given,
            temperature=body.get("temperature"),
            max_tokens=body["max_tokens"],
            top_p=body.get("top_p"),
            stop=body.get("stop_sequences") or (),
            key=request.headers.get("x-api-key") or bearer(request),
        )

    def opening(self, talk: Talk) -> list[bytes]:
        read = sum(len(message["content"].split()) for message in talk.messages)
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": talk.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": 1},
        }
        block = {"type": "text", "text": ""}
        return [
            _event("message_start", message=message),
            _event("content_block_start", index=0, content_block=block),
            _event("ping"),
        ]

    def word(self, text: str, talk: Talk) -> bytes:
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        reason = {"stop": "end_turn", "length": "max_tokens"}[finish]
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {"input_tokens": read, "output_tokens": written}
        return [
            _event("content_block_stop", index=0),
            _event("message_delta", delta=delta, usage=usage),
            _event("message_stop"),
        ]

    def error(self, status: int, message: str) -> Reply:
        inner = {"type": TYPES[status], "message": message}
        return Reply(status, {"type": "error", "error": inner, "request_id": "req_1"})


def _event(kind: str, **body: Any) -> bytes:
    return sse({"type": kind, **body}, event=kind)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
