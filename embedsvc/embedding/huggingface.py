"""Hugging Face: huggingface:BAAI/bge-m3 through its Inference API; its key in HF_TOKEN.

HF_ENDPOINT_URL is the address of a dedicated endpoint, which then is asked instead. Where a model
has named prompts, `?query_prompt_name=query&document_prompt_name=passage` chooses them.
"""

import re
from collections.abc import Mapping, Sequence

import httpx
from huggingface_hub import AsyncInferenceClient
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._http import Connection
from embedsvc.embedding._known import asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.errors import InvalidInput
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.huggingface import URL_VARIABLE, huggingface_key, refine

ROUTER = "https://router.huggingface.co/hf-inference/models/{model}/pipeline/feature-extraction"
CALLS = Calls(texts=32, tokens=16_384, at_once=4, remote=True)
"""The defaults of text-embeddings-inference, which serves these models."""

_OPTIONS: Mapping[Role, str] = {"query": "query_prompt_name", "document": "document_prompt_name"}
_MODEL = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)


class _Client(AsyncInferenceClient):  # type: ignore[misc]  # the library is not typed here
    """Their client over our connection: theirs refuses to work once a local model is loaded,

    because that sets HF_HUB_OFFLINE.
    """

    def __init__(self, url: str, secret: str, line: Connection, timeout: float) -> None:
        # An address as the model: with a name it would first ask the hub what the model can do.
        super().__init__(url, token=secret, timeout=timeout, headers={"user-agent": "embedsvc"})
        self._line = line

    async def _get_async_client(self) -> httpx.AsyncClient:
        return self._line.http


def destination(spec: Spec, settings: Settings) -> str | None:
    """Hugging Face's host, or that of the endpoint."""
    return destination_of(_url(spec, settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model there, asked once for its dimensions."""
    refuse_options(spec, dict.fromkeys(_OPTIONS.values()))
    asked = asked_for(spec, {})
    url = _url(spec, settings)
    secret = huggingface_key(settings, url)
    line = Connection("huggingface", settings, url, secret=secret, refine=refine)
    client = _Client(url, secret, line, float(settings.provider_timeout))

    async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
        prompt = spec.options.get(_OPTIONS[role])
        return await line.counted(client.feature_extraction(list(texts), prompt_name=prompt))

    def asking(_dimensions: int | None) -> Ask:
        return ask

    return await backend(
        asked,
        CALLS,
        asking,
        line.translate,
        line.aclose,
        shortens=False,
        query_prompt=spec.options.get(_OPTIONS["query"], ""),
        document_prompt=spec.options.get(_OPTIONS["document"], ""),
    )


def _url(spec: Spec, settings: Settings) -> str:
    if not _MODEL.fullmatch(spec.model):
        raise InvalidInput(f"{spec}: no name of a model; write huggingface:OWNER/MODEL")
    found = settings.variable(URL_VARIABLE) or ROUTER.format(model=spec.model)
    return checked_url(found, URL_VARIABLE)
