"""The one place where calls are repeated: gates, pauses, and an end to everything."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import Any

import pytest

from embedsvc.errors import (
    Conflict,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
)
from embedsvc.failures import of_status, retry_after
from embedsvc.services import retrying as module
from embedsvc.services.retrying import FAILURES, LONGEST_GATE, WRONG_ANSWERS, Retrying

Run = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)


class Work:
    """Fails as told, once for each, and then gives its result; remembers when it was called."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.times: list[float] = []

    async def __call__(self) -> str:
        self.times.append(time.monotonic())
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def forever(error: Exception) -> Callable[[], Awaitable[str]]:
    async def work() -> str:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [ProviderError("x"), ProviderTimeout("x"), ProviderBusy("x"), ProviderWrong("x")],
    ids=lambda e: type(e).__name__,
)
def test_what_may_pass_is_tried_again(run: Run, error: Exception) -> None:
    work = Work(error)
    assert run(Retrying().call("p", work)) == "done"
    assert len(work.times) == 2


@pytest.mark.parametrize(
    "error",
    [ProviderDenied("x"), ProviderRejected("x"), Conflict("x"), ValueError("x")],
    ids=lambda e: type(e).__name__,
)
def test_what_will_not_pass_fails_at_once(run: Run, error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        run(Retrying().call("p", work))
    assert len(work.times) == 1


@pytest.mark.parametrize(
    ("kind", "most"),
    [(ProviderError, FAILURES), (ProviderTimeout, FAILURES), (ProviderWrong, WRONG_ANSWERS)],
)
def test_failures_have_an_end_before_their_time(run: Run, kind: Any, most: int) -> None:
    work = Work(*(kind(f"number {n}") for n in range(1, 20)))
    with pytest.raises(kind, match=f"number {most}$"):
        run(Retrying(60, 180).call("p", work))
    assert len(work.times) == most


def test_being_busy_has_no_end_but_the_deadline(run: Run) -> None:
    work = Work(*(ProviderBusy("x", retry_after=0.01) for _ in range(3 * FAILURES)))
    assert run(Retrying().call("p", work)) == "done"
    assert len(work.times) == 3 * FAILURES + 1


def test_a_call_has_a_total_time(run: Run) -> None:
    started = time.monotonic()
    with pytest.raises(ProviderBusy):
        run(Retrying(60, 0.3).call("p", forever(ProviderBusy("x"))))
    assert time.monotonic() - started < 3


def test_an_attempt_has_a_time_and_the_next_may_be_better(run: Run) -> None:
    tries: list[int] = []

    async def work() -> str:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return "done"

    assert run(Retrying(0.1, 30).call("p", work)) == "done"
    assert len(tries) == 2


def test_an_answer_that_never_comes_is_a_timeout(run: Run) -> None:
    async def work() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(ProviderTimeout, match=r"p did not answer within 0\.05 seconds"):
        run(Retrying(0.05, 0.2).call("p", work))


def test_the_rest_of_the_time_does_not_hide_why_it_failed(run: Run) -> None:
    """The last try may have milliseconds only; that it timed out says nothing."""
    tries: list[int] = []

    async def work() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ProviderBusy("the quota is used up", retry_after=0.1)
        await asyncio.Event().wait()
        return ""

    with pytest.raises(ProviderBusy, match="quota"):
        run(Retrying(60, 0.3).call("p", work))
    assert len(tries) == 2


def test_a_closed_gate_holds_every_caller_of_the_provider_and_no_other(run: Run) -> None:
    retrying = Retrying()
    first, fellows, other = Work(ProviderBusy("x", retry_after=0.4)), [Work(), Work()], Work()

    async def work() -> None:
        busy = asyncio.create_task(retrying.call("p", first))
        await asyncio.sleep(0.05)
        assert len(first.times) == 1
        assert await retrying.call("q", other) == "done"
        assert not busy.done()
        await asyncio.gather(busy, *(retrying.call("p", fellow) for fellow in fellows))
        for fellow in fellows:
            assert fellow.times[0] >= first.times[0] + 0.4
        assert first.times[1] >= first.times[0] + 0.4

    run(work())


def test_callers_do_not_come_back_in_one_instant(run: Run) -> None:
    retrying = Retrying()

    async def work() -> None:
        callers = [Work(ProviderBusy("x", retry_after=0.5)), *(Work() for _ in range(20))]
        busy = asyncio.create_task(retrying.call("p", callers[0]))
        await asyncio.sleep(0.05)
        await asyncio.gather(busy, *(retrying.call("p", caller) for caller in callers[1:]))
        times = sorted(caller.times[-1] for caller in callers)
        assert times[-1] - times[0] > 0.005

    run(work())


def test_a_wait_beyond_the_deadline_fails_at_once_and_says_how_long(run: Run) -> None:
    retrying = Retrying(60, 5)
    first, later = Work(ProviderBusy("p answered 429", retry_after=90)), Work()

    async def work() -> None:
        started = time.monotonic()
        for one in (first, later):
            with pytest.raises(ProviderBusy, match=r"again in (90|8\d) s: p answered 429") as found:
                await retrying.call("p", one)
            assert 80 < found.value.retry_after <= 90
        assert time.monotonic() - started < 3
        assert (len(first.times), len(later.times)) == (1, 0)

    run(work())


def test_a_provider_that_asks_for_years_is_asked_again_in_an_hour(run: Run) -> None:
    with pytest.raises(ProviderBusy) as found:
        run(Retrying().call("p", Work(ProviderBusy("x", retry_after=1e9))))
    assert found.value.retry_after <= LONGEST_GATE


def test_a_shorter_wait_does_not_open_a_gate_that_is_closed_for_longer(run: Run) -> None:
    retrying = Retrying(60, 5)

    async def work() -> None:
        async def long() -> str:
            await asyncio.sleep(0.01)
            raise ProviderBusy("long", retry_after=90)

        async def short() -> str:
            await asyncio.sleep(0.03)
            raise ProviderBusy("short", retry_after=0.01)

        found = await asyncio.gather(
            retrying.call("p", long), retrying.call("p", short), return_exceptions=True
        )
        assert all(isinstance(f, ProviderBusy) and f.retry_after > 60 for f in found)

    run(work())


def test_pauses_grow_and_differ() -> None:
    failed = ProviderError("x")
    for failures in range(1, 6):
        pauses = {module._pause(failures, failed) for _ in range(50)}
        most = module.FIRST_PAUSE * 2**failures
        assert len(pauses) > 40
        assert most / 2 <= min(pauses) <= max(pauses) <= most
    assert module._pause(50, failed) <= module.LONGEST_PAUSE


@pytest.mark.parametrize("when", ["in the call", "at the gate", "in the pause"])
def test_who_is_cancelled_leaves_nothing_shut(
    run: Run, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    retrying = Retrying()

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    async def work() -> None:
        if when == "at the gate":
            monkeypatch.setattr(module, "FIRST_PAUSE", 0.2)
            task = asyncio.create_task(retrying.call("p", Work(ProviderBusy("x"))))
        elif when == "in the pause":
            monkeypatch.setattr(module, "FIRST_PAUSE", 60)
            task = asyncio.create_task(retrying.call("p", Work(ProviderError("x"))))
        else:
            task = asyncio.create_task(retrying.call("p", never))
        await asyncio.sleep(0.05)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            assert await retrying.call("p", Work()) == "done"

    run(work())


# -- what answers mean --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"Retry-After": formatdate(1_000_030, usegmt=True)}, 30),
        ({"Retry-After": formatdate(999_000, usegmt=True)}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_when_to_come_back_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000) == seconds


STATUSES: Sequence[tuple[int, type]] = [
    (400, ProviderRejected),
    (401, ProviderDenied),
    (403, ProviderDenied),
    (404, ProviderDenied),
    (408, ProviderTimeout),
    (413, ProviderRejected),
    (422, ProviderRejected),
    (429, ProviderBusy),
    (500, ProviderError),
    (502, ProviderError),
    (503, ProviderBusy),
    (504, ProviderTimeout),
    (529, ProviderBusy),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_means_one_kind_of_error(status: int, kind: type) -> None:
    error = of_status("p", status, "what it said", {"Retry-After": "3"})
    assert type(error) is kind
    assert error.detail == f"p answered {status}: what it said"
