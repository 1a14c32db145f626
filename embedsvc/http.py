"""The HTTP clients of all adapters: made in one place, so that all keep the same rules."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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
    most: int | None = 100,
    library: Any = httpx,
) -> Any:
    """A client for the server at `url`, with `most` connections; `look` sees each answer first.

    It is one of `library`: httpx, or another with the same interface, where an SDK wants that.

    No proxy stands between us and an address on this machine: what stays here must not leave it.
    """
    return library.AsyncClient(
        event_hooks={"response": [look] if look is not None else []},
        timeout=library.Timeout(float(settings.provider_timeout)),
        headers=dict(headers or {}),
        limits=library.Limits(max_connections=most, max_keepalive_connections=20),
        trust_env=not is_here(url),
    )
