"""Search: candidates of the dense and the lexical stage, made one ranking, joined with the truth.

    query ──▶ candidates ──▶ fusion ──▶ per_document ──▶ rerank ──▶ min_score ──▶ diversity ──▶ page

What each stage made of each chunk is kept in a `Trace`, which explains a result or its absence.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from embedsvc.core.filters import Filter
from embedsvc.core.fusion import Candidates, Fusion, Ranking, Scores, diversified, fuse, ranked
from embedsvc.core.highlights import highlight
from embedsvc.core.model import Chunk, Collection, Ids, Match, Matrix, Truncated
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import InvalidInput, ProviderError
from embedsvc.ports import VectorIndex
from embedsvc.services.backends import Backend
from embedsvc.services.candidates import Mode, Retriever, Stages, Wanted
from embedsvc.services.collections import Collections
from embedsvc.services.embedding import Embedders
from embedsvc.services.indexing import Replicas
from embedsvc.services.lexical import Lexical, Words
from embedsvc.services.matching import Matching
from embedsvc.services.rerank import Rerank
from embedsvc.services.retrying import all_or_none
from embedsvc.store.store import Store

MOST_RESULTS = 1_000
MOST_OFFSET = 10_000
MOST_QUERIES = 100
MOST_QUERY_CHARACTERS = 20_000

DEPTH = 100
"""Candidates of each stage, at least, where two of them are fused."""

MOST_DEPTH = 40_000
"""Candidates of each stage, at most: a page that they cannot fill stays short."""

HEADS = (50, 200, 1_000)
"""So many results a reranker reads, as few as hold the page. Within one of these steps the pages of
a query agree."""

POOLS = (200, 1_000, 4_000)
"""From so many results diverse ones are chosen: POOLS[i] up to rank HEADS[i]."""

MOST_ORDERED = HEADS[-1]
"""As far as pages go with a reranker or with diversity."""

DEFAULT_RERANKER = "default"

_WIDEN = 4
_LIKE_CHARACTERS = 20_000  # of a document that others shall be like: its words are in there
_LIKE_TERMS = 25


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a text, a vector, or more like a document; exactly one of them.

    Without a `mode` a text is searched by meaning and words, the others by meaning. `rerank` is the
    spec of a reranker, or DEFAULT_RERANKER.
    """

    text: str | None = None
    vector: Sequence[float] | None = None
    document_id: str | None = None
    limit: int = 10
    offset: int = 0
    where: Filter | None = None
    per_document: int | None = None
    min_score: float | None = None
    mode: Mode | None = None
    fusion: Fusion = Fusion()
    rerank: str | None = None
    diversity: float | None = None
    highlight: bool = False

    @property
    def stages(self) -> Mode:
        """The mode, with the default filled in."""
        return self.mode or ("dense" if self.text is None else "hybrid")

    @property
    def end(self) -> int:
        """Where the page ends."""
        return self.offset + self.limit


@dataclass(frozen=True, slots=True)
class StageScores:
    """A chunk's score at each stage that looked at it: cosine, share of the words, relevance."""

    dense: float | None = None
    lexical: float | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A result: a chunk and its score, that of the last stage which gave one.

    `highlight` is the sentence that matches best, as offsets into the document's text.
    """

    chunk: Chunk
    score: float
    scores: StageScores
    highlight: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What each stage of one search made of its chunks; None where there was no such stage."""

    wanted: Wanted
    found: Candidates
    fused: Ranking
    narrowed: Ranking
    reranked: Ranking | None
    above: Ranking
    spread: Ranking | None
    degraded: tuple[str, ...] = ()

    @property
    def last(self) -> Ranking:
        """The order that pages are cut from."""
        return self.above if self.spread is None else self.spread

    def scores(self, chunk_id: int) -> StageScores:
        """Of one of the candidates."""
        place = int(np.searchsorted(self.found.ids, chunk_id))
        return StageScores(
            _at(self.found.dense, place),
            _at(self.found.lexical, place),
            None if self.reranked is None else self.reranked.score(chunk_id),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search was done. `matched` is how many chunks it was among."""

    mode: Mode | Literal["mixed"]
    index: str
    strategy: str
    matched: int


@dataclass(frozen=True, slots=True)
class Found:
    """The results of each query, with what became of it, at one version of the collection."""

    hits: Sequence[Sequence[Hit]]
    traces: Sequence[Trace]
    plan: Plan
    version: int
    tokens: int
    took_ms: float
    degraded: Sequence[str] = field(default_factory=tuple)
    truncated: Sequence[Truncated] = field(default_factory=tuple)
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """Vectors of the queries that need one, and what reading them took."""

    vectors: Sequence[Matrix | None]
    tokens: int = 0
    cost_usd: float | None = None
    truncated: Sequence[Truncated] = ()


class Search:
    """Answers searches."""

    def __init__(
        self,
        store: Store,
        collections: Collections,
        embedders: Embedders,
        replicas: Replicas,
        rerank: Rerank,
    ) -> None:
        self._store = store
        self._collections = collections
        self._embedders = embedders
        self._replicas = replicas
        self._rerank = rerank
        self._lexical = Lexical(store)
        self._retriever = Retriever(replicas, self._lexical)
        self._matching = Matching(store)

    async def search(self, name: str, queries: Sequence[Query]) -> Found:
        """The best chunks for each query. Sees every write that was acknowledged before."""
        started = time.perf_counter()
        for number, query in enumerate(queries):
            check_query(query, f"queries[{number}]." if len(queries) > 1 else "")
        collection = await self._collections.get(name)
        backend = await self._embedders.of(collection) if any(map(_embeds, queries)) else None
        # words are looked up while the model reads the questions
        read, begun = await asyncio.gather(
            self._read(collection, backend, queries),
            all_or_none(self._begin(collection, query) for query in queries),
        )
        index = await self._replicas.fresh(collection) if any(map(_is_dense, queries)) else None
        near = await self._near_together(collection, index, queries, begun, read.vectors)
        traces = await all_or_none(
            self._trace(
                query,
                replace(wanted, vector=vector),
                index,
                Stages(near.get(number), held),
            )
            for number, (query, (wanted, held), vector) in enumerate(
                zip(queries, begun, read.vectors, strict=True)
            )
        )
        hits = await self._hits(collection, queries, traces)
        degraded = [reason for trace in traces for reason in trace.degraded]
        if index is not None:
            degraded += (await index.info()).degraded
        return Found(
            hits=hits,
            traces=traces,
            plan=await self._plan(collection, index, queries, traces),
            version=collection.version,
            tokens=read.tokens,
            cost_usd=read.cost_usd,
            truncated=read.truncated,
            took_ms=(time.perf_counter() - started) * 1000,
            degraded=list(dict.fromkeys(degraded)),
        )

    async def vectors_of(self, name: str, hits: Sequence[Hit]) -> dict[int, list[float]]:
        """The vectors of these hits by chunk id."""
        collection = await self._collections.get(name)
        ids, vectors = await self._store.chunk_vectors(collection, [h.chunk.id for h in hits])
        return {int(i): row.tolist() for i, row in zip(ids, vectors, strict=True)}

    async def matching(self, collection: Collection, where: Filter) -> Ids:
        """Ids of the chunks that a filter lets through, ascending."""
        return await self._matching.ids(collection, where)

    async def deep(self, collection: Collection, wanted: Wanted, depth: int) -> Candidates:
        """The candidates of a query to another depth, for explanations."""
        index = None if wanted.vector is None else await self._replicas.fresh(collection)
        return await self._retriever.find(wanted, index, depth, Stages())

    # -- what a query asks for ------------------------------------------------------------------

    async def _begin(
        self, collection: Collection, query: Query
    ) -> tuple[Wanted, tuple[Ranking, bool] | None]:
        """The query without its vector, and what holds its words."""
        within = None
        if query.where is not None:
            within = await self._matching.ids(collection, query.where)
        words = None
        if query.stages != "dense":
            words = await self._words(collection, query)
            if not words.terms and query.stages == "hybrid":
                words = None
        wanted = Wanted(collection, None, words, within)
        return wanted, await self._retriever.held(wanted, _depth(query))

    async def _words(self, collection: Collection, query: Query) -> Words:
        """The words of the query, or those that tell most about the document it names."""
        if query.document_id is None:
            return await self._lexical.words(collection, query.text or "")
        document, _ = await self._store.document(
            collection.name, query.document_id, text=True, chunks=False
        )
        text = f"{document.title or ''}\n{document.text[:_LIKE_CHARACTERS]}"
        return await self._lexical.telling(collection, text, _LIKE_TERMS)

    async def _read(
        self, collection: Collection, backend: Backend | None, queries: Sequence[Query]
    ) -> _Read:
        """The vector of each query that needs one, and what was embedded for them."""
        asked = [
            (i, query.text)
            for i, query in enumerate(queries)
            if query.text is not None and _is_dense(query)
        ]
        vectors: list[Matrix | None] = [None] * len(queries)
        for i, query in enumerate(queries):
            if query.vector is not None:
                vectors[i] = unit_rows([query.vector], 1, collection.dimensions, "vector")[0]
            elif query.document_id is not None and _is_dense(query):
                vectors[i] = await self._document(collection, query.document_id)
        if backend is None or not asked:
            return _Read(vectors)
        fitted = await backend.fitted([text for _, text in asked])
        texts = [f.parts[0] for f in fitted]
        found = await self._embedders.embed(backend, texts, "query", collection)
        for (i, _), row in zip(asked, found.rows, strict=True):
            vectors[i] = row
        cut = [
            replace(f.truncated, index=position)
            for f, (position, _) in zip(fitted, asked, strict=True)
            if f.truncated is not None
        ]
        price = self._embedders.meter.price(backend.space.name, found.tokens)
        return _Read(vectors, found.tokens, price, cut)

    async def _document(self, collection: Collection, document_id: str) -> Matrix:
        """The mean direction of a document's chunks."""
        parts = await self._store.document_vectors(collection, document_id)
        if not len(parts):
            raise InvalidInput(f"document_id: {document_id!r} is not indexed yet")
        mean = parts.mean(axis=0, dtype=np.float64)
        return unit_rows([mean], 1, collection.dimensions, f"document_id {document_id!r}")[0]

    # -- the stages -----------------------------------------------------------------------------

    async def _near_together(
        self,
        collection: Collection,
        index: VectorIndex | None,
        queries: Sequence[Query],
        begun: Sequence[tuple[Wanted, object]],
        vectors: Sequence[Matrix | None],
    ) -> dict[int, Sequence[Match]]:
        """What is near to each query without a filter, by its position: one look into the index."""
        plain = [
            (number, query, vector)
            for number, (query, (wanted, _), vector) in enumerate(
                zip(queries, begun, vectors, strict=True)
            )
            if vector is not None and wanted.within is None
        ]
        if index is None or not plain:
            return {}
        k = max(_depth(query) for _, query, _ in plain)
        rows = np.stack([vector for _, _, vector in plain])
        found = await self._retriever.nearest(collection, index, rows, k)
        return {
            number: matches[: _depth(query)]
            for (number, query, _), matches in zip(plain, found, strict=True)
        }

    async def _trace(
        self, query: Query, wanted: Wanted, index: VectorIndex | None, known: Stages
    ) -> Trace:
        """All stages; deeper ones while what is left out makes the page too short."""
        depth = _depth(query)
        while True:
            found = await self._retriever.find(wanted, index, depth, known)
            fused = fuse(found, query.fusion)
            narrowed, documents = await self._narrowed(query, wanted.collection, fused)
            if (
                found.complete
                or len(narrowed) >= _needed(query)
                or (query.rerank is None and len(_above(query, fused)) < len(fused))
                or depth >= MOST_DEPTH
                or await self._holds_all(wanted, documents)
            ):
                break
            depth, known = depth * _WIDEN, Stages()
        reranked, degraded = await self._reranked(query, wanted.collection, narrowed)
        above = _above(query, narrowed if reranked is None else reranked)
        spread = await self._spread(query, index, above)
        return Trace(wanted, found, fused, narrowed, reranked, above, spread, degraded)

    async def _holds_all(self, wanted: Wanted, documents: int) -> bool:
        """Whether so many are all documents there are; not looked up where a filter counts."""
        if wanted.within is not None or not documents:
            return False
        return documents >= (await self._store.counts(wanted.collection.id))[0]

    async def _spread(
        self, query: Query, index: VectorIndex | None, above: Ranking
    ) -> Ranking | None:
        """The results with what says the same pushed apart."""
        if query.diversity is None or index is None:
            return None
        pool = above.only(slice(_needed(query)))
        there, vectors = await index.vectors(np.sort(pool.ids))
        pool = pool.only(np.isin(pool.ids, there))
        rows = vectors[np.searchsorted(there, pool.ids)]
        return await asyncio.to_thread(diversified, pool, rows, query.diversity, query.end)

    async def _reranked(
        self, query: Query, collection: Collection, narrowed: Ranking
    ) -> tuple[Ranking | None, tuple[str, ...]]:
        """The head of the ranking by a reranker; None, and why, when that failed."""
        if query.rerank is None or not len(narrowed):
            return None, ()
        ids = narrowed.ids[: _step(HEADS, query.end)]
        rows = await self._store.chunks(collection.id, ids.tolist())
        ids = ids[np.isin(ids, list(rows))]
        texts = [_titled(rows[int(i)]) for i in ids]
        model = None if query.rerank == DEFAULT_RERANKER else query.rerank
        try:
            scored = await self._rerank.rerank(
                query.text or "", texts, model, place="results", once=True
            )
        except ProviderError as error:
            return None, (f"rerank: {error.detail}; the order is that before it",)
        return ranked(ids, scored.scores), ()

    async def _narrowed(
        self, query: Query, collection: Collection, fused: Ranking
    ) -> tuple[Ranking, int]:
        """Without the document that others shall be like, and with so many chunks a document.

        And how many documents there were, where they were looked at.
        """
        if query.per_document is None and query.document_id is None:
            return fused, 0
        owners = await self._store.owners(collection.id, fused.ids.tolist())
        seen: dict[str, int] = {}
        keep = np.zeros(len(fused), dtype=np.bool_)
        for place, chunk_id in enumerate(fused.ids.tolist()):
            owner = owners.get(chunk_id)
            if owner is None or owner == query.document_id:
                continue
            seen[owner] = seen.get(owner, 0) + 1
            keep[place] = seen[owner] <= (query.per_document or len(fused))
        return fused.only(keep), len(set(owners.values())) if query.per_document else 0

    # -- the answer -----------------------------------------------------------------------------

    async def _hits(
        self, collection: Collection, queries: Sequence[Query], traces: Sequence[Trace]
    ) -> list[list[Hit]]:
        """The pages, joined with their rows; a chunk whose row is gone is dropped."""
        pages = [
            trace.last.only(slice(query.offset, query.end))
            for query, trace in zip(queries, traces, strict=True)
        ]
        rows = await self._store.chunks(collection.id, {i for p in pages for i in p.ids.tolist()})
        return [
            await self._page(collection, query, trace, page.only(np.isin(page.ids, [*rows])), rows)
            for query, trace, page in zip(queries, traces, pages, strict=True)
        ]

    async def _page(
        self,
        collection: Collection,
        query: Query,
        trace: Trace,
        page: Ranking,
        rows: Mapping[int, Chunk],
    ) -> list[Hit]:
        chunks = [rows[i] for i in page.ids.tolist()]
        words = None
        if query.highlight and query.text is not None:
            words = trace.wanted.words or await self._lexical.words(collection, query.text)
        shown: Sequence[tuple[int, int] | None] = [None] * len(chunks)
        if words is not None:
            shown = await asyncio.to_thread(_highlighted, chunks, words)
        return [
            Hit(chunk, score, trace.scores(chunk.id), marked)
            for chunk, score, marked in zip(chunks, page.scores.tolist(), shown, strict=True)
        ]

    async def _plan(
        self,
        collection: Collection,
        index: VectorIndex | None,
        queries: Sequence[Query],
        traces: Sequence[Trace],
    ) -> Plan:
        """How the first query was done; of several modes together none is named alone."""
        modes = {query.stages for query in queries}
        mode: Mode | Literal["mixed"] = queries[0].stages if len(modes) == 1 else "mixed"
        filtered = any(query.where is not None for query in queries)
        within = traces[0].wanted.within
        if index is None:
            engine, approximate, count = self._store.full_text, False, collection.chunks
        else:
            info = await index.info()
            engine, approximate, count = info.engine, bool(info.approximate), info.vectors
        return Plan(
            mode,
            engine,
            ("approximate" if approximate else "exact") + "_filtered" * filtered,
            count if within is None else len(within),
        )


def _highlighted(chunks: Sequence[Chunk], words: Words) -> list[tuple[int, int]]:
    found = [highlight(words.terms, words.statistics.rarity, chunk.text) for chunk in chunks]
    return [(c.start + one.start, c.start + one.end) for c, one in zip(chunks, found, strict=True)]


def _titled(chunk: Chunk) -> str:
    """What a reranker reads: a chunk knows what it is about."""
    return f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text


def _at(scores: Scores | None, place: int) -> float | None:
    if scores is None or np.isnan(scores[place]):
        return None
    return float(scores[place])


def _is_dense(query: Query) -> bool:
    return query.stages != "lexical"


def _embeds(query: Query) -> bool:
    return query.text is not None and _is_dense(query)


def _needed(query: Query) -> int:
    """How many results must be there before a page can be cut from them."""
    if query.diversity is not None:
        return _step(POOLS, query.end)
    return query.end if query.rerank is None else _step(HEADS, query.end)


def _step(sizes: Sequence[int], end: int) -> int:
    return next(size for size, head in zip(sizes, HEADS, strict=True) if end <= head)


def _depth(query: Query) -> int:
    """How many candidates each stage gives, in steps, so that the pages of a query agree."""
    needed = _needed(query)
    if query.per_document is not None or query.document_id is not None:
        needed = needed * 2 + 20
    if query.stages == "dense":
        return needed
    depth = DEPTH
    while depth < 2 * needed:
        depth *= _WIDEN
    return depth


def _above(query: Query, order: Ranking) -> Ranking:
    """What is not below the least score."""
    if query.min_score is None:
        return order
    return order.only(order.scores >= np.float32(query.min_score))


def check_query(query: Query, place: str = "") -> None:
    """Raises InvalidInput naming the field, after `place`, when the query makes no sense."""
    given = [query.text is not None, query.vector is not None, query.document_id is not None]
    if sum(given) != 1:
        raise InvalidInput(f"{place}query: send one of query, vector and document_id")
    if query.text is not None and not query.text.strip():
        raise InvalidInput(f"{place}query: it is empty")
    if query.text is not None and len(query.text) > MOST_QUERY_CHARACTERS:
        raise InvalidInput(
            f"{place}query: {len(query.text)} characters; at most {MOST_QUERY_CHARACTERS}"
        )
    if not 1 <= query.limit <= MOST_RESULTS:
        raise InvalidInput(f"{place}limit: {query.limit}; use 1 to {MOST_RESULTS}")
    if query.offset < 0 or query.end > MOST_OFFSET:
        raise InvalidInput(
            f"{place}offset: {query.offset}; offset + limit may be 1 to {MOST_OFFSET}"
        )
    if query.per_document is not None and query.per_document < 1:
        raise InvalidInput(f"{place}per_document: {query.per_document}; use 1 or more")
    if query.diversity is not None and not 0 <= query.diversity <= 1:
        raise InvalidInput(f"{place}diversity: {query.diversity}; use 0 (none) to 1")
    _check_mode(query, place)


def _check_mode(query: Query, place: str) -> None:
    if query.vector is not None and query.stages != "dense":
        raise InvalidInput(f"{place}mode: {query.mode!r} needs words; a vector has none, use dense")
    if query.stages == "lexical" and query.diversity is not None:
        raise InvalidInput(f"{place}diversity: it compares vectors; use mode dense or hybrid")
    if query.rerank is not None and query.text is None:
        raise InvalidInput(f"{place}rerank: a reranker reads a query; send one")
    for name, given in (("rerank", query.rerank), ("diversity", query.diversity)):
        if given is not None and query.end > MOST_ORDERED:
            raise InvalidInput(
                f"{place}{name}: offset + limit is {query.end}; with it at most {MOST_ORDERED}"
            )
