"""Judgements: which documents answer which queries, as people said one by one.

They are what evaluations measure by, and grow from the feedback of those who search.
"""

from collections.abc import AsyncIterator

from embedsvc.core.preparing import MOST_ID, check_text
from embedsvc.errors import InvalidInput, NotFound
from embedsvc.services.collections import Collections
from embedsvc.services.search import MOST_QUERY_CHARACTERS
from embedsvc.store.evaluations import Evaluations, Judgement, Place
from embedsvc.store.store import Store, now

MOST_RELEVANCE = 3
_PAGE = 1_000


class Judging:
    """Keeps the judgements of each collection."""

    def __init__(self, stored: Evaluations, store: Store, collections: Collections) -> None:
        self._stored = stored
        self._store = store
        self._collections = collections

    async def judge(self, name: str, query: str, document_id: str, relevance: int) -> Judgement:
        """Keep how well a document answers a query, in the place of what was said before.

        Raises NotFound when there is no such collection or document.
        """
        if not 0 <= relevance <= MOST_RELEVANCE:
            raise InvalidInput(
                f"relevance: {relevance}; use 0 (not at all) to {MOST_RELEVANCE} (fully)"
            )
        made = Judgement(checked_query(query, "query"), document_id, relevance, now())
        collection = await self._collections.get(name)
        if document_id not in await self._store.known(collection.id, [document_id]):
            raise NotFound(
                f"no document {document_id[:MOST_ID]!r} in the collection {name!r}",
                code="document_not_found",
            )
        await self._stored.judge(collection, made)
        return made

    async def page(
        self, name: str, after: Place | None, limit: int
    ) -> tuple[list[Judgement], Place | None]:
        """A page of judgements, those of a query together, and where the next page begins."""
        collection = await self._collections.get(name)
        return await self._stored.judgements(collection.id, after, limit)

    async def all(self, name: str) -> AsyncIterator[Judgement]:
        """Every judgement of a collection."""
        after: Place | None = None
        while True:
            found, after = await self.page(name, after, _PAGE)
            for judgement in found:
                yield judgement
            if after is None:
                return

    async def forget(self, name: str, query: str, document_id: str) -> None:
        """Delete a judgement. Raises NotFound."""
        asked = checked_query(query, "query")
        check_text("document_id", document_id)
        collection = await self._collections.get(name)
        if not await self._stored.forget_judgement(collection.id, asked, document_id):
            raise NotFound(
                f"no judgement of {document_id[:MOST_ID]!r} for the query {asked[:80]!r}",
                code="judgement_not_found",
            )


def checked_query(text: str, place: str) -> str:
    """The text of a query without space around it. Raises InvalidInput naming `place`."""
    bare = text.strip()
    if not bare:
        raise InvalidInput(f"{place}: it is empty")
    if len(bare) > MOST_QUERY_CHARACTERS:
        raise InvalidInput(f"{place}: {len(bare)} characters; at most {MOST_QUERY_CHARACTERS}")
    check_text(place, bare)
    return bare
