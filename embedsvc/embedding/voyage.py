"""Voyage AI: voyage:voyage-3.5; its key in VOYAGE_API_KEY.

Their own client is used without LangChain's class around it, which downloads a vocabulary to count
tokens before each call and drops the tokens that were billed.
"""

from collections.abc import Sequence

import aiohttp
import voyageai
from numpy.typing import ArrayLike
from voyageai.error import Timeout, VoyageError
from voyageai.local.helpers import is_local_model

from embedsvc.core.model import Role
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._known import Known, asked_for, backend
from embedsvc.embedding._remote import Ask, RemoteBackend
from embedsvc.errors import InvalidInput
from embedsvc.failures import late, of_status, unreachable, wrong
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.settings import Settings

URL = "https://api.voyageai.com/v1"
ATLAS_URL = "https://ai.mongodb.com/v1"
"""For keys that begin with `al-`."""
URL_VARIABLE = "VOYAGE_BASE_URL"

_ANY = (256, 512, 2_048)
MODELS = {
    **{
        name: Known(1_024, window=32_000, others=_ANY)
        for name in (
            "voyage-4-large",
            "voyage-4",
            "voyage-4-lite",
            "voyage-3.5",
            "voyage-3.5-lite",
            "voyage-3-large",
            "voyage-code-3",
        )
    },
    "voyage-finance-2": Known(1_024, window=32_000),
    "voyage-law-2": Known(1_024, window=16_000),
}
CALLS = Calls(texts=1_000, tokens=100_000, at_once=4, remote=True)
"""One request has at most 1,000 texts, and 120,000 tokens of the largest models; these here are
estimated."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Voyage's host, unless another address is set."""
    del spec
    return destination_of(_url(settings))


async def create(spec: Spec, settings: Settings) -> RemoteBackend:
    """A model of Voyage's; asked once when it is not a known one."""
    refuse_options(spec)
    asked = asked_for(spec, MODELS)
    if is_local_model(spec.model) or "context" in spec.model:
        raise InvalidInput(f"{spec}: not a model that embeds single texts through Voyage's API")
    url = _url(settings)
    needed = destination_of(url) is not None
    secret = key("VOYAGE_API_KEY", settings, needed=needed) or "none"
    client = voyageai.AsyncClient(
        secret, max_retries=0, timeout=settings.provider_timeout, base_url=url
    )
    session = aiohttp.ClientSession()

    def asking(dimensions: int | None) -> Ask:
        async def ask(texts: Sequence[str], role: Role) -> tuple[ArrayLike, int | None]:
            token = voyageai.aiosession.set(session)
            try:
                found = await client.embed(
                    list(texts),
                    model=spec.model,
                    input_type=role,
                    truncation=False,  # texts are cut before they come here
                    output_dimension=dimensions,
                )
            finally:
                voyageai.aiosession.reset(token)
            return found.embeddings, found.total_tokens

        return ask

    def translate(error: Exception) -> Exception | None:
        return translated(error, secret)

    return await backend(asked, CALLS, asking, translate, session.close)


def _url(settings: Settings) -> str:
    default = ATLAS_URL if (settings.variable("VOYAGE_API_KEY") or "").startswith("al-") else URL
    return checked_url(settings.variable(URL_VARIABLE) or default, URL_VARIABLE)


def translated(error: Exception, secret: str) -> Exception | None:
    """An error of Voyage's client as ours, without the secret."""
    secrets = [secret]
    if isinstance(error, Timeout | TimeoutError):
        return late("voyage")
    if isinstance(error, VoyageError) and error.http_status is not None:
        body = error.json_body
        said = body.get("detail") if isinstance(body, dict) else None
        if error.http_status < 300:
            return wrong("voyage", str(error.http_body or error), secrets=secrets)
        message = str(said or error.http_body or error)
        return of_status("voyage", error.http_status, message, error.headers, secrets)
    if isinstance(error, VoyageError | aiohttp.ClientError | OSError):
        return unreachable("voyage", error.__cause__ or error, secrets)
    if isinstance(error, ValueError | TypeError | LookupError | AttributeError):
        return wrong("voyage", error, secrets=secrets)
    return None
