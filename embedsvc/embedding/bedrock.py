"""Amazon Bedrock: bedrock:amazon.titan-embed-text-v2:0, in the region of AWS_REGION.

Credentials are found as boto3 finds them: in the environment, in ~/.aws, or from the machine.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError
from langchain_aws import BedrockEmbeddings
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._known import Known, asked_for, backend
from embedsvc.embedding._langchain import RemoteBackend
from embedsvc.errors import (
    ConfigError,
    MissingKey,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
)
from embedsvc.failures import of_status, shown
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of
from embedsvc.settings import Settings

URL_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
SECRETS = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY")
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

_REGIONS = ("us", "eu", "apac", "jp", "au", "ca", "global", "us-gov")
_counted: ContextVar[list[int]] = ContextVar("counted")

logging.getLogger("langchain_aws.embeddings.bedrock").setLevel(
    logging.CRITICAL
)  # our errors say it


def destination(spec: Spec, settings: Settings) -> str | None:
    """Amazon's host for the region, unless another address is set."""
    del spec
    url = _url(settings)
    if url is not None:
        return destination_of(url)
    region = _region(settings)
    return f"bedrock-runtime.{region}.amazonaws.com" if region else "Amazon Bedrock"


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Bedrock; asked once when it is not a known one."""
    refuse_options(spec)
    name = _without_region(spec.model)
    asked = asked_for(spec, MODELS, name)
    client = await asyncio.to_thread(_client, settings)
    shared: dict[str, Any] = {"client": client, "model_id": spec.model}
    if asked.shortened is not None:
        shared["dimensions"] = asked.shortened
    cohere = name.startswith("cohere.")
    models: dict[Role, BedrockEmbeddings] = {
        "document": BedrockEmbeddings(**shared),
        "query": BedrockEmbeddings(
            **shared, model_kwargs={"input_type": "search_query"} if cohere else None
        ),
    }

    async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
        counted: list[int] = []
        token = _counted.set(counted)  # the thread gets a copy of the context, with this very list
        try:
            rows = await asyncio.to_thread(models[role].embed_documents, list(texts))
        finally:
            _counted.reset(token)
        return rows, sum(counted) if counted else None

    async def close() -> None:
        await asyncio.to_thread(client.close)

    def translate(error: Exception) -> Exception | None:
        return translated(error, [settings.variable(name) or "" for name in SECRETS])

    return await backend(asked, COHERE_CALLS if cohere else CALLS, ask, translate, close)


def _region(settings: Settings) -> str | None:
    return settings.variable("AWS_REGION") or settings.variable("AWS_DEFAULT_REGION")


def _url(settings: Settings) -> str | None:
    found = settings.variable(URL_VARIABLE)
    return checked_url(found, URL_VARIABLE) if found else None


def _without_region(model: str) -> str:
    """The model behind an inference profile, such as us.cohere.embed-v4:0."""
    first, _, rest = model.partition(".")
    return rest if first in _REGIONS else model


def _client(settings: Settings) -> Any:
    """boto3's client, which calls once. Raises ConfigError without region or credentials."""
    config = Config(
        connect_timeout=settings.provider_timeout,
        read_timeout=settings.provider_timeout,
        retries={"total_max_attempts": 1},  # services/retrying.py repeats
        max_pool_connections=CALLS.at_once + COHERE_CALLS.at_once,
    )
    try:
        session = boto3.Session(
            aws_access_key_id=settings.variable("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=settings.variable("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=settings.variable("AWS_SESSION_TOKEN"),
            region_name=_region(settings),
        )
        if not settings.variable("AWS_BEARER_TOKEN_BEDROCK") and not session.get_credentials():
            raise MissingKey(
                "no credentials for AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE"
            )
        client = session.client("bedrock-runtime", endpoint_url=_url(settings), config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"Amazon Bedrock: {shown(str(error))}; set AWS_REGION") from error
    client.meta.events.register("after-call.bedrock-runtime.InvokeModel", _count)
    return client


def _count(http_response: Any, **_: Any) -> None:
    count = http_response.headers.get(COUNT_HEADER, "")
    if count.isdecimal():
        _counted.get([]).append(int(count))


def translated(error: Exception, secrets: Sequence[str]) -> Exception | None:
    """An error of boto3 as ours, without the secrets."""
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
        return ProviderTimeout("bedrock did not answer in time")
    if isinstance(error, ClientError):
        answer = error.response.get("ResponseMetadata", {})
        what = error.response.get("Error", {})
        said = f"{what.get('Code', '')}: {what.get('Message', '')}"
        for secret in filter(None, secrets):
            said = said.replace(secret, "[key]")
        return of_status(
            "bedrock", answer.get("HTTPStatusCode", 500), said, answer.get("HTTPHeaders", {})
        )
    if isinstance(error, BotoCoreError):
        return ProviderError(f"bedrock cannot be reached: {shown(str(error))}")
    if isinstance(error, ValueError) and "does not support texts longer" in str(error):
        return ProviderRejected(f"bedrock: {shown(str(error))}")
    if isinstance(error, ValueError | TypeError | LookupError | AttributeError):
        return ProviderError(f"a wrong answer from bedrock: {shown(str(error) or repr(error))}")
    return None
