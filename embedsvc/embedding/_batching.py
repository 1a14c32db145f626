"""Share model calls between everybody who waits for one.

Texts arrive one by one and in thousands; a model is fastest when a call is filled with texts of
similar length, up to a number of tokens. A thread owns each copy of the model: one a device, or one
a core. Before each call it looks at who waits: queries go first, because somebody sits in front of
them, but bulk work that waits keeps a guaranteed share of the time.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Role
from embedsvc.errors import ProviderError, Unavailable

Item = TypeVar("Item")
Run = Callable[[Sequence[Item]], NDArray[np.floating]]

WINDOW = 512
"""Bulk texts that are sorted by length together; more would let a short text wait for ever."""


@dataclass(slots=True, eq=False)
class _Job(Generic[Item]):
    """One call of `submit`: its rows come back together."""

    items: Sequence[Item]
    future: "Future[NDArray[np.floating]]"
    rows: dict[int, NDArray[np.floating]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def finish(self, position: int, row: NDArray[np.floating]) -> None:
        with self.lock:  # several threads may work on one job
            self.rows[position] = row
            complete = len(self.rows) == len(self.items)
        if complete:
            rows = np.stack([self.rows[i] for i in range(len(self.items))])
            with suppress(InvalidStateError):  # cancelled meanwhile
                self.future.set_result(rows)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class _Unit(Generic[Item]):
    job: _Job[Item]
    position: int
    length: int

    @property
    def item(self) -> Item:
        return self.job.items[self.position]


class Batcher(Generic[Item]):
    """Threads, one for each of `runs`, that work on batches of what is submitted.

    A run is a device or a core of its own. `length` measures an item in tokens; a batch holds at
    most `budget` tokens, padding counted in, and at least one item. `bulk_share` is the part of the
    time that documents get while queries never stop coming.
    """

    def __init__(
        self,
        runs: Sequence[Run[Item]],
        length: Callable[[Item], int],
        budget: int,
        bulk_share: float = 0.25,
    ) -> None:
        self._length = length
        self._budget = budget
        self._bulk_share = bulk_share
        self._queries: deque[_Unit[Item]] = deque()
        self._bulk: deque[_Unit[Item]] = deque()
        self._window: list[_Unit[Item]] = []  # bulk units, shortest first
        self._spent = {"query": 0.0, "document": 0.0}
        self._idle = 0  # threads that wait for work
        self._wake = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._loop, args=(run,), name="model", daemon=True)
            for run in runs
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, items: Sequence[Item], role: Role) -> NDArray[np.floating]:
        """Shape (len(items), dimensions). Cancelling frees the places of texts not yet begun."""
        if not items:
            return np.empty((0, 0), dtype=np.float32)
        job: _Job[Item] = _Job(items, Future())
        units = [_Unit(job, i, self._length(item)) for i, item in enumerate(items)]
        with self._wake:
            if self._closed:
                raise Unavailable("the embedding model is being shut down")
            (self._queries if role == "query" else self._bulk).extend(units)
            self._wake.notify_all()
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Stop after the call in progress; whoever still waits gets Unavailable."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        for unit in [*self._queries, *self._bulk, *self._window]:
            unit.job.fail(Unavailable("the service stopped before this text was embedded"))

    def _loop(self, run: Run[Item]) -> None:
        while (turn := self._next()) is not None:
            role, batch = turn
            started = time.perf_counter()
            try:
                rows = run([unit.item for unit in batch])
                if len(rows) != len(batch):
                    raise ProviderError(f"{len(rows)} vectors for {len(batch)} texts")
                for unit, row in zip(batch, rows, strict=True):
                    unit.job.finish(unit.position, row)
            except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
                for unit in batch:
                    unit.job.fail(error)
            with self._wake:
                self._spent[role] += time.perf_counter() - started

    def _next(self) -> tuple[Role, list[_Unit[Item]]] | None:
        with self._wake:
            while True:
                while not (self._closed or self._queries or self._bulk or self._window):
                    self._idle += 1
                    self._wake.wait()
                    self._idle -= 1
                if self._closed:
                    return None
                role = self._whose_turn()
                batch = self._query_batch() if role == "query" else self._bulk_batch()
                if batch:  # else all of it was cancelled
                    return role, batch

    def _whose_turn(self) -> Role:
        bulk_waits = bool(self._bulk or self._window)
        if not (self._queries and bulk_waits):
            self._spent = {"query": 0.0, "document": 0.0}  # nobody has to share
            return "query" if self._queries else "document"
        both = self._spent["query"] + self._spent["document"]
        behind = both > 0 and self._spent["document"] < self._bulk_share * both
        return "document" if behind else "query"

    def _share(self, waiting: int) -> int:
        """How many of those that wait this thread takes, when others have nothing to do."""
        return -(-waiting // (1 + self._idle))

    def _query_batch(self) -> list[_Unit[Item]]:
        batch: list[_Unit[Item]] = []
        longest = 0
        share = self._share(len(self._queries))
        while self._queries and len(batch) < share:
            unit = self._queries[0]
            longest = max(longest, unit.length)
            if batch and longest * (len(batch) + 1) > self._budget:
                break
            self._queries.popleft()
            if not unit.job.future.done():
                batch.append(unit)
        return batch

    def _bulk_batch(self) -> list[_Unit[Item]]:
        if not self._window:
            count = min(WINDOW, len(self._bulk))
            self._window = [self._bulk.popleft() for _ in range(count)]
            self._window.sort(key=lambda unit: unit.length)
        batch: list[_Unit[Item]] = []
        share = self._share(len(self._window) + len(self._bulk))
        while self._window and len(batch) < share:
            longest = batch[0].length if batch else self._window[-1].length
            if batch and longest * (len(batch) + 1) > self._budget:
                break
            unit = self._window.pop()
            if not unit.job.future.done():
                batch.append(unit)
        return batch
