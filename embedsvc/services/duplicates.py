"""Near duplicates: documents of a collection whose texts are the same, or nearly.

Candidates come from the texts, not from neighbouring vectors: what is nearly the same text has
nearly the same vector, but what has nearly the same vector need not be the same text. The cosine is
told beside the overlap, so that both can be seen.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.batching import slices
from embedsvc.core.duplicates import (
    SIGNATURE,
    Linked,
    Signatures,
    candidates,
    overlap,
    shingles,
    signature,
)
from embedsvc.core.filters import Filter
from embedsvc.core.model import Collection, Matrix
from embedsvc.services.collections import Collections
from embedsvc.services.listing import MOST_DOCUMENTS, listed
from embedsvc.store.reading import Listed, Reading

Kind = Literal["exact", "near"]
T = TypeVar("T")

MOST_SHOWN = 100
"""Documents of one group that are listed."""

_CHUNKS = 4_000  # of texts that are in memory together, about 4 MB
_PAIRS = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is looked at.

    Of `compared` pairs the texts are compared word by word; when there are more, the answer says
    so.
    """

    documents: int = MOST_DOCUMENTS
    compared: int = 200_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents that are linked; `cosine` is None when one has just been deleted."""

    ids: tuple[str, str]
    kind: Kind
    overlap: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """Documents that are linked by pairs, the oldest first: that one is to be kept.

    At most MOST_SHOWN are listed, of `size`, and the pairs that are among these.
    """

    kind: Kind
    size: int
    documents: Sequence[Listed]
    pairs: Sequence[Pair]

    @property
    def keep(self) -> str:
        """The id of the oldest."""
        return self.documents[0].id


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The largest groups, of all `total`; `redundant` documents could go with one kept of each."""

    groups: Sequence[Group]
    total: int
    redundant: int
    documents: int
    complete: bool
    version: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class _Link:
    """Positions of two documents, and how much their texts overlap; None: they are the same."""

    one: int
    other: int
    overlap: float | None


_USUAL = Limits()


class DuplicateFinder:
    """Finds documents that are there more than once. One question at a time: it reads all texts."""

    def __init__(self, reading: Reading, collections: Collections, limits: Limits = _USUAL) -> None:
        self._reading = reading
        self._collections = collections
        self._limits = limits
        self._turn = asyncio.Lock()

    async def find(
        self, name: str, threshold: float = 0.7, limit: int = 100, where: Filter | None = None
    ) -> Duplicates:
        """Groups of documents whose texts overlap by at least `threshold`, the largest first.

        Raises NotFound; TooLarge for more documents than the limit.
        """
        async with self._turn:
            started = time.perf_counter()
            collection = await self._collections.get(name)
            found = await listed(self._reading, collection, where, self._limits.documents)
            documents = sorted(found, key=lambda one: (one.created_at, one.number))
            links = _same(documents)
            apart = sorted(set(range(len(documents))) - {link.other for link in links})
            near, complete = await self._near([documents[at] for at in apart], threshold)
            links += [_Link(apart[n.one], apart[n.other], n.overlap) for n in near]
            linked = Linked(len(documents))
            for link in links:
                linked.link(link.one, link.other)
            groups = sorted(linked.groups(), key=lambda members: (-len(members), members[0]))
            return Duplicates(
                groups=await self._groups(collection, documents, groups[:limit], links),
                total=len(groups),
                redundant=sum(len(members) - 1 for members in groups),
                documents=len(documents),
                complete=complete,
                version=collection.version,
                took_ms=(time.perf_counter() - started) * 1000,
            )

    async def _near(
        self, documents: Sequence[Listed], threshold: float
    ) -> tuple[list[_Link], bool]:
        """Links between texts that differ, and whether all candidates were compared."""
        signatures, worded = await self._signatures(documents)
        most = self._limits.compared
        likely = await asyncio.to_thread(candidates, signatures, threshold, most + 1)
        pairs = worded[likely[:most]]
        linked = Linked(len(documents))
        links: list[_Link] = []
        for some in slices(pairs.tolist(), _PAIRS):
            apart = [(a, b) for a, b in some if linked.head(a) != linked.head(b)]
            for one, other, shared in await self._overlaps(documents, apart):
                if shared >= threshold and linked.head(one) != linked.head(other):
                    linked.link(one, other)
                    links.append(_Link(one, other, shared))
        return links, len(likely) <= most

    async def _signatures(
        self, documents: Sequence[Listed]
    ) -> tuple[Signatures, NDArray[np.int64]]:
        """The signatures of all texts that have words, and the positions of these."""
        rows: list[NDArray[np.uint32]] = []
        worded: list[int] = []
        for batch in _portions(range(len(documents)), lambda at: documents[at].chunks):
            texts = await self._texts(documents, batch)
            for at, row in (await asyncio.to_thread(_signed, texts)).items():
                rows.append(row)
                worded.append(at)
        made = np.stack(rows) if rows else np.empty((0, SIGNATURE), dtype=np.uint32)
        return made, np.array(worded, dtype=np.int64)

    async def _overlaps(
        self, documents: Sequence[Listed], pairs: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int, float]]:
        """Pairs with how much their texts overlap."""
        found: list[tuple[int, int, float]] = []
        for batch in _portions(pairs, lambda pair: sum(documents[at].chunks for at in pair)):
            texts = await self._texts(documents, sorted({at for pair in batch for at in pair}))
            found += await asyncio.to_thread(_compared, texts, batch)
        return found

    async def _texts(
        self, documents: Sequence[Listed], positions: Sequence[int]
    ) -> Mapping[int, str]:
        """The texts of documents by position; empty where one has just been deleted."""
        texts = await self._reading.texts([documents[at].number for at in positions])
        return {at: texts.get(documents[at].number, "") for at in positions}

    async def _groups(
        self,
        collection: Collection,
        documents: Sequence[Listed],
        found: Sequence[Sequence[int]],
        links: Sequence[_Link],
    ) -> list[Group]:
        of = {at: number for number, members in enumerate(found) for at in members}
        mine: list[list[_Link]] = [[] for _ in found]
        for link in links:
            if link.one in of:
                mine[of[link.one]].append(link)
        return [
            await self._group(collection, documents, members, own)
            for members, own in zip(found, mine, strict=True)
        ]

    async def _group(
        self,
        collection: Collection,
        documents: Sequence[Listed],
        members: Sequence[int],
        links: Sequence[_Link],
    ) -> Group:
        shown = members[:MOST_SHOWN]
        there = set(shown)
        numbers, rows = await self._reading.means(
            collection, [documents[at].number for at in shown]
        )
        means = dict(zip(numbers.tolist(), rows, strict=True))
        pairs = [
            _pair(documents[link.one], documents[link.other], link.overlap, means)
            for link in links
            if link.one in there and link.other in there
        ]
        exact = all(link.overlap is None for link in links)
        listed = [documents[at] for at in shown]
        return Group("exact" if exact else "near", len(members), listed, pairs)


def _pair(one: Listed, other: Listed, shared: float | None, means: Mapping[int, Matrix]) -> Pair:
    there = one.number in means and other.number in means
    cosine = float(means[one.number] @ means[other.number]) if there else None
    if shared is None:
        return Pair((one.id, other.id), "exact", 1.0, cosine)
    return Pair((one.id, other.id), "near", shared, cosine)


def _same(documents: Sequence[Listed]) -> list[_Link]:
    """Each document whose text is that of an earlier one, linked with the first of these."""
    first: dict[bytes, int] = {}
    links = []
    for at, document in enumerate(documents):
        known = first.setdefault(document.text_hash, at)
        if known != at:
            links.append(_Link(known, at, None))
    return links


def _signed(texts: Mapping[int, str]) -> dict[int, NDArray[np.uint32]]:
    """The signature of each text that has words."""
    runs = ((at, shingles(text)) for at, text in texts.items())
    return {at: signature(one) for at, one in runs if len(one)}


def _compared(
    texts: Mapping[int, str], pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int, float]]:
    runs = {at: shingles(text) for at, text in texts.items()}
    return [(one, other, overlap(runs[one], runs[other])) for one, other in pairs]


def _portions(items: Iterable[T], weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Items whose texts are read together: as many as fit into memory, one at least."""
    portion: list[T] = []
    size = 0
    for item in items:
        if portion and size + weight(item) > _CHUNKS:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += weight(item)
    if portion:
        yield portion
