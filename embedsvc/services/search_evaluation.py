"""Configurations of search side by side, by queries whose documents are known.

queries, judgements ──▶ copies ──▶ each query in every configuration ──▶ metrics
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedsvc.core.fields import check_filter
from embedsvc.core.metrics import Metric, parse_metrics
from embedsvc.core.model import Collection
from embedsvc.errors import InvalidInput, ProviderError
from embedsvc.services.collections import Collections
from embedsvc.services.copies import Copies, Targets
from embedsvc.services.evaluation_plan import Advance, Plan
from embedsvc.services.evaluation_request import (
    DEFAULT_CONFIGS,
    Asked,
    Config,
    Qrel,
    Request,
    Summary,
    check_seed,
    check_size,
    named,
    relevances,
    texts_of,
    told_of,
)
from embedsvc.services.judging import Judging
from embedsvc.services.measuring import Qrels, Ran, Result, library, measure
from embedsvc.services.rerank import Rerank
from embedsvc.services.search import DEFAULT_RERANKER, MOST_RESULTS, Found, Search, check_query
from embedsvc.store.store import Store

RERANK_TRIES = 3
"""How often a query is tried whose reranker fails."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be measured, checked."""

    targets: Targets
    texts: Mapping[str, str]
    qrels: Qrels
    configs: Sequence[Config]
    metrics: Sequence[Metric]
    limit: int
    seed: int
    warnings: Sequence[str]

    @property
    def summary(self) -> Summary:
        """What is kept of the request."""
        return Summary(
            configs=self.configs,
            metrics=list(map(str, self.metrics)),
            limit=self.limit,
            seed=self.seed,
            queries=len(self.qrels),
            qrels=sum(map(len, self.qrels.values())),
        )


class SearchEvaluation:
    """Evaluates ways to search."""

    def __init__(
        self,
        store: Store,
        collections: Collections,
        search: Search,
        copies: Copies,
        judging: Judging,
        rerank: Rerank,
    ) -> None:
        self._store = store
        self._collections = collections
        self._search = search
        self._copies = copies
        self._judging = judging
        self._rerank = rerank

    async def plan(self, evaluation_id: str, request: Request) -> Plan:
        """Check the request.

        Raises InvalidInput, TooLarge, NotFound, MissingDependency, UnknownProvider.
        """
        await asyncio.to_thread(library)
        job = await self._job(evaluation_id, request)

        async def work(advance: Advance) -> Result:
            return await self._result(job, advance)

        total = len(job.qrels) * len(job.configs) + job.targets.steps
        return Plan(job.targets.collection.name, job.summary, total, work)

    # -- what is asked for --------------------------------------------------------------------

    async def _job(self, evaluation_id: str, request: Request) -> _Job:
        collection = await self._collections.get(request.collection)
        if not 1 <= request.limit <= MOST_RESULTS:
            raise InvalidInput(f"limit: {request.limit}; use 1 to {MOST_RESULTS}")
        check_seed(request.seed)
        metrics = parse_metrics(request.metrics, request.limit)
        configs = named(request.configs or DEFAULT_CONFIGS)
        queries, qrels = request.queries, request.qrels
        if qrels is None:
            queries, qrels = await self._judged(collection.name)
        texts = texts_of(queries)
        judged = relevances(texts, qrels)
        check_size(len(judged), len(configs), len(metrics))
        for config in configs:
            await self._check(collection, config, request.limit)
        others = [config.other for config in configs]
        return _Job(
            targets=await self._copies.plan(collection, evaluation_id, others),
            texts={query: texts[query] for query in judged},
            qrels=judged,
            configs=configs,
            metrics=metrics,
            limit=request.limit,
            seed=request.seed,
            warnings=told_of(len(texts), judged),
        )

    async def _check(self, collection: Collection, config: Config, limit: int) -> None:
        """Refuse now what every search would refuse later."""
        try:
            query = config.query("x", limit)
            check_query(query)
            if query.where is not None:
                check_filter(query.where, collection.fields)
        except InvalidInput as error:
            told = f"the configuration {config.name[:80]!r}: {error.detail}"
            raise InvalidInput(told, code=error.code) from error
        if config.rerank is not None:
            await self._rerank.check(None if config.rerank == DEFAULT_RERANKER else config.rerank)

    async def _judged(self, name: str) -> tuple[list[Asked], list[Qrel]]:
        """The stored judgements; a query's id is its text."""
        qrels = [
            Qrel(one.query, one.document_id, one.relevance) async for one in self._judging.all(name)
        ]
        if not qrels:
            raise InvalidInput(f"judgements: none are stored for the collection {name!r}")
        return [Asked(text, text) for text in dict.fromkeys(q.query_id for q in qrels)], qrels

    # -- what happens -------------------------------------------------------------------------

    async def _result(self, job: _Job, advance: Advance) -> Result:
        async with self._copies.made(job.targets, advance):
            ran = await self._ran(job, advance)
        warnings = [*await self._missing(job), *job.warnings]
        return await asyncio.to_thread(measure, ran, job.qrels, job.metrics, job.seed, warnings)

    async def _ran(self, job: _Job, advance: Advance) -> list[Ran]:
        """What each configuration finds; in turns, so that a slow moment is slow for all."""
        runs: list[dict[str, list[str]]] = [{} for _ in job.configs]
        took: list[list[float]] = [[] for _ in job.configs]
        degraded: list[set[str]] = [set() for _ in job.configs]
        first = next(iter(job.texts.values()))
        for config in job.configs:  # what the first search loads is no part of its latency
            await self._found(job, config, first)
        for query, text in job.texts.items():
            for number, config in enumerate(job.configs):
                found = await self._found(job, config, text)
                took[number].append(found.took_ms)
                documents = (hit.chunk.document_id for hit in found.hits[0])
                runs[number][query] = list(dict.fromkeys(documents))
                degraded[number].update(found.degraded)
                advance(1)
        names = [job.targets.of(config.other) for config in job.configs]
        kinds = [await self._collections.get(name) for name in names]
        return [
            Ran(config.name, run, ms, kind.embedding, kind.chunks, sorted(reasons))
            for config, run, ms, kind, reasons in zip(
                job.configs, runs, took, kinds, degraded, strict=True
            )
        ]

    async def _found(self, job: _Job, config: Config, text: str) -> Found:
        """The results of one query. Raises ProviderError when its reranker goes on failing."""
        name = job.targets.of(config.other)
        for _ in range(RERANK_TRIES):
            found = await self._search.search(name, [config.query(text, job.limit)])
            if not (failed := found.traces[0].degraded):
                return found
        raise ProviderError(f"{config.name}: {failed[0]}")  # other results would be measured

    async def _missing(self, job: _Job) -> list[str]:
        judged = {document for documents in job.qrels.values() for document in documents}
        known = await self._store.known(job.targets.collection.id, sorted(judged))
        count = len(judged) - len(known)
        are = "document is" if count == 1 else "documents are"
        return [f"{count} judged {are} not in the collection"] if count else []
