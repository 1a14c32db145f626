"""Google's Gemini API: gemini:gemini-embedding-001; its key in GOOGLE_API_KEY or GEMINI_API_KEY."""

from dataclasses import replace

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._google import GEMINI_EMBEDDING, TOKENS, WINDOW, create_from
from embedsvc.embedding._known import asked_for
from embedsvc.embedding._remote import RemoteBackend
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

CUT_AT = WINDOW * 3 // 4
"""The API cuts what is longer than the model's window and does not say so, and tokens are only
estimated here: so texts are cut before, and that is told."""
MODELS = {"gemini-embedding-001": replace(GEMINI_EMBEDDING, window=CUT_AT)}

URL = "https://generativelanguage.googleapis.com"
URL_VARIABLE = "GOOGLE_GEMINI_BASE_URL"
CALLS = Calls(texts=100, tokens=TOKENS, at_once=4, remote=True)
"""One request of batchEmbedContents has at most 100 inputs."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Google's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A Gemini model; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    url = _url(settings)
    secret = (
        settings.variable("GOOGLE_API_KEY")
        or settings.variable("GEMINI_API_KEY")
        or key("GOOGLE_API_KEY", settings, needed=destination_of(url) is not None)
        or "none"
    )
    return await create_from(
        asked,
        CALLS,
        settings,
        url,
        client={"api_key": secret, "vertexai": False},
        model={"google_api_key": secret, "vertexai": False},
        unknown_window=CUT_AT,
    )


def _url(settings: Settings) -> str:
    return checked_url(settings.variable(URL_VARIABLE) or URL, URL_VARIABLE)
