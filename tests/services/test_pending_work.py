"""What is stored now and embedded later: done once, after any restart, or failed for a reason."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from embedsvc.core.preparing import Draft
from embedsvc.errors import ProviderBusy, ProviderRejected
from embedsvc.services import ingest as module
from embedsvc.services.search import Query
from embedsvc.store import tables as t

Run = Callable[[Any], Any]


async def as_if_time_had_passed(service: Any) -> None:
    await service.database.write(lambda tx: tx.execute(update(t.pending).values(claimed_until=0)))


async def status(service: Any, document_id: str = "a") -> tuple[str, str | None]:
    document, _ = await service.store.document("c", document_id, text=False, chunks=False)
    return document.status, document.error


async def indexed(service: Any, document_id: str) -> None:
    for _ in range(500):
        if await status(service, document_id) == ("indexed", None):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{document_id} was not indexed within ten seconds")


@pytest.mark.parametrize("wait", ["none", "stored"])
def test_a_stored_document_is_embedded_by_the_worker(
    run: Run, opened: Any, scripted: Any, wait: Any, either_settings: Any
) -> None:
    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend, of=either_settings) as service:
            added = await service.ingest.add("c", [Draft("a", text="one")], wait)
            assert [o.status for o in added.documents] == ["pending"]
            assert backend.made == []
            assert (await service.search.search("c", [Query(vector=[1.0] * 64)])).hits == [[]]
            assert await service.ingest.work_once() == 1
            assert await status(service) == ("indexed", None)
            assert len((await service.search.search("c", [Query("one")])).hits[0]) == 1
            assert await service.ingest.work_once() == 0
            assert (await service.verify.verify("c")).ok

    run(work())


def test_what_waits_survives_a_restart(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.ingest.add(
                "c", [Draft(f"d{n}", text=f"text {n}") for n in range(9)], "none"
            )
        async with opened(backend=scripted()) as service:
            assert await service.ingest.work_once() == 9
            described = await service.collections.describe("c")
            assert (described.documents, described.chunks) == (9, 9)

    run(work())


def test_a_restart_in_the_middle_embeds_nothing_twice(
    run: Run, opened: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_SECONDS", -1.0)
    first, second = scripted(), scripted()
    drafts = [Draft(f"d{n}", text=f"text {n}") for n in range(70)]

    async def work() -> None:
        async with opened(backend=first) as service:
            await service.ingest.add("c", drafts, "none")
            await service.ingest.work_once()
            assert len(first.embedded) == module.CLAIM
            await service.ingest.add("c", [Draft("d0", text="text 0")], "none")
        async with opened(backend=second) as service:
            while await service.ingest.work_once():
                pass
            assert len(first.embedded) + len(second.embedded) == 70
            assert (await service.collections.describe("c")).documents == 70

    run(work())


def test_the_worker_runs_by_itself_in_a_service(run: Run, opened: Any, settings: Any) -> None:
    from embedsvc.app import build_service

    async def work() -> None:
        service = build_service(settings)
        async with service.running(warm=False):
            await service.ingest.add("c", [Draft("a", text="one")], "none")
            await indexed(service, "a")

    run(work())


def test_a_passing_failure_is_tried_again(
    run: Run, opened: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(_texts: Sequence[str]) -> None:
        raise ProviderBusy("later")

    backend = scripted(trouble=trouble)

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="one")], "none")
            assert await service.ingest.work_once() == 1
            assert await status(service) == ("pending", None)
            assert await service.ingest.work_once() == 0
            await as_if_time_had_passed(service)
            backend.trouble = lambda _texts: None
            assert await service.ingest.work_once() == 1
            assert await status(service) == ("indexed", None)

    run(work())


def test_a_failure_for_good_is_recorded_with_its_reason(
    run: Run, opened: Any, scripted: Any
) -> None:
    def trouble(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise ProviderRejected("the text is refused")

    backend = scripted(trouble=trouble)

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="poison")], "none")
            await service.ingest.work_once()
            assert await status(service) == ("failed", "the text is refused")
            assert await service.ingest.work_once() == 0
            assert (await service.ingest.diff("c", {"a": "0" * 64}))["failed"] == ["a"]
            await service.ingest.add("c", [Draft("a", text="fine")])
            assert await status(service) == ("indexed", None)

    run(work())


def test_a_failure_that_never_passes_ends_some_day(run: Run, opened: Any, scripted: Any) -> None:
    def trouble(_texts: Sequence[str]) -> None:
        raise ProviderBusy("later")

    async def work() -> None:
        async with opened(backend=scripted(trouble=trouble)) as service:
            await service.ingest.add("c", [Draft("a", text="one")], "none")
            tries = 0
            while (await status(service))[0] == "pending":
                assert await service.ingest.work_once() == 1
                await as_if_time_had_passed(service)
                tries += 1
                assert tries <= module.ATTEMPTS
            assert await status(service) == ("failed", "later")
            assert tries == module.ATTEMPTS

    run(work())


def test_an_unexpected_error_does_not_end_the_worker(run: Run, opened: Any, scripted: Any) -> None:
    """Else everything that waits would wait until the next restart."""

    def trouble(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise RuntimeError("a bug in a driver")

    async def work() -> None:
        async with opened(backend=scripted(trouble=trouble)) as service:
            await service.ingest.add("c", [Draft("a", text="poison")], "none")
            working = asyncio.create_task(service.ingest.work())
            await asyncio.sleep(0.3)
            assert not working.done()
            await service.ingest.add("c", [Draft("b", text="fine")], "none")
            await indexed(service, "b")
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    run(work())


def test_a_newer_text_wins_over_one_that_waits(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="old")], "none")
            await service.ingest.add("c", [Draft("a", text="new")])
            assert await service.ingest.work_once() == 0
            document, _ = await service.store.document("c", "a", text=True, chunks=False)
            assert document.text == "new"

    run(work())


def test_what_waits_in_a_collection_that_is_deleted_is_dropped(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="old")], "none")
            await service.collections.delete("c")
            await service.ingest.add("c", [Draft("b", text="new")])
            assert await service.ingest.work_once() == 0
            assert (await service.collections.describe("c")).documents == 1

    run(work())


def test_two_workers_share_the_work(run: Run, opened: Any, scripted: Any) -> None:
    one, two = scripted(), scripted()
    drafts = [Draft(f"d{n}", text=f"text {n}") for n in range(3 * module.CLAIM)]

    async def work() -> None:
        async with opened(backend=one) as first, opened(backend=two) as second:
            await first.ingest.add("c", drafts, "none")

            async def drain(service: Any) -> None:
                while await service.ingest.work_once():
                    pass

            await asyncio.gather(drain(first), drain(second))
            assert sorted(one.embedded + two.embedded) == sorted(d.text for d in drafts)
            assert (await first.verify.verify("c")).ok
            assert (await second.verify.verify("c")).ok

    run(work())
