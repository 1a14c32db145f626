"""Search: the nearest chunks to a query, joined with the truth."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedsvc.core.filters import Filter
from embedsvc.core.model import Chunk, Collection, Ids, Match, Matrix, Truncated
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import InvalidInput
from embedsvc.ports import VectorIndex
from embedsvc.services.backends import Backend
from embedsvc.services.collections import Collections
from embedsvc.services.embedding import Embedders
from embedsvc.services.indexing import Replicas
from embedsvc.store.store import Store

MOST_RESULTS = 1_000
MOST_OFFSET = 10_000
MOST_QUERIES = 100
MOST_QUERY_CHARACTERS = 20_000
_WIDEN = 4


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a text, a vector, or more like a document; exactly one of them."""

    text: str | None = None
    vector: Sequence[float] | None = None
    document_id: str | None = None
    limit: int = 10
    offset: int = 0
    where: Filter | None = None
    per_document: int | None = None
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A result: a chunk and its cosine to the query."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search was done. `matched` is how many chunks it was among."""

    mode: str
    index: str
    strategy: str
    matched: int


@dataclass(frozen=True, slots=True)
class Found:
    """The results of each query, at one version of the collection."""

    hits: Sequence[Sequence[Hit]]
    plan: Plan
    version: int
    tokens: int
    took_ms: float
    degraded: Sequence[str] = field(default_factory=tuple)
    truncated: Sequence[Truncated] = field(default_factory=tuple)
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    tokens: int
    cost_usd: float | None
    truncated: Sequence[Truncated]


class Search:
    """Answers similarity searches."""

    def __init__(
        self, store: Store, collections: Collections, embedders: Embedders, replicas: Replicas
    ) -> None:
        self._store = store
        self._collections = collections
        self._embedders = embedders
        self._replicas = replicas

    async def search(self, name: str, queries: Sequence[Query]) -> Found:
        """The best chunks for each query. Sees every write that was acknowledged before."""
        started = time.perf_counter()
        for number, query in enumerate(queries):
            _check(query, f"queries[{number}]." if len(queries) > 1 else "")
        collection = await self._collections.get(name)
        backend = await self._embedders.of(collection)
        vectors, read = await self._vectors(collection, backend, queries)
        index = await self._replicas.fresh(collection)
        if any(map(_needs_own_search, queries)):
            results = await asyncio.gather(
                *(
                    self._one(collection, index, query, vector)
                    for query, vector in zip(queries, vectors, strict=True)
                )
            )
        else:
            results = await self._together(collection, index, queries, vectors)
        info = await index.info()
        matched = results[0][1]
        filtered = any(query.where is not None for query in queries)
        strategy = ("approximate" if info.approximate else "exact") + "_filtered" * filtered
        return Found(
            hits=[hits for hits, _ in results],
            plan=Plan("dense", info.engine, strategy, info.vectors if matched is None else matched),
            version=collection.version,
            tokens=read.tokens,
            cost_usd=read.cost_usd,
            truncated=read.truncated,
            took_ms=(time.perf_counter() - started) * 1000,
            degraded=info.degraded,
        )

    async def vectors_of(self, name: str, hits: Sequence[Hit]) -> dict[int, list[float]]:
        """The vectors of these hits by chunk id."""
        collection = await self._collections.get(name)
        ids, vectors = await self._store.chunk_vectors(collection, [h.chunk.id for h in hits])
        return {int(i): row.tolist() for i, row in zip(ids, vectors, strict=True)}

    async def _vectors(
        self, collection: Collection, backend: Backend, queries: Sequence[Query]
    ) -> tuple[Matrix, "_Read"]:
        """Shape (len(queries), dimensions), and what was embedded for it."""
        asked = [(i, query.text) for i, query in enumerate(queries) if query.text is not None]
        fitted = await backend.fitted([text for _, text in asked])
        texts = [f.parts[0] for f in fitted]
        found = await self._embedders.embed(backend, texts, "query", collection)
        embedded = iter(found.rows)
        rows = []
        for query in queries:
            if query.text is not None:
                rows.append(next(embedded))
            elif query.vector is not None:
                rows.append(unit_rows([query.vector], 1, collection.dimensions, "vector")[0])
            else:
                rows.append(await self._document(collection, query.document_id or ""))
        price = self._embedders.meter.price(backend.space.name, found.tokens)
        cut = [
            replace(f.truncated, index=position)
            for f, (position, _) in zip(fitted, asked, strict=True)
            if f.truncated is not None
        ]
        return np.stack(rows), _Read(found.tokens, price, cut)

    async def _document(self, collection: Collection, document_id: str) -> Matrix:
        """The mean direction of a document's chunks."""
        parts = await self._store.document_vectors(collection, document_id)
        if not len(parts):
            raise InvalidInput(f"document_id: {document_id!r} is not indexed yet")
        mean = parts.mean(axis=0, dtype=np.float64)
        return unit_rows([mean], 1, collection.dimensions, f"document_id {document_id!r}")[0]

    async def _together(
        self,
        collection: Collection,
        index: VectorIndex,
        queries: Sequence[Query],
        vectors: Matrix,
    ) -> list[tuple[list[Hit], int | None]]:
        """The hits of plain queries, by one search and one look into SQL."""
        k = max(query.offset + query.limit for query in queries)
        found = await self._nearest(collection, index, vectors, k, None)
        pages = [
            [m for m in matches if query.min_score is None or m.score >= query.min_score]
            for matches, query in zip(found, queries, strict=True)
        ]
        pages = [
            page[query.offset : query.offset + query.limit]
            for page, query in zip(pages, queries, strict=True)
        ]
        chunks = await self._store.chunks(
            collection.id, {match.chunk_id for page in pages for match in page}
        )
        return [(_hits(page, chunks), None) for page in pages]

    async def _one(
        self, collection: Collection, index: VectorIndex, query: Query, vector: Matrix
    ) -> tuple[list[Hit], int | None]:
        """The hits of one query; asks for more while dropped ones leave the page too short."""
        within: Ids | None = None
        if query.where is not None:
            within = await self._store.matching(collection.id, query.where)
        wanted = query.offset + query.limit
        narrowed = query.per_document is not None or query.document_id is not None
        k = wanted * 2 + 20 if narrowed else wanted
        while True:
            matches = (await self._nearest(collection, index, vector[None, :], k, within))[0]
            good = [m for m in matches if query.min_score is None or m.score >= query.min_score]
            hits = _narrow(await self._joined(collection, good), query)
            exhausted = len(matches) < k or len(good) < len(matches)
            if exhausted or len(hits) >= wanted:
                return hits[query.offset : wanted], None if within is None else len(within)
            k *= _WIDEN

    async def _nearest(
        self,
        collection: Collection,
        index: VectorIndex,
        vectors: Matrix,
        k: int,
        within: Ids | None,
    ) -> list[list[Match]]:
        """Search the index; again, if it was thrown away meanwhile to be rebuilt."""
        while True:
            found = await index.search(vectors, k, within)
            if await index.version() >= collection.version:
                return found
            index = await self._replicas.fresh(collection)

    async def _joined(self, collection: Collection, matches: Sequence[Match]) -> list[Hit]:
        """Matches with their rows; one whose row is gone is dropped."""
        chunks = await self._store.chunks(collection.id, (m.chunk_id for m in matches))
        return _hits(matches, chunks)


def _hits(matches: Sequence[Match], chunks: Mapping[int, Chunk]) -> list[Hit]:
    return [Hit(chunks[m.chunk_id], m.score) for m in matches if m.chunk_id in chunks]


def _needs_own_search(query: Query) -> bool:
    """Whether the query is filtered or narrowed, so that it cannot share one with others."""
    return (
        query.where is not None or query.per_document is not None or query.document_id is not None
    )


def _narrow(hits: Sequence[Hit], query: Query) -> list[Hit]:
    """Leave out the document that others shall be like, and all but the best of a document."""
    kept: list[Hit] = []
    seen: dict[str, int] = {}
    for hit in hits:
        document = hit.chunk.document_id
        seen[document] = seen.get(document, 0) + 1
        if document == query.document_id:
            continue
        if query.per_document is None or seen[document] <= query.per_document:
            kept.append(hit)
    return kept


def _check(query: Query, place: str) -> None:
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
    if query.offset < 0 or query.offset + query.limit > MOST_OFFSET:
        raise InvalidInput(
            f"{place}offset: {query.offset}; offset + limit may be 1 to {MOST_OFFSET}"
        )
    if query.per_document is not None and query.per_document < 1:
        raise InvalidInput(f"{place}per_document: {query.per_document}; use 1 or more")
