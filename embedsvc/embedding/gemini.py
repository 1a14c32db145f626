"""Google's Gemini API: gemini:gemini-embedding-001; its key in GOOGLE_API_KEY or GEMINI_API_KEY."""

from dataclasses import replace

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._google import GEMINI_EMBEDDING, TOKENS, WINDOW, create_from
from embedsvc.embedding._known import asked_for
from embedsvc.embedding._remote import RemoteBackend
from embedsvc.ports import Calls
from embedsvc.providers import destination_of
from embedsvc.settings import Settings
from embedsvc.vendors.google import gemini_key, gemini_url

CUT_AT = WINDOW * 3 // 4
"""The API cuts what is longer than the model's window and does not say so, and tokens are only
estimated here: so texts are cut before, and that is told."""
MODELS = {"gemini-embedding-001": replace(GEMINI_EMBEDDING, window=CUT_AT)}

CALLS = Calls(texts=100, tokens=TOKENS, at_once=4, remote=True)
"""One request of batchEmbedContents has at most 100 inputs."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Google's host, unless another address is set."""
    del spec
    return destination_of(gemini_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A Gemini model; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    secret = gemini_key(settings)
    return await create_from(
        asked,
        CALLS,
        settings,
        gemini_url(settings),
        client={"api_key": secret, "vertexai": False},
        model={"google_api_key": secret, "vertexai": False},
        unknown_window=CUT_AT,
    )
