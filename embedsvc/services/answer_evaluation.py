"""Models and other ways to answer side by side, by questions whose answers are known.

    queries, answers ──▶ copies ──▶ each question to every configuration ──▶ metrics

Models on this machine are asked one question at a time, remote ones a few at once. A question at
which a model fails is counted apart, but an evaluation of which a tenth fails tells little: it
fails too, and so it does when a configuration cannot answer its first question.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from embedsvc.core.answer_metrics import Gold, answer_metrics
from embedsvc.core.fields import check_filter
from embedsvc.core.model import Collection
from embedsvc.errors import ConfigError, EmbedsvcError, InvalidInput, ProviderError
from embedsvc.services.answer_measuring import (
    Answering,
    AnswerResult,
    Got,
    got,
    measure_answers,
)
from embedsvc.services.answer_request import (
    AnswerConfig,
    AnswerRequest,
    AnswerSummary,
    check_count,
    golds_of,
    told_of_answers,
)
from embedsvc.services.ask import MOST_QUESTION, Ask
from embedsvc.services.collections import Collections
from embedsvc.services.copies import Copies, Targets
from embedsvc.services.evaluation_plan import Advance, Plan
from embedsvc.services.evaluation_request import check_seed, named, texts_of
from embedsvc.services.llms import Chain
from embedsvc.services.retrying import all_or_none
from embedsvc.store.store import Store

AT_ONCE = 4
"""Questions that remote models are asked at the same time."""

MOST_FAILED = 0.1
"""The share of a configuration's questions that may fail."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A configuration under way, with what it has answered by query id."""

    config: AnswerConfig
    chain: Chain
    answers: dict[str, Got] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        """Whether its models are elsewhere, so that several questions do not disturb each other."""
        models = self.chain.models
        return bool(models) and all(model.remote for model in models)

    @property
    def failed(self) -> int:
        """How many questions have failed."""
        return sum(found.given is None for found in self.answers.values())


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be measured, checked."""

    targets: Targets
    texts: Mapping[str, str]
    golds: Mapping[str, Gold]
    ways: Sequence[_Way]
    metrics: Sequence[str]
    seed: int
    warnings: Sequence[str]

    @property
    def summary(self) -> AnswerSummary:
        """What is kept of the request."""
        return AnswerSummary(
            configs=[way.config for way in self.ways],
            metrics=self.metrics,
            seed=self.seed,
            queries=len(self.golds),
            answerable=sum(gold.answerable for gold in self.golds.values()),
        )


class AnswerEvaluation:
    """Evaluates ways to answer."""

    def __init__(self, store: Store, collections: Collections, ask: Ask, copies: Copies) -> None:
        self._store = store
        self._collections = collections
        self._ask = ask
        self._copies = copies

    async def plan(self, evaluation_id: str, request: AnswerRequest) -> Plan:
        """Check the request.

        Raises InvalidInput, TooLarge, NotFound, and what building a model raises.
        """
        job = await self._job(evaluation_id, request)

        async def work(advance: Advance) -> AnswerResult:
            return await self._result(job, advance)

        total = len(job.golds) * len(job.ways) + job.targets.steps
        return Plan(job.targets.collection.name, job.summary, total, work)

    # -- what is asked for --------------------------------------------------------------------

    async def _job(self, evaluation_id: str, request: AnswerRequest) -> _Job:
        collection = await self._collections.get(request.collection)
        check_seed(request.seed)
        texts = _texts(request)
        golds = golds_of(texts, request.answers)
        metrics = answer_metrics(request.metrics, list(golds.values()))
        ways = await self._ways(collection, request.configs or [AnswerConfig()])
        check_count(len(golds), len(ways))
        others = [way.config.other for way in ways]
        return _Job(
            targets=await self._copies.plan(collection, evaluation_id, others),
            texts={query: texts[query] for query in golds},
            golds=golds,
            ways=ways,
            metrics=metrics,
            seed=request.seed,
            warnings=told_of_answers(len(texts), len(golds)),
        )

    async def _ways(self, collection: Collection, configs: Sequence[AnswerConfig]) -> list[_Way]:
        """The configurations with their names, each fit to be asked."""
        named(configs)  # too many, or a bad name, before models are built
        chains = [
            await self._checked(collection, config, number) for number, config in enumerate(configs)
        ]
        plain = [
            config if config.model else config.using(chain.spec)
            for config, chain in zip(configs, chains, strict=True)
        ]
        return [_Way(config, chain) for config, chain in zip(named(plain), chains, strict=True)]

    async def _checked(self, collection: Collection, config: AnswerConfig, number: int) -> Chain:
        """Who is to answer; refuses now what every question would meet later."""
        try:
            question = config.question("x")
            if question.where is not None:
                check_filter(question.where, collection.fields)
            return await self._ask.chain(question)
        except InvalidInput as error:
            raise InvalidInput(f"configs[{number}].{error.detail}", code=error.code) from error

    # -- what happens -------------------------------------------------------------------------

    async def _result(self, job: _Job, advance: Advance) -> AnswerResult:
        async with self._copies.made(job.targets, advance):
            await self._answer(job, advance)
            ran = [await self._answering(job, way) for way in job.ways]
        told = [*await self._missing(job), *job.warnings, *_told_of_failures(job.ways)]
        return await asyncio.to_thread(measure_answers, ran, job.golds, job.metrics, job.seed, told)

    async def _answer(self, job: _Job, advance: Advance) -> None:
        """Ask everything; in turns, so that a slow moment is slow for all."""
        here = [way for way in job.ways if not way.remote]
        away = [way for way in job.ways if way.remote]
        first = next(iter(job.texts))
        for way in here:  # what the first question loads is no part of its latency
            await self._one(job, way, first)
            way.answers.clear()
        for ways, at_once in ((here, 1), (away, AT_ONCE)):
            for way in ways:  # the first shows whether it can answer at all
                await self._one(job, way, first)
                advance(1)
            rest = ((way, query) for query in list(job.texts)[1:] for way in ways)
            await all_or_none(self._some(job, rest, advance) for _ in range(at_once))

    async def _some(self, job: _Job, left: Iterator[tuple[_Way, str]], advance: Advance) -> None:
        """Ask what is left, one after the other, until nothing is; several may do that at once."""
        for way, query in left:
            await self._one(job, way, query)
            advance(1)

    async def _one(self, job: _Job, way: _Way, query: str) -> None:
        """Ask one question. Raises ProviderError when too many of its configuration have failed."""
        name = job.targets.of(way.config.other)
        try:
            answer = await self._ask.ask(name, way.config.question(job.texts[query]))
        except (ProviderError, InvalidInput, ConfigError) as error:
            way.answers[query] = Got(error=error.detail)
            _give_up(job, way, query, error)
        else:
            way.answers[query] = got(answer)

    async def _answering(self, job: _Job, way: _Way) -> Answering:
        kind = await self._collections.get(job.targets.of(way.config.other))
        return Answering(way.config.name, way.answers, kind.embedding, kind.chunks)

    async def _missing(self, job: _Job) -> list[str]:
        golds = {document for gold in job.golds.values() for document in gold.document_ids}
        known = await self._store.known(job.targets.collection.id, sorted(golds))
        count = len(golds) - len(known)
        are = "document is" if count == 1 else "documents are"
        return [f"{count} gold {are} not in the collection"] if count else []


def _texts(request: AnswerRequest) -> dict[str, str]:
    texts = texts_of(request.queries)
    for number, query in enumerate(request.queries):
        if (size := len(texts[query.id])) > MOST_QUESTION:
            raise InvalidInput(
                f"queries[{number}].text: {size} characters; at most {MOST_QUESTION}"
            )
    return texts


def _give_up(job: _Job, way: _Way, query: str, error: EmbedsvcError) -> None:
    """Raise when the rest of the configuration is not worth asking."""
    if len(way.answers) > 1 and way.failed <= MOST_FAILED * len(job.golds):
        return
    told = f"the first question, {query[:80]!r}, failed"
    if len(way.answers) > 1:
        told = f"{way.failed} questions failed, the last one {query[:80]!r}"
    raise ProviderError(f"{way.config.name}: {told}: {error.detail}") from error


def _told_of_failures(ways: Sequence[_Way]) -> list[str]:
    return [
        f"{way.config.name}: {way.failed} of {len(way.answers)} questions failed and are in no "
        "metric"
        for way in ways
        if way.failed
    ]
