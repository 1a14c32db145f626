"""Every server that speaks OpenAI's protocol, through langchain-openai.

The client library does the request; what it does not look at is checked on the raw answer: that the
vectors are numbered, one for each text, and how many tokens were counted.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import openai
from langchain_openai import AzureOpenAIEmbeddings, OpenAIEmbeddings
from numpy.typing import ArrayLike

from embedsvc import vocabulary
from embedsvc.core.model import Role, Space
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.core.tokens import approximate_starts
from embedsvc.embedding._known import Known, check_dimensions, check_shorter
from embedsvc.embedding._remote import Ask, RemoteBackend, Translate, probed_dimensions
from embedsvc.errors import (
    InvalidInput,
    ProviderError,
    QuotaExhausted,
)
from embedsvc.failures import late, of_status, shown, unreachable, wrong
from embedsvc.http import http_client
from embedsvc.ports import Calls
from embedsvc.providers import AZURE_VERSION, base_url, destination_of, server_key
from embedsvc.settings import Settings

WINDOW = 8_191
"""Tokens of one input, as OpenAI's reference has it."""

OPENAI_MODELS = {
    "text-embedding-3-small": Known(1_536, WINDOW, others=range(1, 1_537)),
    "text-embedding-3-large": Known(3_072, WINDOW, others=range(1, 3_073)),
    "text-embedding-ada-002": Known(1_536, WINDOW),
}

CALLS = Calls(texts=2_048, tokens=300_000, at_once=4, remote=True)
"""The limits of one request at OpenAI."""

GITHUB_CALLS = Calls(texts=2_048, tokens=64_000, at_once=4, remote=True)
"""GitHub Models take fewer tokens in one request."""

OTHER_CALLS = Calls(texts=32, tokens=16_384, at_once=4, remote=True)
"""Servers on one machine take less: text-embeddings-inference 32 inputs, 16,384 tokens."""


class _Item(msgspec.Struct):
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Body(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


@dataclass(slots=True)
class _Seen:
    """What the client library does not tell of an answer."""

    order: list[int] = field(default_factory=list)
    tokens: int | None = None


_seen: ContextVar[_Seen] = ContextVar("seen")
_decoder = msgspec.json.Decoder(_Body)


def destination(spec: Spec, settings: Settings) -> str | None:
    """The host of the server, unless it is on this machine."""
    return destination_of(base_url(spec.provider, settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of the server that `spec.provider` names. Asks it once when it is not a known one.

    Raises InvalidInput for dimensions that the model does not have.
    """
    refuse_options(spec)
    if not spec.model:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    url = base_url(spec.provider, settings)
    secret = server_key(spec.provider, settings)
    http = http_client(url, settings, look=partial(_look, secret))
    unused = httpx.Client(trust_env=False)  # for calls that are not async: there are none
    client = _client(spec, settings, url, secret, http, unused)

    async def close() -> None:
        await asyncio.to_thread(unused.close)
        await http.aclose()

    def asking(**parameters: int) -> Ask:
        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            del role
            seen = _Seen()
            token = _seen.set(seen)
            try:
                rows = await client.aembed_documents(
                    list(texts), chunk_size=len(texts), **parameters
                )
            finally:
                _seen.reset(token)
            return _in_order(rows, seen.order), seen.tokens

        return ask

    def translate(error: Exception) -> Exception | None:
        return translated(spec.provider, error, secret)

    try:
        natural, known = await _natural(spec, url, asking(), translate)
        wanted = spec.dimensions or natural
        if wanted != natural:
            if known is not None:
                check_dimensions(spec, known)
            else:
                await check_shorter(spec, natural, asking(dimensions=wanted), translate)
    except BaseException:
        await close()
        raise
    return RemoteBackend(
        Space(spec.provider, spec.model, wanted, max_tokens=known.window if known else None),
        _calls(spec, known),
        asking() if wanted == natural else asking(dimensions=wanted),
        translate,
        close,
        vocabulary.starts if known else approximate_starts,
    )


async def _natural(
    spec: Spec, url: str, ask: Ask, translate: Translate
) -> tuple[int, Known | None]:
    """The dimensions that the model has of itself, and what else is known of it.

    A gateway may offer OpenAI's models; but some servers give one of those names to a model of
    their own, and then it is not known.
    """
    known = OPENAI_MODELS.get(spec.model.removeprefix("openai/"))
    if spec.provider not in ("openai", "azure", "github"):
        known = None
    if known is not None and _is_openai(spec, url):
        return known.dimensions, known
    found = await probed_dimensions(ask, translate, str(spec))
    return found, known if known is not None and found == known.dimensions else None


def _is_openai(spec: Spec, url: str) -> bool:
    """Whether the models are OpenAI's own, and not another's of the same name."""
    host = urlsplit(url).hostname or ""
    return spec.provider in ("azure", "github") or host == "api.openai.com"


def _calls(spec: Spec, known: Known | None) -> Calls:
    if known is None:
        return OTHER_CALLS
    return GITHUB_CALLS if spec.provider == "github" else CALLS


def _client(
    spec: Spec,
    settings: Settings,
    url: str,
    secret: str | None,
    http: httpx.AsyncClient,
    unused: httpx.Client,
) -> OpenAIEmbeddings:
    shared: dict[str, Any] = {
        "model": spec.model,
        "api_key": secret or "none",
        "max_retries": 0,  # services/retrying.py repeats
        "check_embedding_ctx_length": False,  # texts are cut before they come here
        "http_async_client": http,
        "http_client": unused,
    }
    if spec.provider == "azure":
        version = settings.variable("OPENAI_API_VERSION") or AZURE_VERSION
        return AzureOpenAIEmbeddings(azure_endpoint=url, api_version=version, **shared)
    return OpenAIEmbeddings(base_url=url, **shared)


def _in_order(rows: list[list[float]], order: list[int]) -> list[list[float]]:
    """The vectors in the order of the texts, which is that of their numbers."""
    if len(rows) != len(order) or order == list(range(len(order))):
        return rows
    return [row for _, row in sorted(zip(order, rows, strict=True), key=itemgetter(0))]


async def _look(secret: str | None, response: httpx.Response) -> None:
    """Keep the numbers of the vectors and the count of tokens. Raises ProviderError."""
    if response.status_code != 200:
        return
    try:
        body = _decoder.decode(_finite(await response.aread()))
    except msgspec.MsgspecError as error:
        raise wrong(response.url.host, error, response.text, [secret]) from error
    seen = _seen.get(_Seen())
    order = [item.index for item in body.data]
    numbered = [number for number in order if number is not None]
    if numbered:
        if sorted(numbered) != list(range(len(order))):
            raise wrong(
                response.url.host,
                f"the vectors are numbered {order[:8]}, not one for each text",
            )
        seen.order = numbered
    usage = body.usage
    if usage is not None:
        seen.tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens


def _finite(content: bytes) -> bytes:
    """JSON without the numbers that are none: Python servers send them, msgspec refuses them."""
    return content.replace(b"NaN", b"0").replace(b"Infinity", b"0")


def translated(provider: str, error: Exception, secret: str | None) -> Exception | None:
    """An error of the openai client as ours, without the secret."""
    cause: BaseException | None = error
    while cause is not None:  # the client wraps what the hook raises
        if isinstance(cause, ProviderError):
            return cause
        cause = cause.__cause__
    if isinstance(error, openai.APITimeoutError):
        return late(provider)
    if isinstance(error, openai.APIStatusError):
        return _of_status(provider, error, secret)
    if isinstance(error, openai.APIConnectionError):
        return unreachable(provider, error.__cause__ or error, [secret])
    if isinstance(error, openai.OpenAIError | ValueError | TypeError | KeyError | httpx.HTTPError):
        return wrong(provider, error, secrets=[secret])
    return None


def _of_status(provider: str, error: openai.APIStatusError, secret: str | None) -> ProviderError:
    body = error.body if isinstance(error.body, dict) else {}
    said = body.get("message")
    message = said if isinstance(said, str) and said else error.message
    if error.code == "insufficient_quota":  # a 429 that no waiting helps
        why = shown(message, [secret])
        return QuotaExhausted(f"{provider} answered {error.status_code}: {why}")
    return of_status(provider, error.status_code, message, error.response.headers, [secret])
