"""Making one ranking of several: fusion of dense and lexical scores, and diversity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedsvc.core.model import Ids, Matrix
from embedsvc.errors import InvalidInput

Scores = NDArray[np.float32]
"""Shape (n,): one for each candidate; NaN where a stage has none."""

MOST_K = 10_000


@dataclass(frozen=True, slots=True)
class Fusion:
    """How dense and lexical become one: two weights, and `k` for reciprocal ranks.

    `score` adds the scores, which both mean something by themselves: a cosine, and the share of the
    query's words (core.lexical.bm25). `rrf` adds 1 / (k + rank), as Cormack, Clarke and Buettcher
    (SIGIR 2009), which looks at ranks alone.
    """

    method: Literal["score", "rrf"] = "score"
    dense: float = 0.5
    lexical: float = 0.5
    k: int = 60

    def __post_init__(self) -> None:
        """Raises InvalidInput naming the value."""
        for name, weight in (("dense", self.dense), ("lexical", self.lexical)):
            if not 0 <= weight <= 1_000_000:
                raise InvalidInput(f"fusion.{name}: {weight}; use a weight of 0 or more")
        if self.dense + self.lexical <= 0:
            raise InvalidInput("fusion: both weights are 0; give one of them a weight")
        if not 1 <= self.k <= MOST_K:
            raise InvalidInput(f"fusion.k: {self.k}; use 1 to {MOST_K}")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks that one of the stages found, with their scores at both. Ids ascend.

    `by_dense` and `by_lexical` are what each stage itself found, the best first. `complete`: there
    are no others that could be found.
    """

    ids: Ids
    dense: Scores | None
    lexical: Scores | None
    by_dense: Ids
    by_lexical: Ids
    complete: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """Chunks in the order of a stage, the best first, with their scores there."""

    ids: Ids
    scores: Scores

    def __len__(self) -> int:
        return len(self.ids)

    def rank(self, chunk_id: int) -> int | None:
        """The place of a chunk, from 1; None when it is not there."""
        place = first_place(self.ids, [chunk_id])
        return None if place is None else place + 1

    def score(self, chunk_id: int) -> float | None:
        """The score of a chunk; None when it is not there."""
        rank = self.rank(chunk_id)
        return None if rank is None else float(self.scores[rank - 1])

    def only(self, keep: NDArray[np.bool_] | slice) -> "Ranking":
        """Those in a slice, or for which `keep`, shape (len(self),), is true."""
        return Ranking(self.ids[keep], self.scores[keep])


def first_place(order: Ids, wanted: ArrayLike) -> int | None:
    """Where the first of the wanted ids is in an order, from 0; None when none is there."""
    places = np.flatnonzero(np.isin(order, wanted))
    return int(places[0]) if len(places) else None


def fuse(found: Candidates, fusion: Fusion) -> Ranking:
    """One ranking of all candidates; equal ones in the order of their ids."""
    if found.lexical is None:
        assert found.dense is not None
        return ranked(found.ids, found.dense)
    if found.dense is None:
        return ranked(found.ids, found.lexical)
    total = fusion.dense + fusion.lexical
    if fusion.method == "score":
        scores = fusion.dense * np.nan_to_num(found.dense) + fusion.lexical * found.lexical
        return ranked(found.ids, scores / total)
    scores = fusion.dense * _reciprocal(found.ids, found.by_dense, fusion.k)
    scores += fusion.lexical * _reciprocal(found.ids, found.by_lexical, fusion.k)
    return ranked(found.ids, scores / total)


def reciprocal_ranks(orders: Sequence[Sequence[int]], k: int = 60) -> list[int]:
    """One order of several, the best first, by the sum of 1 / (k + rank); each id comes once."""
    scores: dict[int, float] = {}
    for order in orders:
        for rank, one in enumerate(order, start=1):
            scores[one] = scores.get(one, 0.0) + 1 / (k + rank)
    return sorted(scores, key=lambda one: -scores[one])


def ranked(ids: Ids, scores: NDArray[np.floating]) -> Ranking:
    """These chunks, the best first."""
    order = np.argsort(-scores, kind="stable")
    return Ranking(ids[order], scores[order].astype(np.float32))


def diversified(found: Ranking, vectors: Matrix, diversity: float, count: int) -> Ranking:
    """The first `count` by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    `vectors`, shape (len(found), dimensions): in the order of the ranking. With a diversity of 0
    only relevance counts, with 1 only that a chunk is unlike all before it; the best comes first
    in either case. Relevance is scaled to 0 … 1 over what was found.
    """
    if not len(found):
        return found
    low, high = float(found.scores.min()), float(found.scores.max())
    relevance = (found.scores - low) / (high - low) if high > low else np.ones(len(found))
    chosen = [0]
    nearest = vectors @ vectors[0]
    open_ = np.ones(len(found), dtype=np.bool_)
    open_[0] = False
    while len(chosen) < min(count, len(found)):
        gain = np.where(open_, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        chosen.append(best)
        open_[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return Ranking(found.ids[chosen], found.scores[chosen])


def _reciprocal(ids: Ids, order: Ids, k: int) -> NDArray[np.float64]:
    """1 / (k + rank) for each of `ids` (ascending) that is in the order, else 0."""
    found = np.zeros(len(ids))
    found[np.searchsorted(ids, order)] = 1 / (k + 1 + np.arange(len(order)))
    return found
