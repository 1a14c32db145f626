"""How alike texts are, without a collection."""

from collections.abc import Sequence

from embedsvc.core.model import Matrix
from embedsvc.errors import InvalidInput, TooLarge
from embedsvc.services.embedding import Embedders

MOST_TEXTS = 256


class Similarity:
    """Compares texts by the default embedding."""

    def __init__(self, embedders: Embedders, embedding: str) -> None:
        self._embedders = embedders
        self._embedding = embedding

    async def compare(self, texts: Sequence[str], query: str | None) -> Matrix:
        """Cosines: shape (len(texts),) to the query, else (len(texts), len(texts))."""
        if not texts:
            raise InvalidInput("texts: the list is empty; send at least one")
        if len(texts) > MOST_TEXTS:
            raise TooLarge(f"texts: {len(texts)}; at most {MOST_TEXTS} are allowed")
        for number, text in enumerate(texts):
            if not text.strip():
                raise InvalidInput(f"texts[{number}]: it is empty")
        if query is not None and not query.strip():
            raise InvalidInput("query: it is empty")
        backend = await self._embedders.backend(self._embedding)
        rows = await self._embedders.embed(backend, texts, "document")
        if query is None:
            return rows @ rows.T
        return rows @ (await self._embedders.embed(backend, [query], "query"))[0]
