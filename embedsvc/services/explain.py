"""Why a document is where it is in a search, or is not there: its place at every stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from embedsvc.core.filters import And, Filter, fields_of
from embedsvc.core.fusion import Ranking, Scores, first_place
from embedsvc.core.lexical import held
from embedsvc.core.model import Chunk, Collection, Document, Ids
from embedsvc.services.collections import Collections
from embedsvc.services.search import MOST_OFFSET, Found, Query, Search, Trace
from embedsvc.store.store import Store

_UNREAD = "the reranker reads only the first"


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage made of a chunk. `rank` is None where the stage did not give it on."""

    name: str
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """One stage and the document: its best rank and score there, and whether it got through."""

    stage: str
    passed: bool
    detail: str
    rank: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a document is in the results (`rank`, from 1), or which stage dropped it."""

    document_id: str
    chunk_id: int | None
    rank: int | None
    dropped_by: str | None
    steps: Sequence[Step]
    found: Found | None


def stages(trace: Trace, chunk_id: int) -> list[Stage]:
    """Rank and score of a chunk at every stage that the search had."""
    scores = trace.scores(chunk_id)
    found = []
    if trace.found.dense is not None:
        found.append(Stage("dense", _rank(trace.found.by_dense, [chunk_id]), scores.dense))
    if trace.found.lexical is not None:
        found.append(Stage("lexical", _rank(trace.found.by_lexical, [chunk_id]), scores.lexical))
    if len(found) == 2:
        found.append(_stage("fusion", trace.fused, chunk_id))
    if trace.reranked is not None:
        found.append(_stage("rerank", trace.reranked, chunk_id))
    found.append(_stage("results", trace.last, chunk_id))
    return found


class Explain:
    """Explains results."""

    def __init__(self, store: Store, collections: Collections, search: Search) -> None:
        self._store = store
        self._collections = collections
        self._search = search

    async def explain(self, name: str, document_id: str, query: Query) -> Explanation:
        """What became of a document in a search. Raises NotFound for one that does not exist."""
        collection = await self._collections.get(name)
        document, chunks = await self._store.document(name, document_id, text=False, chunks=True)
        steps = [_indexed(document, chunks)]
        if not steps[-1].passed:
            return Explanation(document_id, None, None, "not_indexed", steps, None)
        ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
        if query.where is not None:
            step, ids = await self._filtered(collection, query.where, ids)
            steps.append(step)
            if not step.passed:
                return Explanation(document_id, None, None, "filter", steps, None)
        found = await self._search.search(name, [query])
        trace = found.traces[0]
        steps += await self._candidates(collection, query, trace, ids)
        if steps[-1].passed:
            steps += _ordered(query, trace, ids)
        dropped = next((step.stage for step in steps if not step.passed), None)
        place = None if dropped else steps[-1].rank
        return Explanation(
            document_id,
            int(ids[0]) if place is None else int(trace.last.ids[place - 1]),
            place,
            dropped,
            steps,
            found,
        )

    async def _filtered(self, collection: Collection, where: Filter, ids: Ids) -> tuple[Step, Ids]:
        """Whether the filter lets a chunk through; else which of its conditions do not hold."""
        passed = np.intersect1d(ids, await self._search.matching(collection, where))
        if len(passed):
            told = f"of its {len(ids)} chunks, {len(passed)} match the filter"
            return Step("filter", True, told), passed
        parts = list(where.parts) if isinstance(where, And) else [where]
        failed = [
            _listed(sorted(fields_of(part)))
            for part in parts
            if not np.isin(ids, await self._search.matching(collection, part)).any()
        ]
        which = f"; the conditions on {', '.join(failed)} do not hold" if failed else ""
        return Step("filter", False, f"no chunk of it matches the filter{which}"), passed

    async def _candidates(
        self, collection: Collection, query: Query, trace: Trace, ids: Ids
    ) -> list[Step]:
        """The document at each of the first stages, however deep it is, and in their union."""
        deep = await self._search.deep(collection, trace.wanted, MOST_OFFSET)
        steps = []
        if deep.dense is not None:
            steps.append(_first("dense", deep.ids, deep.dense, deep.by_dense, ids))
        if deep.lexical is not None:
            step = _first("lexical", deep.ids, deep.lexical, deep.by_lexical, ids)
            steps.append(replace(step, detail=await self._words(trace, ids, step.detail)))
        if np.isin(ids, trace.found.ids).any():
            told = f"among the {len(trace.found.ids)} candidates"
            return [*steps, Step("candidates", True, told)]
        return [*steps, _outside(query, trace, steps)]

    async def _words(self, trace: Trace, ids: Ids, told: str) -> str:
        words = trace.wanted.words
        if words is None or not words.terms:
            return f"{told}; the query has no words"
        _, bags = await self._store.bags(ids)
        have = {term for packed in bags for term in held(words.terms, packed)}
        missing = [term for term in words.terms if term not in have]
        return f"{told}; holds {_listed(sorted(have))}; lacks {_listed(missing)}"


def _indexed(document: Document, chunks: Sequence[Chunk]) -> Step:
    if chunks:
        again = ""
        if document.status != "indexed":
            again = f"; its new version is {document.status}"
        return Step("indexed", True, f"chunks indexed: {len(chunks)}{again}")
    why = f": {document.error}" if document.error else ""
    return Step("not_indexed", False, f"the document is {document.status}{why}")


def _first(name: str, all_ids: Ids, scores: Scores, order: Ids, ids: Ids) -> Step:
    """Rank and score of the document's best chunk at one of the first stages."""
    theirs = np.isin(all_ids, ids)
    score = float(np.nanmax(scores[theirs])) if theirs.any() else None
    rank = _rank(order, ids)
    told = f"not among the first {len(order)}" if rank is None else f"rank {rank}"
    return Step(name, True, told, rank, score)


def _outside(query: Query, trace: Trace, stages: Sequence[Step]) -> Step:
    """Why a document is no candidate: a stage alone stops where the page ends."""
    told = f"outside the {len(trace.found.ids)} candidates"
    if len(stages) > 1 or stages[0].rank is None:
        return Step("candidates", False, told)
    rank, score = stages[0].rank, stages[0].score
    if query.min_score is not None and score is not None and score < query.min_score:
        return Step("min_score", False, f"below min_score {query.min_score}", rank, score)
    if query.rerank is not None:
        return Step("rerank", False, _UNREAD, rank, score)
    return Step("limit", False, _page_of(query), rank, score)


def _ordered(query: Query, trace: Trace, ids: Ids) -> list[Step]:
    """The document at the stages after the candidates, up to the one that dropped it."""
    orders: list[tuple[str, Ranking | None, str]] = [
        ("fusion", trace.fused if _is_fused(trace) else None, ""),
        ("per_document", trace.narrowed, ""),  # leaves every document its best chunk
        ("rerank", trace.reranked, _UNREAD),
        ("min_score", trace.above, f"below min_score {query.min_score}"),
        ("diversity", trace.spread, "it says too much of what others say"),
    ]
    steps: list[Step] = []
    before = trace.fused
    for name, order, why in orders:
        if order is None or (order is before and name != "fusion"):
            continue
        best = first_place(order.ids, ids)
        if best is None:
            at = first_place(before.ids, ids)
            score = None if at is None else float(before.scores[at])
            return [*steps, Step(name, False, why, None, score)]
        steps.append(Step(name, True, f"rank {best + 1}", best + 1, float(order.scores[best])))
        before = order
    return [*steps, _page(query, trace, ids)]


def _page(query: Query, trace: Trace, ids: Ids) -> Step:
    """Whether one of the chunks is on the page; else where the best of them is."""
    places = np.flatnonzero(np.isin(trace.last.ids, ids))
    shown = places[(places >= query.offset) & (places < query.end)]
    place = int(shown[0] if len(shown) else places[0])
    score = float(trace.last.scores[place])
    return Step("limit", bool(len(shown)), _page_of(query), place + 1, score)


def _page_of(query: Query) -> str:
    return f"the page holds ranks {query.offset + 1} to {query.end}"


def _is_fused(trace: Trace) -> bool:
    return trace.found.dense is not None and trace.found.lexical is not None


def _rank(order: Ids, wanted: ArrayLike) -> int | None:
    place = first_place(order, wanted)
    return None if place is None else place + 1


def _stage(name: str, order: Ranking, chunk_id: int) -> Stage:
    return Stage(name, order.rank(chunk_id), order.score(chunk_id))


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "none"
