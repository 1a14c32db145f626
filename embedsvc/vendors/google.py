"""Google's Gemini API and Vertex AI: addresses, keys and credentials, and how their errors read."""

import json
import re
from pathlib import Path
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError, TransportError
from google.genai.types import HttpOptions
from google.oauth2 import service_account

from embedsvc.errors import (
    MissingKey,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
)
from embedsvc.failures import shown
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings
from embedsvc.vendors.connection import Connection

GEMINI = "https://generativelanguage.googleapis.com"
GEMINI_VARIABLE = "GOOGLE_GEMINI_BASE_URL"
VERTEX_VARIABLE = "GOOGLE_VERTEX_BASE_URL"
LOCATION = "us-central1"
MULTI_REGIONS = ("us", "eu")
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def gemini_url(settings: Settings) -> str:
    """The address of the Gemini API. Raises ConfigError."""
    return checked_url(settings.variable(GEMINI_VARIABLE) or GEMINI, GEMINI_VARIABLE)


def gemini_key(settings: Settings) -> str:
    """The key of the Gemini API. Raises MissingKey."""
    needed = destination_of(gemini_url(settings)) is not None
    return (
        settings.variable("GOOGLE_API_KEY")
        or settings.variable("GEMINI_API_KEY")
        or key("GOOGLE_API_KEY", settings, needed=needed)
        or "none"
    )


def vertex_url(settings: Settings) -> str:
    """The address of Vertex AI in the chosen region. Raises ConfigError."""
    location = vertex_location(settings)
    host = {
        "global": "aiplatform.googleapis.com",
        **{name: f"aiplatform.{name}.rep.googleapis.com" for name in MULTI_REGIONS},
    }.get(location, f"{location}-aiplatform.googleapis.com")
    return checked_url(settings.variable(VERTEX_VARIABLE) or f"https://{host}", VERTEX_VARIABLE)


def vertex_location(settings: Settings) -> str:
    """The region of Google Cloud."""
    return settings.variable("GOOGLE_CLOUD_LOCATION") or LOCATION


def vertex_project(settings: Settings) -> str:
    """The project of Google Cloud. Raises MissingKey."""
    project = settings.variable("GOOGLE_CLOUD_PROJECT")
    if project is None:
        raise MissingKey("GOOGLE_CLOUD_PROJECT is not set; put the name of your project into it")
    return project


def vertex_credentials(settings: Settings) -> Any:
    """Those of a service account's file, else what Google's own search finds.

    Reads files and may ask the network: for a thread. Raises MissingKey.
    """
    path = settings.variable("GOOGLE_APPLICATION_CREDENTIALS")
    try:
        if path is not None and json.loads(Path(path).read_bytes())["type"] == "service_account":
            found: Any = service_account.Credentials
            return found.from_service_account_file(path, scopes=SCOPES)
        return google.auth.default(scopes=SCOPES)[0]
    except (GoogleAuthError, OSError, ValueError, LookupError, TypeError) as error:
        raise MissingKey(
            f"no credentials for Google Cloud: {shown(str(error))}: set "
            "GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or run gcloud auth "
            "application-default login"
        ) from error


def http_options(line: Connection, url: str, settings: Settings) -> HttpOptions:
    """What makes the SDK's client speak through `line`.

    Its own client would speak through aiohttp, which tries again by itself.
    """
    return HttpOptions(
        base_url=url,
        httpx_async_client=line.http,
        timeout=int(settings.provider_timeout * 1_000),  # else none
    )


def translated(line: Connection, error: Exception) -> Exception | None:
    """An error of the SDK as ours. Vertex AI wants a token, which is fetched before a call."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GoogleAuthError):
            passing = isinstance(cause, TransportError) or cause.retryable
            kind = ProviderError if passing else ProviderDenied
            return kind(f"{line.provider}: no access token: {shown(str(cause))}")
        cause = cause.__cause__ or cause.__context__
    return line.translate(error)


def refine(error: ProviderError, status: int, body: Any) -> ProviderError:
    """Google says in the details of an error when to come back, and that a key is none."""
    del status
    for detail in _details(body):
        kind = str(detail.get("@type", ""))
        if isinstance(error, ProviderRejected) and detail.get("reason") == "API_KEY_INVALID":
            return ProviderDenied(error.detail)  # its status is 400
        if isinstance(error, ProviderBusy) and kind.endswith("google.rpc.RetryInfo"):
            delay = _DELAY.fullmatch(str(detail.get("retryDelay")))
            if delay is not None:
                return ProviderBusy(error.detail, retry_after=float(delay[1]))
    return error


def _details(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, list) and body:  # as streams have it
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return [each for each in details or [] if isinstance(each, dict)]
