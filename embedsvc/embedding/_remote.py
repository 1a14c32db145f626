"""The backend around a client: what all providers over HTTP share.

A provider's own file knows its client, its models and how its errors read; here are the rest: one
call an `embed`, errors in our words, and the space.
"""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedsvc.core.model import Role, Space
from embedsvc.core.tokens import approximate_starts
from embedsvc.errors import ProviderError, ProviderWrong
from embedsvc.ports import Calls, Embedded

Ask = Callable[[Sequence[str], Role], Awaitable[tuple[ArrayLike, int | None]]]
"""One request: (texts, role) → (vectors, tokens as the provider counted them or None)."""

Translate = Callable[[Exception], Exception | None]
"""An error of a client as one of ours; None for one that is not the provider's."""

TokenStarts = Callable[[str], NDArray[np.int64]]


class RemoteBackend:
    """A model behind a provider's API."""

    def __init__(
        self,
        space: Space,
        calls: Calls,
        ask: Ask,
        translate: Translate,
        close: Callable[[], Awaitable[None]] | None = None,
        token_starts: TokenStarts = approximate_starts,
    ) -> None:
        self.space = space
        self.calls = calls
        self._ask = ask
        self._translate = translate
        self._close = close
        self._token_starts = token_starts

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): exact where the provider's vocabulary is at hand, else estimated."""
        return self._token_starts(text)

    async def warm(self) -> None:
        """Nothing to load: the first call opens the connection."""

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """One request. Raises ProviderError."""
        rows, tokens = await asked(self._ask, self._translate, texts, role)
        return Embedded(as_rows(rows, self.space.name), tokens)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._close is not None:
            await self._close()


async def asked(
    ask: Ask, translate: Translate, texts: Sequence[str], role: Role
) -> tuple[ArrayLike, int | None]:
    """One request, its errors in our words. Raises ProviderError."""
    try:
        return await ask(texts, role)
    except Exception as error:
        ours = error if isinstance(error, ProviderError) else translate(error)
        if ours is None:
            raise
        raise ours from error


def as_rows(rows: ArrayLike, name: str) -> NDArray[np.floating]:
    """What a client gave as an array, if that is what it is. Raises ProviderWrong."""
    try:
        return np.asarray(rows, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ProviderWrong(f"a wrong answer from {name}: not vectors of one length") from error


async def probed_dimensions(ask: Ask, translate: Translate, name: str) -> int:
    """How many dimensions a model has that is not in a table: ask it once."""
    rows, _ = await asked(ask, translate, ["dimensions"], "document")
    found = as_rows(rows, name)
    if found.ndim != 2 or found.shape[0] != 1 or not found.shape[1]:
        raise ProviderWrong(f"a wrong answer from {name}: not one vector for one text")
    return int(found.shape[1])
