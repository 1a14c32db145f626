"""The first stages of a search: what is near in meaning, what holds the words, scored by both."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedsvc.core.fusion import Candidates, Ranking, Scores
from embedsvc.core.model import Collection, Ids, Match, Matrix
from embedsvc.ports import VectorIndex
from embedsvc.services.indexing import Replicas
from embedsvc.services.lexical import Lexical, Words

Mode = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query as the stages need it: a vector, words, or both; `within` is what its filter allows.

    `vector` has the shape (dimensions,).
    """

    collection: Collection
    vector: Matrix | None
    words: Words | None
    within: Ids | None


@dataclass(frozen=True, slots=True)
class Stages:
    """What the stages found, each to the same depth; None of one that is not asked.

    `held` comes with whether there is no more.
    """

    near: Sequence[Match] | None = None
    held: tuple[Ranking, bool] | None = None


class Retriever:
    """Finds candidates."""

    def __init__(self, replicas: Replicas, lexical: Lexical) -> None:
        self._replicas = replicas
        self._lexical = lexical

    async def find(
        self, wanted: Wanted, index: VectorIndex | None, depth: int, known: Stages
    ) -> Candidates:
        """The `depth` best of each stage, scored by both. `known` was found already."""
        near, held = await asyncio.gather(
            self._near(wanted, index, depth, known), self.held(wanted, depth, known)
        )
        by_dense = _ids([match.chunk_id for match in near or ()])
        by_lexical = _NONE if held is None else held[0].ids
        ids = np.union1d(by_dense, by_lexical)
        dense, lexical = await asyncio.gather(
            self._cosines(wanted, index, ids, near), self._shares(wanted, ids, held)
        )
        exhausted = [len(near) < depth] if near is not None else []
        if held is not None and near is None:  # what is near in any way holds all the others
            exhausted.append(held[1])
        return Candidates(ids, dense, lexical, by_dense, by_lexical, all(exhausted))

    async def nearest(
        self,
        collection: Collection,
        index: VectorIndex,
        vectors: Matrix,
        k: int,
        within: Ids | None = None,
    ) -> list[list[Match]]:
        """Search the index; again, if it was thrown away meanwhile to be rebuilt."""
        while True:
            found = await index.search(vectors, k, within)
            if await index.version() >= collection.version:
                return found
            index = await self._replicas.fresh(collection)

    async def held(
        self, wanted: Wanted, depth: int, known: Stages = Stages()
    ) -> tuple[Ranking, bool] | None:
        """What holds the words, the best first, and whether there is no more."""
        if wanted.words is None or known.held is not None:
            return known.held
        return await self._lexical.find(wanted.collection, wanted.words, depth, wanted.within)

    async def _near(
        self, wanted: Wanted, index: VectorIndex | None, depth: int, known: Stages
    ) -> Sequence[Match] | None:
        if wanted.vector is None or index is None or known.near is not None:
            return known.near
        vectors = wanted.vector[None, :]
        return (await self.nearest(wanted.collection, index, vectors, depth, wanted.within))[0]

    async def _cosines(
        self,
        wanted: Wanted,
        index: VectorIndex | None,
        ids: Ids,
        near: Sequence[Match] | None,
    ) -> Scores | None:
        """Shape (len(ids),): cosines, NaN of a chunk without a vector."""
        if near is None or index is None or wanted.vector is None:
            return None
        scores = np.full(len(ids), np.nan, dtype=np.float32)
        if near:
            places = np.searchsorted(ids, _ids([match.chunk_id for match in near]))
            scores[places] = [match.score for match in near]
        missing = ids[np.isnan(scores)]
        if len(missing):
            there, vectors = await index.vectors(missing)
            scores[np.searchsorted(ids, there)] = vectors @ wanted.vector
        return scores

    async def _shares(
        self, wanted: Wanted, ids: Ids, held: tuple[Ranking, bool] | None
    ) -> Scores | None:
        """Shape (len(ids),): how much of the words each chunk holds."""
        if held is None or wanted.words is None:
            return None
        found = held[0]
        scores = np.zeros(len(ids), dtype=np.float32)
        scores[np.searchsorted(ids, found.ids)] = found.scores
        others = np.setdiff1d(ids, found.ids, assume_unique=True)
        if len(others):
            scores[np.searchsorted(ids, others)] = await self._lexical.scores(wanted.words, others)
        return scores


_NONE: Ids = np.empty(0, dtype=np.int64)


def _ids(numbers: Sequence[int]) -> Ids:
    return np.array(numbers, dtype=np.int64)
