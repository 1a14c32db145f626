"""Every server that speaks OpenAI's protocol, through langchain-openai.

The client library does the request; what it does not look at is checked on the raw answer: that the
vectors are numbered, one for each text, and how many tokens were counted.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
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
from embedsvc.embedding._langchain import Ask, RemoteBackend, Translate, probed_dimensions
from embedsvc.errors import (
    EmbedsvcError,
    InvalidInput,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
)
from embedsvc.failures import of_status, shown
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
    secret = _key(spec, settings, url)
    http = httpx.AsyncClient(
        event_hooks={"response": [_look]},
        timeout=httpx.Timeout(settings.provider_timeout),
        trust_env=destination_of(url) is not None,  # no proxy between us and this machine
    )
    client = _client(spec, settings, url, secret, http)

    def asking(**parameters: int) -> Ask:
        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            del role
            seen = _Seen()
            token = _seen.set(seen)
            try:
                rows = await client.aembed_documents(
                    list(texts), chunk_size=len(texts), **parameters
                )
            except ProviderError as error:  # of `_look`
                _without(secret, error)
                raise
            finally:
                _seen.reset(token)
            return _in_order(rows, seen.order), seen.tokens

        return ask

    def translate(error: Exception) -> Exception | None:
        return _without(secret, translated(spec.provider, error))

    try:
        natural, known = await _natural(spec, url, asking(), translate)
        wanted = spec.dimensions or natural
        if wanted != natural:
            await _check_shorter(spec, natural, known, asking(dimensions=wanted), translate)
    except BaseException:
        await http.aclose()
        raise
    return RemoteBackend(
        Space(spec.provider, spec.model, wanted, max_tokens=WINDOW if known else None),
        _calls(spec, known),
        asking() if wanted == natural else asking(dimensions=wanted),
        translate,
        http.aclose,
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


async def _check_shorter(
    spec: Spec, natural: int, known: Known | None, ask: Ask, translate: Translate
) -> None:
    """Refuse dimensions that the model does not give when asked for. Raises InvalidInput."""
    if known is not None:
        _check_dimensions(spec, known)
        return
    try:
        found = await probed_dimensions(ask, translate, str(spec))
    except ProviderRejected as error:
        raise InvalidInput(_only(spec, natural)) from error
    if found != spec.dimensions:
        raise InvalidInput(_only(spec, natural))


def _only(spec: Spec, natural: int) -> str:
    return f"{spec}: {spec.dimensions} dimensions; this model has {natural}"


def _check_dimensions(spec: Spec, known: Known) -> None:
    wanted = spec.dimensions or 0
    if wanted != known.dimensions and not (known.shortens and 1 <= wanted <= known.dimensions):
        able = f"1 to {known.dimensions}" if known.shortens else f"{known.dimensions}"
        raise InvalidInput(f"{spec}: {wanted} dimensions; this model has {able}")


def _key(spec: Spec, settings: Settings, url: str) -> str | None:
    server = OPENAI_SERVERS[spec.provider]
    needed = server.key_needed and destination_of(url) is not None
    return key(server.key_variable, settings, needed=needed)


def _client(
    spec: Spec, settings: Settings, url: str, secret: str | None, http: httpx.AsyncClient
) -> OpenAIEmbeddings:
    shared: dict[str, Any] = {
        "model": spec.model,
        "api_key": secret or "none",
        "max_retries": 0,  # services/retrying.py repeats
        "check_embedding_ctx_length": False,  # texts are cut before they come here
        "http_async_client": http,
        "http_client": httpx.Client(),
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


async def _look(response: httpx.Response) -> None:
    """Keep the numbers of the vectors and the count of tokens. Raises ProviderError."""
    if response.status_code != 200:
        return
    try:
        body = _decoder.decode(_finite(await response.aread()))
    except msgspec.MsgspecError as error:
        raise ProviderError(
            f"a wrong answer from {response.url.host}: {shown(str(error))}; it begins with "
            f"{shown(response.text[:80])!r}"
        ) from error
    seen = _seen.get(_Seen())
    order = [item.index for item in body.data]
    numbered = [number for number in order if number is not None]
    if numbered:
        if sorted(numbered) != list(range(len(order))):
            raise ProviderWrong(
                f"a wrong answer from {response.url.host}: the vectors are numbered {order[:8]}, "
                "not one for each text"
            )
        seen.order = numbered
    usage = body.usage
    if usage is not None:
        seen.tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens


def _finite(content: bytes) -> bytes:
    """JSON without the numbers that are none: Python servers send them, msgspec refuses them."""
    return content.replace(b"NaN", b"0").replace(b"Infinity", b"0")


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
        return _of_status(provider, error)
    if isinstance(error, openai.APIConnectionError):
        reason = error.__cause__ or error
        return ProviderError(f"{provider} cannot be reached: {shown(str(reason) or repr(reason))}")
    if isinstance(error, openai.OpenAIError | ValueError | TypeError | KeyError | httpx.HTTPError):
        return ProviderError(f"a wrong answer from {provider}: {shown(str(error) or repr(error))}")
    return None


def _of_status(provider: str, error: openai.APIStatusError) -> ProviderError:
    body = error.body if isinstance(error.body, dict) else {}
    said = body.get("message")
    message = said if isinstance(said, str) and said else error.message
    if error.code == "insufficient_quota":  # a 429 that no waiting helps
        return ProviderDenied(f"{provider} answered {error.status_code}: {shown(message)}")
    return of_status(provider, error.status_code, message, error.response.headers)


def _without(secret: str | None, error: Exception | None) -> Exception | None:
    """The same error; the key is taken out of what the provider said."""
    if secret and isinstance(error, EmbedsvcError) and secret in error.detail:
        error.detail = error.detail.replace(secret, "[key]")
        error.args = (error.detail,)
    return error
