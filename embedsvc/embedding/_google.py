"""Google's embedding models, through the Gemini API and through Vertex AI."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from google.genai import Client
from google.genai.types import EmbedContentConfig
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from langchain_google_genai._common import GoogleGenerativeAIError
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.embedding._http import Connection
from embedsvc.embedding._known import Asked, Known, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.ports import Calls
from embedsvc.settings import Settings
from embedsvc.vendors.google import http_options, refine, translated

WINDOW = 2_048
"""Tokens of a text that gemini-embedding-001 reads."""

GEMINI_EMBEDDING = Known(3_072, window=WINDOW, others=range(1, 3_073))

TOKENS = 5_000
"""Of one call. The client cuts a call in two above 20,000 by its own count, which takes every word,
mark and space for two."""

_TASKS: Mapping[Role, str] = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Embeddings(msgspec.Struct):
    statistics: _Statistics = msgspec.field(default_factory=_Statistics)


class _Prediction(msgspec.Struct):
    embeddings: _Embeddings = msgspec.field(default_factory=_Embeddings)


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Body(msgspec.Struct, rename="camel"):
    """`predictions` comes from Vertex AI, `usageMetadata` from newer models."""

    predictions: list[_Prediction] = msgspec.field(default_factory=list)
    usage_metadata: _Usage | None = None


_decoder = msgspec.json.Decoder(_Body)


class _Client(GoogleGenerativeAIEmbeddings):
    """Vertex AI is told to cut nothing: it would not say so. The Gemini API cannot be told."""

    def _build_config(self, **given: Any) -> EmbedContentConfig:
        config = super()._build_config(**given)
        if self.vertexai:
            config.auto_truncate = False
        return config


async def create_from(
    asked: Asked,
    calls: Calls,
    settings: Settings,
    url: str,
    client: Mapping[str, Any],
    model: Mapping[str, Any],
    unknown_window: int | None = None,
) -> RemoteBackend:
    """A backend at `url` from the arguments of the SDK's client and of LangChain's model."""
    line = Connection(
        asked.spec.provider,
        settings,
        url,
        tokens=_tokens,
        refine=refine,
        wraps=(GoogleGenerativeAIError,),
    )

    def build() -> GoogleGenerativeAIEmbeddings:
        made = _Client(model=asked.spec.model, **model)
        options = http_options(line, url, settings)
        made.client = Client(http_options=options, **client)
        return made

    built = await asyncio.to_thread(build)

    def asking(dimensions: int | None) -> Ask:
        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            rows = built.aembed_documents(
                list(texts), task_type=_TASKS[role], output_dimensionality=dimensions
            )
            return await line.counted(rows)

        return ask

    def translate(error: Exception) -> Exception | None:
        return translated(line, error)

    return await backend(
        asked, calls, asking, translate, line.aclose, unknown_window=unknown_window
    )


def _tokens(body: bytes) -> int | None:
    found = _decoder.decode(body)
    if found.usage_metadata is not None:
        return found.usage_metadata.prompt_token_count
    counts = [each.embeddings.statistics.token_count for each in found.predictions]
    told = [count for count in counts if count is not None]
    return round(sum(told)) if told and len(told) == len(counts) else None
