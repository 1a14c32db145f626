"""Embedding clients that speak through httpx: the tokens that were billed are read on the way."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import httpx
import msgspec
from numpy.typing import ArrayLike

from embedsvc.failures import wrong
from embedsvc.settings import Settings
from embedsvc.vendors import connection
from embedsvc.vendors.connection import Refine, as_they_are

Tokens = Callable[[bytes], int | None]
"""The tokens that an answer says were counted. Raises MsgspecError for what is not an answer."""

_counted: ContextVar[list[int | None]] = ContextVar("counted")


def uncounted(body: bytes) -> None:
    """For providers that do not say how many tokens they counted."""
    msgspec.json.decode(body, type=msgspec.Raw)


class Connection(connection.Connection):
    """A connection whose answers are whole, and say how many `tokens` were counted."""

    def __init__(
        self,
        provider: str,
        settings: Settings,
        url: str,
        *,
        secret: str | None = None,
        tokens: Tokens = uncounted,
        refine: Refine = as_they_are,
        wraps: tuple[type[Exception], ...] = (),
    ) -> None:
        super().__init__(provider, settings, url, secret=secret, refine=refine, wraps=wraps)
        self._tokens = tokens

    async def counted(self, answer: Awaitable[ArrayLike]) -> tuple[ArrayLike, int | None]:
        """The vectors that a call of the SDK gives, and the tokens that were counted for them."""
        counted: list[int | None] = []
        token = _counted.set(counted)
        try:
            rows = await answer
        finally:
            _counted.reset(token)
        told = [count for count in counted if count is not None]
        return rows, sum(told) if told and len(told) == len(counted) else None

    async def answered(self, response: httpx.Response, secrets: Sequence[str | None]) -> None:
        """Count its tokens. Raises ProviderWrong."""
        body = await response.aread()
        try:
            _counted.get([]).append(self._tokens(body))
        except msgspec.MsgspecError as error:
            raise wrong(response.url.host, error, response.text, secrets) from error
