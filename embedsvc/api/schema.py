"""The shapes of requests and answers, as the contract has them, and how our values become them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from embedsvc.core.citations import Citation, CitationStatus
from embedsvc.core.filters import parse_filter
from embedsvc.core.fusion import Fusion
from embedsvc.core.model import (
    AnswerState,
    Chunk,
    Chunking,
    Document,
    FieldType,
    Grounding,
    Message,
    Strategy,
    TooLong,
    Truncated,
)
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.ports import Generation
from embedsvc.services.answers import Answer, AnswerUsage, Expansion, Question
from embedsvc.services.collections import Described
from embedsvc.services.explain import Explanation, Stage, stages
from embedsvc.services.ingest import Added, Outcome
from embedsvc.services.search import Found, Hit, Plan, StageScores, Trace
from embedsvc.services.verify import Verified

JsonObject = dict[str, Any]


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Something a client sends: an unknown field is refused, so that a typo shows."""


class Answered(msgspec.Struct, kw_only=True):
    """Something that a client gets."""


def time_of(microseconds: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC)


# -- collections --------------------------------------------------------------------------------


class ChunkingIn(Request):
    """How texts are cut; sizes in tokens of the collection's model."""

    size: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    overlap: Annotated[int, Meta(ge=0, le=100_000)] = 0
    strategy: Strategy = "sentences"
    too_long: TooLong = "truncate"

    def value(self) -> Chunking:
        """As the services know it."""
        size = self.size or Chunking().size
        return Chunking(size, self.overlap, self.strategy, self.too_long)


class CollectionIn(Request):
    """The settings of a collection."""

    embedding: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    description: Annotated[str, Meta(max_length=10_000)] | None = None
    chunking: ChunkingIn | None = None
    fields: dict[str, FieldType] | None = None


class ChunkingOut(Answered):
    """How texts are cut; sizes in tokens of the collection's model."""

    size: int
    overlap: int
    strategy: Strategy
    too_long: TooLong


class IndexOut(Answered):
    """The state of a collection's index in this process."""

    engine: str
    version: int
    vectors: int
    segments: int
    removed: int
    approximate: int
    bytes: int
    degraded: list[str]


class CollectionOut(Answered):
    """A collection."""

    name: str
    embedding: str
    dimensions: int
    description: str | None
    chunking: ChunkingOut
    fields: dict[str, FieldType]
    documents: int
    chunks: int
    version: int
    index: IndexOut
    created_at: datetime


class CollectionsOut(Answered):
    """A page of collections."""

    collections: list[CollectionOut]
    next_cursor: str | None


def collection_out(described: Described) -> CollectionOut:
    """A described collection as the contract has it."""
    collection, index = described.collection, described.index
    cut = collection.chunking
    return CollectionOut(
        name=collection.name,
        embedding=collection.embedding,
        dimensions=collection.dimensions,
        description=collection.description,
        chunking=ChunkingOut(
            size=cut.size, overlap=cut.overlap, strategy=cut.strategy, too_long=cut.too_long
        ),
        fields=dict(collection.fields),
        documents=described.documents,
        chunks=described.chunks,
        version=collection.version,
        index=IndexOut(
            engine=index.engine,
            version=index.version,
            vectors=index.vectors,
            segments=index.segments,
            removed=index.removed,
            approximate=index.approximate,
            bytes=index.bytes,
            degraded=list(index.degraded),
        ),
        created_at=time_of(collection.created_at),
    )


# -- documents ----------------------------------------------------------------------------------


class ChunkIn(Request):
    """A chunk that the client cut."""

    text: str
    metadata: JsonObject | None = None


class DocumentIn(Request):
    """A document: a text, or chunks; with `vectors`, one for each chunk (one for a text)."""

    id: str | None = None
    text: str | None = None
    chunks: list[ChunkIn] | None = None
    vectors: list[list[float]] | None = None
    title: str | None = None
    url: str | None = None
    metadata: JsonObject | None = None

    def value(self, fallback_id: str) -> Draft:
        """As the services know it."""
        chunks = self.chunks
        return Draft(
            id=fallback_id if self.id is None else self.id,
            text=self.text,
            chunks=None if chunks is None else [DraftChunk(c.text, c.metadata) for c in chunks],
            vectors=self.vectors,
            title=self.title,
            url=self.url,
            metadata=self.metadata,
        )


class DocumentsIn(Request):
    """Documents to add or replace."""

    documents: list[DocumentIn]


class DocumentError(Answered, omit_defaults=True):
    """Why one document failed."""

    code: str
    detail: str
    transient: bool


class TruncatedOut(Answered):
    """A text (or chunk) of which the model read only a part: `kept` of its `tokens`."""

    index: int
    tokens: int
    kept: int


class OutcomeOut(Answered):
    """What became of one document."""

    id: str
    status: Literal["indexed", "unchanged", "pending", "failed"]
    chunks: int
    embedded: int
    cached: int
    truncated: list[TruncatedOut] | UnsetType = UNSET
    error: DocumentError | UnsetType = UNSET


class UsageOut(Answered):
    """What was embedded for a request, and its price where that is known."""

    tokens: int
    cost_usd: float | UnsetType = UNSET


class AddedOut(Answered):
    """What became of the documents of a request, in its order."""

    version: int
    documents: list[OutcomeOut]
    usage: UsageOut


def usage_out(tokens: int, cost_usd: float | None) -> UsageOut:
    """What was embedded; without a cost where no price is known."""
    return UsageOut(tokens=tokens, cost_usd=UNSET if cost_usd is None else cost_usd)


def truncated_out(truncated: Sequence[Truncated]) -> list[TruncatedOut] | UnsetType:
    """Texts that were not read whole; nothing when there are none."""
    return [TruncatedOut(index=t.index, tokens=t.tokens, kept=t.kept) for t in truncated] or UNSET


def added_out(added: Added) -> AddedOut:
    """The outcome of a request as the contract has it."""
    return AddedOut(
        version=added.version,
        documents=[_outcome_out(outcome) for outcome in added.documents],
        usage=usage_out(added.tokens, added.cost_usd),
    )


def _outcome_out(outcome: Outcome) -> OutcomeOut:
    error = outcome.error
    return OutcomeOut(
        id=outcome.id,
        status=outcome.status,
        chunks=outcome.chunks,
        embedded=outcome.embedded,
        cached=outcome.cached,
        truncated=truncated_out(outcome.truncated),
        error=UNSET
        if error is None
        else DocumentError(code=error.code, detail=error.detail, transient=error.transient),
    )


class ChunkOut(Answered):
    """A chunk: `text` is the document's text from `start` to `end`."""

    chunk_id: str
    ordinal: int
    start: int
    end: int
    page: int | None
    text: str
    metadata: JsonObject


class DocumentOut(Answered):
    """A document; `text` and `chunks` are there when `include` asks for them."""

    id: str
    status: Literal["indexed", "pending", "failed"]
    title: str | None
    url: str | None
    metadata: JsonObject
    sha256: str
    chunk_count: int
    created_at: datetime
    updated_at: datetime
    error: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    chunks: list[ChunkOut] | UnsetType = UNSET


class DocumentsOut(Answered):
    """A page of documents."""

    documents: list[DocumentOut]
    next_cursor: str | None


class PatchIn(Request):
    """Labels of a document to change; its text and vectors stay."""

    title: str | None = None
    metadata: JsonObject | None = None


class DeleteIn(Request):
    """Which documents to delete: by ids or by a filter."""

    ids: list[str] | None = None
    filter: JsonObject | None = None


class DeletedOut(Answered):
    """How many documents were deleted."""

    deleted: int
    version: int


class DigestIn(Request):
    """A document that the client has: the SHA-256 (hex) of its text in UTF-8."""

    id: str
    sha256: str


class DiffIn(Request):
    """All documents that the client has."""

    documents: list[DigestIn]


class DiffOut(Answered):
    """Ids by what a client has to do about them; `missing` ones are here and not there."""

    new: list[str]
    changed: list[str]
    unchanged: list[str]
    pending: list[str]
    failed: list[str]
    missing: list[str]


def document_out(
    document: Document, *, text: bool = False, chunks: Sequence[Chunk] | None = None
) -> DocumentOut:
    """A document as the contract has it."""
    return DocumentOut(
        id=document.id,
        status=document.status,
        title=document.title,
        url=document.url,
        metadata=dict(document.metadata),
        sha256=document.text_hash.hex(),
        chunk_count=document.chunks,
        created_at=time_of(document.created_at),
        updated_at=time_of(document.updated_at),
        error=document.error or UNSET,
        text=document.text if text else UNSET,
        chunks=UNSET if chunks is None else [_chunk_out(chunk) for chunk in chunks],
    )


def _chunk_out(chunk: Chunk) -> ChunkOut:
    return ChunkOut(
        chunk_id=str(chunk.id),
        ordinal=chunk.ordinal,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        text=chunk.text,
        metadata=dict(chunk.metadata),
    )


# -- search -------------------------------------------------------------------------------------

Mode = Literal["hybrid", "dense", "lexical"]
Include = Literal["text", "metadata", "vector", "scores", "highlight"]


class FusionIn(Request):
    """How dense and lexical scores become one: method, weights, and `k` of reciprocal ranks."""

    method: Literal["score", "rrf"] = "score"
    dense: float = 0.5
    lexical: float = 0.5
    k: int = 60

    def value(self) -> Fusion:
        """As the services know it. Raises InvalidInput."""
        return Fusion(self.method, self.dense, self.lexical, self.k)


class QueryIn(Request):
    """What to look for: one of `query`, `vector` and `document_id`."""

    query: str | None = None
    vector: list[float] | None = None
    document_id: str | None = None
    limit: int = 10
    offset: int = 0
    mode: Mode | None = None
    fusion: FusionIn | None = None
    filter: JsonObject | None = None
    per_document: int | None = None
    rerank: bool | str | None = None
    min_score: float | None = None
    diversity: float | None = None
    include: list[Include] = msgspec.field(default_factory=lambda: ["text", "metadata"])
    explain: bool = False


class SearchIn(QueryIn):
    """One query, or several as `queries`."""

    queries: list[QueryIn] | None = None


class ScoresOut(Answered, omit_defaults=True):
    """The score at each stage that the search had."""

    dense: float | None = None
    lexical: float | None = None
    rerank: float | None = None


class StageOut(Answered):
    """What one stage made of a chunk. No rank: it was not among those that the stage gave on."""

    stage: str
    rank: int | None
    score: float | None


class HighlightOut(Answered):
    """The sentence that matches best: the document's text from `start` to `end`."""

    text: str
    start: int
    end: int


class HitOut(Answered):
    """A result: `text` is the document's text from `start` to `end`."""

    document_id: str
    chunk_id: str
    score: float
    title: str | None
    url: str | None
    start: int
    end: int
    page: int | None
    text: str | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET
    scores: ScoresOut | UnsetType = UNSET
    vector: list[float] | UnsetType = UNSET
    highlight: HighlightOut | UnsetType = UNSET
    explain: list[StageOut] | UnsetType = UNSET


class PlanOut(Answered):
    """How the search was done; `matched` is how many chunks it was among."""

    mode: Mode | Literal["mixed"]
    index: str
    strategy: str
    matched: int


class SearchOut(Answered):
    """Results, best first; a list for each of `queries` where several were sent."""

    results: list[HitOut | list[HitOut]]
    plan: PlanOut
    degraded: list[str]
    version: int
    took_ms: float
    usage: UsageOut
    truncated: list[TruncatedOut] | UnsetType = UNSET


def hit_out(
    hit: Hit,
    include: Sequence[Include],
    vectors: Mapping[int, list[float]] | None = None,
    trace: Trace | None = None,
) -> HitOut:
    """A result as the contract has it."""
    chunk = hit.chunk
    return HitOut(
        document_id=chunk.document_id,
        chunk_id=str(chunk.id),
        score=hit.score,
        title=chunk.title,
        url=chunk.url,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        text=chunk.text if "text" in include else UNSET,
        metadata=dict(chunk.metadata) if "metadata" in include else UNSET,
        scores=_scores_out(hit.scores) if "scores" in include else UNSET,
        vector=vectors[chunk.id] if vectors and "vector" in include else UNSET,
        highlight=UNSET if hit.highlight is None else _highlight_out(chunk, *hit.highlight),
        explain=UNSET if trace is None else stages_out(stages(trace, chunk.id)),
    )


def _scores_out(scores: StageScores) -> ScoresOut:
    return ScoresOut(dense=scores.dense, lexical=scores.lexical, rerank=scores.rerank)


def _highlight_out(chunk: Chunk, start: int, end: int) -> HighlightOut:
    return HighlightOut(chunk.text[start - chunk.start : end - chunk.start], start, end)


def stages_out(found: Sequence[Stage]) -> list[StageOut]:
    """What the stages made of a chunk."""
    return [StageOut(one.name, one.rank, one.score) for one in found]


def search_out(found: Found, results: Any) -> SearchOut:
    """An answered search as the contract has it."""
    return SearchOut(
        results=results,
        plan=_plan_out(found.plan),
        degraded=list(found.degraded),
        version=found.version,
        took_ms=round(found.took_ms, 3),
        usage=usage_out(found.tokens, found.cost_usd),
        truncated=truncated_out(found.truncated),
    )


def _plan_out(plan: Plan) -> PlanOut:
    return PlanOut(
        mode=plan.mode,
        index=plan.index,
        strategy=plan.strategy,
        matched=plan.matched,
    )


class ExplainIn(QueryIn):
    """A search, and as `document_id` the document whose place in it is to be explained."""


class StepOut(Answered):
    """One stage: whether the document got through, with its best rank and score there."""

    stage: str
    passed: bool
    detail: str
    rank: int | None
    score: float | None


class ExplainOut(Answered):
    """Where the document is in the results (`rank`), or the stage that dropped it."""

    document_id: str
    chunk_id: str | None
    found: bool
    rank: int | None
    dropped_by: str | None
    stages: list[StepOut]
    plan: PlanOut | None
    version: int | None


def explain_out(found: Explanation) -> ExplainOut:
    """An explanation as the contract has it."""
    search = found.found
    return ExplainOut(
        document_id=found.document_id,
        chunk_id=None if found.chunk_id is None else str(found.chunk_id),
        found=found.rank is not None,
        rank=found.rank,
        dropped_by=found.dropped_by,
        stages=[
            StepOut(step.stage, step.passed, step.detail, step.rank, step.score)
            for step in found.steps
        ],
        plan=None if search is None else _plan_out(search.plan),
        version=None if search is None else search.version,
    )


class SimilarityIn(Request):
    """Texts to compare: with `query` each to it, else each to each."""

    texts: list[str]
    query: str | None = None


class SimilarityOut(Answered):
    """Cosines: `scores` with a query, else `matrix`."""

    scores: list[float] | UnsetType = UNSET
    matrix: list[list[float]] | UnsetType = UNSET
    truncated: list[TruncatedOut] | UnsetType = UNSET


# -- answers ------------------------------------------------------------------------------------


class TurnIn(Request):
    """A turn of a conversation that the client keeps."""

    role: Literal["user", "assistant"]
    content: str


Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)]
StopText = Annotated[str, Meta(min_length=1, max_length=200)]
Stop = StopText | Annotated[list[StopText], Meta(max_length=4)]
ModelName = Annotated[str, Meta(min_length=1, max_length=2_000)]


class AskIn(Request):
    """A question to a collection. Temperature to stop are for language models."""

    question: str
    model: ModelName | None = None
    conversation_id: str | None = None
    history: list[TurnIn] | None = None
    limit: int = 8
    filter: JsonObject | None = None
    mode: Mode | None = None
    grounding: Grounding = "normal"
    expansion: Expansion = "none"
    stream: bool = False
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    stop: Stop | None = None
    system: str | None = None

    def value(self) -> Question:
        """As the services know it. Raises InvalidInput."""
        turns = self.history
        return Question(
            text=self.question,
            model=self.model,
            conversation_id=self.conversation_id,
            history=None if turns is None else [Message(t.role, t.content) for t in turns],
            limit=self.limit,
            where=None if self.filter is None else parse_filter(self.filter),
            mode=self.mode,
            grounding=self.grounding,
            options=Generation(self.temperature, self.max_tokens, self.top_p, stops(self.stop)),
            system=self.system,
            expansion=self.expansion,
        )


def stops(given: Stop | None) -> list[str]:
    """Texts that end an answer."""
    return [given] if isinstance(given, str) else given or []


class CitationOut(Answered):
    """A quote and its check: when `verified`, the document's text from `start` to `end`.

    What it names is null where there is no source of that number.
    """

    marker: int
    document_id: str | None
    chunk_id: str | None
    title: str | None
    url: str | None
    page: int | None
    start: int | None
    end: int | None
    quote: str
    status: CitationStatus


class UnsupportedOut(Answered):
    """A claim without a verified citation: the answer's text from `start` to `end`."""

    start: int
    end: int
    text: str


class AnswerUsageOut(Answered):
    """Tokens of the language models, and their price where it is known.

    `estimated`: a model did not say how many tokens they were.
    """

    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    cost_usd: float | UnsetType = UNSET


class AnswerOut(Answered):
    """An answer with its checked citations and the sources that were looked at.

    `query` is the question as searched, `queries` is all that was searched. `evidence`: how likely
    the sources answer, from 0 to 1, where that was looked at. Ids are null where nothing is kept.
    """

    id: str | None
    answer: str
    state: AnswerState
    citations: list[CitationOut]
    unsupported: list[UnsupportedOut]
    sources: list[HitOut]
    model: str
    usage: AnswerUsageOut
    conversation_id: str | None
    query: str
    queries: list[str]
    grounding: Grounding
    evidence: float | None
    version: int
    took_ms: float
    first_token_ms: float | None
    warnings: list[str]
    degraded: list[str]


def citation_out(citation: Citation) -> CitationOut:
    """A checked citation as the contract has it."""
    chunk = citation.chunk
    return CitationOut(
        marker=citation.marker,
        document_id=None if chunk is None else chunk.document_id,
        chunk_id=None if chunk is None else str(chunk.id),
        title=None if chunk is None else chunk.title,
        url=None if chunk is None else chunk.url,
        page=None if chunk is None else chunk.page,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
        status=citation.status,
    )


def unsupported_out(answer: Answer) -> list[UnsupportedOut]:
    """The claims of an answer without a verified citation."""
    return [UnsupportedOut(one.start, one.end, one.text) for one in answer.unsupported]


def answer_usage_out(usage: AnswerUsage) -> AnswerUsageOut:
    """Tokens; without a cost where no price is known."""
    return AnswerUsageOut(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        estimated=usage.estimated,
        cost_usd=UNSET if usage.cost_usd is None else usage.cost_usd,
    )


def source_out(hit: Hit) -> HitOut:
    """A source of an answer as the contract has it."""
    return hit_out(hit, ["text", "metadata"])


def milliseconds(took: float | None) -> float | None:
    """To a microsecond."""
    return None if took is None else round(took, 3)


def answer_fields(answer: Answer) -> JsonObject:
    """What AnswerOut has, for it and for what has more."""
    return {
        "id": answer.id,
        "answer": answer.text,
        "state": answer.state,
        "citations": [citation_out(citation) for citation in answer.citations],
        "unsupported": unsupported_out(answer),
        "sources": [source_out(hit) for hit in answer.sources],
        "model": answer.model,
        "usage": answer_usage_out(answer.usage),
        "conversation_id": answer.conversation_id,
        "query": answer.query,
        "queries": list(answer.queries),
        "grounding": answer.grounding,
        "evidence": answer.evidence,
        "version": answer.version,
        "took_ms": milliseconds(answer.took_ms),
        "first_token_ms": milliseconds(answer.first_token_ms),
        "warnings": list(answer.warnings),
        "degraded": list(answer.degraded),
    }


def answer_out(answer: Answer) -> AnswerOut:
    """A whole answer as the contract has it."""
    return AnswerOut(**answer_fields(answer))


# -- service and administration -------------------------------------------------------------------


class HealthOut(Answered):
    """The process lives."""

    status: Literal["ok"]


class ReadyOut(Answered):
    """Everything needed is there; `degraded` says in words what is not as it should be."""

    status: Literal["ready", "degraded"]
    degraded: list[str]


class InfoOut(Answered):
    """What this service is and what it allows."""

    version: str
    embedding: JsonObject
    chat: JsonObject
    index: JsonObject
    limits: dict[str, int]


class VerifiedOut(Answered):
    """An index compared with SQL: all lists empty means that it is exactly the truth."""

    ok: bool
    collection: str
    version: int
    index_version: int
    chunks: int
    missing: list[str]
    orphaned: list[str]
    mismatched: list[str]
    vectorless: list[str]


def verified_out(verified: Verified) -> VerifiedOut:
    """A comparison as the contract has it; chunk ids are strings."""
    return VerifiedOut(
        ok=verified.ok,
        collection=verified.collection,
        version=verified.version,
        index_version=verified.index_version,
        chunks=verified.chunks,
        missing=[str(i) for i in verified.missing],
        orphaned=[str(i) for i in verified.orphaned],
        mismatched=[str(i) for i in verified.mismatched],
        vectorless=[str(i) for i in verified.vectorless],
    )


# -- usage --------------------------------------------------------------------------------------


class UsageLine(Answered):
    """A sum; `cost_usd` leaves out `unpriced_tokens`, and is null where no price is known."""

    requests: int
    texts: int
    tokens: int
    cost_usd: float | None
    unpriced_tokens: int
    day: str | UnsetType = UNSET
    collection: str | UnsetType = UNSET
    model: str | UnsetType = UNSET


class UsageReport(Answered):
    """What was embedded; prices are those of `prices_date`."""

    usage: list[UsageLine]
    prices_date: str


def usage_report(rows: Sequence[Mapping[str, Any]], date: str) -> UsageReport:
    """Sums as an answer."""
    lines = [msgspec.convert(row, UsageLine) for row in rows]
    for line in lines:
        if line.tokens and line.unpriced_tokens == line.tokens:
            line.cost_usd = None
    return UsageReport(usage=lines, prices_date=date)
