"""Search: sees every acknowledged write, in every process, and says k results when k exist."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedsvc.core.filters import parse_filter
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import Conflict, InvalidInput, NotFound
from embedsvc.services.search import Query

Run = Callable[[Any], Any]
DIMENSIONS = 64


def ids(hits: Any) -> list[str]:
    return [hit.chunk.document_id for hit in hits]


def vector(seed: int) -> list[float]:
    found: list[float] = np.random.default_rng(seed).standard_normal(DIMENSIONS).tolist()
    return found


async def fill(service: Any, count: int, name: str = "c") -> None:
    drafts = [
        Draft(f"d{n}", text=f"text {n}", vectors=[vector(n)], metadata={"n": n})
        for n in range(count)
    ]
    await service.ingest.add(name, drafts)


@pytest.fixture(params=["faiss", "exact"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_search_sees_every_write_before_it_in_every_process(
    run: Run, opened: Any, either_settings: Any, engine: str
) -> None:
    there = replace(either_settings, index=engine)

    async def work() -> None:
        async with opened(of=there) as one, opened(of=there) as two:
            for n in range(12):
                writer, reader = (one, two) if n % 2 else (two, one)
                await writer.ingest.add("c", [Draft(f"d{n}", text=f"unique{n} word")])
                for service in (reader, writer):
                    found = await service.search.search("c", [Query(f"unique{n} word", limit=1)])
                    assert ids(found.hits[0]) == [f"d{n}"]
                    assert found.version == (await service.collections.get("c")).version
                if n > 2:
                    await writer.ingest.delete("c", f"d{n - 2}")
                    for service in (reader, writer):
                        found = await service.search.search(
                            "c", [Query(f"unique{n - 2}", limit=99)]
                        )
                        assert f"d{n - 2}" not in ids(found.hits[0])
            assert (await one.verify.verify("c")).ok
            assert (await two.verify.verify("c")).ok

    run(work())


def test_searches_and_writes_at_the_same_time_agree_with_each_other(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as one, opened(backend=scripted()) as two:
            await one.collections.put("c")
            written: set[str] = set()

            async def write(service: Any, name: str) -> None:
                for n in range(15):
                    await service.ingest.add("c", [Draft(f"{name}{n}", text=f"{name} {n}")])
                    written.add(f"{name}{n}")

            async def search(service: Any) -> None:
                for _ in range(15):
                    expected = set(written)
                    found = await service.search.search("c", [Query("a b", limit=100)])
                    assert set(ids(found.hits[0])) >= expected
                    await asyncio.sleep(0.002)

            await asyncio.gather(write(one, "a"), write(two, "b"), search(one), search(two))
            assert len((await one.search.search("c", [Query("a", limit=100)])).hits[0]) == 30

    run(work())


def test_a_search_by_a_vector_finds_the_nearest(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 20)
            found = await service.search.search("c", [Query(vector=vector(7), limit=3)])
            assert ids(found.hits[0])[0] == "d7"
            assert found.hits[0][0].score == pytest.approx(1, abs=1e-6)
            assert found.tokens == 0

    run(work())


def test_a_document_is_not_among_those_like_it(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 20)
            found = await service.search.search("c", [Query(document_id="d7", limit=19)])
            assert sorted(ids(found.hits[0])) == sorted(f"d{n}" for n in range(20) if n != 7)
            with pytest.raises(NotFound):
                await service.search.search("c", [Query(document_id="nope")])

    run(work())


def test_pages_put_together_are_one_long_page(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 50)
            query = Query("text 3", limit=50)
            whole = ids((await service.search.search("c", [query])).hits[0])
            assert len(set(whole)) == 50
            for size in (1, 7, 20):
                pages = []
                for offset in range(0, 50, size):
                    page = replace(query, limit=size, offset=offset)
                    pages += ids((await service.search.search("c", [page])).hits[0])
                assert pages == whole

    run(work())


def test_pages_are_consistent_among_equal_scores(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            drafts = [Draft(f"d{n}", text="same" if n % 3 else f"other {n}") for n in range(60)]
            await service.ingest.add("c", drafts)
            pages = []
            for offset in range(0, 60, 6):
                found = await service.search.search("c", [Query("same", limit=6, offset=offset)])
                pages += ids(found.hits[0])
            assert sorted(pages) == sorted(f"d{n}" for n in range(60))

    run(work())


def test_an_offset_beyond_the_end_finds_nothing(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 5)
            for query in (Query("x", offset=5), Query("x", offset=9_990), Query("x", offset=4)):
                found = await service.search.search("c", [query])
                assert len(found.hits[0]) == max(0, 5 - query.offset)

    run(work())


def test_a_filter_finds_k_when_k_exist(
    run: Run, opened: Any, scripted: Any, engine: str, settings: Any
) -> None:
    async def work() -> None:
        there = replace(settings, index=engine)
        async with opened(backend=scripted(), of=there) as service:
            await fill(service, 300)
            for where, matched in (
                ({"n": {"$gte": 290}}, 10),
                ({"n": {"$in": [3, 5]}}, 2),
                ({"n": {"$gte": 1}}, 299),
                ({"n": 1_000}, 0),
                ({}, 300),
            ):
                query = Query("text 1", limit=10, where=parse_filter(where))
                found = await service.search.search("c", [query])
                assert len(found.hits[0]) == min(10, matched)
                assert found.plan.matched == matched
                assert found.plan.strategy.endswith("_filtered")

    run(work())


@pytest.mark.parametrize("most", [1, 2])
def test_only_so_many_chunks_of_one_document(
    run: Run, opened: Any, scripted: Any, most: int
) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            near = [DraftChunk(f"needle {n}") for n in range(60)]
            rows = [(np.array(vector(1)) + 0.01 * np.array(vector(n))).tolist() for n in range(60)]
            drafts = [
                Draft("big", chunks=near, vectors=rows),
                *(Draft(f"d{n}", text="x", vectors=[vector(100 + n)]) for n in range(8)),
            ]
            await service.ingest.add("c", drafts)
            query = Query(vector=vector(1), limit=9, per_document=most)
            found = ids((await service.search.search("c", [query])).hits[0])
            assert found[:most] == ["big"] * most
            assert found.count("big") == most
            assert len(found) == 9

    run(work())


def test_results_below_the_least_score_are_left_out(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 40)
            everything = (await service.search.search("c", [Query("text 3", limit=40)])).hits[0]
            least = everything[11].score
            query = Query("text 3", limit=40, min_score=least)
            found = (await service.search.search("c", [query])).hits[0]
            assert ids(found) == ids(everything[:12])
            none = await service.search.search("c", [replace(query, min_score=1.01)])
            assert none.hits == [[]]
            both = replace(query, per_document=1, where=parse_filter({"n": {"$lt": 30}}))
            assert all(h.score >= least for h in (await service.search.search("c", [both])).hits[0])

    run(work())


def test_several_queries_get_what_each_gets_alone(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await fill(service, 30)
            queries = [
                Query("text 1", limit=3),
                Query(vector=vector(4), limit=5, offset=2),
                Query(document_id="d3", limit=2),
                Query("text 2", limit=4, where=parse_filter({"n": {"$lt": 9}})),
                Query("text 2", limit=4, min_score=0.1),
            ]
            for some in (queries, queries[:2], queries[4:] + queries[:1]):
                together = await service.search.search("c", some)
                for query, hits in zip(some, together.hits, strict=True):
                    alone = (await service.search.search("c", [query])).hits[0]
                    assert ids(hits) == ids(alone)

    run(work())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query(), "query"),
        (Query(text="a", vector=[1.0] * DIMENSIONS), "query"),
        (Query(text="a", document_id="d"), "query"),
        (Query(text=""), "query"),
        (Query(text=" \n"), "query"),
        (Query(text="x" * 20_001), "query"),
        (Query(text="a", limit=0), "limit"),
        (Query(text="a", limit=1_001), "limit"),
        (Query(text="a", limit=-1), "limit"),
        (Query(text="a", offset=-1), "offset"),
        (Query(text="a", offset=9_991), "offset"),
        (Query(text="a", per_document=0), "per_document"),
        (Query(vector=[1.0]), "vector"),
        (Query(vector=[]), "vector"),
        (Query(vector=[0.0] * DIMENSIONS), "vector"),
        (Query(vector=[float("nan")] * DIMENSIONS), "vector"),
        (Query(vector=[float("inf")] * DIMENSIONS), "vector"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_naming_the_field(
    run: Run, opened: Any, scripted: Any, query: Query, field: str
) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.collections.put("c")
            with pytest.raises(InvalidInput) as caught:
                await service.search.search("c", [query])
            assert caught.value.detail.startswith(f"{field}: ")
            with pytest.raises(InvalidInput) as caught:
                await service.search.search("c", [Query("fine"), query])
            assert field in caught.value.detail

    run(work())


def test_an_unknown_or_empty_collection(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(NotFound):
                await service.search.search("nope", [Query("x")])
            await service.collections.put("c")
            found = await service.search.search("c", [Query("x")])
            assert (found.hits, found.plan.matched) == ([[]], 0)

    run(work())


def test_a_document_that_waits_cannot_be_searched_by(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one")], "none")
            with pytest.raises(InvalidInput, match="not indexed yet"):
                await service.search.search("c", [Query(document_id="a")])

    run(work())


def test_a_model_that_became_another_is_refused(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted(revision="one")) as service:
            await service.ingest.add("c", [Draft("a", text="one")])
        async with opened(backend=scripted(revision="two")) as service:
            for call in (
                service.search.search("c", [Query("one")]),
                service.ingest.add("c", [Draft("b", text="two")]),
            ):
                with pytest.raises(Conflict, match="revision two") as caught:
                    await call
                assert caught.value.code == "embedding_space_changed"
            await service.ingest.add("d", [Draft("b", text="two")])
        async with opened(backend=scripted(revision="one")) as service:
            assert ids((await service.search.search("c", [Query("one")])).hits[0]) == ["a"]

    run(work())


def test_one_model_is_loaded_once_whoever_asks_for_it(run: Run, opened: Any) -> None:
    """By its name alone, by a collection's dimensions, and at the start of the service."""

    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            named = await service.embedders.backend("hash")
            assert await service.embedders.of(collection) is named
            assert await service.embedders.backend("hash", 256) is named

    run(work())


def test_an_index_that_broke_off_while_it_was_built_catches_up_without_orphans(
    run: Run, opened: Any, scripted: Any
) -> None:
    """What was applied of version 0 before the error may be deleted before the next try."""
    failing = [False]

    def on_step(name: str) -> None:
        if failing[0] and name == "index:page":
            raise Conflict("the database went away")

    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend) as writer:
            await fill(writer, 10)
            async with opened(backend=backend, on_step=on_step, page=4) as reader:
                failing[0] = True
                with pytest.raises(Conflict):
                    await reader.search.search("c", [Query("text 1", limit=10)])
                failing[0] = False
                await writer.ingest.delete_many("c", ["d0", "d1"], None)
                found = await reader.search.search("c", [Query("text 1", limit=8)])
                assert len(found.hits[0]) == 8
                assert (await reader.verify.verify("c")).ok

    run(work())


def test_an_index_that_is_too_old_is_built_anew(
    run: Run, opened: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedsvc.store import store as module

    monkeypatch.setattr(module, "KEPT_VERSIONS", 4)
    monkeypatch.setattr(module, "_PRUNE_EVERY", 3)

    async def work() -> None:
        async with opened(backend=scripted()) as one, opened(backend=scripted()) as two:
            await one.ingest.add("c", [Draft("a", text="text")])
            await two.search.search("c", [Query("text")])
            for n in range(20):
                await one.ingest.add("c", [Draft("a", text=f"text {n}")])
            found = await two.search.search("c", [Query("text", limit=9)])
            assert [hit.chunk.text for hit in found.hits[0]] == ["text 19"]
            assert (await two.verify.verify("c")).ok

    run(work())


def test_similarity_needs_no_collection(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            matrix, cut = await service.embed.compare(["red fox", "red fox", "blue"], None)
            assert not cut
            assert matrix.shape == (3, 3)
            np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5)
            assert matrix[0, 1] == pytest.approx(1, abs=1e-5)
            scores, _ = await service.embed.compare(["red fox", "blue"], "red fox")
            assert scores[0] > scores[1]
            for texts, query in (([], None), (["a", " "], None), (["a"], "")):
                with pytest.raises(InvalidInput):
                    await service.embed.compare(texts, query)

    run(work())


def test_a_question_does_not_queue_behind_documents(run: Run, opened: Any, scripted: Any) -> None:
    """All places for documents are taken by calls that do not end."""
    gate = asyncio.Event()

    class Slow(scripted):  # type: ignore[misc]
        async def embed(self, texts: Any, role: Any) -> Any:
            if role == "document" and "slow" in texts[0]:
                await gate.wait()
            return await super().embed(texts, role)

    async def work() -> None:
        backend = Slow()
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="red fox")])
            slow = [
                asyncio.create_task(service.ingest.add("c", [Draft(str(n), text=f"slow {n}")]))
                for n in range(2 * backend.calls.at_once)
            ]
            await asyncio.sleep(0.05)
            found = await asyncio.wait_for(service.search.search("c", [Query("red fox")]), 30)
            assert found.hits[0][0].chunk.document_id == "a"
            assert not any(task.done() for task in slow)
            gate.set()
            await asyncio.gather(*slow)

    run(work())


def test_a_question_that_is_too_long_is_cut_and_named(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted(max_tokens=5)) as service:
            await service.ingest.add("c", [Draft("a", text="red fox")])
            queries = [Query(document_id="a"), Query("red fox"), Query("red fox " * 4)]
            found = await service.search.search("c", queries)
            assert [(t.index, t.tokens, t.kept) for t in found.truncated] == [(2, 8, 5)]
            assert [hits[0].chunk.document_id for hits in found.hits[1:]] == ["a", "a"]

    run(work())
