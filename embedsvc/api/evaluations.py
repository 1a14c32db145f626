"""/v1/evaluations, and the judgements of a collection that they measure by."""

import asyncio
import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from embedsvc.api.errors import documented
from embedsvc.api.pages import before, cursor_of
from embedsvc.api.schema import Answered, ChunkingIn, FusionIn, JsonObject, Mode, Request, time_of
from embedsvc.core.citations import CitationStatus
from embedsvc.core.model import Grounding
from embedsvc.core.tokens import storable
from embedsvc.errors import Conflict, InvalidInput
from embedsvc.services.answer_measuring import AnswerResult
from embedsvc.services.answer_request import (
    AnswerConfig,
    AnswerRequest,
    AnswerSummary,
    GoldAnswer,
)
from embedsvc.services.answers import Expansion
from embedsvc.services.charting import draw
from embedsvc.services.evaluation import Evaluation
from embedsvc.services.evaluation_plan import AnyResult, Subject
from embedsvc.services.evaluation_request import DEPTH, Asked, Config, Qrel, Summary
from embedsvc.services.evaluation_request import Request as Wanted
from embedsvc.services.search import DEFAULT_RERANKER
from embedsvc.services.service import Service
from embedsvc.store.evaluations import Judgement, Place

_HASH = 32  # bytes of the digest of a query
_PLACE = re.compile(r"([0-9]{1,19})-([0-9a-f]{1,32})")


# -- evaluations: requests ------------------------------------------------------------------------


class AskedIn(Request):
    """A query to evaluate by."""

    id: Annotated[str, Meta(min_length=1, max_length=20_000)]
    text: str


class QrelIn(Request):
    """How well a document answers a query; 0 is not at all."""

    query_id: str
    document_id: str
    relevance: Annotated[int, Meta(ge=0, le=1_000)]


class GoldAnswerIn(Request):
    """What is known of a query: its answers and the documents that hold them.

    One that is not answerable, or has no answers, must get no answer.
    """

    query_id: str
    answers: list[str] = msgspec.field(default_factory=list)
    document_ids: list[str] = msgspec.field(default_factory=list)
    answerable: bool | None = None


class ConfigIn(Request):
    """One way to search, or with `answers` one way to answer; the rest is as in a plain request.

    For `qrels` and judgements: fusion, rerank, diversity, per_document. For answers: model,
    grounding, limit (of sources), expansion, temperature, max_tokens. For both: the others.
    """

    name: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    mode: Mode | None = None
    fusion: FusionIn | None = None
    rerank: bool | str | None = None
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    per_document: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    filter: JsonObject | None = None
    model: Annotated[str, Meta(min_length=1, max_length=2_000)] | None = None
    grounding: Grounding | None = None
    limit: Annotated[int, Meta(ge=1, le=50)] | None = None
    expansion: Expansion | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    embedding: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    chunking: ChunkingIn | None = None

    def value(self, place: str) -> Config:
        """As the services know a way to search. Raises InvalidInput."""
        self._refuse(place, _OF_ANSWERS, "it belongs to evaluations of answers; send answers")
        reranker = DEFAULT_RERANKER if self.rerank is True else self.rerank
        return Config(
            name=self.name or "",
            mode=self.mode,
            fusion=None if self.fusion is None else self.fusion.value(),
            rerank=reranker or None,
            diversity=self.diversity,
            per_document=self.per_document,
            filter=self.filter,
            embedding=self.embedding,
            dimensions=self.dimensions,
            chunking=None if self.chunking is None else self.chunking.value(),
        )

    def of_answers(self, place: str) -> AnswerConfig:
        """As the services know a way to answer. Raises InvalidInput."""
        self._refuse(place, _OF_SEARCH, "it belongs to evaluations of search; send qrels")
        return AnswerConfig(
            name=self.name or "",
            model=self.model,
            grounding=self.grounding,
            limit=self.limit,
            mode=self.mode,
            filter=self.filter,
            expansion=self.expansion,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            embedding=self.embedding,
            dimensions=self.dimensions,
            chunking=None if self.chunking is None else self.chunking.value(),
        )

    def _refuse(self, place: str, names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise InvalidInput(f"{place}.{name}: {why}, or leave it out")


_OF_SEARCH = ("fusion", "rerank", "diversity", "per_document")
_OF_ANSWERS = ("model", "grounding", "limit", "expansion", "temperature", "max_tokens")


class EvaluationIn(Request):
    """Queries, what is known of them, and what to compare.

    `qrels` or the stored `judgements` evaluate search, `answers` evaluates answers. `limit` is how
    many documents of a search are looked at; sources of answers are limited by each configuration.
    """

    collection: str
    queries: list[AskedIn] | None = None
    qrels: list[QrelIn] | None = None
    judgements: bool = False
    answers: list[GoldAnswerIn] | None = None
    configs: list[ConfigIn] | None = None
    metrics: list[str] | None = None
    limit: int | None = None
    seed: int = 0


# -- evaluations: answers -------------------------------------------------------------------------


class EstimateOut(Answered):
    """A mean over the queries and its interval of 95 %."""

    value: float
    low: float
    high: float


class LatencyOut(Answered):
    """How long one search took."""

    median_ms: float
    p95_ms: float


class ComparedOut(Answered):
    """A difference to the first configuration; `p` by the paired randomisation test."""

    difference: float
    low: float
    high: float
    p: float
    significant: bool


class MeasuredOut(Answered):
    """One configuration; `queries` has the metrics of each query, `empty` found nothing."""

    name: str
    embedding: str
    chunks: int
    metrics: dict[str, EstimateOut]
    latency: LatencyOut
    empty: int
    degraded: list[str]
    queries: dict[str, dict[str, float]]


class ComparisonOut(Answered):
    """How a configuration differs from the first."""

    name: str
    base: str
    metrics: dict[str, ComparedOut]


class ResultOut(Answered, tag_field="subject", tag="search"):
    """What an evaluation of search found."""

    queries: int
    qrels: int
    configs: list[MeasuredOut]
    comparisons: list[ComparisonOut]
    warnings: list[str]


class SpentOut(Answered):
    """Tokens of all answers; `cost_usd` is null where a price is not known."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    estimated: bool


class CitationFoundOut(Answered):
    """A citation of an answer and what its check found."""

    document_id: str | None
    status: CitationStatus


class AnswerShownOut(Answered):
    """The answer to one query, shortened; `retrieved`: a gold document was among the sources."""

    state: Literal["answered", "no_answer", "failed"]
    answerable: bool
    answer: str
    citations: list[CitationFoundOut]
    retrieved: bool | None
    metrics: dict[str, float]
    model: str
    took_ms: float
    error: str | None


class AnswersMeasuredOut(Answered):
    """One way to answer; a metric is null where no answer says anything of it.

    `models` counts who answered, `errors` why queries failed: those are in no metric.
    """

    name: str
    embedding: str
    chunks: int
    models: dict[str, int]
    metrics: dict[str, EstimateOut | None]
    latency: LatencyOut
    first_token: LatencyOut | None
    usage: SpentOut
    answered: int
    no_answer: int
    failed: int
    errors: dict[str, int]
    degraded: list[str]
    queries: dict[str, AnswerShownOut]


class AnswerResultOut(Answered, tag_field="subject", tag="answers"):
    """What an evaluation of answers found."""

    queries: int
    answerable: int
    configs: list[AnswersMeasuredOut]
    comparisons: list[ComparisonOut]
    warnings: list[str]


class EvaluationOut(Answered):
    """An evaluation and how far it is; `result` is there when it is done.

    `limit` and `qrels` are there for a `subject` of search, `answerable` for one of answers.
    """

    id: str
    kind: Literal["evaluation"]
    subject: Subject
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int
    total: int
    eta_s: float | None
    collection: str
    configs: list[JsonObject]
    metrics: list[str]
    seed: int
    queries: int
    created_at: datetime
    updated_at: datetime
    limit: int | UnsetType = UNSET
    qrels: int | UnsetType = UNSET
    answerable: int | UnsetType = UNSET
    error: str | UnsetType = UNSET
    result: ResultOut | AnswerResultOut | UnsetType = UNSET


class EvaluationsOut(Answered):
    """A page of evaluations, the newest first, without their results."""

    evaluations: list[EvaluationOut]
    next_cursor: str | None


# -- evaluations: routes --------------------------------------------------------------------------


@post(
    "/v1/evaluations",
    operation_id="start_evaluation",
    tags=["evaluations"],
    status_code=202,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def start_evaluation(
    data: JSONBody[EvaluationIn], service: NamedDependency[Service]
) -> EvaluationOut:
    """Compare configurations in the background; ask for the id to see how far it is."""
    return _evaluation_out(await service.evaluate.start(_request(data)))


@get(
    "/v1/evaluations",
    operation_id="list_evaluations",
    tags=["evaluations"],
    responses=documented(),
)
async def list_evaluations(
    service: NamedDependency[Service],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=60)] = "",
) -> EvaluationsOut:
    """A page of evaluations, the newest first, without their results."""
    found, more = await service.evaluate.page(before(cursor, _PLACE), limit)
    return EvaluationsOut(
        evaluations=[_evaluation_out(one) for one in found],
        next_cursor=cursor_of(more),
    )


@get(
    "/v1/evaluations/{evaluation:str}",
    operation_id="get_evaluation",
    tags=["evaluations"],
    responses=documented(404),
)
async def get_evaluation(
    evaluation: FromPath[str], service: NamedDependency[Service]
) -> EvaluationOut:
    """An evaluation, with its result when it is done."""
    found = await service.evaluate.get(evaluation)
    return await asyncio.to_thread(_evaluation_out, found)  # a result may be large


@delete(
    "/v1/evaluations/{evaluation:str}",
    operation_id="delete_evaluation",
    tags=["evaluations"],
    responses=documented(404),
)
async def delete_evaluation(evaluation: FromPath[str], service: NamedDependency[Service]) -> None:
    """Cancel an evaluation that is under way; delete one that has ended."""
    await service.evaluate.remove(evaluation)


@get(
    "/v1/evaluations/{evaluation:str}/picture",
    operation_id="get_evaluation_picture",
    tags=["evaluations"],
    media_type="image/svg+xml",
    responses=documented(404, 409),
)
async def get_evaluation_picture(
    evaluation: FromPath[str], service: NamedDependency[Service]
) -> str:
    """The metrics of each configuration with their intervals, as SVG."""
    found = await service.evaluate.get(evaluation)
    if found.result is None:
        raise Conflict(
            f"evaluation {found.record.id} is {found.record.state}; it has a picture when done",
            code="evaluation_not_done",
        )
    return (await asyncio.to_thread(draw, found.result, found.record.collection, "svg")).decode()


def _request(data: EvaluationIn) -> Wanted | AnswerRequest:
    if data.answers is not None:
        return _answer_request(data, data.answers)
    if data.judgements == (data.qrels is not None):
        raise InvalidInput("qrels: send exactly one of qrels, judgements, answers")
    if data.judgements == (data.queries is not None):
        told = "the stored judgements bring their own" if data.judgements else "qrels need them"
        raise InvalidInput(f"queries: {told}")
    qrels = data.qrels
    return Wanted(
        collection=data.collection,
        queries=_queries(data),
        qrels=None
        if qrels is None
        else [Qrel(one.query_id, one.document_id, one.relevance) for one in qrels],
        configs=[one.value(f"configs[{n}]") for n, one in enumerate(data.configs or ())],
        metrics=data.metrics,
        limit=DEPTH if data.limit is None else data.limit,
        seed=data.seed,
    )


def _answer_request(data: EvaluationIn, answers: list[GoldAnswerIn]) -> AnswerRequest:
    if data.qrels is not None or data.judgements:
        raise InvalidInput("answers: send exactly one of qrels, judgements, answers")
    if data.queries is None:
        raise InvalidInput("queries: answers need them")
    if data.limit is not None:
        raise InvalidInput(
            f"limit: {data.limit}; how many sources an answer has belongs to each of configs"
        )
    return AnswerRequest(
        collection=data.collection,
        queries=_queries(data),
        answers=[
            GoldAnswer(one.query_id, one.answers, one.document_ids, one.answerable)
            for one in answers
        ],
        configs=[one.of_answers(f"configs[{n}]") for n, one in enumerate(data.configs or ())],
        metrics=data.metrics,
        seed=data.seed,
    )


def _queries(data: EvaluationIn) -> list[Asked]:
    return [Asked(one.id, one.text) for one in data.queries or ()]


def _evaluation_out(found: Evaluation) -> EvaluationOut:
    record, summary = found.record, found.summary
    eta = found.eta_s
    return EvaluationOut(
        id=record.id,
        kind="evaluation",
        subject=summary.subject,
        state=record.state,
        done=record.done,
        total=record.total,
        eta_s=None if eta is None else round(eta, 1),
        collection=record.collection,
        configs=[_told(config) for config in summary.configs],
        metrics=list(summary.metrics),
        seed=summary.seed,
        queries=summary.queries,
        limit=summary.limit if isinstance(summary, Summary) else UNSET,
        qrels=summary.qrels if isinstance(summary, Summary) else UNSET,
        answerable=summary.answerable if isinstance(summary, AnswerSummary) else UNSET,
        created_at=time_of(record.created_at),
        updated_at=time_of(record.updated_at),
        error=record.error or UNSET,
        result=UNSET if found.result is None else _result_out(found.result),
    )


def _result_out(result: AnyResult) -> ResultOut | AnswerResultOut:
    if isinstance(result, AnswerResult):
        return msgspec.convert(result, AnswerResultOut, from_attributes=True)
    return msgspec.convert(result, ResultOut, from_attributes=True)


def _told(config: Config | AnswerConfig) -> JsonObject:
    """What of a configuration was said."""
    told: JsonObject = msgspec.to_builtins(config)
    return {name: value for name, value in told.items() if value is not None}


# -- judgements -----------------------------------------------------------------------------------


class JudgementIn(Request):
    """How well a document answers a query: 0 not at all, 3 fully."""

    query: Annotated[str, Meta(min_length=1)]
    document_id: Annotated[str, Meta(min_length=1, max_length=512)]
    relevance: Annotated[int, Meta(ge=0, le=3)]


class JudgementOut(Answered):
    """A judgement."""

    query: str
    document_id: str
    relevance: int
    created_at: datetime


class JudgementsOut(Answered):
    """A page of judgements, those of a query together."""

    judgements: list[JudgementOut]
    next_cursor: str | None


@post(
    "/v1/collections/{collection:str}/judgements",
    operation_id="judge",
    tags=["evaluations"],
    status_code=200,
    responses=documented(404, 413, 415),
)
async def judge(
    collection: FromPath[str], data: JSONBody[JudgementIn], service: NamedDependency[Service]
) -> JudgementOut:
    """Say how well a document answers a query; a later word on the same two replaces it."""
    made = await service.judging.judge(collection, data.query, data.document_id, data.relevance)
    return _judgement_out(made)


@get(
    "/v1/collections/{collection:str}/judgements",
    operation_id="list_judgements",
    tags=["evaluations"],
    responses=documented(404),
)
async def list_judgements(
    collection: FromPath[str],
    service: NamedDependency[Service],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=8_000)] = "",
) -> JudgementsOut:
    """A page of judgements, those of a query together; `next_cursor` gets the next page."""
    found, more = await service.judging.page(collection, _after(cursor), limit)
    return JudgementsOut(
        judgements=[_judgement_out(one) for one in found],
        next_cursor=None if more is None else f"{more[0].hex()}{more[1].encode().hex()}",
    )


@delete(
    "/v1/collections/{collection:str}/judgements",
    operation_id="delete_judgement",
    tags=["evaluations"],
    responses=documented(404),
)
async def delete_judgement(
    collection: FromPath[str],
    service: NamedDependency[Service],
    asked: Annotated[str, QueryParameter(name="query", min_length=1)],  # `query` is Litestar's own
    document_id: Annotated[str, QueryParameter(min_length=1, max_length=512)],
) -> None:
    """Delete the judgement of one document for one query."""
    await service.judging.forget(collection, asked, document_id)


def _judgement_out(found: Judgement) -> JudgementOut:
    return JudgementOut(
        query=found.query,
        document_id=found.document_id,
        relevance=found.relevance,
        created_at=time_of(found.created_at),
    )


def _after(cursor: str) -> Place | None:
    if not cursor:
        return None
    try:
        raw = bytes.fromhex(cursor)
        place = raw[:_HASH], raw[_HASH:].decode()
        if place[1] and storable(place[1]):
            return place
    except ValueError:
        pass
    raise InvalidInput(f"cursor: {cursor[:80]!r} is not a cursor; send what next_cursor gave")


ROUTES = [
    start_evaluation,
    list_evaluations,
    get_evaluation,
    delete_evaluation,
    get_evaluation_picture,
    judge,
    list_judgements,
    delete_judgement,
]
