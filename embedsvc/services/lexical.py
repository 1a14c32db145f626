"""The lexical stage of a search: which chunks hold the words of a query, ranked by BM25.

The rarest words of the query choose the chunks that are looked at, in the full text index of the
database; all its words score them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.fusion import Ranking, ranked
from embedsvc.core.lexical import Statistics, bag, bm25, terms
from embedsvc.core.model import Collection, Ids
from embedsvc.store.store import Store

MOST_TERMS = 64
"""Of a longer query, the rarest terms count."""

ALL_WITHIN = 2_000
"""So few chunks are all scored, without asking the full text index."""

_WIDEN = 4
_KEPT = 64
_MOST_KNOWN = 50_000


@dataclass(frozen=True, slots=True)
class Words:
    """The terms of a query, the rarest first, and what BM25 must know of the collection."""

    terms: Sequence[str]
    statistics: Statistics


class Lexical:
    """Ranks chunks by the words of a query."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holding: OrderedDict[tuple[int, int], dict[str, int]] = OrderedDict()

    async def words(self, collection: Collection, text: str) -> Words:
        """The words of a query in a collection; none when the text has none."""
        found = await self._all(collection, dict.fromkeys(terms(text)))
        return replace(found, terms=found.terms[:MOST_TERMS])

    async def telling(self, collection: Collection, text: str, most: int) -> Words:
        """The words that tell most about a text: often in it, and rare elsewhere."""
        counts = bag(text).counts
        found = await self._all(collection, counts)
        weights = {term: count * found.statistics.rarity(term) for term, count in counts.items()}
        chosen = set(sorted(found.terms, key=lambda term: -weights[term])[:most])
        return replace(found, terms=[term for term in found.terms if term in chosen])

    async def find(
        self, collection: Collection, words: Words, limit: int, within: Ids | None
    ) -> tuple[Ranking, bool]:
        """Up to `limit` chunks that hold some of the words; whether there are no others."""
        present = [term for term in words.terms if words.statistics.holding[term]]
        if within is not None and len(within) <= ALL_WITHIN:
            found = await self._positive(words, within)
            return found.only(np.arange(len(found)) < limit), len(found) <= limit
        at_most = self._store.looked_at
        while True:
            chosen = _rarest(present, words.statistics.holding, at_most)
            if not chosen:
                return _NOTHING, True
            ids = await self._store.best_by_words(collection, chosen, limit, within)
            found = await self._positive(words, ids)
            whole = len(chosen) == len(present)
            if whole or len(found) >= limit:
                break
            at_most *= _WIDEN
        return found.only(np.arange(len(found)) < limit), whole and len(found) < limit

    async def scores(self, words: Words, ids: Ids) -> NDArray[np.float32]:
        """Shape (len(ids),): BM25 of these chunks; 0 of one that is gone."""
        there, bags = await self._store.bags(ids)
        scores = np.zeros(len(ids), dtype=np.float32)
        order = np.argsort(ids)
        scores[order[np.searchsorted(ids, there, sorter=order)]] = bm25(
            words.terms, words.statistics, bags
        )
        return scores

    async def _positive(self, words: Words, ids: Ids) -> Ranking:
        found = ranked(ids, await self.scores(words, ids))
        return found.only(found.scores > 0)

    async def _all(self, collection: Collection, wanted: Iterable[str]) -> Words:
        held = await self._counted(collection, list(wanted))
        statistics = Statistics(
            collection.chunks,
            collection.words / max(1, collection.chunks),
            {term: held[term] for term in wanted},
        )
        return Words(sorted(statistics.holding, key=lambda term: held[term]), statistics)

    async def _counted(self, collection: Collection, wanted: Sequence[str]) -> Mapping[str, int]:
        """How many chunks hold each term, remembered for as long as nothing is written."""
        key = (collection.id, collection.version)
        known = self._holding.setdefault(key, {})
        self._holding.move_to_end(key)
        if len(self._holding) > _KEPT:
            self._holding.popitem(last=False)
        if len(known) > _MOST_KNOWN:
            known.clear()
        if missing := [term for term in wanted if term not in known]:
            known |= await self._store.holding(collection.id, missing)
        return known


_NOTHING = Ranking(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def _rarest(terms_: Sequence[str], holding: Mapping[str, int], at_most: int) -> list[str]:
    """The first terms that together are in about so many chunks, at least one."""
    chosen: list[str] = []
    total = 0
    for term in terms_:
        total += holding[term]
        if chosen and total > at_most:
            break
        chosen.append(term)
    return chosen
