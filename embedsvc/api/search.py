"""/v1/collections/{c}/search and /v1/similarity."""

from collections.abc import Sequence

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from embedsvc.api.errors import documented
from embedsvc.api.schema import (
    HitOut,
    QueryIn,
    SearchIn,
    SearchOut,
    SimilarityIn,
    SimilarityOut,
    hit_out,
    search_out,
    truncated_out,
)
from embedsvc.core.filters import parse_filter
from embedsvc.errors import InvalidInput
from embedsvc.services.search import MOST_QUERIES, Hit, Query
from embedsvc.services.service import Service


@post(
    "/v1/collections/{collection:str}/search",
    operation_id="search",
    tags=["search"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def search(
    collection: FromPath[str], data: JSONBody[SearchIn], service: NamedDependency[Service]
) -> SearchOut:
    """The chunks nearest to a query, or to each of several."""
    asked = _queries(data)
    found = await service.search.search(collection, [_query(one) for one in asked])
    results = [
        await _hits(service, collection, hits, one)
        for hits, one in zip(found.hits, asked, strict=True)
    ]
    return search_out(found, results[0] if data.queries is None else results)


@post(
    "/v1/similarity",
    operation_id="similarity",
    tags=["search"],
    status_code=200,
    responses=documented(413, 415, 502, 504),
)
async def similarity(
    data: JSONBody[SimilarityIn], service: NamedDependency[Service]
) -> SimilarityOut:
    """How alike texts are: each to the query, else each to each."""
    cosines, truncated = await service.embed.compare(data.texts, data.query)
    told = truncated_out(truncated)
    if data.query is None:
        return SimilarityOut(matrix=cosines.tolist(), truncated=told)
    return SimilarityOut(scores=cosines.tolist(), truncated=told)


def _queries(data: SearchIn) -> list[QueryIn]:
    if data.queries is None:
        return [data]
    if data != SearchIn(queries=data.queries):
        raise InvalidInput("queries: beside it no other field can stand; put them into each query")
    if not 1 <= len(data.queries) <= MOST_QUERIES:
        raise InvalidInput(f"queries: {len(data.queries)} of them; use 1 to {MOST_QUERIES}")
    return list(data.queries)


def _query(data: QueryIn) -> Query:
    for name, given, missing in (
        ("mode", data.mode not in (None, "dense"), "only dense search is built so far"),
        ("rerank", bool(data.rerank), "reranking is not built yet"),
        ("diversity", data.diversity is not None, "diversity is not built yet"),
        ("explain", data.explain, "explanations are not built yet"),
    ):
        if given:
            raise InvalidInput(f"{name}: {missing}; leave it out", code="not_supported")
    return Query(
        text=data.query,
        vector=data.vector,
        document_id=data.document_id,
        limit=data.limit,
        offset=data.offset,
        where=None if data.filter is None else parse_filter(data.filter),
        per_document=data.per_document,
        min_score=data.min_score,
    )


async def _hits(
    service: Service, collection: str, hits: Sequence[Hit], asked: QueryIn
) -> list[HitOut]:
    vectors = None
    if "vector" in asked.include:
        vectors = await service.search.vectors_of(collection, hits)
        hits = [hit for hit in hits if hit.chunk.id in vectors]  # deleted a moment ago
    return [hit_out(hit, asked.include, vectors) for hit in hits]


ROUTES = [search, similarity]
