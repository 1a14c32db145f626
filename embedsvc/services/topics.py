"""Topics: documents of a collection in groups by their vectors, named by their words."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.batching import slices
from embedsvc.core.filters import Filter
from embedsvc.core.model import Collection, Matrix
from embedsvc.core.naming import Term, name_groups
from embedsvc.errors import InvalidInput
from embedsvc.services.collections import Collections
from embedsvc.services.listing import MOST_DOCUMENTS, listed
from embedsvc.store.reading import Listed, Reading

MOST_CLUSTERS = 200
_MOST_CHOSEN = 50
"""When the number of groups is not given: more than a reader takes in."""

_FEW = 4
_NAMED_BY = 60
_READ = 3_000
_LABEL = 3
_PAGE = 5_000
_SEED = 0

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is looked at.

    The groups are made from the vectors of `sampled` documents, and all others go to the nearest
    one; where the groups begin, and how well they stand apart, is told from `compared` of these.
    """

    documents: int = MOST_DOCUMENTS
    sampled: int = 10_000
    compared: int = 1_500


@dataclass(frozen=True, slots=True)
class Example:
    """A document of a topic, and its cosine to the topic's centre."""

    document: Listed
    score: float


@dataclass(frozen=True, slots=True)
class Topic:
    """Documents that belong together, with the words that tell them from others.

    `share` is that of all documents that are in a topic; `documents` are the nearest to the centre.
    """

    label: str
    terms: Sequence[Term]
    size: int
    share: float
    documents: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics, the largest first.

    `unassigned` documents have no vectors to go by, or nothing near them; `sampled` is how many
    documents the groups were made from; `separation` is how well they stand apart (the silhouette,
    -1 to 1; None where there is but one).
    """

    topics: Sequence[Topic]
    documents: int
    unassigned: int
    sampled: int
    separation: float | None
    version: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class _Placed:
    """For each document the topic that it belongs to (-1: none) and its cosine to the centre."""

    labels: Labels
    scores: NDArray[np.float32]

    def closest(self, label: int, most: int) -> list[int]:
        """Positions of the documents of a topic, the nearest to its centre first."""
        members = np.flatnonzero(self.labels == label)
        order = np.lexsort((members, -self.scores[members]))
        nearest: list[int] = members[order][:most].tolist()
        return nearest


_USUAL = Limits()


class TopicFinder:
    """Finds what a collection is about. One question at a time."""

    def __init__(self, reading: Reading, collections: Collections, limits: Limits = _USUAL) -> None:
        self._reading = reading
        self._collections = collections
        self._limits = limits
        self._turn = asyncio.Lock()

    async def find(
        self,
        name: str,
        clusters: int | None = None,
        terms: int = 8,
        examples: int = 3,
        where: Filter | None = None,
    ) -> Topics:
        """The topics of a collection: `clusters` of them, or as many as the data suggest.

        The same collection has the same topics each time. Raises NotFound; InvalidInput for more
        clusters than documents; TooLarge for more documents than the limit.
        """
        async with self._turn:
            started = time.perf_counter()
            collection = await self._collections.get(name)
            documents = await listed(self._reading, collection, where, self._limits.documents)
            chosen = _sample(len(documents), self._limits.sampled)
            numbers, rows = await self._reading.means(
                collection, [documents[at].number for at in chosen]
            )
            if clusters is not None and clusters > len(numbers):
                raise InvalidInput(
                    f"clusters: {clusters}; there are {len(numbers)} documents with vectors: "
                    "ask for at most as many"
                )
            centres, separation = await asyncio.to_thread(
                _centres, rows, clusters, self._limits.compared
            )
            placed = await self._place(collection, documents, centres)
            if clusters is None:
                placed = _without_loners(placed)
            topics = await self._topics(documents, placed, terms, examples)
            return Topics(
                topics=topics,
                documents=len(documents),
                unassigned=int((placed.labels < 0).sum()),
                sampled=len(numbers),
                separation=separation,
                version=collection.version,
                took_ms=(time.perf_counter() - started) * 1000,
            )

    async def _place(
        self, collection: Collection, documents: Sequence[Listed], centres: Matrix
    ) -> _Placed:
        """Each document to its nearest centre, page by page."""
        at = {document.number: position for position, document in enumerate(documents)}
        labels = np.full(len(documents), -1, dtype=np.int64)
        scores = np.zeros(len(documents), dtype=np.float32)
        for page in slices(list(at), _PAGE) if len(centres) else ():
            numbers, rows = await self._reading.means(collection, page)
            cosines = rows @ centres.T
            positions = [at[number] for number in numbers.tolist()]
            labels[positions] = cosines.argmax(axis=1)
            scores[positions] = cosines.max(axis=1, initial=-1.0)
        return _Placed(labels, scores)

    async def _topics(
        self, documents: Sequence[Listed], placed: _Placed, terms: int, examples: int
    ) -> list[Topic]:
        labels, sizes = np.unique(placed.labels[placed.labels >= 0], return_counts=True)
        order = sorted(zip(labels.tolist(), sizes.tolist(), strict=True), key=lambda x: -x[1])
        nearest = [placed.closest(label, max(_NAMED_BY, examples)) for label, _ in order]
        texts = await self._texts(documents, [at for group in nearest for at in group])
        named = await asyncio.to_thread(
            name_groups, [[texts[at] for at in group[:_NAMED_BY]] for group in nearest], terms
        )
        return [
            Topic(
                label=_label(words, documents[group[0]]),
                terms=words,
                size=size,
                share=size / int(sizes.sum()),
                documents=[
                    Example(documents[at], float(placed.scores[at])) for at in group[:examples]
                ],
            )
            for (_, size), group, words in zip(order, nearest, named, strict=True)
        ]

    async def _texts(
        self, documents: Sequence[Listed], positions: Sequence[int]
    ) -> Mapping[int, str]:
        """Title and beginning of each document's text."""
        found: dict[int, str] = {}
        for page in slices(positions, _PAGE):
            texts = await self._reading.texts([documents[at].number for at in page], _READ)
            for at in page:
                title = documents[at].title or ""
                found[at] = f"{title}\n{texts.get(documents[at].number, '')}"
        return found


def _sample(count: int, most: int) -> list[int]:
    """At most so many of `count` positions, ascending, the same each time."""
    if count <= most:
        return list(range(count))
    chosen = np.random.default_rng(_SEED).choice(count, most, replace=False)
    positions: list[int] = np.sort(chosen).tolist()
    return positions


def _centres(rows: Matrix, clusters: int | None, compared: int) -> tuple[Matrix, float | None]:
    """Unit vectors in the middle of each group, and how well the groups stand apart.

    k-means begins where Ward's method, which cannot take in as many documents, has put the groups:
    better than any number of random beginnings, and the same each time.
    """
    if not len(rows):
        return rows, None
    some = rows[_sample(len(rows), compared)]
    distances = np.clip(1 - some @ some.T, 0, 2)
    np.fill_diagonal(distances, 0)
    labels = _grouped(some, distances, clusters)
    centres = _unit(_refined(rows, _means(some, labels)))
    return centres, _separation(distances, (some @ centres.T).argmax(axis=1))


def _grouped(rows: Matrix, distances: Matrix, clusters: int | None) -> Labels:
    """The groups of Ward's method: so many, or as many as stand apart best; 1 of few documents."""
    distinct = len(np.unique(rows.round(3), axis=0))
    best = np.zeros(len(rows), dtype=np.int64)
    if distinct < (_FEW if clusters is None else 2):
        return best
    from sklearn.cluster import ward_tree  # takes most of a second

    merges = ward_tree(rows)[0].tolist()
    if clusters is not None:
        return _cut(merges, len(rows), min(clusters, distinct))
    best_separation = 0.0
    for count in range(2, min(_MOST_CHOSEN, distinct // 2) + 1):
        labels = _cut(merges, len(rows), count)
        separation = _separation(distances, labels)
        if separation is not None and separation > best_separation:
            best, best_separation = labels, separation
    return best


def _cut(merges: Sequence[Sequence[int]], leaves: int, count: int) -> Labels:
    """The groups that are left when only so many merges are done that there are `count`."""
    group = list(range(2 * leaves))
    for number in range(leaves - count - 1, -1, -1):  # from the last merge down to the first
        for child in merges[number]:
            group[child] = group[leaves + number]
    labels: Labels = np.unique(group[:leaves], return_inverse=True)[1]
    return labels


def _means(rows: Matrix, labels: Labels) -> Matrix:
    return np.stack([rows[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def _refined(rows: Matrix, centres: Matrix) -> Matrix:
    """The centres of k-means on vectors of unit length, where distance goes with the cosine."""
    if len(centres) == 1:
        return rows.mean(axis=0, keepdims=True)
    from sklearn.cluster import KMeans

    found: Matrix = KMeans(len(centres), init=centres, n_init=1).fit(rows).cluster_centers_
    return found


def _unit(centres: Matrix) -> Matrix:
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    unit: Matrix = (centres / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit


def _separation(distances: Matrix, labels: Labels) -> float | None:
    """The mean silhouette by cosine (Rousseeuw, 1987)."""
    if not 2 <= len(np.unique(labels)) < len(labels):
        return None
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(distances, labels, metric="precomputed"))


def _without_loners(placed: _Placed) -> _Placed:
    """A document that is alone in its group belongs to no topic, if others do."""
    found, sizes = np.unique(placed.labels, return_counts=True)
    if not (sizes[found >= 0] > 1).any():
        return placed
    alone = np.isin(placed.labels, found[sizes == 1])
    return _Placed(np.where(alone, -1, placed.labels), placed.scores)


def _label(words: Sequence[Term], nearest: Listed) -> str:
    if not words:
        return nearest.title or nearest.id
    return ", ".join(word.term for word in words[:_LABEL])
