"""The Gemini API and Vertex AI: models.streamGenerateContent."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import bearer
from wire.gemini import google_busy, google_error
from wire.llms import KEY, LLM, Talk, sse
from wire.server import Reply, Request
from wire.vertex import Account

ROLES = {"user": "user", "model": "assistant"}


class GeminiChat(LLM):
    spec = "gemini:gemini-2.5-flash"
    place = "/v1beta/models/"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.url}

    def read(self, request: Request) -> Talk:
        assert request.path.startswith(self.place)
        name, verb = request.path.removeprefix(self.place).split(":")
        assert (verb, request.query["alt"]) == ("streamGenerateContent", ["sse"])
        body = request.json
        roles = [content["role"] for content in body["contents"]]
        assert roles == ["user", "model"] * (len(roles) // 2) + ["user"]
        system = body.get("systemInstruction")
        given = [{"role": "system", "content": _text(system)}] if system else []
        given += [
            {"role": ROLES[each["role"]], "content": _text(each)} for each in body["contents"]
        ]
        config = body.get("generationConfig", {})
        return Talk(
            model=name,
            messages=given,
            temperature=config.get("temperature"),
            max_tokens=config.get("maxOutputTokens"),
            top_p=config.get("topP"),
            stop=config.get("stopSequences") or (),
            key=self.given(request),
        )

    def given(self, request: Request) -> str:
        """The key of a request."""
        return request.headers["x-goog-api-key"]

    def word(self, text: str, talk: Talk) -> bytes:
        return sse(self._chunk(text, talk), end="\r\n\r\n")

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        chunk = self._chunk("", talk)
        chunk["candidates"][0]["finishReason"] = {"stop": "STOP", "length": "MAX_TOKENS"}[finish]
        chunk["usageMetadata"]["candidatesTokenCount"] = written
        chunk["usageMetadata"]["totalTokenCount"] = read + written
        return [sse(chunk, end="\r\n\r\n")]

    def _chunk(self, text: str, talk: Talk) -> dict[str, Any]:
        """Counts are those so far, in each chunk."""
        read = sum(len(message["content"].split()) for message in talk.messages)
        content = {"parts": [{"text": text}], "role": "model"}
        return {
            "candidates": [{"content": content, "index": 0}],
            "usageMetadata": {"promptTokenCount": read, "totalTokenCount": read},
            "modelVersion": talk.model,
            "responseId": "r1",
        }

    def error(self, status: int, message: str) -> Reply:
        return google_error(status, message)

    def busy(self, seconds: int) -> Reply:
        return google_busy(seconds)


class VertexChat(GeminiChat):
    spec = "vertex:gemini-2.5-flash"
    place = "/v1beta1/projects/mine/locations/europe-west4/publishers/google/models/"

    def __init__(self) -> None:
        super().__init__()
        self._account = Account()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._account.remove()

    @property
    def variables(self) -> Mapping[str, str]:
        return self._account.variables(self.url)

    @property
    def talks(self) -> list[Talk]:
        return [self.read(request) for request in self.requests if request.path != "/token"]

    def given(self, request: Request) -> str:
        return bearer(request)

    def answer(self, request: Request) -> Reply:
        return self._account.token(request) or super().answer(request)


def _text(content: Any) -> str:
    return "".join(part["text"] for part in content["parts"])
