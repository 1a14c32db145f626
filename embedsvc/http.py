"""The HTTP clients of all adapters: made in one place, so that all keep the same rules."""

from collections.abc import Awaitable, Callable, Mapping

import httpx

from embedsvc.providers import is_here
from embedsvc.settings import Settings

Look = Callable[[httpx.Response], Awaitable[None]]


def http_client(
    url: str,
    settings: Settings,
    *,
    look: Look | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """A client for the server at `url`; `look` sees each answer first.

    No proxy stands between us and an address on this machine: what stays here must not leave it.
    """
    return httpx.AsyncClient(
        event_hooks={"response": [look] if look is not None else []},
        timeout=httpx.Timeout(float(settings.provider_timeout)),
        headers=dict(headers or {}),
        trust_env=not is_here(url),
    )
