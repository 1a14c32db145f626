"""Google's Vertex AI: vertex:gemini-embedding-001, in the project of GOOGLE_CLOUD_PROJECT.

Credentials are Google's application default credentials. GOOGLE_CLOUD_LOCATION names the region.
"""

import asyncio

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._google import GEMINI_EMBEDDING, TOKENS, create_from
from embedsvc.embedding._known import Known, asked_for
from embedsvc.embedding._remote import RemoteBackend
from embedsvc.ports import Calls
from embedsvc.providers import destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.google import (
    vertex_credentials,
    vertex_location,
    vertex_project,
    vertex_url,
)

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
    return destination_of(vertex_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Vertex AI; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    shared = {
        "project": vertex_project(settings),
        "location": vertex_location(settings),
        "credentials": await asyncio.to_thread(vertex_credentials, settings),
        "vertexai": True,
    }
    calls = GEMINI_CALLS if "gemini" in spec.model else CALLS
    return await create_from(
        asked, calls, settings, vertex_url(settings), client=shared, model=shared
    )
