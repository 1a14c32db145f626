"""Cohere: cohere:embed-v4.0; its key in COHERE_API_KEY."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import cohere
import msgspec
from langchain_cohere import CohereEmbeddings
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._http import Connection
from embedsvc.embedding._known import Asked, Known, asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.errors import ProviderDenied, ProviderError
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

URL = "https://api.cohere.com"
URL_VARIABLE = "CO_API_URL"
INVALID_TOKEN = 498

MODELS = {
    "embed-v4.0": Known(1_536, window=128_000, others=(256, 512, 1_024)),
    "embed-english-v3.0": Known(1_024, window=512),
    "embed-multilingual-v3.0": Known(1_024, window=512),
    "embed-english-light-v3.0": Known(384, window=512),
    "embed-multilingual-light-v3.0": Known(384, window=512),
}
CALLS = Calls(texts=96, tokens=128_000, at_once=4, remote=True)
"""One request has at most 96 texts."""


class _Units(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Body(msgspec.Struct):
    meta: _Meta | None = None


_decoder = msgspec.json.Decoder(_Body)


def destination(spec: Spec, settings: Settings) -> str | None:
    """Cohere's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Cohere's; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    url = _url(settings)
    needed = destination_of(url) is not None
    secret = key("COHERE_API_KEY", settings, needed=needed) or "none"
    line = Connection(
        "cohere",
        settings,
        url,
        secret=secret,
        tokens=_tokens,
        refine=_refine,
        wraps=(cohere.core.ApiError,),
    )

    def asking(dimensions: int | None) -> Ask:
        client = _client(asked, dimensions, url, secret, line, settings)

        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            kind = "search_query" if role == "query" else "search_document"
            return await line.counted(client.aembed(list(texts), input_type=kind))

        return ask

    return await backend(asked, CALLS, asking, line.translate, line.aclose)


def _client(
    asked: Asked,
    dimensions: int | None,
    url: str,
    secret: str,
    line: Connection,
    settings: Settings,
) -> CohereEmbeddings:
    made = CohereEmbeddings(
        model=asked.spec.model,
        cohere_api_key=secret,
        base_url=url,
        max_retries=1,  # tries, in fact; services/retrying.py repeats
        truncate="NONE",  # texts are cut before they come here
    )
    # In the place of its own client, which speaks the first version of the protocol: that has no
    # dimensions to choose, and repeats what failed.
    inner = cohere.AsyncClientV2(
        secret,
        base_url=url,
        timeout=settings.provider_timeout,
        httpx_client=line.http,
        log_warning_experimental_features=False,
    )
    more: dict[str, Any] = {"request_options": {"max_retries": 0}}
    if dimensions is not None:
        more["output_dimension"] = dimensions
    made.async_client = _Client(partial(inner.embed, **more))
    return made


class _Client:
    """The part of Cohere's client that LangChain calls."""

    def __init__(self, embed: Any) -> None:
        self.embed = embed


def _url(settings: Settings) -> str:
    return checked_url(settings.variable(URL_VARIABLE) or URL, URL_VARIABLE)


def _tokens(body: bytes) -> int | None:
    meta = _decoder.decode(body).meta
    if meta is None or meta.billed_units is None or meta.billed_units.input_tokens is None:
        return None
    return round(meta.billed_units.input_tokens)


def _refine(error: ProviderError, status: int, body: Any) -> ProviderError:
    del body
    return ProviderDenied(error.detail) if status == INVALID_TOKEN else error
