"""Evaluations: configurations side by side, by queries whose answers are known.

    request ──▶ queued ──▶ running ──▶ done

An evaluation runs in the background of one process, which says every few seconds in the database
that it is still there. One that has gone silent is failed by whoever notices. What is measured, and
how, is no matter of this file: see search_evaluation and answer_evaluation.
"""

import asyncio
from collections.abc import Set
from dataclasses import dataclass, replace
from uuid import uuid4

import msgspec
import structlog

from embedsvc.core.preparing import check_text
from embedsvc.errors import Conflict, EmbedsvcError, NotFound
from embedsvc.services.answer_evaluation import AnswerEvaluation
from embedsvc.services.answer_measuring import AnswerResult
from embedsvc.services.answer_request import AnswerRequest, AnswerSummary
from embedsvc.services.copies import PREFIX, Copies, owners
from embedsvc.services.evaluation_plan import AnyResult, AnySummary, Plan, Subject
from embedsvc.services.evaluation_request import Request, Summary
from embedsvc.services.measuring import Result
from embedsvc.services.search_evaluation import SearchEvaluation
from embedsvc.store.evaluations import UNFINISHED, Evaluations, Record, State
from embedsvc.store.store import now

log = structlog.get_logger(__name__)

MOST_WAITING = 16

BEAT_SECONDS = 2.0
SILENT_SECONDS = 10.0
"""So long nothing is heard of an evaluation whose process has ended."""

RESTARTED = "the service was restarted"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation, with its result when it is done.

    `begun_at`: when its turn came, in microseconds; only the process that runs it knows.
    """

    record: Record
    summary: AnySummary
    result: AnyResult | None = None
    begun_at: int | None = None

    @property
    def eta_s(self) -> float | None:
        """Seconds that it may still take; None while that cannot be told."""
        one = self.record
        if one.state != "running" or not one.done or self.begun_at is None:
            return None
        return (one.updated_at - self.begun_at) / 1e6 * (one.total - one.done) / one.done


class _About(msgspec.Struct):
    """What the request of an evaluation says of itself; those of old say nothing."""

    subject: Subject = "search"


@dataclass(slots=True)
class _Job:
    """An evaluation of this process, under way."""

    id: str
    plan: Plan
    done: int = 0
    begun_at: int | None = None
    task: asyncio.Task[None] | None = None

    @property
    def total(self) -> int:
        """How much is to be done."""
        return self.plan.total

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.done += count


class Evaluate:
    """Runs evaluations, one at a time: they would disturb each other's latency."""

    def __init__(
        self,
        stored: Evaluations,
        copies: Copies,
        of_search: SearchEvaluation,
        of_answers: AnswerEvaluation,
        silent_seconds: float = SILENT_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._stored = stored
        self._copies = copies
        self._of_search = of_search
        self._of_answers = of_answers
        self._silent_seconds = silent_seconds
        self._beat_seconds = beat_seconds
        self._starting = 0  # those that are being checked and are no jobs yet
        self._jobs: dict[str, _Job] = {}
        self._turn = asyncio.Lock()

    async def start(self, request: Request | AnswerRequest) -> Evaluation:
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

    async def _start(self, request: Request | AnswerRequest) -> Evaluation:
        key = uuid4().hex
        if isinstance(request, AnswerRequest):
            plan = await self._of_answers.plan(key, request)
        else:
            plan = await self._of_search.plan(key, request)
        job = _Job(key, plan)
        record = Record(
            id=key,
            collection=plan.collection,
            state="queued",
            done=0,
            total=plan.total,
            request=_written(plan.summary),
            created_at=now(),
            updated_at=now(),
        )
        await self._stored.add(record)
        self._jobs[key] = job
        job.task = asyncio.create_task(self._run(job))
        job.task.add_done_callback(lambda _task: self._jobs.pop(key, None))
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

    # -- what happens -------------------------------------------------------------------------

    async def _run(self, job: _Job) -> None:
        """From queued to the end, whatever that is."""
        beating = asyncio.create_task(self._beat(job))
        try:
            async with self._turn:
                job.begun_at = now()
                await self._stored.beat(job.id, job.done, job.total)
                result = await job.plan.work(job.advance)
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
        return Evaluation(record, *_read(record), begun_at)

    def _abandoned(self, evaluation_id: str, updated_at: int) -> bool:
        return evaluation_id not in self._jobs and updated_at <= self._silence()

    def _silence(self) -> int:
        return now() - int(self._silent_seconds * 1e6)


def _read(record: Record) -> tuple[AnySummary, AnyResult | None]:
    """The request and the result of a record, of whichever kind they are."""
    about = msgspec.json.decode(record.request, type=_About)
    kinds: tuple[type[AnySummary], type[AnyResult]] = (
        (AnswerSummary, AnswerResult) if about.subject == "answers" else (Summary, Result)
    )
    summary = msgspec.json.decode(record.request, type=kinds[0])
    if record.result is None:
        return summary, None
    return summary, msgspec.json.decode(record.result, type=kinds[1])


def _written(value: AnySummary | AnyResult) -> str:
    return msgspec.json.encode(value).decode()
