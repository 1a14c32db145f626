"""Explanations: every stage that can drop a document is named, and no other."""

from collections.abc import Callable
from typing import Any

import pytest

from embedsvc.core.filters import parse_filter
from embedsvc.core.fusion import Fusion
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import NotFound
from embedsvc.services.search import Query

Run = Callable[[Any], Any]
DIMENSIONS = 8


def axis(number: int, other: float = 0.0) -> list[float]:
    found = [1.0 if i == number else 0.0 for i in range(DIMENSIONS)]
    found[-1] += other
    return found


async def fill(service: Any) -> None:
    """300 documents; `d0` is on axis 0 and the others further and further from it."""
    drafts = [
        Draft(f"d{n}", text=f"word{n} common", vectors=[axis(0, other=n / 50)], metadata={"n": n})
        for n in range(300)
    ]
    await service.ingest.add("c", drafts)


@pytest.fixture
def two(opened: Any, either_settings: Any, scripted: Any) -> Any:
    return lambda: opened(backend=scripted(dimensions=DIMENSIONS), of=either_settings)


def explained(run: Run, two: Any, document: str, query: Query, before: Any = None) -> Any:
    async def work() -> Any:
        async with two() as service:
            await fill(service)
            if before is not None:
                await before(service)
            found = await service.explain.explain("c", document, query)
            hits = (await service.search.search("c", [query])).hits[0]
            there = [hit.chunk.document_id for hit in hits]
            assert (found.rank is not None) == (document in there)
            if found.rank is not None:
                assert there[found.rank - 1 - query.offset] == document
            return found

    return run(work())


def test_a_document_that_is_found_has_its_rank_at_every_stage(run: Run, two: Any) -> None:
    found = explained(run, two, "d7", Query("word7"))
    assert (found.dropped_by, found.rank) == (None, 1)
    steps = {step.stage: step for step in found.steps}
    assert list(steps) == ["indexed", "dense", "lexical", "candidates", "fusion", "limit"]
    assert steps["lexical"].rank == 1
    assert "holds word7" in steps["lexical"].detail
    assert all(step.passed for step in found.steps)


def test_a_document_that_does_not_exist_is_not_found(run: Run, two: Any) -> None:
    with pytest.raises(NotFound, match="nobody"):
        explained(run, two, "nobody", Query("word7"))


def test_a_document_that_waits_or_failed_is_not_indexed(run: Run, two: Any) -> None:
    async def wait(service: Any) -> None:
        await service.ingest.add("c", [Draft("new", text="later")], "none")

    found = explained(run, two, "new", Query("later"), before=wait)
    assert found.dropped_by == "not_indexed"
    assert "pending" in found.steps[-1].detail


def test_the_condition_of_a_filter_that_does_not_hold_is_named(run: Run, two: Any) -> None:
    where = parse_filter({"n": {"$gte": 5}, "lang": "en"})
    found = explained(run, two, "d7", Query("word7", where=where))
    assert found.dropped_by == "filter"
    assert "the conditions on lang do not hold" in found.steps[-1].detail


def test_a_document_that_neither_stage_gives_is_outside_the_candidates(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            query = Query("word7")
            found = await service.search.search("c", [query])
            candidates = set(found.traces[0].found.ids.tolist())
            _, chunks = await service.store.document("c", "d0", text=False, chunks=True)
            first = chunks[0].id  # ids ascend with the numbers of the documents
            deep = next(n for n in range(300) if first + n not in candidates)
            explained = await service.explain.explain("c", f"d{deep}", query)
            assert explained.dropped_by == "candidates"
            steps = {step.stage: step for step in explained.steps}
            assert steps["dense"].rank > 100
            assert "lacks word7" in steps["lexical"].detail
            assert list(steps)[-1] == "candidates"

    run(work())


def test_a_document_deep_down_in_a_stage_alone_is_beyond_the_limit(run: Run, two: Any) -> None:
    found = explained(run, two, "d250", Query(vector=axis(0), limit=10))
    assert found.dropped_by == "limit"
    assert found.steps[-1].rank == 251


def test_a_query_without_words_is_explained(run: Run, two: Any) -> None:
    for mode in ("lexical", "hybrid"):
        found = explained(run, two, "d7", Query("!!!", mode=mode, limit=300))
        assert found.dropped_by == ("candidates" if mode == "lexical" else None)


def test_a_second_chunk_on_the_page_is_found(run: Run, two: Any) -> None:
    async def add(service: Any) -> None:
        chunks = [DraftChunk("first part"), DraftChunk("second part")]
        rows = [axis(0), axis(0, other=0.05)]
        await service.ingest.add("c", [Draft("two", chunks=chunks, vectors=rows)])

    query = Query(vector=axis(0), offset=2, limit=10)
    found = explained(run, two, "two", query, before=add)
    assert found.dropped_by is None
    assert found.rank > 2


def test_a_score_below_the_least_is_named(run: Run, two: Any) -> None:
    found = explained(run, two, "d9", Query(vector=axis(0), limit=20, min_score=0.999))
    assert found.dropped_by == "min_score"
    assert found.steps[-1].score == pytest.approx(0.984, abs=0.001)


def test_a_document_after_the_page_is_beyond_the_limit(run: Run, two: Any) -> None:
    query = Query("word7 common", limit=10, fusion=Fusion(dense=0))
    found = explained(run, two, "d50", query)
    assert found.dropped_by == "limit"
    assert found.steps[-1].rank > 10
    assert "ranks 1 to 10" in found.steps[-1].detail


def test_a_document_before_the_page_is_dropped_by_the_limit_too(run: Run, two: Any) -> None:
    found = explained(run, two, "d0", Query(vector=axis(0), offset=3, limit=2))
    assert found.dropped_by == "limit"
    assert found.steps[-1].rank == 1


def test_what_diversity_leaves_out_is_named(run: Run, two: Any) -> None:
    query = Query(vector=axis(0), limit=3, diversity=1.0)
    found = explained(run, two, "d1", query)
    assert found.dropped_by == "diversity"


def test_chunks_beyond_those_of_one_document_do_not_drop_the_document(run: Run, two: Any) -> None:
    async def add(service: Any) -> None:
        chunks = [DraftChunk(f"double part{n}") for n in range(3)]
        rows = [axis(3) for _ in chunks]
        await service.ingest.add("c", [Draft("two", chunks=chunks, vectors=rows)])

    found = explained(run, two, "two", Query("double", per_document=1, limit=5), before=add)
    assert found.dropped_by is None
    assert found.rank == 1


def test_what_a_reranker_puts_last_is_explained_by_it(run: Run, two: Any) -> None:
    found = explained(run, two, "d1", Query("word1", rerank="cosine:hash", limit=5))
    steps = {step.stage: step for step in found.steps}
    assert "rerank" in steps
    assert steps["rerank"].score is not None


def test_what_the_reranker_does_not_read_is_dropped_by_it(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            plain = Query("common", limit=100)
            deep = (await service.search.search("c", [plain])).hits[0][80].chunk.document_id
            query = Query("common", rerank="cosine:hash", limit=5)
            found = await service.explain.explain("c", deep, query)
            assert found.dropped_by == "rerank"
            assert found.steps[-1].score is not None

    run(work())
