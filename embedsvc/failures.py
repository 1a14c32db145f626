"""HTTP answers of providers as our errors: the same for every provider."""

import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

from embedsvc.errors import (
    PromptTooLong,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
    QuotaExhausted,
)

_LONGEST = 300
_BEGINNING = 80
_SHORTEST_KEY = 5
"""What is shorter is a word that stands for no key."""

_SECRET = re.compile(r"\b(sk|pk|hf|gh[pousr]|AIza|esk|xai|key)[-_]?[A-Za-z0-9_\-*]{8,}|Bearer \S+")

_TOO_LONG = re.compile(
    r"context[ _](length|size|window|limit)|maximum model length|too many (input )?tokens"
    r"|(prompt|inputs?) (is |are )?too long|the maximum number of (input )?tokens"
    r"|reduce (the length of|your) |`inputs` (tokens|must have less)|(request|body) too large for",
    re.IGNORECASE,
)
"""How providers and servers say that there is more to read than their model can."""


def of_status(
    provider: str,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str | None] = (),
) -> ProviderError:
    """The error that an HTTP status means. `headers` are looked at for when to come back."""
    said = f"{provider} answered {status}: {shown(message, secrets)}"
    if status == 402:
        return QuotaExhausted(said)
    if status in (401, 403, 404):
        return ProviderDenied(said)
    if status in (408, 504):
        return ProviderTimeout(said)
    if status in (429, 503, 529):
        return ProviderBusy(said, retry_after=retry_after(headers or {}))
    if status in (400, 413, 422) and _TOO_LONG.search(message):
        return PromptTooLong(said)
    if status in (400, 413, 415, 422):
        return ProviderRejected(said)
    return ProviderError(said)


def wrong(
    provider: str, why: str | Exception, body: str = "", secrets: Iterable[str | None] = ()
) -> ProviderWrong:
    """The error of an answer that cannot be right; `body` is quoted from its beginning."""
    secrets = list(secrets)
    said = f"a wrong answer from {provider}: {_words(why, secrets)}"
    if body:
        said += f"; it begins with {_masked(body, secrets)[:_BEGINNING]!r}"
    return ProviderWrong(said)


def late(provider: str) -> ProviderTimeout:
    """The error of a provider that did not answer in time."""
    return ProviderTimeout(f"{provider} did not answer in time")


def unreachable(
    provider: str, why: BaseException, secrets: Iterable[str | None] = ()
) -> ProviderError:
    """The error of a connection that could not be made or broke."""
    return ProviderError(f"{provider} cannot be reached: {_words(why, secrets)}")


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


def shown(message: str, secrets: Iterable[str | None] = ()) -> str:
    """A provider's message, short, on one line, without `secrets` and what looks like a key."""
    line = _masked(message, secrets)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _words(why: str | BaseException, secrets: Iterable[str | None]) -> str:
    return shown(str(why) or repr(why), secrets)


def _masked(message: str, secrets: Iterable[str | None]) -> str:
    """On one line, without keys; before anything is cut, which would leave a part of one."""
    known = (secret for secret in secrets if secret and len(secret) >= _SHORTEST_KEY)
    for secret in sorted(known, key=len, reverse=True):
        message = message.replace(secret, "[key]")
    return _SECRET.sub("[key]", " ".join(message.split()))
