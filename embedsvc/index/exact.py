"""The exact engine: all vectors in one NumPy array, compared with all of them. Nothing is saved.

It is the oracle that every other engine is held against, and good for small collections.
"""

import asyncio
from pathlib import Path

import numpy as np

from embedsvc.core.model import Change, Ids, IndexInfo, Match, Matrix
from embedsvc.core.vectors import top
from embedsvc.ports import Step, no_step


def create(name: str, dimensions: int, folder: Path, on_step: Step = no_step) -> "ExactIndex":
    """An empty index; `name` and `folder` are for engines that keep files."""
    del name, folder, on_step
    return ExactIndex(dimensions)


class ExactIndex:
    """A sorted array of ids and their vectors."""

    def __init__(self, dimensions: int) -> None:
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._vectors: Matrix = np.empty((0, dimensions), dtype=np.float32)
        self._version = 0

    async def version(self) -> int:
        """The last change applied; 0 when new."""
        return self._version

    async def apply(self, change: Change) -> None:
        """Replace both arrays by new ones, so that a search in progress keeps the old."""
        new = ~np.isin(change.ids, self._ids)
        ids = np.concatenate([self._ids, change.ids[new]])
        vectors = np.concatenate([self._vectors, change.vectors[new]])
        keep = ~np.isin(ids, change.removed)
        order = np.argsort(ids[keep], kind="stable")
        self._ids, self._vectors = ids[keep][order], vectors[keep][order]
        self._version = change.version

    async def search(self, queries: Matrix, k: int, within: Ids | None) -> list[list[Match]]:
        """The `k` nearest of each query, best first; with `within`, among those ids alone."""
        return await asyncio.to_thread(_search, self._ids, self._vectors, queries, k, within)

    async def vectors(self, ids: Ids) -> tuple[Ids, Matrix]:
        """Those of `ids` that the index holds, with its copy of their vectors."""
        held = np.isin(self._ids, ids)
        return self._ids[held], self._vectors[held]

    async def ids(self) -> Ids:
        """Every id that a search can return, ascending."""
        return self._ids

    async def info(self) -> IndexInfo:
        """What the index says of itself."""
        size = self._vectors.nbytes + self._ids.nbytes
        return IndexInfo("exact", self._version, len(self._ids), segments=1, bytes=size)

    async def save(self) -> None:
        """Nothing is kept on disk."""

    async def reset(self) -> None:
        """Forget everything; the version is 0 again."""
        self._ids, self._vectors = self._ids[:0], self._vectors[:0]
        self._version = 0

    async def drop(self) -> None:
        """Forget everything."""
        await self.reset()

    async def aclose(self) -> None:
        """Nothing to stop."""


def _search(
    ids: Ids, vectors: Matrix, queries: Matrix, k: int, within: Ids | None
) -> list[list[Match]]:
    if within is not None:
        held = np.isin(ids, within)
        ids, vectors = ids[held], vectors[held]
    found = []
    for scores in queries @ vectors.T:
        best = top(scores, k)
        found.append([Match(int(ids[i]), float(scores[i])) for i in best])
    return found
