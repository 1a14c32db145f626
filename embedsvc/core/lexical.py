"""Words for lexical search: how a text becomes terms, and how well terms answer a query (BM25).

Terms are the same for every language, without a list of words or a stemmer to choose: case and
accents are folded, a word is compared by its first letters (so that its endings do not count), and
scripts without spaces are cut into overlapping pairs of characters. Measured on SciFact, XQuAD in
English, German and Spanish, and CLAPNQ, the first six letters find at least as much as Snowball's
stemmers for the right language (benchmarks/README.md).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.scripts import HANGUL, UNSPACED

STEM = 6
"""Letters of a word that count. Codes, which hold a digit, count whole."""

LONGEST = 64
"""Characters of a term: more of one are no word."""

K1 = 1.2
B = 0.75
"""The usual constants of BM25 (Robertson and Zaragoza, 2009), those of SQLite's FTS5 too."""

MOST_COUNT = 255

_ASCII = re.compile(r"[a-z0-9]+(?:[-_/.][a-z0-9]+)*")
_ACCENTS = re.compile(r"[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed]+")
_JOINTS = re.compile(r"[-_/.]")
_PART = re.compile(r"[^-_/.]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_UNSPACED = re.compile(f"[{UNSPACED}{HANGUL}]+")


def terms(text: str) -> list[str]:
    """The terms of a text in order, as often as they come. None of them is empty."""
    return list(_terms(text))


def fold(text: str) -> str:
    """The text without case and accents, so that what reads alike compares alike."""
    if text.isascii():
        return text.lower()
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", bare.casefold())


@dataclass(frozen=True, slots=True)
class Bag:
    """The terms of a text without their order: each once, with how often it comes."""

    counts: Mapping[str, int]

    @property
    def words(self) -> int:
        """How many terms the text has."""
        return sum(self.counts.values())

    def packed(self) -> bytes:
        """What is kept of it: a CRC-32 for each term, then their counts, one byte each."""
        numbers = np.fromiter(map(number, self.counts), dtype="<u4", count=len(self.counts))
        counts = np.minimum(list(self.counts.values()), MOST_COUNT).astype(np.uint8)
        return numbers.tobytes() + counts.tobytes()


def bag(*texts: str) -> Bag:
    """The terms of some texts together."""
    counts: dict[str, int] = {}
    for text in texts:
        for term in _terms(text):
            counts[term] = counts.get(term, 0) + 1
    return Bag(counts)


def number(term: str) -> int:
    """The 32 bits that stand for a term in a packed bag."""
    return crc32(term.encode())


@dataclass(frozen=True, slots=True)
class Statistics:
    """What BM25 must know of a collection: chunks, their mean words, chunks that hold each term."""

    chunks: int
    mean_words: float
    holding: Mapping[str, int]

    def rarity(self, term: str) -> float:
        """The inverse document frequency of a term, above 0."""
        holding = self.holding.get(term, 0)
        chunks = max(self.chunks, holding)  # one was counted a moment after the other
        return log(1 + (chunks - holding + 0.5) / (holding + 0.5))


def bm25(
    query: Sequence[str], statistics: Statistics, packed: Sequence[bytes]
) -> NDArray[np.float32]:
    """Shape (len(packed),): BM25 of each bag, divided by the rarity of all terms of the query.

    So 1 means: a text of mean length that holds every term of the query once. Scores of different
    queries can be compared, and it never matters what else was found.
    """
    if not query or not packed:
        return np.zeros(len(packed), dtype=np.float32)
    counts, words = _counts(query, packed)
    rarities = np.array([statistics.rarity(term) for term in query])
    norm = K1 * (1 - B + B * words / max(statistics.mean_words, 1e-9))
    saturated = counts * (K1 + 1) / (counts + norm[:, None])
    scores: NDArray[np.float32] = (saturated @ rarities / rarities.sum()).astype(np.float32)
    return scores


def held(query: Sequence[str], packed: bytes) -> list[str]:
    """Those terms of the query that the bag holds."""
    if not query:
        return []
    counts, _ = _counts(query, [packed])
    return [term for term, count in zip(query, counts[0], strict=True) if count]


def _counts(
    query: Sequence[str], packed: Sequence[bytes]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shape (bags, terms): how often each bag holds each term; shape (bags,): words of each.

    Neither may be empty.
    """
    sizes = np.array([len(one) // 5 for one in packed])
    rows = np.repeat(np.arange(len(packed)), sizes)
    numbers = np.frombuffer(
        b"".join(one[: 4 * size] for one, size in zip(packed, sizes, strict=True)), dtype="<u4"
    )
    each = np.frombuffer(
        b"".join(one[4 * size :] for one, size in zip(packed, sizes, strict=True)), dtype=np.uint8
    )
    words = np.bincount(rows, weights=each, minlength=len(packed))
    wanted = np.array([number(term) for term in query], dtype=np.uint32)
    order = np.argsort(wanted)
    places = np.minimum(np.searchsorted(wanted, numbers, sorter=order), len(wanted) - 1)
    columns = order[places]
    found = wanted[columns] == numbers
    counts = np.zeros((len(packed), len(query)))
    np.add.at(counts, (rows[found], columns[found]), each[found])
    return counts, words


def _terms(text: str) -> Iterator[str]:
    folded = fold(text)
    pattern = _ASCII if folded.isascii() else _words()
    for match in pattern.finditer(folded):
        word = match.group()
        if word.isalpha() and word.isascii():
            yield word[:STEM]
        else:
            yield from _parts(word)


def _parts(word: str) -> Iterator[str]:
    """The terms of what stands together: its parts, and the whole where it looks like a code."""
    parts = [part for part in _JOINTS.split(word) if part]
    for part in parts:
        yield from _pairs(part)
    if len(parts) > 1 and _is_code(parts):
        yield "".join(parts)[:LONGEST]


def _is_code(parts: Sequence[str]) -> bool:
    """Whether a digit is among the parts, and something else too."""
    return any(map(str.isdigit, "".join(parts))) and not all(map(str.isdigit, parts))


def _pairs(part: str) -> Iterator[str]:
    """A word, or pairs of characters where its script has no spaces between words."""
    at = 0
    for run in _UNSPACED.finditer(part):
        if run.start() > at:
            yield _stem(part[at : run.start()])
        characters = run.group()
        yield from (characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
        if len(characters) > 1:
            yield from _HAN.findall(characters)  # one of them is often a word
        at = run.end()
    if at < len(part):
        yield _stem(part[at:])


def _stem(word: str) -> str:
    return word[:LONGEST] if any(map(str.isdigit, word)) else word[:STEM]


@cache
def _words() -> re.Pattern[str]:
    """A word of any script: letters, digits, and the marks that Python does not count to them."""
    marks = "".join(
        chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"
    )
    word = rf"[^\W_](?:[^\W_]|[{marks}])*"
    return re.compile(rf"{word}(?:[-_/.]{word})*")
