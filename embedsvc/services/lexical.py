"""The lexical stage of a search: which chunks hold the words of a query, ranked by BM25.

The rarest words of the query choose the chunks that are looked at, in the full text index of the
database; all its words score them.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.fusion import Ranking, ranked
from embedsvc.core.lexical import Statistics, bag, bm25, terms
from embedsvc.core.model import Collection, Ids
from embedsvc.store.store import Store

MOST_TERMS = 64
"""Of a longer query, so many terms count that chunks hold, the rarest, and as many others."""

ALL_SCORED = 2_000
"""Where no more chunks hold one of the words, all are scored."""

SCORED = 500
"""Else so many of the best that the database finds, at least: its own score is not quite ours."""

MOST_COUNTED = 512
"""Of a longer query, so many different terms are looked up."""

ALL_WITHIN = 2_000
"""So few chunks are all scored, without asking the full text index."""

_WIDEN = 4
_KEPT = 64  # versions of collections
_MOST_KNOWN = 20_000  # terms of each


@dataclass(frozen=True, slots=True)
class Words:
    """The terms of a query, the rarest first, and what BM25 must know of the collection."""

    terms: Sequence[str]
    statistics: Statistics


class Lexical:
    """Ranks chunks by the words of a query."""

    def __init__(self, store: Store, all_within: int = ALL_WITHIN) -> None:
        self._store = store
        self._all_within = all_within
        self._holding: OrderedDict[tuple[int, int], dict[str, int]] = OrderedDict()

    async def words(self, collection: Collection, text: str) -> Words:
        """The words of a query in a collection; none when the text has none."""
        found = await self._all(collection, list(dict.fromkeys(terms(text)))[:MOST_COUNTED])
        holding = found.statistics.holding
        there = [term for term in found.terms if holding[term]]
        missing = [term for term in found.terms if not holding[term]]
        return replace(found, terms=[*missing[:MOST_TERMS], *there[:MOST_TERMS]])

    async def telling(self, collection: Collection, text: str, most: int) -> Words:
        """The words that tell most about a text: often in it, and rare elsewhere."""
        counts = bag(text).counts
        often = sorted(counts, key=lambda term: -counts[term])[:MOST_COUNTED]
        found = await self._all(collection, often)
        weights = {term: counts[term] * found.statistics.rarity(term) for term in often}
        chosen = set(sorted(often, key=lambda term: -weights[term])[:most])
        return replace(found, terms=[term for term in found.terms if term in chosen])

    async def find(
        self, collection: Collection, words: Words, limit: int, within: Ids | None
    ) -> tuple[Ranking, bool]:
        """Up to `limit` chunks that hold some of the words; whether there are no others."""
        present = [term for term in words.terms if words.statistics.holding[term]]
        if within is not None and len(within) <= self._all_within:
            found = await self._positive(words, within)
            return found.only(slice(limit)), len(found) <= limit
        at_most = self._store.looked_at
        while True:
            chosen = _rarest(present, words.statistics.holding, at_most)
            if not chosen:
                return _NOTHING, True
            held = sum(words.statistics.holding[term] for term in chosen)
            most = max(limit, held if held <= ALL_SCORED else SCORED)
            ids = await self._store.best_by_words(collection, chosen, most, within)
            found = await self._positive(words, ids)
            whole = len(chosen) == len(present)
            if whole or len(found) >= limit:
                break
            at_most *= _WIDEN
        return found.only(slice(limit)), whole and len(found) < limit

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

    async def _all(self, collection: Collection, wanted: Sequence[str]) -> Words:
        held = await self._counted(collection, wanted)
        mean = collection.words / max(1, collection.chunks)
        rarest = sorted(wanted, key=lambda term: held[term])
        return Words(rarest, Statistics(collection.chunks, mean, held))

    async def _counted(self, collection: Collection, wanted: Sequence[str]) -> Mapping[str, int]:
        """How many chunks hold each term, remembered for as long as nothing is written."""
        key = (collection.id, collection.version)
        known = self._holding.get(key, {})
        found = {term: known[term] for term in wanted if term in known}
        if missing := [term for term in wanted if term not in found]:
            found |= await self._store.holding(collection.id, missing)
            kept = self._holding.get(key, {})
            self._holding[key] = found if len(kept) > _MOST_KNOWN else kept | found
        if key in self._holding:
            self._holding.move_to_end(key)
        while len(self._holding) > _KEPT:
            self._holding.popitem(last=False)
        return found


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
