"""Google's Vertex AI: vertex:gemini-2.5-flash, in the project of GOOGLE_CLOUD_PROJECT.

Credentials are Google's application default credentials. GOOGLE_CLOUD_LOCATION names the region.
"""

from embedsvc.chat._google import create_from
from embedsvc.chat._named import named
from embedsvc.chat._remote import RemoteModel
from embedsvc.core.spec import Spec
from embedsvc.providers import destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.google import (
    vertex_credentials,
    vertex_location,
    vertex_project,
    vertex_url,
)


def destination(spec: Spec, settings: Settings) -> str | None:
    """Google's host for the region, unless another address is set."""
    del spec
    return destination_of(vertex_url(settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A Gemini model of Vertex AI."""
    asked = named(spec)
    shared = {
        "project": vertex_project(settings),
        "location": vertex_location(settings),
        "credentials": vertex_credentials(settings),
        "vertexai": True,
    }
    return create_from(asked, settings, vertex_url(settings), client=shared, model=shared)
