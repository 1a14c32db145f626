"""/v1/rerank, /v2/rerank and /rerank, as the clients of Cohere, Jina and others ask for them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from embedsvc.api.errors import documented
from embedsvc.api.schema import Answered, JsonObject, Request
from embedsvc.errors import InvalidInput, MissingKey
from embedsvc.services.rerank import Scored
from embedsvc.services.service import Service

_TEXTS_IN_A_SEARCH = 100
"""Cohere counts a query with up to so many documents as one search unit."""

_STATUSES = documented(403, 404, 409, 413, 415, 502, 504)

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


class RerankIn(Request):
    """A query and the documents to order: texts, or objects whose `text` is read.

    `rank_fields` names other fields of the objects to read, one after the other. `priority` and
    `max_chunks_per_doc` are Cohere's and change nothing here.
    """

    query: str
    documents: list[str | JsonObject]
    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    top_n: Positive | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    max_tokens_per_doc: Positive | None = None
    max_chunks_per_doc: Positive | None = None
    priority: int | None = None


class AnyRerankIn(Request):
    """As at /v1/rerank; or with `texts`, as text-embeddings-inference has it."""

    query: str
    documents: list[str | JsonObject] | None = None
    texts: list[str] | None = None
    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    top_n: Positive | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    max_tokens_per_doc: Positive | None = None
    max_chunks_per_doc: Positive | None = None
    priority: int | None = None
    return_text: bool = False
    truncate: bool = True
    truncation_direction: str | None = None
    raw_scores: bool = False


class RerankedOut(Answered):
    """A document's place in the request and its relevance, from 0 to 1."""

    index: int
    relevance_score: float
    document: JsonObject | UnsetType = UNSET


class RerankUsage(Answered):
    """Tokens that were read, and their price where it is known."""

    prompt_tokens: int
    total_tokens: int
    cost_usd: float | UnsetType = UNSET


class ApiVersion(Answered):
    """Which of Cohere's interfaces this is."""

    version: str


class BilledUnits(Answered):
    """As Cohere counts them: one for each hundred documents."""

    search_units: int


class RerankMeta(Answered):
    """What Cohere's clients look for."""

    api_version: ApiVersion
    billed_units: BilledUnits


class RerankOut(Answered):
    """The documents, the most relevant first; `usage` is there where tokens were counted."""

    id: str
    model: str
    results: list[RerankedOut]
    meta: RerankMeta
    usage: RerankUsage | UnsetType = UNSET


class RankOut(Answered):
    """A text's place in the request and its score, as text-embeddings-inference has it."""

    index: int
    score: float
    text: str | UnsetType = UNSET


@post("/v1/rerank", operation_id="rerank", tags=["rerank"], status_code=200, responses=_STATUSES)
async def rerank(data: JSONBody[RerankIn], service: NamedDependency[Service]) -> RerankOut:
    """Order documents by how well they answer a query."""
    return await _reranked(service, data, "1")


@post("/v2/rerank", operation_id="rerank_v2", tags=["rerank"], status_code=200, responses=_STATUSES)
async def rerank_v2(data: JSONBody[RerankIn], service: NamedDependency[Service]) -> RerankOut:
    """The same, where Cohere's second client looks for it."""
    return await _reranked(service, data, "2")


@post("/rerank", operation_id="rerank_any", tags=["rerank"], status_code=200, responses=_STATUSES)
async def rerank_any(
    data: JSONBody[AnyRerankIn], service: NamedDependency[Service]
) -> RerankOut | list[RankOut]:
    """The same for Jina's shape, and with `texts` for that of text-embeddings-inference."""
    if (data.documents is None) == (data.texts is None):
        raise InvalidInput("documents: send one of documents and texts")
    if data.documents is not None:
        return await _reranked(
            service,
            RerankIn(
                query=data.query,
                documents=data.documents,
                model=data.model,
                top_n=data.top_n,
                return_documents=data.return_documents,
                rank_fields=data.rank_fields,
                max_tokens_per_doc=data.max_tokens_per_doc,
            ),
            "2",
        )
    texts = data.texts or []
    if data.raw_scores:
        raise InvalidInput("raw_scores: scores are always from 0 to 1; leave it out")
    found = await _scored(service, data, texts, "texts")
    return [
        RankOut(index=index, score=score, text=texts[index] if data.return_text else UNSET)
        for index, score in found.best()
    ]


async def _reranked(service: Service, data: RerankIn, version: str) -> RerankOut:
    texts = [_text(i, document, data.rank_fields) for i, document in enumerate(data.documents)]
    found = await _scored(service, data, texts)
    return RerankOut(
        id=str(uuid4()),
        model=found.model,
        results=[
            RerankedOut(
                index=index,
                relevance_score=score,
                document=_whole(data.documents[index]) if data.return_documents else UNSET,
            )
            for index, score in found.best(data.top_n)
        ],
        meta=RerankMeta(
            api_version=ApiVersion(version=version),
            billed_units=BilledUnits(search_units=-(-len(texts) // _TEXTS_IN_A_SEARCH)),
        ),
        usage=_usage(found),
    )


async def _scored(
    service: Service, data: RerankIn | AnyRerankIn, texts: Sequence[str], place: str = "documents"
) -> Scored:
    most = data.max_tokens_per_doc
    try:
        return await service.rerank.rerank(
            data.query, texts, data.model, most_tokens=most, place=place
        )
    except MissingKey as error:
        raise InvalidInput(f"model: {error.detail}", code=error.code) from error


def _text(number: int, document: str | JsonObject, fields: Sequence[str] | None) -> str:
    if isinstance(document, str):
        return document
    texts = [document.get(name) for name in fields or ["text"]]
    found = [text for text in texts if isinstance(text, str)]
    if not found:
        wanted = " or ".join(fields or ["text"])
        raise InvalidInput(f"documents[{number}]: it has no text in {wanted}")
    return "\n".join(found)


def _whole(document: str | JsonObject) -> JsonObject:
    return {"text": document} if isinstance(document, str) else document


def _usage(found: Scored) -> RerankUsage | UnsetType:
    if found.tokens is None:
        return UNSET
    return RerankUsage(
        prompt_tokens=found.tokens,
        total_tokens=found.tokens,
        cost_usd=UNSET if found.cost_usd is None else found.cost_usd,
    )


ROUTES = [rerank, rerank_v2, rerank_any]
