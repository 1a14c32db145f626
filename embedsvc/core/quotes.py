"""Find a quote in a text, although its writer changed what does not change words.

White space, case, quotation marks, dashes, emphasis, compatibility forms of characters and marks at
the ends may differ, and `…` may stand for words left out. What is found is given as a place in the
text as it is, so the exact words can always be shown.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from embedsvc.core.lexical import fold
from embedsvc.core.scripts import HANGUL, UNSPACED
from embedsvc.core.sentences import Span
from embedsvc.core.stopwords import STOP_WORDS

FEWEST_WORDS = 2
FEWEST_LETTERS = 6
"""Fewer of either stand in too many places to be evidence, unless they are a name or a number."""

FEWEST_UNSPACED = 2
"""Characters of a quote in a script without spaces: two are often a word."""

MOST_LEFT_OUT = 400
"""Characters that an ellipsis can stand for."""

MOST_PARTS = 8

MOST_TRIED = 500
"""Places in a text that are tried for one quote and its parts."""

_DASHES = "-‐‑‒–—―−﹘﹣－"
_TO_DASH = {ord(dash): "-" for dash in _DASHES}
_LOOSE = frozenset("\"'“”„‟«»‹›‘’‚‛`´′″「」『』*_＂＇")
"""Quotation and emphasis marks: they count only within a word or number, as apostrophes."""

_CLOSING = frozenset(":;!?.,)%")
_APOSTROPHES = frozenset("'’‘´`′＇")
_POINTS = (".", ",")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐‑](?:[ \t]*\r?\n[ \t]*)?(?=[^\W\d_])")
"""A hyphen within a word or at the end of its line, where it may belong to the line alone."""

_GAP = re.compile(r"[\[(]?(?:\.{3,}|\. \. \.)[\])]?")
_WORD = re.compile(r"[^\W_]+")
_PLAIN_OR_ONE = re.compile(r"([A-Za-z0-9]+)|.", re.DOTALL)
_JOINED = re.compile(f"[{UNSPACED}{HANGUL}]")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text with what may differ made equal: `text[i]` comes from the original at `origins[i]`."""

    text: str
    origins: Sequence[int]


def folded(text: str) -> Folded:
    """The text as quotes are compared."""
    spelled = _ordered(list(_spelled(text)))
    kept: list[tuple[str, int]] = []
    for place, (character, origin) in enumerate(spelled):
        if character in _LOOSE:
            before = spelled[place - 1][0][-1] if place else " "
            after = spelled[place + 1][0][0] if place + 1 < len(spelled) else " "
            if not (_wordlike(before) and _wordlike(after)):
                continue
            character = "'" if character in _APOSTROPHES else character
        _append(kept, character, origin)
    origins = [place for part, first in kept for place in range(first, first + len(part))]
    return Folded("".join(part for part, _ in kept), origins)


def locate(quote: str, text: str, prepared: Folded | None = None) -> Span | None:
    """Where the quote stands in the text; None if it does not, or is too short to be evidence.

    `prepared` is `folded(text)`, for a text that is searched more than once.
    """
    whole = _folded_quote(quote)
    wanted = _bare(whole)
    if not wanted:
        return None
    where = _Where(text, prepared or folded(text))
    before, _, behind = whole.partition(wanted)
    for start, end in _places(wanted, where):
        span = where.span(*where.widened(start, end, before, behind))
        if _says_something(wanted, text[slice(*span)]):
            return span
    return None


@lru_cache(maxsize=64)  # it is looked for in several sources
def _folded_quote(quote: str) -> str:
    return folded(quote).text.strip()


# -- folding ------------------------------------------------------------------------------------


def _spelled(text: str) -> Iterator[tuple[str, int]]:
    """What is compared, with its place: plain letters together, other characters one by one.

    Those that nobody sees are left out.
    """
    hyphens = {place for match in _HYPHEN.finditer(text) for place in range(*match.span())}
    for match in _PLAIN_OR_ONE.finditer(text):
        place, original = match.start(), match.group()
        if place in hyphens:
            continue
        if match[1]:
            yield original.lower(), place
            continue
        if original.isascii():
            yield (" " if original.isspace() else original.lower()), place
            continue
        if original.translate(_TO_DASH) == "-":
            yield "-", place
            continue
        if original in _LOOSE:
            yield original, place
            continue
        for character in unicodedata.normalize("NFKD", original):
            for lower in unicodedata.normalize("NFKD", character.casefold()):
                if lower.isspace():
                    yield " ", place
                elif unicodedata.category(lower)[0] != "C":
                    yield lower.translate(_TO_DASH), place


def _ordered(spelled: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Combining marks in canonical order, which single characters do not give."""
    start = 0
    while start < len(spelled):
        end = start
        while end < len(spelled) and _combining(spelled[end][0]):
            end += 1
        if end - start > 1:
            spelled[start:end] = sorted(
                spelled[start:end], key=lambda one: unicodedata.combining(one[0])
            )
        start = end + 1
    return spelled


def _append(kept: list[tuple[str, int]], character: str, origin: int) -> None:
    """Add a character or plain letters.

    White space comes once, and not beside dashes or before closing marks.
    """
    last = kept[-1][0] if kept else " "
    if character == " " and last in " -":
        return
    if last == " " and kept and (character in _CLOSING or character == "-"):
        kept.pop()
        last = kept[-1][0] if kept else " "
    if character == "-" and last == "-":
        return
    kept.append((character, origin))


def _combining(part: str) -> int:
    return 0 if part.isascii() else unicodedata.combining(part)


def _wordlike(character: str) -> bool:
    return character.isalnum() or unicodedata.combining(character) != 0


def _bare(quote: str) -> str:
    """The quote without marks at its ends."""
    start, end = 0, len(quote)
    while start < end and not _wordlike(quote[start]):
        start += 1
    while end > start and not _wordlike(quote[end - 1]):
        end -= 1
    return quote[start:end]


# -- searching ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Where:
    """A text to search, as it is and folded, and the tries that are left."""

    original: str
    folded: Folded
    tries: Iterator[int] = field(default_factory=lambda: iter(range(MOST_TRIED)))

    def span(self, start: int, end: int) -> Span:
        """The place in the original; no character is cut from its combining marks."""
        origins = self.folded.origins[start:end]
        first, last = min(origins), max(origins) + 1
        while last < len(self.original) and unicodedata.combining(self.original[last]):
            last += 1
        return first, last

    def widened(self, start: int, end: int, before: str, behind: str) -> Span:
        """The place with those marks at its ends that the quote has too: `$5`, `13%`."""
        text = self.folded.text
        while before and start and text[start - 1] == before[-1] and before[-1] != " ":
            start, before = start - 1, before[:-1]
        while behind and text[end : end + 1] == behind[0] and behind[0] != " ":
            end, behind = end + 1, behind[1:]
        return start, end

    def occurrences(self, part: str, start: int, end: int) -> Iterator[int]:
        """Places of these whole words in order, between two places."""
        text = self.folded.text
        at = text.find(part, start, end)
        while at >= 0 and next(self.tries, None) is not None:
            if self._whole(at, at + len(part)):
                yield at
            at = text.find(part, at + 1, end)

    def _whole(self, start: int, end: int) -> bool:
        """Whether no word, number or character is cut at either end."""
        origins, text = self.folded.origins, self.original
        if start and origins[start - 1] == origins[start]:
            return False
        if end < len(origins) and origins[end] == origins[end - 1]:
            return False
        first, last = origins[start], origins[end - 1]
        before, after = text[max(0, first - 2) : first], text[last + 1 : last + 3]
        return not (
            _cuts(before[-1:], text[first])
            or (text[first].isdigit() and before[-1:] in _POINTS and before[:1].isdigit())
            or _cuts(after[:1], text[last])
            or (text[last].isdigit() and after[:1] in _POINTS and after[1:].isdigit())
        )


def _places(wanted: str, where: _Where) -> Iterator[Span]:
    """Where the quote stands in folded text: as it is, or else with words left out."""
    whole = False
    for start in where.occurrences(wanted, 0, len(where.folded.text)):
        whole = True
        yield start, start + len(wanted)
    parts = [part for part in map(_bare, _GAP.split(wanted)) if part]
    if whole or not 1 < len(parts) <= MOST_PARTS:
        return
    for start in where.occurrences(parts[0], 0, len(where.folded.text)):
        end = _follow(parts[1:], where, start + len(parts[0]))
        if end is not None:
            yield start, end


def _follow(parts: Sequence[str], where: _Where, at: int) -> int | None:
    """Where the last of the parts ends, each being not far behind the one before."""
    for part in parts:
        limit = at + MOST_LEFT_OUT + len(part)
        start = next(where.occurrences(part, at, limit), None)
        if start is None:
            return None
        at = start + len(part)
    return at


def _cuts(outer: str, inner: str) -> bool:
    if not outer:
        return False
    if outer.isdigit() and inner.isdigit():
        return True
    if _JOINED.match(outer) or _JOINED.match(inner):
        return False
    return outer.isalnum() and _wordlike(inner)


# -- judging ------------------------------------------------------------------------------------


def _says_something(wanted: str, exact: str) -> bool:
    words = _WORD.findall(exact)
    letters = sum(map(len, words))
    unspaced = len(_JOINED.findall(exact))
    if unspaced >= FEWEST_UNSPACED:
        return True
    content = [word for word in words if word.casefold() not in STOP_WORDS]
    if not content:
        return False
    if any(character.isdigit() for character in wanted):
        return True
    if len(words) >= FEWEST_WORDS and letters >= FEWEST_LETTERS:
        return True
    return len(fold(content[0])) > 1 and content[0][0].isupper()
