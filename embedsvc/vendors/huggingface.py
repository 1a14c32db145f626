"""Hugging Face's Inference API and Endpoints: the key, and how their errors read."""

from typing import Any

from embedsvc.errors import ProviderBusy, ProviderError
from embedsvc.providers import destination_of, key
from embedsvc.settings import Settings

URL_VARIABLE = "HF_ENDPOINT_URL"


def huggingface_key(settings: Settings, url: str) -> str:
    """The key for the server at `url`. Raises MissingKey."""
    return (
        settings.variable("HF_TOKEN")
        or settings.variable("HUGGINGFACEHUB_API_TOKEN")
        or key("HF_TOKEN", settings, needed=destination_of(url) is not None)
        or "none"
    )


def refine(error: ProviderError, status: int, body: Any) -> ProviderError:
    """A model that is being loaded says for how long."""
    del status
    wait = body.get("estimated_time") if isinstance(body, dict) else None
    if not isinstance(error, ProviderBusy) or error.retry_after is not None:
        return error
    if isinstance(wait, int | float) and 0 <= wait < 3_600:
        return ProviderBusy(error.detail, retry_after=float(wait))
    return error
