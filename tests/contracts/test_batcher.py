"""The batcher: everybody gets the right rows, queries first, and nobody waits for ever."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from embedsvc.embedding._batching import Batcher
from embedsvc.errors import ProviderError, Unavailable

Run = Callable[[Any], Any]


class Model:
    """Answers an item n with the row [n]; waits where a test says so, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.seconds = 0.0
        self.trouble: Callable[[Sequence[int]], Any] = lambda _items: None

    def __call__(self, items: Sequence[int]) -> Any:
        self.calls.append(list(items))
        self.began.set()
        assert self.gate.wait(20)
        time.sleep(self.seconds)
        other = self.trouble(items)
        return np.array([[float(i)] for i in items]) if other is None else other

    @property
    def order(self) -> list[int]:
        return [item for call in self.calls for item in call]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int]]:
    made: Batcher[int] = Batcher([model], length=lambda item: 1 + item % 7, budget=20)
    yield made
    model.gate.set()
    made.close()


def test_everybody_gets_rows_in_their_own_order(run: Run, batcher: Batcher[int]) -> None:
    async def work() -> None:
        wanted = [
            np.random.default_rng(n).integers(0, 1_000, 1 + n * 7).tolist() for n in range(20)
        ]
        found = await asyncio.gather(
            *(batcher.submit(w, "query" if n % 3 else "document") for n, w in enumerate(wanted))
        )
        for items, rows in zip(wanted, found, strict=True):
            assert rows[:, 0].tolist() == items

    run(work())


def test_nothing_to_embed_is_no_call(run: Run, batcher: Batcher[int], model: Model) -> None:
    assert len(run(batcher.submit([], "query"))) == 0
    assert model.calls == []


def test_a_call_stays_within_its_budget_padding_counted_in(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    run(batcher.submit(list(range(300)), "document"))
    run(batcher.submit(list(range(50)), "query"))
    for call in model.calls:
        assert len(call) * max(1 + item % 7 for item in call) <= 20
    assert len(model.calls) < 150


def test_an_item_over_the_budget_goes_alone(run: Run, model: Model) -> None:
    batcher: Batcher[int] = Batcher([model], length=lambda _item: 1_000, budget=20)
    assert run(batcher.submit([1, 2, 3], "document"))[:, 0].tolist() == [1, 2, 3]
    assert [len(call) for call in model.calls] == [1, 1, 1]
    batcher.close()


def test_a_query_overtakes_bulk_work_that_waits(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    async def work() -> None:
        model.gate.clear()
        bulk = asyncio.create_task(batcher.submit(list(range(200)), "document"))
        await asyncio.to_thread(model.began.wait, 10)
        query = asyncio.create_task(batcher.submit([7_777], "query"))
        await asyncio.sleep(0.05)
        model.gate.set()
        await query
        assert not bulk.done()
        await bulk

    run(work())
    position = model.order.index(7_777)
    assert position <= len(model.calls[0]) + len(model.calls[1])


def test_bulk_work_keeps_its_share_while_queries_never_stop(run: Run, model: Model) -> None:
    batcher: Batcher[int] = Batcher([model], length=lambda _item: 1, budget=1, bulk_share=0.25)
    model.seconds = 0.004

    async def work() -> list[int]:
        stop = asyncio.Event()

        async def ask(number: int) -> None:
            while not stop.is_set():
                await batcher.submit([number], "query")

        asking = [asyncio.create_task(ask(10_000 + n)) for n in range(4)]
        await asyncio.sleep(0.02)
        await asyncio.wait_for(batcher.submit(list(range(25)), "document"), 15)
        stop.set()
        await asyncio.gather(*asking)
        return model.order

    order = run(work())
    first, last = order.index(next(i for i in order if i < 100)), 0
    last = max(position for position, item in enumerate(order) if item < 100)
    share = 25 / (last - first + 1)
    assert 0.1 < share < 0.6
    batcher.close()


def test_work_whose_caller_went_away_is_not_done(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    async def work() -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.submit([1], "query"))
        await asyncio.to_thread(model.began.wait, 10)
        gone = [
            asyncio.create_task(batcher.submit(list(range(500, 600)), role))
            for role in ("query", "document")
        ]
        await asyncio.sleep(0.05)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        model.gate.set()
        await first
        assert (await batcher.submit([2], "document"))[0, 0] == 2

    run(work())
    assert model.order == [1, 2]


def test_a_caller_that_goes_away_during_the_call_harms_nobody(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    async def work() -> None:
        model.gate.clear()
        gone = asyncio.create_task(batcher.submit([1], "query"))
        await asyncio.to_thread(model.began.wait, 10)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        model.gate.set()
        assert (await batcher.submit([2], "query"))[0, 0] == 2

    run(work())


def test_an_error_reaches_every_caller_of_the_call_and_the_thread_lives_on(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    def trouble(items: Sequence[int]) -> None:
        if 13 in items:
            raise RuntimeError("out of memory")

    model.trouble = trouble

    async def work() -> None:
        model.gate.clear()
        first = asyncio.create_task(batcher.submit([1], "query"))
        await asyncio.to_thread(model.began.wait, 10)
        others = [asyncio.create_task(batcher.submit([n], "query")) for n in (13, 27)]
        await asyncio.sleep(0.05)
        model.gate.set()
        await first
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
        assert (await batcher.submit([5], "query"))[0, 0] == 5

    run(work())


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_model_that_answers_with_a_wrong_number_of_rows_leaves_nobody_waiting(
    run: Run, batcher: Batcher[int], model: Model, rows: int
) -> None:
    model.trouble = lambda items: np.zeros((rows, 1)) if 3 in items else None

    async def work() -> None:
        with pytest.raises(ProviderError):
            await asyncio.wait_for(batcher.submit([3, 3], "document"), 5)
        assert (await asyncio.wait_for(batcher.submit([4], "document"), 5))[0, 0] == 4

    run(work())


def test_closing_fails_those_who_wait_and_refuses_those_who_come(
    run: Run, batcher: Batcher[int], model: Model
) -> None:
    async def work() -> None:
        model.gate.clear()
        running = asyncio.create_task(batcher.submit([1], "query"))
        await asyncio.to_thread(model.began.wait, 10)
        waiting = [
            asyncio.create_task(batcher.submit(list(range(40)), role))
            for role in ("query", "document")
        ]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        model.gate.set()
        await closing
        assert (await running)[0, 0] == 1
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        with pytest.raises(Unavailable):
            await batcher.submit([2], "query")

    run(work())


def test_closing_twice_is_no_error(batcher: Batcher[int]) -> None:
    batcher.close()
    batcher.close()


# -- several threads -------------------------------------------------------------------------------


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; a test that waits for ever is ended by its own time limit."""

    def wait() -> None:
        while not holds():
            time.sleep(0.001)

    await asyncio.to_thread(wait)


class Pair:
    """Two models of one batcher, and the batcher."""

    def __init__(self) -> None:
        self.models = [Model(), Model()]
        self.batcher: Batcher[int] = Batcher(
            self.models, length=lambda item: 1 + item % 7, budget=20
        )

    def hold(self) -> None:
        for model in self.models:
            model.gate.clear()
            model.began.clear()

    def release(self) -> None:
        for model in self.models:
            model.gate.set()

    async def both_began(self) -> None:
        for model in self.models:
            assert await asyncio.to_thread(model.began.wait, 10)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.release()
    made.batcher.close()


def test_rows_of_several_threads_come_back_in_order(run: Run, pair: Pair) -> None:
    async def work() -> None:
        wanted = [
            np.random.default_rng(n).integers(0, 1_000, 1 + n * 9).tolist() for n in range(20)
        ]
        found = await asyncio.gather(
            *(
                pair.batcher.submit(items, "query" if n % 3 else "document")
                for n, items in enumerate(wanted)
            )
        )
        for items, rows in zip(wanted, found, strict=True):
            assert rows[:, 0].tolist() == items

    run(work())


@pytest.mark.parametrize("role", ["query", "document"])
def test_one_call_of_many_texts_is_shared_by_all_threads(run: Run, pair: Pair, role: Any) -> None:
    """Each has its part of it in its hands before either has answered."""

    async def work() -> None:
        pair.hold()
        submitted = asyncio.create_task(pair.batcher.submit(list(range(300)), role))
        await pair.both_began()
        pair.release()
        assert (await submitted)[:, 0].tolist() == list(range(300))

    run(work())
    seen = [item for model in pair.models for item in model.order]
    assert sorted(seen) == list(range(300)), "each text is embedded once"


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_few_short_texts_are_shared_too(run: Run, role: Any) -> None:
    """Even where one call would have room for all of them."""
    pair = Pair()
    pair.batcher.close()
    batcher: Batcher[int] = Batcher(pair.models, length=lambda _item: 1, budget=1_000)

    async def work() -> None:
        pair.hold()
        await until(lambda: batcher._idle == 2)
        submitted = asyncio.create_task(batcher.submit([1, 2, 3, 4], role))
        await pair.both_began()
        pair.release()
        assert (await submitted)[:, 0].tolist() == [1, 2, 3, 4]

    run(work())
    assert [len(model.order) for model in pair.models] == [2, 2]
    batcher.close()


def test_a_query_overtakes_bulk_work_of_all_threads(run: Run, pair: Pair) -> None:
    async def work() -> None:
        pair.hold()
        bulk = asyncio.create_task(pair.batcher.submit(list(range(400)), "document"))
        await pair.both_began()
        query = asyncio.create_task(pair.batcher.submit([7_777], "query"))
        await asyncio.sleep(0.05)
        pair.release()
        await query
        assert not bulk.done()
        await bulk

    run(work())
    (asked,) = [model for model in pair.models if 7_777 in model.order]
    assert asked.calls.index([7_777]) <= 1 + len(asked.calls) // 10


def test_an_error_of_one_thread_reaches_only_the_callers_of_its_batch(run: Run, pair: Pair) -> None:
    def trouble(items: Sequence[int]) -> None:
        if 13 in items:
            raise RuntimeError("out of memory")

    for model in pair.models:
        model.trouble = trouble

    async def work() -> None:
        pair.hold()
        bad = asyncio.create_task(pair.batcher.submit([13], "query"))
        await until(lambda: any(model.began.is_set() for model in pair.models))
        good = asyncio.create_task(pair.batcher.submit([1, 2, 3], "query"))
        await pair.both_began()
        pair.release()
        with pytest.raises(RuntimeError, match="out of memory"):
            await bad
        assert (await good)[:, 0].tolist() == [1, 2, 3]
        rows = await asyncio.gather(*(pair.batcher.submit([n], "document") for n in range(50, 60)))
        assert [row[0, 0] for row in rows] == list(range(50, 60)), "both threads live on"

    run(work())


def test_a_job_that_failed_in_one_thread_is_not_gone_on_with(run: Run, pair: Pair) -> None:
    def trouble(items: Sequence[int]) -> None:
        raise RuntimeError(str(len(items)))

    async def work() -> None:
        pair.hold()
        for model in pair.models:
            model.trouble = trouble
        submitted = asyncio.create_task(pair.batcher.submit(list(range(1_000)), "document"))
        await pair.both_began()
        pair.release()
        with pytest.raises(RuntimeError):
            await submitted
        for model in pair.models:
            model.trouble = lambda _items: None
        assert (await pair.batcher.submit([5], "document"))[0, 0] == 5

    run(work())
    assert sum(len(model.calls) for model in pair.models) < 10


def test_closing_waits_for_the_calls_of_all_threads(run: Run, pair: Pair) -> None:
    async def work() -> None:
        pair.hold()
        begun = asyncio.create_task(pair.batcher.submit([1], "query"))
        await until(lambda: any(model.began.is_set() for model in pair.models))
        other = asyncio.create_task(pair.batcher.submit([2], "document"))
        await pair.both_began()
        waiting = asyncio.create_task(pair.batcher.submit(list(range(100)), "document"))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(asyncio.to_thread(pair.batcher.close))
        await asyncio.sleep(0.05)
        assert not closing.done()
        pair.release()
        await closing
        assert ((await begun)[0, 0], (await other)[0, 0]) == (1, 2)
        with pytest.raises(Unavailable):
            await waiting

    run(work())


def test_nobody_is_forgotten_however_many_come_and_go(run: Run) -> None:
    """Submitters of several event loops, some of which go away, against three threads."""
    models = [Model() for _ in range(3)]
    batcher: Batcher[int] = Batcher(models, length=lambda item: 1 + item % 7, budget=20)

    async def one(number: int) -> None:
        chance = np.random.default_rng(number)
        for _ in range(12):
            items = chance.integers(0, 1_000, int(chance.integers(1, 9))).tolist()
            role: Any = "query" if chance.random() < 0.5 else "document"
            task = asyncio.create_task(batcher.submit(items, role))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                rows = await asyncio.wait_for(task, 60)
                assert rows[:, 0].tolist() == items

    async def many(first: int) -> None:
        await asyncio.gather(*(one(first + n) for n in range(40)))

    failures: list[BaseException] = []

    def loop(first: int) -> None:
        try:
            asyncio.run(many(first))
        except BaseException as error:  # noqa: BLE001 - told below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=loop, args=(n * 1_000,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    batcher.close()
