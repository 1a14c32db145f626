"""Which texts are nearly the same: by the runs of words that they share. Pure.

Texts are compared by the Jaccard similarity of their shingles, runs of three words without case,
accents and marks (Broder, 1997): the share of both texts' runs that both have. Candidates come from
MinHash signatures in bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3),
so that the cost grows with the number of texts and not with that of pairs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.lexical import fold
from embedsvc.core.scripts import HANGUL, UNSPACED

Shingles = NDArray[np.uint64]
"""Shape (n,): ascending, each once."""

Signatures = NDArray[np.uint32]
"""Shape (texts, SIGNATURE)."""

Pairs = NDArray[np.int64]
"""Shape (n, 2): positions, the lower one first."""

SIGNATURE = 64

_RUN = 3
_BLOCK = 4_096
_MERGED = 262_144  # pairs
_MISSED = 1e-3  # of pairs that are just as alike as asked for
_CROWD = 32  # in a larger bucket each text is paired with two others alone
_WORD = re.compile(rf"[{UNSPACED}{HANGUL}]|[^\W{UNSPACED}{HANGUL}]+")
_RANDOM = np.random.default_rng(20_240_229)
_TIMES = _RANDOM.integers(2**63, size=SIGNATURE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_PLUS = _RANDOM.integers(2**63, size=SIGNATURE, dtype=np.uint64)
_PLACES = _RANDOM.integers(2**63, size=_RUN, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def shingles(text: str) -> Shingles:
    """Numbers that stand for the runs of words of a text; of a text without words none.

    A script without spaces counts each character as a word.
    """
    found = [crc32(word.encode(errors="replace")) for word in _WORD.findall(fold(text))]
    if not found:
        return np.empty(0, dtype=np.uint64)
    numbers = np.array(found, dtype=np.uint64)
    count = max(1, len(numbers) - _RUN + 1)
    mixed = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(_PLACES[: len(numbers)]):
        mixed += numbers[place : place + count] * factor
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


def signature(of: Shingles) -> NDArray[np.uint32]:
    """Shape (SIGNATURE,): two are equal in as large a share as their shingles are (MinHash)."""
    lowest = np.full(SIGNATURE, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(of), _BLOCK):
        block = of[start : start + _BLOCK]
        hashed = (block[None, :] * _TIMES[:, None] + _PLUS[:, None]) >> np.uint64(32)
        lowest = np.minimum(lowest, hashed.min(axis=1).astype(np.uint32))
    return lowest


def overlap(one: Shingles, other: Shingles) -> float:
    """The Jaccard similarity of two texts, 0 to 1."""
    if not len(one) or not len(other):
        return 0.0
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def candidates(signatures: Signatures, threshold: float, most: int) -> Pairs:
    """Pairs that may overlap by `threshold`, those first that seem to overlap most.

    Of pairs that do overlap by so much, 999 of 1,000 are among them or are linked through others.
    At most `most` are kept, in memory too.
    """
    lowest = threshold - 3 * np.sqrt(0.25 / SIGNATURE)
    count = len(signatures)
    kept, seems = np.empty(0, dtype=np.int64), np.empty(0)
    for keys in _bands(signatures, threshold):
        for found in _merged(_numbered(pairs, count) for pairs in _pairs_in(keys)):
            new = np.setdiff1d(found, kept)
            estimated = _estimates(signatures, _pairs(new, count))
            likely = estimated >= lowest
            kept = np.concatenate([kept, new[likely]])
            seems = np.concatenate([seems, estimated[likely]])
            best = np.lexsort((kept, -seems))[:most]
            kept, seems = kept[best], seems[best]
    return _pairs(kept, count)


def _numbered(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """Pairs of `count` texts as one number each, in the order of the pairs."""
    return pairs[:, 0] * count + pairs[:, 1]


def _pairs(numbers: NDArray[np.int64], count: int) -> Pairs:
    return np.stack(np.divmod(numbers, max(1, count)), axis=1)


def _merged(parts: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Numbers in arrays that are worth a call each, and take little memory."""
    waiting: list[NDArray[np.int64]] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _MERGED:
            yield np.concatenate(waiting)
            waiting, size = [], 0
    if size:
        yield np.concatenate(waiting)


def _bands(signatures: Signatures, threshold: float) -> Iterator[NDArray[np.uint64]]:
    """For each band one key a text: texts that overlap enough agree in at least one."""
    rows = _rows(threshold)
    for start in range(0, SIGNATURE - rows + 1, rows):
        keys = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(start, start + rows):
            keys = (keys ^ signatures[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(32)
        yield keys


def _rows(threshold: float) -> int:
    """The most numbers of a signature in one band that still miss next to nothing."""
    fitting = (
        rows
        for rows in range(16, 0, -1)
        if (1 - min(threshold, 1.0) ** rows) ** (SIGNATURE // rows) <= _MISSED
    )
    return next(fitting, 1)


def _pairs_in(keys: NDArray[np.uint64]) -> Iterator[Pairs]:
    """Pairs of texts with the same key: all of a small bucket, a chain and a star of a large."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    starts = np.concatenate([[0], ends])
    sizes = np.diff(np.concatenate([starts, [len(keys)]]))
    twos = starts[sizes == 2]
    yield np.stack([order[twos], order[twos + 1]], axis=1)
    for start, size in zip(starts[sizes > 2], sizes[sizes > 2], strict=True):
        members = order[start : start + size]
        if size <= _CROWD:
            low, high = np.triu_indices(size, 1)
            yield np.stack([members[low], members[high]], axis=1)
        else:
            yield np.stack([members[:-1], members[1:]], axis=1)
            yield np.stack([np.full(size - 1, members[0]), members[1:]], axis=1)


def _estimates(signatures: Signatures, pairs: Pairs) -> NDArray[np.float64]:
    seems = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        some = pairs[start : start + _BLOCK]
        same = signatures[some[:, 0]] == signatures[some[:, 1]]
        seems[start : start + len(some)] = same.mean(axis=1)
    return seems


class Linked:
    """Things that belong together because they are linked, however far around."""

    def __init__(self, count: int) -> None:
        self._over = list(range(count))

    def head(self, at: int) -> int:
        """The one that stands for all that `at` is linked with."""
        while self._over[at] != at:
            self._over[at] = self._over[self._over[at]]
            at = self._over[at]
        return at

    def link(self, one: int, other: int) -> None:
        """They belong together from now on."""
        low, high = sorted((self.head(one), self.head(other)))
        self._over[high] = low

    def groups(self) -> Sequence[list[int]]:
        """All that are linked with another, each group ascending."""
        found: dict[int, list[int]] = {}
        for at in range(len(self._over)):
            found.setdefault(self.head(at), []).append(at)
        return [members for members in found.values() if len(members) > 1]
