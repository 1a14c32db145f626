"""Amazon Bedrock: its address, credentials and client, and how its errors read.

Credentials are found as boto3 finds them: in the environment, in ~/.aws, or from the machine.
AWS_PROFILE and AWS_BEARER_TOKEN_BEDROCK may be in `.env` too.
"""

from collections.abc import Sequence
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

from embedsvc.errors import ConfigError, MissingKey, ProviderRejected, Unavailable
from embedsvc.failures import late, of_status, shown, unreachable, wrong
from embedsvc.providers import checked_url, destination_of, is_here
from embedsvc.settings import Settings

URL_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
BEARER = "AWS_BEARER_TOKEN_BEDROCK"
SECRETS = (BEARER, "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY")

_REGIONS = ("us", "eu", "apac", "jp", "au", "ca", "global", "us-gov")


def bedrock_destination(settings: Settings) -> str | None:
    """Amazon's host for the region, unless another address is set."""
    url = _url(settings)
    if url is not None:
        return destination_of(url)
    region = _region(settings)
    return f"bedrock-runtime.{region}.amazonaws.com" if region else "Amazon Bedrock"


def without_region(model: str) -> str:
    """The model behind an inference profile, such as us.cohere.embed-v4:0."""
    first, _, rest = model.partition(".")
    return rest if first in _REGIONS else model


def bedrock_client(settings: Settings, connections: int) -> Any:
    """boto3's client, which calls once. For a thread.

    Raises MissingKey without region or credentials.
    """
    url = _url(settings)
    profile = settings.variable("AWS_PROFILE")
    bearer = settings.variable(BEARER)
    config = Config(
        signature_version=None if bearer is None else "bearer",
        connect_timeout=settings.provider_timeout,
        read_timeout=settings.provider_timeout,
        retries={"total_max_attempts": 1},  # services/retrying.py repeats
        max_pool_connections=connections,
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
        return session.client("bedrock-runtime", endpoint_url=url, config=config)
    except ProfileNotFound as error:
        raise ConfigError(f"AWS_PROFILE is {profile!r}; there is no such profile") from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"Amazon Bedrock: {shown(str(error))}; look at AWS_REGION") from error


def close_client(client: Any) -> None:
    """Close a client of `bedrock_client` with its connections. For a thread.

    boto3 and urllib3 only forget them, so that they stay open until Python collects garbage.
    """
    session = client._endpoint.http_session
    for manager in (session._manager, *session._proxy_managers.values()):
        for key in manager.pools.keys():  # noqa: SIM118  it cannot be iterated itself
            manager.pools[key].close()
    client.close()


def secrets_of(settings: Settings) -> Sequence[str | None]:
    """What must never be shown."""
    return [settings.variable(name) for name in SECRETS]


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


def _region(settings: Settings) -> str | None:
    return settings.variable("AWS_REGION") or settings.variable("AWS_DEFAULT_REGION")


def _url(settings: Settings) -> str | None:
    found = settings.variable(URL_VARIABLE)
    return checked_url(found, URL_VARIABLE) if found else None
