"""Hugging Face: huggingface:meta-llama/Llama-3.1-8B-Instruct; its key in HF_TOKEN.

HF_ENDPOINT_URL is the address of a dedicated endpoint, which then is asked instead. With
`?kind=completion` a model such as gpt2 goes on with a text.
"""

import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError

from embedsvc.chat._langchain import finish_of, given
from embedsvc.chat._line import Line
from embedsvc.chat._named import Named, named
from embedsvc.chat._openai import model_at
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._text import as_text
from embedsvc.core.spec import Spec
from embedsvc.errors import InvalidInput
from embedsvc.ports import Delta
from embedsvc.providers import checked_url, destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.huggingface import URL_VARIABLE, huggingface_key, refine

CHAT = "https://router.huggingface.co/v1"
COMPLETION = "https://router.huggingface.co/hf-inference/models/{model}"

_MODEL = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(:[\w-]+)?", re.ASCII)


def destination(spec: Spec, settings: Settings) -> str | None:
    """Hugging Face's host, or that of the endpoint."""
    return destination_of(_url(spec, settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model there.

    Chat models are asked in OpenAI's protocol, which the router and the endpoints speak, and which
    LangChain's client really streams without a thread; its class for Hugging Face asks the hub
    about each model first, and refuses to work once a local model has set HF_HUB_OFFLINE.
    """
    asked = named(spec, kinds=("chat", "completion"))
    url = _url(spec, settings)
    secret = huggingface_key(settings, url)
    if asked.kind == "chat":
        return model_at(asked, settings, f"{url.removesuffix('/v1')}/v1", secret)
    return _completing(asked, settings, url, secret)


class _Client(AsyncInferenceClient):  # type: ignore[misc]  # the library is not typed here
    """Their client over our connection, for one call: it keeps every answer until it is closed."""

    def __init__(self, url: str, secret: str, http: httpx.AsyncClient, timeout: float) -> None:
        # An address as the model: with a name it would first ask the hub what the model can do.
        super().__init__(url, token=secret, timeout=timeout, headers={"user-agent": "embedsvc"})
        self._http = http

    async def _get_async_client(self) -> httpx.AsyncClient:
        return self._http


def _completing(asked: Named, settings: Settings, url: str, secret: str) -> RemoteModel:
    """A text generation model, through huggingface_hub.

    LangChain has no stream for it that ends when nobody reads it, and no counts.
    """
    line = Line("huggingface", settings, url, secret=secret, refine=refine, wraps=(HfHubHTTPError,))
    timeout = float(settings.provider_timeout)

    async def written(text: str, options: dict[str, Any]) -> AsyncGenerator[Delta, None]:
        client = _Client(url, secret, line.http, timeout)
        try:
            tokens = 0
            async for part in await client.text_generation(
                text, stream=True, details=True, **options
            ):
                tokens += 1
                word = "" if part.token.special else part.token.text
                if part.details is None:
                    yield Delta(word, completion_tokens=tokens)
                else:
                    count, reason = part.details.generated_tokens, part.details.finish_reason
                    yield Delta(word, completion_tokens=count, finish=finish_of(reason))
        finally:
            await client.close()

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        text = as_text(asking.prompt)
        options = given(taken(asking), max_tokens="max_new_tokens")
        options["return_full_text"] = False
        return line.streamed(lambda: written(text, options))

    return RemoteModel(asked, speak, line.translate, line.aclose)


def _url(spec: Spec, settings: Settings) -> str:
    if not _MODEL.fullmatch(spec.model):
        raise InvalidInput(f"{spec}: no name of a model; write huggingface:OWNER/MODEL")
    router = COMPLETION if spec.options.get("kind") == "completion" else CHAT
    found = settings.variable(URL_VARIABLE) or router.format(model=spec.model)
    return checked_url(found, URL_VARIABLE)
