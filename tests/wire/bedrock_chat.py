"""Amazon Bedrock: ConverseStream, in Amazon's binary event stream."""

import json
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from zlib import crc32

from wire.bedrock import ERRORS
from wire.llms import KEY, LLM, Talk
from wire.server import Reply, Request


class BedrockChat(LLM):
    spec = "bedrock:eu.amazon.nova-lite-v1:0"
    stream = "application/vnd.amazon.eventstream"

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.url,
        }

    def read(self, request: Request) -> Talk:
        name = unquote(request.path).removeprefix("/model/").removesuffix("/converse-stream")
        assert request.path.endswith("/converse-stream")
        assert "/eu-central-1/bedrock/aws4_request" in request.headers["authorization"]
        body = request.json
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        given = [{"role": "system", "content": part["text"]} for part in body.get("system", [])]
        given += [
            {"role": each["role"], "content": "".join(part["text"] for part in each["content"])}
            for each in body["messages"]
        ]
        config = body.get("inferenceConfig", {})
        return Talk(
            model=name,
            messages=given,
            temperature=config.get("temperature"),
            max_tokens=config.get("maxTokens"),
            top_p=config.get("topP"),
            stop=config.get("stopSequences") or (),
            key=KEY,
        )

    def opening(self, talk: Talk) -> list[bytes]:
        return [event("messageStart", {"role": "assistant"})]

    def word(self, text: str, talk: Talk) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        reason = {"stop": "end_turn", "length": "max_tokens"}[finish]
        usage = {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}
        return [
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": reason}),
            event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
        ]

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"message": message}, {"x-amzn-ErrorType": ERRORS[status]})

    def busy(self, seconds: int) -> Reply:
        headers = {"x-amzn-ErrorType": ERRORS[429], "Retry-After": str(seconds)}
        return Reply(429, {"message": "Too many requests"}, headers)

    def denied(self, message: str) -> Reply:
        return self.error(403, message)


def event(kind: str, body: Any, message: str = "event") -> bytes:
    """A message of the event stream: lengths and their sum, headers, payload, sum of all."""
    named = {f":{message}-type": kind, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + _counted(value)
        for name, value in {**named, ":message-type": message}.items()
    )
    payload = json.dumps(body).encode()
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    before = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return before + struct.pack("!I", crc32(before))


def _counted(value: str) -> bytes:
    return struct.pack("!H", len(value)) + value.encode()
