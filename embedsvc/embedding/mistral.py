"""Mistral AI: mistral:mistral-embed; its key in MISTRAL_API_KEY."""

import logging
from collections.abc import Sequence

import msgspec
from langchain_mistralai import MistralAIEmbeddings
from numpy.typing import ArrayLike
from tokenizers import Tokenizer
from tokenizers.models import BPE

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._http import Connection
from embedsvc.embedding._known import Known, asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.failures import wrong
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

URL = "https://api.mistral.ai/v1"
URL_VARIABLE = "MISTRAL_BASE_URL"

MODELS = {
    "mistral-embed": Known(1_024, window=8_192),
    "codestral-embed": Known(1_536, window=8_192),
}
CALLS = Calls(texts=128, tokens=16_000, at_once=4, remote=True)
"""One request has at most 16,384 tokens, and these are estimated."""

# our errors say what theirs would, without a traceback at every try
logging.getLogger("langchain_mistralai.embeddings").setLevel(logging.CRITICAL)


class _Item(msgspec.Struct):
    index: int | None = None


class _Usage(msgspec.Struct):
    total_tokens: int | None = None


class _Body(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


_decoder = msgspec.json.Decoder(_Body)


def destination(spec: Spec, settings: Settings) -> str | None:
    """Mistral's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Mistral's; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    url = _url(settings)
    needed = destination_of(url) is not None
    secret = key("MISTRAL_API_KEY", settings, needed=needed) or "none"
    line = Connection("mistral", settings, url, secret=secret, tokens=_tokens)
    line.http.base_url = url
    line.http.headers["Authorization"] = f"Bearer {secret}"
    client = MistralAIEmbeddings(
        model=spec.model,
        api_key=secret,
        endpoint=url,
        async_client=line.http,
        max_retries=None,  # services/retrying.py repeats
        tokenizer=Tokenizer(BPE()),  # counts nothing: else one is downloaded, and calls are cut
    )

    async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
        del role
        return await line.counted(client.aembed_documents(list(texts)))

    def asking(_dimensions: int | None) -> Ask:
        return ask

    return await backend(asked, CALLS, asking, line.translate, line.aclose, shortens=False)


def _url(settings: Settings) -> str:
    return checked_url(settings.variable(URL_VARIABLE) or URL, URL_VARIABLE)


def _tokens(body: bytes) -> int | None:
    """What was counted, once the vectors are seen to be in the order of the texts."""
    found = _decoder.decode(body)
    order = [item.index for item in found.data]
    if order != list(range(len(order))) and set(order) != {None}:
        raise wrong(
            "mistral", f"the vectors are numbered {order[:8]}, not in the order of the texts"
        )
    return found.usage.total_tokens if found.usage is not None else None
