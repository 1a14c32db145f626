"""The weights of local models: each in memory once, whatever options name it, and few at a time."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from embedsvc.chat._local import Loaded, Loading, load

MOST_LOADED = 2
"""Models in memory at the same time; the one that is longest unused makes room for another."""

_LOOK = 0.1
"""Seconds after which who waits for room looks whether its reader has gone."""


class Weights:
    """One model's weights, and the thread that owns them."""

    def __init__(self, about: Loading) -> None:
        self.about = about
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")
        self.loaded: Loaded | None = None
        self.busy = False
        self.takers = 0


class Shelf:
    """All weights of this process. Its methods may be called in any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._weights: dict[Loading, Weights] = {}
        self._held: list[Weights] = []  # in memory, or about to be; the longest unused first
        self._turns: deque[object] = deque()

    def take(self, about: Loading) -> Weights:
        """The weights that are meant, the same for everybody; nothing is loaded yet."""
        with self._changed:
            found = self._weights.setdefault(about, Weights(about))
            found.takers += 1
            return found

    def let_go(self, weights: Weights) -> None:
        """End what was taken; waits for the thread when it was the last taker's."""
        with self._changed:
            weights.takers -= 1
            if weights.takers:
                return
            del self._weights[weights.about]
        weights.thread.shutdown()
        self._unload(weights)

    @contextmanager
    def lent(self, weights: Weights, gone: Callable[[], bool]) -> Iterator[Loaded | None]:
        """The model, loaded; None when the reader has `gone` before. For the weights' own thread.

        Where all that may be in memory is in use, it waits for its turn. Raises as `load`.
        """
        if not self._has_room(weights, gone):
            yield None
            return
        try:
            weights.loaded = weights.loaded or load(weights.about)
            yield weights.loaded
        finally:
            with self._changed:
                weights.busy = False
                self._changed.notify_all()
            if weights.loaded is None:
                self._unload(weights)

    def _has_room(self, weights: Weights, gone: Callable[[], bool]) -> bool:
        """Wait until it may be in memory, in the order of those who want it."""
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                while self._turns[0] is not turn or not self._made_room(weights):
                    if gone():
                        return False
                    self._changed.wait(_LOOK)
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
            weights.busy = True
            if weights in self._held:
                self._held.remove(weights)
            self._held.append(weights)
            return True

    def _made_room(self, weights: Weights) -> bool:
        if weights in self._held or len(self._held) < MOST_LOADED:
            return True
        idle = next((each for each in self._held if not each.busy), None)
        if idle is not None:
            self._unload(idle)
        return idle is not None

    def _unload(self, weights: Weights) -> None:
        with self._changed:
            weights.loaded = None
            if weights in self._held:
                self._held.remove(weights)
            self._changed.notify_all()


@cache
def shelf() -> Shelf:
    """The shelf of this process: its memory is one, however many services are in it."""
    return Shelf()
