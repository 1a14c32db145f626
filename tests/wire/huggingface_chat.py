"""Hugging Face: the OpenAI protocol for chats, its own text generation for completion models."""

from collections.abc import Mapping

from wire.embeddings import bearer
from wire.llms import KEY, LLM, Talk, sse
from wire.openai_chat import OpenAIChat
from wire.server import Reply, Request


class HuggingFaceChat(OpenAIChat):
    spec = "huggingface:meta-llama/Llama-3.1-8B-Instruct"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"HF_TOKEN": KEY, "HF_ENDPOINT_URL": self.address}


class HuggingFaceText(LLM):
    """Text generation as text-generation-inference streams it. The prompt is not counted."""

    spec = "huggingface:openai-community/gpt2?kind=completion"
    completes = True

    @property
    def variables(self) -> Mapping[str, str]:
        return {"HF_TOKEN": KEY, "HF_ENDPOINT_URL": self.address}

    def read(self, request: Request) -> Talk:
        assert (request.method, request.path) == ("POST", "/")
        body = request.json
        assert body["stream"] is True
        asked = {name: value for name, value in body["parameters"].items() if value is not None}
        assert asked["return_full_text"] is False
        return Talk(
            model="",
            messages=[{"role": "user", "content": body["inputs"]}],
            temperature=asked.get("temperature"),
            max_tokens=asked.get("max_new_tokens"),
            top_p=asked.get("top_p"),
            stop=asked.get("stop") or (),
            key=bearer(request),
        )

    def word(self, text: str, talk: Talk) -> bytes:
        token = {"id": 1, "text": text, "logprob": -0.5, "special": False}
        return sse({"index": 1, "token": token, "generated_text": None, "details": None})

    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        reason = {"stop": "eos_token", "length": "length"}[finish]
        details = {"finish_reason": reason, "generated_tokens": written, "seed": None}
        token = {"id": 2, "text": "</s>", "logprob": -0.1, "special": True}
        return [sse({"index": 2, "token": token, "generated_text": "", "details": details})]

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"error": message, "error_type": "Backend"})
