"""Every server that speaks OpenAI's protocol, through langchain-openai.

The client library does the request; what it does not look at is checked on the raw answer: that the
vectors come in the order of the texts, one each, and how many tokens were counted.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
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
from embedsvc.embedding._failures import of_status, shown
from embedsvc.embedding._langchain import RemoteBackend, probed_dimensions
from embedsvc.errors import InvalidInput, ProviderError, ProviderTimeout
from embedsvc.ports import Calls
from embedsvc.providers import OPENAI_SERVERS, base_url, destination_of, key
from embedsvc.settings import Settings

AZURE_VERSION = "2024-10-21"


@dataclass(frozen=True, slots=True)
class Known:
    """A model of OpenAI's own: its dimensions, and whether it can have fewer."""

    dimensions: int
    shortens: bool


OPENAI_MODELS = {
    "text-embedding-3-small": Known(1536, True),
    "text-embedding-3-large": Known(3072, True),
    "text-embedding-ada-002": Known(1536, False),
}
WINDOW = 8_191
"""Tokens of one input, as OpenAI's reference has it."""

CALLS = Calls(texts=2_048, tokens=300_000, at_once=4, remote=True)
"""The limits of one request at OpenAI."""

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


_counted: ContextVar[list[int | None]] = ContextVar("counted")
_decoder = msgspec.json.Decoder(_Body)


def destination(spec: Spec, settings: Settings) -> str | None:
    """The host of the server, unless it is on this machine."""
    return destination_of(base_url(spec.provider, settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of the server that `spec.provider` names. Asks it once when it is not a known one."""
    refuse_options(spec)
    if not spec.model:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    known = OPENAI_MODELS.get(spec.model) if _is_openai(spec, settings) else None
    if spec.dimensions is not None and known is not None:
        _check_dimensions(spec, known)
    http = httpx.AsyncClient(
        event_hooks={"response": [_look]}, timeout=httpx.Timeout(settings.provider_timeout)
    )
    client = _client(spec, settings, http, known)

    async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
        del role
        counted: list[int | None] = []
        token = _counted.set(counted)
        try:
            rows = await client.aembed_documents(list(texts), chunk_size=len(texts))
        finally:
            _counted.reset(token)
        return rows, counted[0] if counted else None

    def translate(error: Exception) -> Exception | None:
        return translated(spec.provider, error)

    if known is not None:
        dimensions = spec.dimensions or known.dimensions
    else:
        dimensions = spec.dimensions or await probed_dimensions(ask, translate, str(spec))
    return RemoteBackend(
        Space(spec.provider, spec.model, dimensions, max_tokens=WINDOW if known else None),
        CALLS if known else OTHER_CALLS,
        ask,
        translate,
        http.aclose,
        vocabulary.starts if known else approximate_starts,
    )


def _is_openai(spec: Spec, settings: Settings) -> bool:
    """Whether the models are OpenAI's own, and not another's of the same name."""
    host = urlsplit(base_url(spec.provider, settings)).hostname or ""
    return spec.provider in ("azure", "github") or host.endswith("openai.com")


def _check_dimensions(spec: Spec, known: Known) -> None:
    wanted = spec.dimensions or 0
    if wanted != known.dimensions and not (known.shortens and 1 <= wanted <= known.dimensions):
        able = f"1 to {known.dimensions}" if known.shortens else f"{known.dimensions}"
        raise InvalidInput(f"{spec}: {wanted} dimensions; this model has {able}")


def _client(
    spec: Spec, settings: Settings, http: httpx.AsyncClient, known: Known | None
) -> OpenAIEmbeddings:
    server = OPENAI_SERVERS[spec.provider]
    url = base_url(spec.provider, settings)
    needed = server.key_needed and destination_of(url) is not None
    secret = key(server.key_variable, settings, needed=needed) or "none"
    shared: dict[str, Any] = {
        "model": spec.model,
        "api_key": secret,
        "max_retries": 0,  # services/retrying.py repeats
        "check_embedding_ctx_length": False,  # texts are cut before they come here
        "http_async_client": http,
        "http_client": httpx.Client(),
    }
    if known is None or (spec.dimensions or known.dimensions) != known.dimensions:
        shared["dimensions"] = spec.dimensions
    if spec.provider == "azure":
        version = settings.variable("OPENAI_API_VERSION") or AZURE_VERSION
        return AzureOpenAIEmbeddings(azure_endpoint=url, api_version=version, **shared)
    return OpenAIEmbeddings(base_url=url, **shared)


async def _look(response: httpx.Response) -> None:
    """Check the order of the vectors and keep the count of tokens. Raises ProviderError."""
    if response.status_code != 200:
        return
    try:
        body = _decoder.decode(await response.aread())
    except msgspec.MsgspecError as error:
        raise ProviderError(
            f"a wrong answer from {response.url.host}: {shown(str(error))}; it begins with "
            f"{shown(response.text[:80])!r}"
        ) from error
    order = [item.index for item in body.data]
    if order != list(range(len(order))) and set(order) != {None}:
        raise ProviderError(
            f"a wrong answer from {response.url.host}: the vectors are numbered {order[:8]}, not "
            "in the order of the texts"
        )
    usage = body.usage
    if usage is not None:
        tokens = usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens
        _counted.get([]).append(tokens)


def translated(provider: str, error: Exception) -> Exception | None:
    """An error of the openai client as ours."""
    cause: BaseException | None = error
    while cause is not None:  # the client wraps what the hook raises
        if isinstance(cause, ProviderError):
            return cause
        cause = cause.__cause__
    if isinstance(error, openai.APITimeoutError):
        return ProviderTimeout(f"{provider} did not answer in time")
    if isinstance(error, openai.APIStatusError):
        return of_status(provider, error.status_code, error.message, error.response.headers)
    if isinstance(error, openai.APIConnectionError):
        reason = error.__cause__ or error
        return ProviderError(f"{provider} cannot be reached: {shown(str(reason) or repr(reason))}")
    if isinstance(error, openai.OpenAIError | ValueError | TypeError | KeyError | httpx.HTTPError):
        return ProviderError(f"a wrong answer from {provider}: {shown(str(error) or repr(error))}")
    return None
