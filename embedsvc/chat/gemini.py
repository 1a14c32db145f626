"""Google's Gemini API: gemini:gemini-2.5-flash; its key in GOOGLE_API_KEY or GEMINI_API_KEY."""

from embedsvc.chat._google import create_from
from embedsvc.chat._named import named
from embedsvc.chat._remote import RemoteModel
from embedsvc.core.spec import Spec
from embedsvc.providers import destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.google import gemini_key, gemini_url


def destination(spec: Spec, settings: Settings) -> str | None:
    """Google's host, unless another address is set."""
    del spec
    return destination_of(gemini_url(settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model of the Gemini API."""
    secret = gemini_key(settings)
    return create_from(
        named(spec),
        settings,
        gemini_url(settings),
        client={"api_key": secret, "vertexai": False},
        model={"google_api_key": secret, "vertexai": False},
    )
