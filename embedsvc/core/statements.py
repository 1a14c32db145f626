"""A text as sentences that can be quoted, each with the terms it holds. Offsets are characters."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from embedsvc.core.lexical import terms
from embedsvc.core.sentences import Span, sentences, strip

LONGEST = 600
"""Characters of a sentence: a longer one is cut, at the end of a line or else of a word."""

MOST_READ = 50_000
"""Characters of a text that are looked at."""

STEM = 5
"""Letters of a word that count: one fewer than in a search, where a wrong word costs more."""

_FENCE = "```"
_MARK = re.compile(r"(?:[-*•]|\d+[.)])\s+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` stands from `start` to `end`, without the mark of a list item before it.

    `terms` are those of the search, shortened by `stem`. `says` is false for what says nothing by
    itself: a heading, or code.
    """

    start: int
    end: int
    text: str
    terms: frozenset[str]
    says: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """The sentences of a text in order, and the terms of its title and of all together."""

    sentences: Sequence[Sentence]
    title: frozenset[str]
    terms: frozenset[str]


def read(text: str, title: str | None = None) -> Contents:
    """Read a text, as far as MOST_READ."""
    found = list(_sentences(text[:MOST_READ]))
    named = _stems(terms(title or ""))
    return Contents(found, named, named.union(*(sentence.terms for sentence in found)))


def stem(term: str) -> str:
    """A term as sentences are compared by it."""
    return term[:STEM] if term.isalpha() else term


def _stems(found: Iterable[str]) -> frozenset[str]:
    return frozenset(map(stem, found))


def _sentences(text: str) -> Iterator[Sentence]:
    for start, end, says in _said(text):
        mark = _MARK.match(text, start, end) if says else None
        for first, last in _pieces(text, start if mark is None else mark.end(), end):
            piece = text[first:last]
            yield Sentence(first, last, piece, _stems(terms(piece)), says)


def _said(text: str) -> Iterator[tuple[int, int, bool]]:
    """Each sentence with whether it says something by itself; code stands between fences."""
    in_code = False
    for start, end in sentences(text):
        if not text.startswith(_FENCE, start):
            yield start, end, not in_code and text[start] != "#"
            continue
        was_code = in_code
        in_code ^= text.count(_FENCE, start, end) % 2 == 1
        line = text.find("\n", start, end)
        if was_code and not in_code and line >= 0:  # below the closing fence there is text again
            yield start, line, False
            start = line
        yield start, end, was_code and not in_code and start == line


def _pieces(text: str, start: int, end: int) -> Iterator[Span]:
    """A sentence, cut where it is too long."""
    while end - start > LONGEST:
        stop = _cut(text, start, start + LONGEST)
        if (span := strip(text, start, stop)) is not None:
            yield span
        start = stop
    if (span := strip(text, start, end)) is not None:
        yield span


def _cut(text: str, start: int, end: int) -> int:
    """The end of the last line or else word in the later half."""
    for blank in ("\n", " "):
        at = text.rfind(blank, start + LONGEST // 2, end)
        if at >= 0:
            return at + 1
    return end
