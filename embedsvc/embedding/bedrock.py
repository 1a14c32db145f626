"""Amazon Bedrock: bedrock:amazon.titan-embed-text-v2:0, in the region of AWS_REGION."""

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

from langchain_aws import BedrockEmbeddings
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._known import Known, asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.ports import Calls
from embedsvc.settings import Settings
from embedsvc.vendors.bedrock import (
    bedrock_client,
    bedrock_destination,
    close_client,
    secrets_of,
    translated,
    without_region,
)

COUNT_HEADER = "x-amzn-bedrock-input-token-count"

MODELS = {
    "amazon.titan-embed-text-v2:0": Known(1_024, window=8_192, others=(256, 512)),
    "amazon.titan-embed-text-v1": Known(1_536, window=8_192),
    "amazon.nova-2-multimodal-embeddings-v1:0": Known(
        3_072, window=8_192, others=(256, 384, 1_024)
    ),
    "cohere.embed-v4:0": Known(1_536, window=128_000, others=(256, 512, 1_024)),
    "cohere.embed-english-v3": Known(1_024, window=512),
    "cohere.embed-multilingual-v3": Known(1_024, window=512),
}
CALLS = Calls(texts=1, at_once=8, remote=True)
COHERE_CALLS = Calls(texts=96, tokens=128_000, at_once=4, remote=True)
"""Amazon's own models take one text in a request, Cohere's take 96."""

_counted: ContextVar[list[int]] = ContextVar("counted")

logging.getLogger("langchain_aws.embeddings.bedrock").setLevel(
    logging.CRITICAL
)  # our errors say it


def destination(spec: Spec, settings: Settings) -> str | None:
    """Amazon's host for the region, unless another address is set."""
    del spec
    return bedrock_destination(settings)


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Bedrock; asked once when it is not a known one."""
    refuse_options(spec)
    name = without_region(spec.model)
    asked = asked_for(spec, MODELS, name)
    client = await asyncio.to_thread(_client, settings)
    cohere = name.startswith("cohere.")
    calls = COHERE_CALLS if cohere else CALLS
    threads = ThreadPoolExecutor(calls.at_once, thread_name_prefix="bedrock")

    def asking(dimensions: int | None) -> Ask:
        models = _models(client, spec.model, dimensions, cohere)

        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            counted: list[int] = []
            context = copy_context()
            context.run(_counted.set, counted)
            rows = await asyncio.get_running_loop().run_in_executor(
                threads, context.run, models[role].embed_documents, list(texts)
            )
            return rows, sum(counted) if counted else None

        return ask

    async def close() -> None:
        threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(close_client, client)

    def translate(error: Exception) -> Exception | None:
        return translated(error, secrets_of(settings))

    return await backend(asked, calls, asking, translate, close)


def _models(
    client: Any, model: str, dimensions: int | None, cohere: bool
) -> dict[Role, BedrockEmbeddings]:
    shared: dict[str, Any] = {"client": client, "model_id": model}
    if dimensions is not None:
        shared["dimensions"] = dimensions
    return {
        "document": BedrockEmbeddings(**shared),
        "query": BedrockEmbeddings(
            **shared, model_kwargs={"input_type": "search_query"} if cohere else None
        ),
    }


def _client(settings: Settings) -> Any:
    client = bedrock_client(settings, CALLS.at_once + COHERE_CALLS.at_once)
    client.meta.events.register("after-call.bedrock-runtime.InvokeModel", _count)
    client.meta.events.register("provide-client-params.bedrock-runtime.InvokeModel", _uncut)
    return client


def _count(http_response: Any, **_: Any) -> None:
    count = http_response.headers.get(COUNT_HEADER, "")
    if count.isdecimal():
        _counted.get([]).append(int(count))


def _uncut(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Tell Amazon's Nova to refuse a text that is too long: LangChain has it cut without a word."""
    body = json.loads(params["body"])
    text = body.get("singleEmbeddingParams", {}).get("text")
    if text is None:
        return params
    text["truncationMode"] = "NONE"
    return {**params, "body": json.dumps(body)}
