"""The connections of a streaming client: each answer can be hung up, wherever its reader is."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any

import httpx

from embedsvc.chat._beside import Within, in_task
from embedsvc.errors import ProviderBusy, ProviderError
from embedsvc.failures import shown, wrong
from embedsvc.ports import Delta
from embedsvc.settings import Settings
from embedsvc.vendors.connection import Connection, Refine, as_they_are

_opened: ContextVar[list[httpx.Response]] = ContextVar("opened")


class Line(Connection):
    """A connection whose answers are streams, any number at once: none waits for another."""

    def __init__(
        self,
        provider: str,
        settings: Settings,
        url: str,
        *,
        secret: str | None = None,
        refine: Refine = as_they_are,
        wraps: tuple[type[Exception], ...] = (),
        library: Any = httpx,
    ) -> None:
        super().__init__(
            provider,
            settings,
            url,
            secret=secret,
            refine=refine,
            wraps=wraps,
            most=None,
            library=library,
        )

    def streamed(
        self, source: Callable[[], AsyncGenerator[Delta, None]], within: Within = nullcontext
    ) -> AsyncGenerator[Delta, None]:
        """What `source()` makes of an answer; when this is closed, the answer is.

        Clients leave theirs to the garbage collector.
        """
        return in_task(partial(_closing, source), within)

    async def answered(self, response: httpx.Response, secrets: Sequence[str | None]) -> None:
        """Remember it. Raises ProviderWrong for a page, which a client would take for silence."""
        if "text/html" in response.headers.get("content-type", ""):
            await response.aread()
            raise wrong(self.provider, "a page in HTML", response.text, secrets)
        _opened.get([]).append(response)


def broke_off(provider: str, said: str, kind: str, secrets: Sequence[str | None]) -> ProviderError:
    """The error that comes as a part of an answer; `kind` is the provider's word for it."""
    why = f"{provider} broke off: {shown(said, secrets)}"
    busy = "rate_limit" in kind or "overloaded" in kind
    return ProviderBusy(why) if busy else ProviderError(why)


async def _closing(
    source: Callable[[], AsyncGenerator[Delta, None]],
) -> AsyncGenerator[Delta, None]:
    opened: list[httpx.Response] = []
    _opened.set(opened)
    try:
        async with aclosing(source()) as deltas:
            async for delta in deltas:
                yield delta
    finally:
        for response in opened:
            await response.aclose()
