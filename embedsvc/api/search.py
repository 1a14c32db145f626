"""/v1/collections/{c}/search and /v1/similarity."""

from collections.abc import Sequence

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from embedsvc.api.errors import documented
from embedsvc.api.schema import (
    ExplainIn,
    ExplainOut,
    FusionIn,
    HitOut,
    QueryIn,
    SearchIn,
    SearchOut,
    SimilarityIn,
    SimilarityOut,
    explain_out,
    hit_out,
    search_out,
    truncated_out,
)
from embedsvc.core.filters import parse_filter
from embedsvc.errors import InvalidInput
from embedsvc.services.search import DEFAULT_RERANKER, MOST_QUERIES, Hit, Query, Trace
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
    """The chunks that fit a query best, or each of several."""
    asked = _queries(data)
    found = await service.search.search(collection, [to_query(one) for one in asked])
    results = [
        await _hits(service, collection, hits, one, trace)
        for hits, one, trace in zip(found.hits, asked, found.traces, strict=True)
    ]
    return search_out(found, results[0] if data.queries is None else results)


@post(
    "/v1/collections/{collection:str}/explain",
    operation_id="explain",
    tags=["search"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def explain(
    collection: FromPath[str], data: JSONBody[ExplainIn], service: NamedDependency[Service]
) -> ExplainOut:
    """Why a document is where it is in a search, or which stage dropped it."""
    if data.document_id is None:
        raise InvalidInput("document_id: name the document whose place is to be explained")
    query = to_query(msgspec.structs.replace(data, document_id=None))
    return explain_out(await service.explain.explain(collection, data.document_id, query))


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


def to_query(data: QueryIn) -> Query:
    """The search that a body asks for. Raises InvalidInput."""
    return Query(
        text=data.query,
        vector=data.vector,
        document_id=data.document_id,
        limit=data.limit,
        offset=data.offset,
        where=None if data.filter is None else parse_filter(data.filter),
        per_document=data.per_document,
        min_score=data.min_score,
        mode=data.mode,
        fusion=(data.fusion or FusionIn()).value(),
        rerank=_reranker(data.rerank),
        diversity=data.diversity,
        highlight="highlight" in data.include,
    )


def _reranker(asked: bool | str | None) -> str | None:
    if asked == "":
        raise InvalidInput("rerank: it is empty; use true, or provider:model")
    if isinstance(asked, str):
        return asked
    return DEFAULT_RERANKER if asked else None


async def _hits(
    service: Service, collection: str, hits: Sequence[Hit], asked: QueryIn, trace: Trace
) -> list[HitOut]:
    vectors = None
    if "vector" in asked.include:
        vectors = await service.search.vectors_of(collection, hits)
        hits = [hit for hit in hits if hit.chunk.id in vectors]  # deleted a moment ago
    explained = trace if asked.explain else None
    return [hit_out(hit, asked.include, vectors, explained) for hit in hits]


ROUTES = [search, explain, similarity]
