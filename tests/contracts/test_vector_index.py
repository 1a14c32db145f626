"""One suite over every vector index, against the plainest of oracles."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedsvc.core.model import Change
from embedsvc.index import exact, faiss
from embedsvc.index.faiss import Limits
from embedsvc.ports import VectorIndex

Run = Callable[[Any], Any]
DIMENSIONS = 8
TINY = Limits(seal=4, fan_in=2, approximate=10_000, dead_share=0.3, exact_within=3)
GRAPH = Limits(
    seal=16, fan_in=2, approximate=48, dead_share=0.3, exact_within=3, hnsw_links=16,
    hnsw_construction=80, hnsw_search=300,
)  # fmt: skip
KINDS = ["exact", "faiss", "faiss-tiny", "faiss-graph"]


def make(kind: str, folder: Path, dimensions: int = DIMENSIONS) -> VectorIndex:
    if kind == "exact":
        return exact.create("i", dimensions, folder)
    limits = {"faiss": Limits(), "faiss-tiny": TINY, "faiss-graph": GRAPH}[kind]
    return faiss.create("i", dimensions, folder, limits=limits)


def keeps(index: VectorIndex) -> bool:
    """Whether the index writes snapshots."""
    return not isinstance(index, exact.ExactIndex)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str, tmp_path: Path, run: Run) -> Iterator[VectorIndex]:
    made = make(kind, tmp_path / "index")
    yield made
    run(made.aclose())


def change(
    version: int, ids: Sequence[int] = (), vectors: Any = None, removed: Sequence[int] = ()
) -> Change:
    rows = np.empty((0, DIMENSIONS), np.float32) if vectors is None else vectors
    return Change(version, np.array(ids, np.int64), rows, np.array(removed, np.int64))


def ids_of(matches: Sequence[Any]) -> list[int]:
    return [match.chunk_id for match in matches]


class Oracle:
    """What an index should say, by comparing everything with everything."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def add(self, ids: Sequence[int], vectors: Any) -> None:
        self.held.update(zip((int(i) for i in ids), vectors, strict=True))

    def remove(self, ids: Sequence[int]) -> None:
        for i in ids:
            self.held.pop(int(i), None)

    def search(self, query: Any, k: int, within: Sequence[int] | None = None) -> list[Any]:
        allowed = self.held if within is None else set(within) & self.held.keys()
        scored = [(float(self.held[i] @ query), i) for i in allowed]
        return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]


def same(found: Sequence[Any], expected: Sequence[tuple[float, int]]) -> None:
    """Same scores in the same order, and same ids where scores are not within rounding."""
    assert len(found) == len(expected)
    scores = [match.score for match in found]
    np.testing.assert_allclose(scores, [score for score, _ in expected], atol=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids_of(found))) == len(found)


def test_a_new_index_is_empty_at_version_0(index: VectorIndex, run: Run, rows: Any) -> None:
    assert run(index.version()) == 0
    assert run(index.search(rows(2, DIMENSIONS), 5, None)) == [[], []]
    assert run(index.search(rows(1, DIMENSIONS), 5, np.array([1, 2]))) == [[]]
    assert run(index.ids()).tolist() == []
    ids, vectors = run(index.vectors(np.array([1, 2])))
    assert (ids.tolist(), vectors.shape) == ([], (0, DIMENSIONS))
    info = run(index.info())
    assert (info.version, info.vectors, list(info.degraded)) == (0, 0, [])


def test_the_nearest_come_first(index: VectorIndex, run: Run, rows: Any) -> None:
    oracle, vectors = Oracle(), rows(200, DIMENSIONS)
    ids = np.arange(1, 201)
    oracle.add(ids, vectors)
    for n in range(0, 200, 20):
        run(index.apply(change(n + 1, ids[n : n + 20], vectors[n : n + 20])))
    queries = rows(5, DIMENSIONS, seed=9)
    for query, found in zip(queries, run(index.search(queries, 7, None)), strict=True):
        same(found, oracle.search(query, 7))
        assert ids_of(found) == [i for _, i in oracle.search(query, 7)]


def test_more_results_than_vectors_are_all_vectors(index: VectorIndex, run: Run, rows: Any) -> None:
    run(index.apply(change(1, range(1, 31), rows(30, DIMENSIONS))))
    found = run(index.search(rows(1, DIMENSIONS, seed=1), 1_000, None))[0]
    assert sorted(ids_of(found)) == list(range(1, 31))


def test_applying_a_change_twice_is_applying_it_once(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    vectors = rows(10, DIMENSIONS)
    for _ in range(3):
        run(index.apply(change(1, range(1, 11), vectors)))
    assert run(index.ids()).tolist() == list(range(1, 11))
    for _ in range(2):
        run(index.apply(change(2, [11], rows(1, DIMENSIONS, seed=3), removed=[2, 4])))
    assert run(index.ids()).tolist() == [1, 3, 5, 6, 7, 8, 9, 10, 11]
    found = run(index.search(vectors[:1], 100, None))[0]
    assert sorted(ids_of(found)) == [1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert run(index.version()) == 2


def test_a_long_change_comes_in_parts_and_the_version_moves_with_the_last(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    vectors = rows(30, DIMENSIONS)
    run(index.apply(change(0, range(1, 11), vectors[:10])))
    assert run(index.version()) == 0
    run(index.apply(change(0, range(11, 21), vectors[10:20])))
    run(index.apply(change(7, range(21, 31), vectors[20:])))
    assert run(index.version()) == 7
    assert run(index.ids()).tolist() == list(range(1, 31))


def test_a_removed_id_is_never_found_again(index: VectorIndex, run: Run, rows: Any) -> None:
    vectors = rows(60, DIMENSIONS)
    run(index.apply(change(1, range(1, 61), vectors)))
    for n in range(1, 60, 3):
        run(index.apply(change(n + 1, removed=[n])))
    left = [i for i in range(1, 61) if i % 3 != 1 or i > 59]
    assert run(index.ids()).tolist() == left
    assert sorted(ids_of(run(index.search(vectors[:1], 99, None))[0])) == left
    everything = np.arange(1, 61)
    assert sorted(ids_of(run(index.search(vectors[:1], 99, everything))[0])) == left
    assert run(index.vectors(everything))[0].tolist() == left
    assert run(index.info()).vectors == len(left)


def test_removing_what_is_not_there_is_nothing(index: VectorIndex, run: Run, rows: Any) -> None:
    run(index.apply(change(1, [5], rows(1, DIMENSIONS), removed=[1, 99])))
    assert run(index.ids()).tolist() == [5]
    run(index.apply(change(2, removed=[5])))
    run(index.apply(change(3, removed=[5])))
    assert run(index.ids()).tolist() == []
    assert run(index.search(rows(1, DIMENSIONS), 3, None)) == [[]]
    assert run(index.version()) == 3


def test_an_id_that_is_added_and_removed_in_one_change_is_not_there(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    run(index.apply(change(1, [1, 2], rows(2, DIMENSIONS), removed=[1])))
    assert run(index.ids()).tolist() == [2]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 60, 119])
def test_a_search_within_some_ids_finds_the_nearest_of_them(
    index: VectorIndex, run: Run, rows: Any, count: int
) -> None:
    oracle, vectors = Oracle(), rows(120, DIMENSIONS)
    oracle.add(range(1, 121), vectors)
    run(index.apply(change(1, range(1, 121), vectors)))
    gone = list(range(10, 40, 3))
    run(index.apply(change(2, removed=gone)))
    oracle.remove(gone)
    chosen = np.sort(np.random.default_rng(count).choice(120, count, replace=False) + 1)
    for query in rows(3, DIMENSIONS, seed=4):
        found = run(index.search(query[None, :], 5, chosen))[0]
        same(found, oracle.search(query, 5, chosen.tolist()))


def test_ids_that_the_index_does_not_know_can_be_among_those_allowed(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    run(index.apply(change(1, range(10, 20), rows(10, DIMENSIONS))))
    found = run(index.search(rows(1, DIMENSIONS), 99, np.array([1, 9, 12, 15, 20, 10**12])))[0]
    assert sorted(ids_of(found)) == [12, 15]


def test_a_filtered_search_returns_k_when_k_exist_however_far_they_are(
    tmp_path: Path, run: Run
) -> None:
    """Those allowed lie in another part of space than the query and all that is near it."""
    limits = Limits(seal=64, approximate=128, exact_within=3, hnsw_links=8, hnsw_search=16)
    index = faiss.create("i", DIMENSIONS, tmp_path / "i", limits=limits)
    rng = np.random.default_rng(5)
    near = rng.standard_normal((2_000, DIMENSIONS)) * 0.05 + np.eye(DIMENSIONS)[0]
    far = rng.standard_normal((100, DIMENSIONS)) * 0.05 - np.eye(DIMENSIONS)[0]
    vectors = np.concatenate([near, far])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    run(index.apply(change(1, range(1, 2_101), vectors)))
    assert run(index.info()).approximate > 0
    found = run(index.search(vectors[:1], 10, np.arange(2_001, 2_101)))[0]
    assert len(found) == 10
    run(index.apply(change(2, removed=range(1, 2_001))))
    assert len(run(index.search(vectors[:1], 10, None))[0]) == 10
    run(index.aclose())


def test_equal_scores_come_in_the_order_of_ids(index: VectorIndex, run: Run) -> None:
    """Also where the last of equal ones no longer fits."""
    axes = np.eye(DIMENSIONS, dtype=np.float32)
    kinds = [1, 1, 0, 1, 2, 0, 1, 0, 1, 0, 2, 1, 0, 0, 1, 1, 0]
    run(index.apply(change(1, range(1, len(kinds) + 1), axes[kinds])))
    ones = [i for i, axis in enumerate(kinds, start=1) if axis == 1]
    zeros = [i for i, axis in enumerate(kinds, start=1) if axis != 1]
    for k in range(1, len(kinds) + 1):
        found = run(index.search(axes[1:2], k, None))[0]
        assert ids_of(found) == (ones + zeros)[:k]
        within = run(index.search(axes[1:2], k, np.arange(3, 15)))[0]
        assert ids_of(within) == [i for i in ones + zeros if 3 <= i < 15][:k]


def test_the_index_gives_back_the_vectors_it_holds(index: VectorIndex, run: Run, rows: Any) -> None:
    vectors = rows(50, DIMENSIONS)
    for n in range(0, 50, 5):
        run(index.apply(change(n + 1, range(n + 1, n + 6), vectors[n : n + 5])))
    run(index.apply(change(60, removed=[7, 8])))
    ids, held = run(index.vectors(np.array([1, 7, 8, 33, 50, 51])))
    assert ids.tolist() == [1, 33, 50]
    np.testing.assert_array_equal(held, vectors[[0, 32, 49]])


def test_reset_forgets_everything_and_ids_can_come_again(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    vectors = rows(40, DIMENSIONS)
    run(index.apply(change(5, range(1, 41), vectors)))
    run(index.save())
    run(index.reset())
    assert run(index.version()) == 0
    assert run(index.search(vectors[:1], 5, None)) == [[]]
    run(index.apply(change(5, range(1, 41), vectors)))
    assert run(index.ids()).tolist() == list(range(1, 41))


def test_saving_twice_or_with_nothing_to_save_is_no_error(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    run(index.save())
    run(index.apply(change(1, [1], rows(1, DIMENSIONS))))
    run(index.save())
    run(index.save())
    assert run(index.ids()).tolist() == [1]
    assert list(run(index.info()).degraded) == []


def test_a_saved_index_opens_as_it_was(kind: str, tmp_path: Path, run: Run, rows: Any) -> None:
    vectors = rows(100, DIMENSIONS)
    first = make(kind, tmp_path / "i")
    run(first.apply(change(3, range(1, 101), vectors)))
    run(first.apply(change(4, removed=[50, 60])))
    run(first.save())
    run(first.aclose())
    second = make(kind, tmp_path / "i")
    if not keeps(second):
        assert run(second.version()) == 0
        return
    assert run(second.version()) == 4
    assert run(second.ids()).tolist() == [i for i in range(1, 101) if i not in (50, 60)]
    np.testing.assert_array_equal(run(second.vectors(np.array([77])))[1], vectors[76:77])
    assert ids_of(run(second.search(vectors[76:77], 1, None))[0]) == [77]
    run(second.apply(change(5, range(99, 103), rows(4, DIMENSIONS, seed=2))))
    assert run(second.ids()).tolist()[-3:] == [100, 101, 102]
    run(second.aclose())


def test_a_dropped_index_leaves_nothing(kind: str, tmp_path: Path, run: Run, rows: Any) -> None:
    first = make(kind, tmp_path / "i")
    run(first.apply(change(3, range(1, 101), rows(100, DIMENSIONS))))
    run(first.save())
    run(first.drop())
    assert [f for f in (tmp_path / "i").rglob("*") if f.is_file()] == []
    second = make(kind, tmp_path / "i")
    assert run(second.version()) == 0
    run(second.aclose())


def test_searches_while_changes_are_applied_see_whole_states(
    index: VectorIndex, run: Run, rows: Any
) -> None:
    """Every vector that is not being removed is found by each search, at every moment."""
    vectors = rows(40, DIMENSIONS)
    others = rows(600, DIMENSIONS, seed=8)

    async def work() -> int:
        await index.apply(change(1, range(1, 41), vectors))
        done = asyncio.Event()

        async def write() -> None:
            for n in range(60):
                ids = range(100 + n * 10, 110 + n * 10)
                gone = range(90 + n * 10, 100 + n * 10) if n else ()
                await index.apply(change(n + 2, ids, others[n * 10 : n * 10 + 10], gone))
            done.set()

        async def search() -> int:
            searches = 0
            while not done.is_set() or not searches:
                found = (await index.search(vectors[:4], 100, None))[0]
                ids = set(ids_of(found))
                assert ids >= set(range(1, 41))
                assert len(ids) == len(found)
                assert len({i // 10 for i in ids if i >= 100}) <= 1
                searches += 1
            return searches

        _, *counts = await asyncio.gather(write(), search(), search())
        return sum(counts)

    assert run(work()) >= 2
    assert run(index.ids()).tolist() == [*range(1, 41), *range(690, 700)]


def test_an_index_of_many_writes_is_kept_in_few_segments(
    kind: str, tmp_path: Path, run: Run, rows: Any
) -> None:
    if not kind.startswith("faiss-"):
        pytest.skip("one with shrunk limits is meant")
    index = make(kind, tmp_path / "i")
    vectors = rows(512, DIMENSIONS)
    for n in range(0, 512, 4):
        run(index.apply(change(n + 1, range(n + 1, n + 5), vectors[n : n + 4])))
    run(index.save())
    info = run(index.info())
    assert 1 <= info.segments <= 12
    assert info.vectors == 512
    assert (info.approximate > 0) == (kind == "faiss-graph")
    for n in range(1, 400):
        run(index.apply(change(1_000 + n, removed=[n])))
    run(index.save())
    info = run(index.info())
    assert info.vectors == 113
    assert info.removed <= 113 * 0.3 / 0.7 + 1
    assert run(index.ids()).tolist() == list(range(400, 513))
    run(index.aclose())


def test_a_graph_finds_nearly_all_of_the_nearest(tmp_path: Path, run: Run, rows: Any) -> None:
    index, oracle = make("faiss-graph", tmp_path / "i"), Oracle()
    vectors = rows(1_000, DIMENSIONS)
    oracle.add(range(1, 1_001), vectors)
    run(index.apply(change(1, range(1, 1_001), vectors)))
    run(index.apply(change(2, removed=range(1, 1_001, 7))))
    oracle.remove(range(1, 1_001, 7))
    run(index.save())
    assert run(index.info()).approximate > 0
    queries = rows(40, DIMENSIONS, seed=6)
    hits = sum(
        len(set(ids_of(found)) & {i for _, i in oracle.search(query, 10)})
        for query, found in zip(queries, run(index.search(queries, 10, None)), strict=True)
    )
    assert hits >= 390
    run(index.aclose())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 9)),
        st.tuples(st.just("remove"), st.integers(0, 2**16)),
        st.tuples(st.just("again"), st.just(0)),
        st.tuples(st.just("save"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("reset"), st.just(0)),
    ),
    max_size=25,
)


@pytest.mark.parametrize("kind", ["exact", "faiss-tiny"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_any_history_leaves_what_the_oracle_holds(
    kind: str, steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory, rows: Any
) -> None:
    """As services use it: after a restart or reset, what is missing is applied again."""
    folder = tmp_path_factory.mktemp("history")
    pool = rows(300, DIMENSIONS, seed=11)

    async def work() -> None:
        index, oracle = make(kind, folder), Oracle()
        log: list[Change] = []
        next_id = 1
        for word, number in steps:
            if word == "add":
                ids = np.arange(next_id, next_id + number)
                next_id += number
                oracle.add(ids, pool[ids])
                log.append(change(len(log) + 1, ids, pool[ids]))
                await index.apply(log[-1])
            elif word == "remove" and oracle.held:
                known = sorted(oracle.held)
                gone = {known[number % len(known)], known[number // 7 % len(known)]}
                oracle.remove(list(gone))
                log.append(change(len(log) + 1, removed=sorted(gone)))
                await index.apply(log[-1])
            elif word == "again" and log:
                await index.apply(log[-1])
            elif word == "save":
                await index.save()
            elif word == "reset":
                await index.reset()
            elif word == "restart":
                await index.aclose()
                index = make(kind, folder)
            version = await index.version()
            assert version <= len(log)
            for missed in log[version:]:
                await index.apply(missed)
            assert await index.version() == len(log)
            assert (await index.ids()).tolist() == sorted(oracle.held)
        query = pool[299:]
        found = (await index.search(query, 20, None))[0]
        same(found, oracle.search(query[0], 20))
        await index.aclose()

    asyncio.run(work())
