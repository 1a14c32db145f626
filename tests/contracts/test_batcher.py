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
