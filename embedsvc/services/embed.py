"""Vectors of texts and how alike they are, without a collection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedsvc.core.fitting import Fitted, joined
from embedsvc.core.model import Collection, Matrix, Role, TooLong, Truncated
from embedsvc.errors import InvalidInput, TooLarge
from embedsvc.services.backends import Backend
from embedsvc.services.embedding import Embedders

MOST_COMPARED = 256
MOST_EMBEDDED = 2_048
"""As OpenAI has it."""


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """Rows of unit length, shape (texts, dimensions), and what was read for them."""

    rows: Matrix
    model: str
    tokens: int
    cost_usd: float | None
    truncated: Sequence[Truncated] = ()


class Embed:
    """Embeds and compares texts, by the default embedding where none is named."""

    def __init__(self, embedders: Embedders, default: str) -> None:
        self._embedders = embedders
        self._default = default

    async def embed(
        self,
        texts: Sequence[str],
        model: str | None = None,
        *,
        role: Role = "document",
        dimensions: int | None = None,
        too_long: TooLong = "truncate",
        collection: Collection | None = None,
    ) -> EmbeddedTexts:
        """Embed up to MOST_EMBEDDED texts, with `collection` by its own backend.

        Raises InvalidInput, TooLarge, ProviderError.
        """
        _check("input", texts, MOST_EMBEDDED)
        if collection is None:
            backend = await self._embedders.backend(model or self._default, dimensions)
        else:
            backend = await self._of(collection, dimensions)
        fitted = await backend.fitted(texts, too_long)
        parts = [part for f in fitted for part in f.parts]
        found = await self._embedders.embed(backend, parts, role, collection)
        return EmbeddedTexts(
            rows=_one_a_text(found.rows, fitted),
            model=backend.space.name,
            tokens=found.tokens,
            cost_usd=self._embedders.meter.price(backend.space.name, found.tokens),
            truncated=[f.truncated for f in fitted if f.truncated is not None],
        )

    async def _of(self, collection: Collection, dimensions: int | None) -> Backend:
        if dimensions not in (None, collection.dimensions):
            raise InvalidInput(
                f"dimensions: {dimensions}; the collection {collection.name!r} has "
                f"{collection.dimensions}"
            )
        return await self._embedders.of(collection)

    async def compare(
        self, texts: Sequence[str], query: str | None
    ) -> tuple[Matrix, Sequence[Truncated]]:
        """Cosines: shape (len(texts),) to the query, else (len(texts), len(texts)).

        And the texts that were not read whole.
        """
        _check("texts", texts, MOST_COMPARED)
        if query is not None and not query.strip():
            raise InvalidInput("query: it is empty")
        found = await self.embed(texts)
        if query is None:
            return found.rows @ found.rows.T, found.truncated
        asked = (await self.embed([query], role="query")).rows[0]
        return found.rows @ asked, found.truncated


def _check(name: str, texts: Sequence[str], most: int) -> None:
    if not texts:
        raise InvalidInput(f"{name}: the list is empty; send at least one")
    if len(texts) > most:
        raise TooLarge(f"{name}: {len(texts)}; at most {most} are allowed")
    for number, text in enumerate(texts):
        if not text.strip():
            raise InvalidInput(f"{name}[{number}]: it is empty")


def _one_a_text(rows: Matrix, fitted: Sequence[Fitted]) -> Matrix:
    if all(len(f.parts) == 1 for f in fitted):
        return rows
    made, at = [], 0
    for f in fitted:
        mine = rows[at : at + len(f.parts)]
        made.append(mine[0] if len(mine) == 1 else joined(mine, f.tokens))
        at += len(f.parts)
    return np.stack(made)
