"""Google's Vertex AI: vertex:gemini-embedding-001, in the project of GOOGLE_CLOUD_PROJECT.

Credentials are Google's application default credentials. GOOGLE_CLOUD_LOCATION names the region.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._google import GEMINI_EMBEDDING, TOKENS, create_from
from embedsvc.embedding._known import Known, asked_for
from embedsvc.embedding._remote import RemoteBackend
from embedsvc.errors import MissingKey
from embedsvc.failures import shown
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of
from embedsvc.settings import Settings

URL_VARIABLE = "GOOGLE_VERTEX_BASE_URL"
LOCATION = "us-central1"
MULTI_REGIONS = ("us", "eu")
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

MODELS = {
    "gemini-embedding-001": GEMINI_EMBEDDING,
    "text-embedding-005": Known(768, window=2_048, others=range(1, 769)),
    "text-multilingual-embedding-002": Known(768, window=2_048, others=range(1, 769)),
}
CALLS = Calls(texts=250, tokens=TOKENS, at_once=4, remote=True)
GEMINI_CALLS = Calls(texts=1, at_once=8, remote=True)
"""Vertex AI takes 250 texts in a request, and one for a Gemini model."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Google's host for the region, unless another address is set."""
    del spec
    return destination_of(_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Vertex AI; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    project = settings.variable("GOOGLE_CLOUD_PROJECT")
    if project is None:
        raise MissingKey("GOOGLE_CLOUD_PROJECT is not set; put the name of your project into it")
    credentials = await asyncio.to_thread(_credentials, settings)
    shared = {
        "project": project,
        "location": _location(settings),
        "credentials": credentials,
        "vertexai": True,
    }
    calls = GEMINI_CALLS if "gemini" in spec.model else CALLS
    return await create_from(asked, calls, settings, _url(settings), client=shared, model=shared)


def _location(settings: Settings) -> str:
    return settings.variable("GOOGLE_CLOUD_LOCATION") or LOCATION


def _url(settings: Settings) -> str:
    location = _location(settings)
    host = {
        "global": "aiplatform.googleapis.com",
        **{name: f"aiplatform.{name}.rep.googleapis.com" for name in MULTI_REGIONS},
    }.get(location, f"{location}-aiplatform.googleapis.com")
    return checked_url(settings.variable(URL_VARIABLE) or f"https://{host}", URL_VARIABLE)


def _credentials(settings: Settings) -> Any:
    """Those of a service account's file, else what Google's own search finds."""
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
