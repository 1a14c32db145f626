"""Amazon Bedrock: bedrock:amazon.titan-embed-text-v2:0, in the region of AWS_REGION.

Credentials are found as boto3 finds them: in the environment, in ~/.aws, or from the machine.
AWS_PROFILE and AWS_BEARER_TOKEN_BEDROCK may be in `.env` too.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    ProfileNotFound,
    ReadTimeoutError,
)
from botocore.tokens import ScopedEnvTokenProvider
from langchain_aws import BedrockEmbeddings
from numpy.typing import ArrayLike

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._known import Known, asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.errors import (
    ConfigError,
    MissingKey,
    ProviderRejected,
    Unavailable,
)
from embedsvc.failures import late, of_status, shown, unreachable, wrong
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, is_here
from embedsvc.settings import Settings

URL_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
BEARER = "AWS_BEARER_TOKEN_BEDROCK"
SECRETS = (BEARER, "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY")
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
        await asyncio.to_thread(client.close)

    def translate(error: Exception) -> Exception | None:
        return translated(error, [settings.variable(name) for name in SECRETS])

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
    """boto3's client, which calls once. Raises MissingKey without region or credentials."""
    url = _url(settings)
    profile = settings.variable("AWS_PROFILE")
    bearer = settings.variable(BEARER)
    config = Config(
        signature_version=None if bearer is None else "bearer",
        connect_timeout=settings.provider_timeout,
        read_timeout=settings.provider_timeout,
        retries={"total_max_attempts": 1},  # services/retrying.py repeats
        max_pool_connections=CALLS.at_once + COHERE_CALLS.at_once,
        proxies={} if url is not None and is_here(url) else None,  # None: as the environment says
    )
    try:
        inner = botocore.session.get_session()
        if bearer is not None:
            inner.get_component("token_provider").insert_before(
                "env", ScopedEnvTokenProvider(inner, {BEARER: bearer})
            )
        session = boto3.Session(
            botocore_session=inner,
            profile_name=profile,
            aws_access_key_id=settings.variable("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=settings.variable("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=settings.variable("AWS_SESSION_TOKEN"),
            region_name=_region(settings),
        )
        if session.region_name is None:
            raise MissingKey("AWS_REGION is not set; put the name of a region of Amazon into it")
        if bearer is None and not session.get_credentials():
            raise MissingKey(
                "no credentials for AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                f"AWS_PROFILE, or {BEARER}"
            )
        client = session.client("bedrock-runtime", endpoint_url=url, config=config)
    except ProfileNotFound as error:
        raise ConfigError(f"AWS_PROFILE is {profile!r}; there is no such profile") from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"Amazon Bedrock: {shown(str(error))}; look at AWS_REGION") from error
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


def translated(error: Exception, secrets: Sequence[str | None]) -> Exception | None:
    """An error of boto3 as ours, without the secrets."""
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
        return late("bedrock")
    if isinstance(error, ClientError):
        answer = error.response.get("ResponseMetadata", {})
        what = error.response.get("Error", {})
        said = f"{what.get('Code', '')}: {what.get('Message', '')}"
        return of_status(
            "bedrock",
            answer.get("HTTPStatusCode", 500),
            said,
            answer.get("HTTPHeaders", {}),
            secrets,
        )
    if isinstance(error, BotoCoreError):
        return unreachable("bedrock", error, secrets)
    if isinstance(error, RuntimeError) and "after shutdown" in str(error):
        return Unavailable("bedrock is being shut down")
    if isinstance(error, ValueError) and "does not support texts longer" in str(error):
        return ProviderRejected(f"bedrock: {shown(str(error))}")
    if isinstance(error, ValueError | TypeError | LookupError | AttributeError):
        return wrong("bedrock", error, secrets=secrets)
    return None
