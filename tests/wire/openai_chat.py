"""OpenAI's chat completions and completions, streamed; Azure's paths and key too."""

import time
from collections.abc import Mapping
from typing import Any

from wire import openai
from wire.llms import KEY, LLM, Talk, sse
from wire.server import Reply, Request


class OpenAIChat(LLM):
    """`/v1/chat/completions`. Counts come as `stream_options` asks for.

    `refuses` are parameters that the model does not take.
    """

    spec = "openai:gpt-4o"
    url_variable = "OPENAI_BASE_URL"
    key_variable = "OPENAI_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.key: str | None = None
        """The only one that is accepted; None accepts any."""
        self.refuses: frozenset[str] = frozenset()

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    @property
    def variables(self) -> Mapping[str, str]:
        return {self.key_variable: KEY, self.url_variable: self.url}

    def read(self, request: Request) -> Talk:
        assert request.method == "POST"
        assert _path(request) == ("/completions" if self.completes else "/chat/completions")
        body = request.json
        assert body["stream"] is True
        messages = body.get("messages", [{"role": "user", "content": body.get("prompt")}])
        return Talk(
            model=body["model"],
            messages=messages,
            temperature=body.get("temperature"),
            max_tokens=body.get("max_tokens", body.get("max_completion_tokens")),
            top_p=body.get("top_p"),
            stop=body.get("stop") or (),
            key=_key(request),
        )

    def answer(self, request: Request) -> Reply:
        given = _key(request)
        if self.key is not None and given != self.key:
            said = f"Incorrect API key provided: {given}. You can find it."
            return openai.error(401, said, "invalid_api_key")
        for name in sorted(self.refuses & request.json.keys()):
            said = f"Unsupported parameter: '{name}' is not supported with this model."
            return openai.error(400, said, "unsupported_parameter")
        self._usage = bool((request.json.get("stream_options") or {}).get("include_usage"))
        return super().answer(request)

    def opening(self, talk: Talk) -> list[bytes]:
        return [sse(_chunk(talk, {"role": "assistant", "content": ""}))]

    def word(self, text: str, talk: Talk) -> bytes:
        return sse(_chunk(talk, {"content": text}))

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        last = [sse(_chunk(talk, {}, finish))]
        if self._usage and self.counts:
            last.append(sse({**_chunk(talk, {}), "choices": [], "usage": _usage(read, written)}))
        return [*last, sse("[DONE]")]

    def error(self, status: int, message: str) -> Reply:
        return openai.error(status, message)


class OpenAICompletions(OpenAIChat):
    """`/v1/completions`."""

    spec = "openai:gpt-3.5-turbo-instruct"
    completes = True

    def opening(self, talk: Talk) -> list[bytes]:
        return []

    def word(self, text: str, talk: Talk) -> bytes:
        return sse(_part(talk, text))

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        last = [sse(_part(talk, "", finish))]
        if self._usage and self.counts:
            last.append(sse({**_part(talk, ""), "choices": [], "usage": _usage(read, written)}))
        return [*last, sse("[DONE]")]


class AzureChat(OpenAIChat):
    """Azure OpenAI: a deployment in the path, and a first chunk about filters."""

    spec = "azure:my-gpt"
    url_variable = "AZURE_OPENAI_ENDPOINT"
    key_variable = "AZURE_OPENAI_API_KEY"

    @property
    def url(self) -> str:
        return self.address

    def opening(self, talk: Talk) -> list[bytes]:
        filters = {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
        return [sse({**_chunk(talk, {}), **filters}), *super().opening(talk)]


class AzureCompletions(AzureChat, OpenAICompletions):
    """A completion model in a deployment."""

    spec = "azure:my-instruct?kind=completion"

    def opening(self, talk: Talk) -> list[bytes]:
        return []

    word = OpenAICompletions.word
    closing = OpenAICompletions.closing


class GitHubChat(OpenAIChat):
    spec = "github:openai/gpt-4o"
    url_variable = "GITHUB_MODELS_URL"
    key_variable = "GITHUB_TOKEN"


class GroqChat(OpenAIChat):
    spec = "groq:llama-3.3-70b-versatile"
    url_variable = "GROQ_BASE_URL"
    key_variable = "GROQ_API_KEY"


class OllamaChat(OpenAIChat):
    spec = "ollama:llama3.2"
    url_variable = "OLLAMA_HOST"
    key_variable = "OLLAMA_API_KEY"


class LmStudioChat(OpenAIChat):
    spec = "lmstudio:my-model"
    url_variable = "LMSTUDIO_BASE_URL"
    key_variable = "LMSTUDIO_API_KEY"


class LocalAIChat(OpenAIChat):
    spec = "localai:my-model"
    url_variable = "LOCALAI_BASE_URL"
    key_variable = "LOCALAI_API_KEY"


class TextGenChat(OpenAIChat):
    spec = "textgen:my-model"
    url_variable = "TEXTGEN_BASE_URL"
    key_variable = "TEXTGEN_API_KEY"


class VllmChat(OpenAIChat):
    """A server that leaves out what it could say: no counts."""

    spec = "vllm:my-model"
    url_variable = "VLLM_BASE_URL"
    key_variable = "VLLM_API_KEY"
    counts = False


def _path(request: Request) -> str:
    if request.path.startswith("/openai/deployments/"):
        assert request.query["api-version"]
        return "/" + "/".join(request.path.split("/")[4:])
    return request.path.removeprefix("/v1")


def _key(request: Request) -> str:
    given = request.headers.get("api-key") or request.headers.get("authorization", "")
    return given.removeprefix("Bearer ")


def _chunk(talk: Talk, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time())}
    return {**head, "model": talk.model, "system_fingerprint": "fp_1", "choices": [choice]}


def _part(talk: Talk, text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": "cmpl-1", "object": "text_completion", "created": int(time.time())}
    return {**head, "model": talk.model, "choices": [choice]}


def _usage(read: int, written: int) -> dict[str, int]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
