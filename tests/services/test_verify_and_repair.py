"""Verify: every kind of difference between index and SQL is seen, and repair mends it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from embedsvc.core.model import Change
from embedsvc.core.preparing import Draft
from embedsvc.services.search import Query
from embedsvc.store import tables as t

Run = Callable[[Any], Any]


@pytest.fixture(params=["faiss", "exact"])
def there(request: pytest.FixtureRequest, settings: Any) -> Any:
    return replace(settings, index=request.param)


async def filled(service: Any) -> list[int]:
    await service.ingest.add("c", [Draft(f"d{n}", text=f"text {n}") for n in range(12)])
    collection = await service.collections.get("c")
    await service.replicas.fresh(collection)
    found: list[int] = (await service.store.chunk_ids(collection.id, 0, 99)).tolist()
    return found


def test_an_index_that_is_the_truth_has_no_fault(run: Run, opened: Any, there: Any) -> None:
    async def work() -> None:
        async with opened(of=there) as service:
            await filled(service)
            report = await service.verify.verify("c")
            assert report.ok
            assert (report.chunks, report.version, report.index_version) == (12, 1, 1)

    run(work())


def test_an_empty_collection_has_no_fault(run: Run, opened: Any, there: Any) -> None:
    async def work() -> None:
        async with opened(of=there) as service:
            await service.collections.put("c")
            assert (await service.verify.verify("c")).ok
            assert (await service.verify.repair("c")).ok

    run(work())


async def forget(service: Any, ids: list[int]) -> None:
    index = service.replicas.of(await service.collections.get("c"))
    empty = np.empty((0, 256), np.float32)
    version = await index.version()
    await index.apply(Change(version, np.empty(0, np.int64), empty, np.array(ids)))


async def invent(service: Any, ids: list[int]) -> None:
    index = service.replicas.of(await service.collections.get("c"))
    rows = np.eye(256, dtype=np.float32)[: len(ids)]
    version = await index.version()
    await index.apply(Change(version, np.array(ids), rows, np.empty(0, np.int64)))


async def sql(service: Any, statement: Any) -> None:
    await service.database.write(lambda tx: tx.execute(statement))


@pytest.mark.parametrize("fault", ["missing", "orphaned", "orphaned-in-sql", "mismatched", "all"])
def test_a_fault_is_seen_named_and_mended(run: Run, opened: Any, there: Any, fault: str) -> None:
    async def work() -> None:
        async with opened(of=there) as service:
            ids = await filled(service)
            expected: dict[str, list[int]] = {"missing": [], "orphaned": [], "mismatched": []}
            if fault in ("missing", "all"):
                await forget(service, ids[2:4])
                expected["missing"] = ids[2:4]
            if fault in ("orphaned", "all"):
                await invent(service, [10_001, 10_002])
                expected["orphaned"] += [10_001, 10_002]
            if fault in ("orphaned-in-sql", "all"):
                await sql(service, delete(t.chunk).where(t.chunk.c.id == ids[7]))
                expected["orphaned"] += [ids[7]]
            if fault in ("mismatched", "all"):
                key = select(t.chunk.c.vector_key).where(t.chunk.c.id == ids[5]).scalar_subquery()
                other = np.eye(256, dtype=np.float32)[9].tobytes()
                await sql(service, update(t.vector).where(t.vector.c.key == key).values(data=other))
                expected["mismatched"] = [ids[5]]
            report = await service.verify.verify("c")
            assert not report.ok
            assert sorted(report.missing) == sorted(expected["missing"])
            assert sorted(report.orphaned) == sorted(expected["orphaned"])
            assert sorted(report.mismatched) == sorted(expected["mismatched"])
            mended = await service.verify.repair("c")
            assert mended.ok
            assert (await service.verify.verify("c")).ok

    run(work())


def test_a_chunk_without_a_vector_is_seen_and_cannot_be_mended_from_sql(
    run: Run, opened: Any, there: Any
) -> None:
    async def work() -> None:
        async with opened(of=there) as service:
            ids = await filled(service)
            key = select(t.chunk.c.vector_key).where(t.chunk.c.id == ids[5]).scalar_subquery()
            await sql(service, delete(t.vector).where(t.vector.c.key == key))
            report = await service.verify.verify("c")
            assert not report.ok
            assert list(report.vectorless) == [ids[5]]
            mended = await service.verify.repair("c")
            assert list(mended.vectorless) == [ids[5]]
            assert not mended.missing
            assert not mended.orphaned

    run(work())


def test_a_repaired_index_survives_a_restart(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            ids = await filled(service)
            await forget(service, ids[:3])
            await service.verify.repair("c")
        async with opened() as service:
            assert (await service.verify.verify("c")).ok
            found = await service.search.search("c", [Query("text", limit=99)])
            assert len(found.hits[0]) == 12

    run(work())


def test_searches_go_on_while_an_index_is_mended(run: Run, opened: Any) -> None:
    import asyncio

    async def work() -> None:
        async with opened() as service:
            await filled(service)

            async def search() -> None:
                for _ in range(30):
                    found = await service.search.search("c", [Query("text 3", limit=1)])
                    assert [hit.chunk.document_id for hit in found.hits[0]] == ["d3"]
                    await asyncio.sleep(0.001)

            await asyncio.gather(search(), *(service.verify.repair("c") for _ in range(5)))

    run(work())
