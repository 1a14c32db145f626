"""Mistral AI: mistral:mistral-large-latest; its key in MISTRAL_API_KEY."""

from collections.abc import AsyncGenerator

import httpx
from httpx_sse import SSEError
from langchain_mistralai import ChatMistralAI

from embedsvc.chat._langchain import given, streamed, unheard
from embedsvc.chat._line import Line
from embedsvc.chat._named import named
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._text import turns
from embedsvc.core.spec import Spec
from embedsvc.ports import Delta
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

URL = "https://api.mistral.ai/v1"
URL_VARIABLE = "MISTRAL_BASE_URL"


def destination(spec: Spec, settings: Settings) -> str | None:
    """Mistral's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model of Mistral's."""
    asked = named(spec)
    url = _url(settings)
    needed = destination_of(url) is not None
    secret = key("MISTRAL_API_KEY", settings, needed=needed) or "none"
    line = Line("mistral", settings, url, secret=secret, wraps=(SSEError,))
    line.http.base_url = httpx.URL(url)
    line.http.headers["Authorization"] = f"Bearer {secret}"
    client = ChatMistralAI(
        model=spec.model,
        api_key=secret,
        base_url=url,
        async_client=line.http,
        client=httpx.Client(trust_env=False),  # never used
        max_retries=1,  # services/retrying.py repeats
    )
    client.temperature, client.top_p = None, None  # what nobody asks for is the model's

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        messages, options = turns(asking.prompt), given(taken(asking))
        return line.streamed(lambda: streamed(client, messages, options), unheard)

    return RemoteModel(asked.told(client.profile), speak, line.translate, line.aclose)


def _url(settings: Settings) -> str:
    return checked_url(settings.variable(URL_VARIABLE) or URL, URL_VARIABLE)
