"""Evaluations: configurations of search side by side, by queries whose answers are known.

    request ──▶ queued ──▶ running: copies ──▶ searches, each query in every configuration ──▶ done

An evaluation runs in the background of one process, which says every few seconds in the database
that it is still there. One that has gone silent is failed by whoever notices.
"""

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from uuid import uuid4

import msgspec
import structlog

from embedsvc.core.fields import check_filter
from embedsvc.core.metrics import Metric, parse_metrics
from embedsvc.core.model import Collection
from embedsvc.core.preparing import check_text
from embedsvc.errors import Conflict, EmbedsvcError, InvalidInput, NotFound, ProviderError
from embedsvc.services.collections import Collections
from embedsvc.services.copies import PREFIX, Copies, Otherwise, name_of, owners
from embedsvc.services.embedding import Embedders
from embedsvc.services.evaluation_request import (
    DEFAULT_CONFIGS,
    Asked,
    Config,
    Qrel,
    Request,
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
from embedsvc.store.evaluations import UNFINISHED, Evaluations, Record, State
from embedsvc.store.store import Store, now

log = structlog.get_logger(__name__)

MOST_WAITING = 16
MOST_SEED = 2**63 - 1

BEAT_SECONDS = 2.0
SILENT_SECONDS = 10.0
"""So long nothing is heard of an evaluation whose process has ended."""

RERANK_TRIES = 3
"""How often a query is tried whose reranker fails."""

RESTARTED = "the service was restarted"


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a request: all but its queries and judgements, which are counted."""

    configs: Sequence[Config]
    metrics: Sequence[str]
    limit: int
    seed: int
    queries: int
    qrels: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation, with its result when it is done.

    `begun_at`: when its turn came, in microseconds; only the process that runs it knows.
    """

    record: Record
    summary: Summary
    result: Result | None = None
    begun_at: int | None = None

    @property
    def eta_s(self) -> float | None:
        """Seconds that it may still take; None while that cannot be told."""
        one = self.record
        if one.state != "running" or not one.done or self.begun_at is None:
            return None
        return (one.updated_at - self.begun_at) / 1e6 * (one.total - one.done) / one.done


@dataclass(slots=True)
class _Job:
    """An evaluation of this process, checked and under way."""

    id: str
    collection: Collection
    texts: Mapping[str, str]
    qrels: Qrels
    configs: Sequence[Config]
    metrics: Sequence[Metric]
    limit: int
    seed: int
    warnings: list[str]
    total: int
    done: int = 0
    begun_at: int | None = None
    copies: dict[Otherwise, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.done += count

    def target(self, config: Config) -> str:
        """The collection that the configuration searches."""
        return self.copies.get(config.other, self.collection.name)


class Evaluate:
    """Runs evaluations, one at a time: they would disturb each other's latency."""

    def __init__(
        self,
        stored: Evaluations,
        store: Store,
        collections: Collections,
        embedders: Embedders,
        search: Search,
        copies: Copies,
        judging: Judging,
        rerank: Rerank,
        silent_seconds: float = SILENT_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._stored = stored
        self._store = store
        self._collections = collections
        self._embedders = embedders
        self._search = search
        self._copies = copies
        self._judging = judging
        self._rerank = rerank
        self._silent_seconds = silent_seconds
        self._beat_seconds = beat_seconds
        self._starting = 0  # those that are being checked and are no jobs yet
        self._jobs: dict[str, _Job] = {}
        self._turn = asyncio.Lock()

    async def start(self, request: Request) -> Evaluation:
        """Check the request and begin in the background.

        Raises InvalidInput, TooLarge, NotFound, MissingDependency, UnknownProvider, and Conflict
        when too many evaluations wait.
        """
        count = len(self._jobs) + self._starting
        if count >= MOST_WAITING:
            raise Conflict(
                f"{count} evaluations are under way; wait for one, or cancel one",
                code="too_many_evaluations",
            )
        self._starting += 1
        try:
            return await self._start(request)
        finally:
            self._starting -= 1

    async def _start(self, request: Request) -> Evaluation:
        await asyncio.to_thread(library)
        job = await self._job(request)
        record = Record(
            id=job.id,
            collection=job.collection.name,
            state="queued",
            done=0,
            total=job.total,
            request=_summary(job),
            created_at=now(),
            updated_at=now(),
        )
        await self._stored.add(record)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job))
        job.task.add_done_callback(lambda _task: self._jobs.pop(job.id, None))
        return self._told(record)

    async def get(self, evaluation_id: str) -> Evaluation:
        """One evaluation, with its result when it is done. Raises NotFound."""
        record = await self._record(evaluation_id)
        if record.state in UNFINISHED and self._abandoned(record.id, record.updated_at):
            await self._stored.finish(record.id, "failed", error=RESTARTED)
            record = await self._record(evaluation_id)
        return await asyncio.to_thread(self._told, record)  # a result may be large

    async def page(
        self, before: tuple[int, str] | None, limit: int
    ) -> tuple[list[Evaluation], tuple[int, str] | None]:
        """A page without results, the newest first, and where the next page begins."""
        found = await self._stored.page(before, limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        more = None if last is None else (last.created_at, last.id)
        return [self._told(record) for record in found[:limit]], more

    async def remove(self, evaluation_id: str) -> None:
        """Cancel an unfinished evaluation, or forget a finished one. Raises NotFound."""
        await self._record(evaluation_id)
        if await self._stored.finish(evaluation_id, "cancelled"):
            await self._end(evaluation_id)  # in another process it ends with its next beat
        else:
            # whether a copy may be swept away is asked of its evaluation, which goes last
            await self._drop_copies({evaluation_id})
            await self._stored.delete(evaluation_id)

    async def watch(self) -> None:
        """Fail what was abandoned and sweep away what it left, until cancelled."""
        while True:
            try:
                await self.tidy()
            except EmbedsvcError as error:
                log.warning("evaluations_not_tidied", error=error.detail)
            except Exception as error:  # whatever the database said, there is a next time
                log.error("evaluations_not_tidied", exc_info=error)
            await asyncio.sleep(self._silent_seconds / 2)

    async def tidy(self) -> None:
        """Fail what was abandoned, and sweep away copies whose evaluation has ended."""
        for found in await self._stored.silent(self._silence()):
            if found not in self._jobs:
                await self._stored.finish(found, "failed", error=RESTARTED)
        left = set(owners(await self._stored.collections(PREFIX)).values())
        if left:
            await self._drop_copies(await self._stored.finished(list(left)) - self._jobs.keys())

    async def aclose(self) -> None:
        """Stop what runs: it has failed, because the service was restarted."""
        for evaluation_id in list(self._jobs):
            await self._end(evaluation_id)
            await self._stored.finish(evaluation_id, "failed", error=RESTARTED)

    # -- what is asked for --------------------------------------------------------------------

    async def _job(self, request: Request) -> _Job:
        collection = await self._collections.get(request.collection)
        if not 1 <= request.limit <= MOST_RESULTS:
            raise InvalidInput(f"limit: {request.limit}; use 1 to {MOST_RESULTS}")
        if not 0 <= request.seed <= MOST_SEED:
            raise InvalidInput(f"seed: {request.seed}; use 0 to {MOST_SEED}")
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
        job = _Job(
            id=uuid4().hex,
            collection=collection,
            texts={query: texts[query] for query in judged},
            qrels=judged,
            configs=configs,
            metrics=metrics,
            limit=request.limit,
            seed=request.seed,
            warnings=told_of(len(texts), judged),
            total=len(judged) * len(configs),
        )
        await self._plan_copies(job)
        return job

    async def _plan_copies(self, job: _Job) -> None:
        """Which configurations need a copy, and how many documents that makes to be done."""
        for config in job.configs:
            if config.other in job.copies or await self._is_same(job.collection, config):
                continue
            job.copies[config.other] = name_of(job.id, len(job.copies) + 1)
        if job.copies:
            documents, _ = await self._store.counts(job.collection.id)
            job.total += documents * len(job.copies)

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

    async def _is_same(self, collection: Collection, config: Config) -> bool:
        """Whether the configuration searches the collection as it is."""
        if config.chunking not in (None, collection.chunking):
            return False
        if config.embedding is None and config.dimensions in (None, collection.dimensions):
            return True
        spec = config.embedding or collection.embedding
        backend = await self._embedders.backend(spec, config.dimensions)
        return await self._embedders.same_space(collection, backend)

    async def _judged(self, name: str) -> tuple[list[Asked], list[Qrel]]:
        """The stored judgements; a query's id is its text."""
        qrels = [
            Qrel(one.query, one.document_id, one.relevance) async for one in self._judging.all(name)
        ]
        if not qrels:
            raise InvalidInput(f"judgements: none are stored for the collection {name!r}")
        return [Asked(text, text) for text in dict.fromkeys(q.query_id for q in qrels)], qrels

    # -- what happens -------------------------------------------------------------------------

    async def _run(self, job: _Job) -> None:
        """From queued to the end, whatever that is."""
        beating = asyncio.create_task(self._beat(job))
        try:
            async with self._turn:
                job.begun_at = now()
                await self._stored.beat(job.id, job.done, job.total)
                result = await self._result(job)
            await self._stored.beat(job.id, job.total, job.total)
            await self._stored.finish(job.id, "done", await asyncio.to_thread(_written, result))
        except asyncio.CancelledError:  # nothing changes where it was cancelled by request
            await self._stored.finish(job.id, "failed", error=RESTARTED)
            raise
        except EmbedsvcError as error:
            await self._stored.finish(job.id, "failed", error=error.detail)
        except Exception as error:
            log.error("evaluation_failed", evaluation=job.id, exc_info=error)
            told = "an unexpected error; the log has it"
            await self._stored.finish(job.id, "failed", error=told)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, job: _Job) -> None:
        """Say that the job is alive, and stop it when it was ended by others."""
        while True:
            await asyncio.sleep(self._beat_seconds)
            try:
                state: State = "queued" if job.begun_at is None else "running"
                alive = await self._stored.beat(job.id, job.done, job.total, state)
            except EmbedsvcError as error:
                log.warning("evaluation_not_noted", evaluation=job.id, error=error.detail)
                continue
            if not alive and job.task is not None:
                job.task.cancel()
                return

    async def _result(self, job: _Job) -> Result:
        try:
            for other, name in job.copies.items():
                await self._copies.make(job.collection, name, other, job.advance)
            ran = await self._ran(job)
        finally:
            await self._copies.drop(list(job.copies.values()))
        warnings = [*await self._missing(job), *job.warnings]
        return await asyncio.to_thread(measure, ran, job.qrels, job.metrics, job.seed, warnings)

    async def _ran(self, job: _Job) -> list[Ran]:
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
                job.advance(1)
        kinds = [await self._collections.get(job.target(config)) for config in job.configs]
        return [
            Ran(config.name, run, ms, kind.embedding, kind.chunks, sorted(reasons))
            for config, run, ms, kind, reasons in zip(
                job.configs, runs, took, kinds, degraded, strict=True
            )
        ]

    async def _found(self, job: _Job, config: Config, text: str) -> Found:
        """The results of one query. Raises ProviderError when its reranker goes on failing."""
        for _ in range(RERANK_TRIES):
            found = await self._search.search(job.target(config), [config.query(text, job.limit)])
            if not (failed := found.traces[0].degraded):
                return found
        raise ProviderError(f"{config.name}: {failed[0]}")  # other results would be measured

    async def _missing(self, job: _Job) -> list[str]:
        judged = {document for documents in job.qrels.values() for document in documents}
        known = await self._store.known(job.collection.id, sorted(judged))
        count = len(judged) - len(known)
        are = "document is" if count == 1 else "documents are"
        return [f"{count} judged {are} not in the collection"] if count else []

    # -- how it ends --------------------------------------------------------------------------

    async def _end(self, evaluation_id: str) -> None:
        job = self._jobs.get(evaluation_id)
        if job is not None and job.task is not None:
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)

    async def _record(self, evaluation_id: str) -> Record:
        check_text("id", evaluation_id)
        record = await self._stored.get(evaluation_id)
        if record is None:
            raise NotFound(f"no evaluation {evaluation_id[:80]!r}", code="evaluation_not_found")
        return record

    async def _drop_copies(self, evaluation_ids: Set[str]) -> None:
        there = owners(await self._stored.collections(PREFIX))
        await self._copies.drop([name for name, owner in there.items() if owner in evaluation_ids])

    def _told(self, record: Record) -> Evaluation:
        """As stored, and for what runs here what came after the last beat."""
        job = self._jobs.get(record.id)
        begun_at = None if job is None else job.begun_at
        if job is not None and record.state == "running":
            record = replace(record, done=job.done, updated_at=now())
        result = None if record.result is None else msgspec.json.decode(record.result, type=Result)
        summary = msgspec.json.decode(record.request, type=Summary)
        return Evaluation(record, summary, result, begun_at)

    def _abandoned(self, evaluation_id: str, updated_at: int) -> bool:
        return evaluation_id not in self._jobs and updated_at <= self._silence()

    def _silence(self) -> int:
        return now() - int(self._silent_seconds * 1e6)


def _summary(job: _Job) -> str:
    kept = Summary(
        configs=job.configs,
        metrics=list(map(str, job.metrics)),
        limit=job.limit,
        seed=job.seed,
        queries=len(job.qrels),
        qrels=sum(map(len, job.qrels.values())),
    )
    return msgspec.json.encode(kept).decode()


def _written(result: Result) -> str:
    return msgspec.json.encode(result).decode()
