"""HTTP answers of providers as our errors: the same for every provider."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

from embedsvc.errors import (
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
)

_LONGEST = 300
_SECRET = re.compile(r"\b(sk|pk|hf|gh[pousr]|AIza|esk|xai|key)[-_]?[A-Za-z0-9_\-*]{8,}|Bearer \S+")


def of_status(
    provider: str, status: int, message: str, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The error that an HTTP status means. `headers` are looked at for when to come back."""
    said = f"{provider} answered {status}: {shown(message)}"
    if status in (401, 402, 403, 404):
        return ProviderDenied(said)
    if status in (408, 504):
        return ProviderTimeout(said)
    if status in (429, 503, 529):
        return ProviderBusy(said, retry_after=retry_after(headers or {}))
    if status in (400, 413, 415, 422):
        return ProviderRejected(said)
    return ProviderError(said)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the provider wants to be asked again; None when it does not say.

    `retry-after-ms` (OpenAI, Azure), then `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    found = _number(lower.get("retry-after-ms"))
    if found is not None:
        return found / 1000
    said = lower.get("retry-after")
    found = _number(said)
    if found is not None or said is None:
        return found
    try:
        when = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def shown(message: str) -> str:
    """A provider's message, short, on one line, and without anything that looks like a key."""
    line = _SECRET.sub("[key]", " ".join(message.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
