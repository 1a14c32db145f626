"""Anthropic: anthropic:claude-sonnet-5-5; its key in ANTHROPIC_API_KEY."""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import httpx2  # this SDK takes no httpx
from langchain_anthropic import ChatAnthropic

from embedsvc.chat._langchain import given, streamed, unheard
from embedsvc.chat._line import Line, broke_off
from embedsvc.chat._named import named, untaken
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._text import turns
from embedsvc.core.spec import Spec
from embedsvc.errors import ProviderError
from embedsvc.ports import Delta
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

URL = "https://api.anthropic.com"
URL_VARIABLE = "ANTHROPIC_BASE_URL"
MOST_TOKENS = 4_096
"""Of an answer where nobody says: the API wants a number."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Anthropic's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model of Anthropic's."""
    asked = named(spec)
    url = _url(settings)
    needed = destination_of(url) is not None
    secret = key("ANTHROPIC_API_KEY", settings, needed=needed) or "none"
    wraps = (anthropic.AnthropicError,)
    line = Line("anthropic", settings, url, secret=secret, wraps=wraps, library=httpx2)
    shared: dict[str, Any] = {"api_key": secret, "base_url": url, "max_retries": 0}
    client = ChatAnthropic(**{"model": spec.model, "max_tokens": MOST_TOKENS, **shared})
    # In the place of a client that it would make of itself, and share with all others.
    client.__dict__["_async_client"] = anthropic.AsyncAnthropic(
        **shared, http_client=line.http, timeout=float(settings.provider_timeout)
    )

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        messages, options = turns(asking.prompt), given(taken(asking))
        return line.streamed(lambda: streamed(client, messages, options), unheard)

    def translate(error: Exception) -> Exception | None:
        if isinstance(error, anthropic.APIStatusError):  # an error in the middle of a stream
            return _in_stream(error, secret)
        return line.translate(error)

    profile = client.profile
    return RemoteModel(asked.told(profile), speak, translate, line.aclose, untaken(profile))


def _url(settings: Settings) -> str:
    return checked_url(settings.variable(URL_VARIABLE) or URL, URL_VARIABLE)


def _in_stream(error: anthropic.APIStatusError, secret: str) -> ProviderError:
    inner = error.body.get("error") if isinstance(error.body, dict) else None
    said = inner if isinstance(inner, dict) else {}
    words = str(said.get("message") or error.message)
    return broke_off("anthropic", words, str(said.get("type")), [secret])
