"""Sets of chunks that satisfy a filter are looked for once, and kept within bounds."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedsvc.core.filters import fingerprint, parse_filter
from embedsvc.core.model import Chunking, Collection
from embedsvc.core.preparing import Draft
from embedsvc.errors import InvalidInput
from embedsvc.services.matching import Matching

Run = Callable[[Any], Any]
COLLECTION = Collection(1, "c", "hash", 1, 2, 7, 0, 0, 0, None, Chunking(), {}, 0)


class Counting:
    """A store that counts what it is asked, and finds as many chunks as the filter says."""

    def __init__(self) -> None:
        self.asked = 0

    async def matching(self, _collection: Any, where: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if where.field != "n":
            raise InvalidInput("no", code="invalid_filter")
        return np.arange(where.value, dtype=np.int64)


def test_a_filter_is_looked_up_once_for_a_version(run: Run) -> None:
    store = Counting()
    matching = Matching(store)  # type: ignore[arg-type]

    async def work() -> None:
        where = parse_filter({"n": 3})
        assert (await matching.ids(COLLECTION, where)).tolist() == [0, 1, 2]
        assert (await matching.ids(COLLECTION, parse_filter({"n": {"$eq": 3}}))).tolist() == [
            0,
            1,
            2,
        ]
        assert store.asked == 1
        await matching.ids(replace(COLLECTION, version=8), where)
        await matching.ids(replace(COLLECTION, id=2), where)
        await matching.ids(COLLECTION, parse_filter({"n": 2}))
        assert store.asked == 4

    run(work())


def test_equal_filters_share_one_query_and_none_hangs_on_another(run: Run) -> None:
    store = Counting()
    matching = Matching(store)  # type: ignore[arg-type]

    async def work() -> None:
        where = parse_filter({"n": 3})
        first = asyncio.create_task(matching.ids(COLLECTION, where))
        others = [asyncio.create_task(matching.ids(COLLECTION, where)) for _ in range(9)]
        await asyncio.sleep(0)
        first.cancel()
        found = await asyncio.gather(*others)
        assert [len(ids) for ids in found] == 9 * [3]
        assert store.asked == 1

    run(work())


def test_an_error_reaches_everybody_and_is_not_kept(run: Run) -> None:
    store = Counting()
    matching = Matching(store)  # type: ignore[arg-type]

    async def work() -> None:
        where = parse_filter({"bad": 3})
        asked = [matching.ids(COLLECTION, where) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == 3 * [InvalidInput]
        with pytest.raises(InvalidInput):
            await matching.ids(COLLECTION, where)
        assert store.asked == 2

    run(work())


def test_what_was_used_longest_ago_is_forgotten(run: Run) -> None:
    store = Counting()
    matching = Matching(store, most_ids=100, most_filters=3)  # type: ignore[arg-type]

    async def ask(count: int) -> bool:
        """Whether it was kept."""
        before = store.asked
        assert len(await matching.ids(COLLECTION, parse_filter({"n": count}))) == count
        return store.asked == before

    async def work() -> None:
        assert [await ask(n) for n in (1, 2, 3, 1, 4)] == [False, False, False, True, False]
        assert [await ask(n) for n in (1, 3, 4, 2)] == [True, True, True, False]
        assert [await ask(n) for n in (90, 4, 2, 90)] == [False, True, True, True]
        assert [await ask(n) for n in (101, 101, 4)] == [False, False, False]

    run(work())


def test_true_and_one_are_different_filters() -> None:
    prints = {fingerprint(parse_filter({"a": value})) for value in (True, 1, "1", None)}
    assert len(prints) == 4


def test_a_write_a_patch_and_a_declaration_are_seen(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            matching = Matching(service.store)

            async def count(raw: Any) -> int:
                return len(
                    await matching.ids(await service.collections.get("c"), parse_filter(raw))
                )

            await service.ingest.add(
                "c", [Draft("a", text="x", metadata={"n": 1, "at": "2024-05-31"})]
            )
            assert await count({"n": 1}) == 1
            await service.ingest.patch("c", "a", None, {"n": 2, "at": "2024-05-31"})
            assert (await count({"n": 1}), await count({"n": 2})) == (0, 1)
            midnight = {"at": "2024-05-31T00:00:00Z"}
            assert await count(midnight) == 0
            await service.collections.put("c", fields={"at": "datetime", "n": "integer"})
            assert await count(midnight) == 1
            with pytest.raises(InvalidInput):
                await count({"n": "x"})
            await service.ingest.delete("c", "a")
            assert await count(midnight) == 0

    run(work())


def test_documents_are_checked_again_when_fields_change_while_they_are_embedded(
    run: Run, opened: Any, scripted: Any
) -> None:
    class Meanwhile(scripted):  # type: ignore[misc]
        """Declares a field while it embeds the texts of the second request."""

        async def embed(self, texts: Any, role: Any) -> Any:
            if "good" in texts and not (await service().collections.get("c")).fields:
                await service().collections.put("c", fields={"n": "integer"})
            return await super().embed(texts, role)

    running: list[Any] = []

    def service() -> Any:
        return running[0]

    async def work() -> None:
        backend = Meanwhile()
        async with opened(backend=backend) as made:
            running.append(made)
            await made.ingest.add("c", [Draft("first", text="x")])
            drafts = [
                Draft("good", text="good", metadata={"n": 1}),
                Draft("bad", text="bad", metadata={"n": "x"}),
            ]
            added = await made.ingest.add("c", drafts)
            assert [one.status for one in added.documents] == ["indexed", "failed"]
            assert backend.embedded.count("good") == 1

    run(work())
