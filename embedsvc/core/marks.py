"""Marks of citations as models write them: `[1 "words"]`, `[2, 3]`, `[Source 1: “words”]`.

Their grammar alone; where one begins and ends in a text is markup_marks.py's business.
"""

import re
from dataclasses import dataclass

LONGEST_HEAD = 64
_MOST_RANGE = 20
BEHIND_QUOTE = 40
"""Characters that may stand between the end of a quote and the bracket: `[1 "…" (p. 3)]`."""

_WORD = (
    r"(?:sources?|src|documents?|docs?|passages?|refs?|references?|citations?|quotes?|"
    r"quellen?|dokumente?|zitate?|fuentes?|documentos?|citas?|来源|出典|資料)"
)
_NUMBER = r"[#№]?\s?[0-9]{1,4}"
_LIST = rf"{_NUMBER}(?:\s*(?:[,;&–-]|and|und|y|et)\s*(?:{_WORD}\s*)?{_NUMBER})*"
_BARE = re.compile(rf"\s*\^?(?:{_WORD}\.?:?\s*)?({_LIST})\s*", re.IGNORECASE)
_HEAD = re.compile(
    rf"\s*\^?(?:{_WORD}\.?:?\s*)?({_LIST})\s*[,:;.–—-]?\s*(?:{_WORD}\s*:?\s*)?", re.IGNORECASE
)
_HEAD_SO_FAR = re.compile(r"[\w\s^#№.,:;&–—-]*")
_CUT_HEAD = re.compile(rf"\s*\^?(?:{_WORD}\.?:?\s*)?({_NUMBER}[\s\d,;:.&–—-]*)", re.IGNORECASE)
_NESTED_HEAD = re.compile(rf"\[\s*(?:{_WORD}\s*)?{_NUMBER}\s*[,:]?\s*\Z", re.IGNORECASE)
LONGEST_NESTED = 32
_RANGE = re.compile(r"([0-9]+)\s*[–-]\s*([0-9]+)|([0-9]+)")

_DOUBLE = '"“”„‟«»「」『』＂'
_SINGLE = "'‘’‚‛‹›`´"
QUOTES = _DOUBLE + _SINGLE
_NEXT_QUOTE = re.compile(
    rf"[{QUOTES}]\s*[,;]\s*(?:and\s+|und\s+|y\s+|et\s+)?(?:{_WORD}\s*)?[#№]?([0-9]{{1,4}})\s*[,:]?\s*"
    rf"[{QUOTES}]",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\([\"'\[\]])")


@dataclass(frozen=True, slots=True)
class Reference:
    """A source that a mark names by its number, and the words it quotes; "" where it has none."""

    number: int
    quote: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A mark of a citation, such as `[1 "words"]` or `[2, 3]`, and how it was written."""

    references: tuple[Reference, ...]
    written: str

    @property
    def quotes(self) -> bool:
        """Whether any of its references has words."""
        return any(reference.quote for reference in self.references)


def bare(inner: str) -> Marker | None:
    """The mark that these characters between brackets are, if they are one without words."""
    match = _BARE.fullmatch(inner)
    return Marker(_references(match[1], ""), f"[{inner}]") if match else None


def is_head(inner: str) -> bool:
    """Whether a quotation mark behind these characters would begin the words of a mark."""
    return _HEAD.fullmatch(inner) is not None


def may_be_head(character: str) -> bool:
    """Whether the character can stand before the words of a mark."""
    return _HEAD_SO_FAR.fullmatch(character) is not None


def is_cut(inner: str) -> bool:
    """Whether a text that ends here was cut within a mark."""
    return _CUT_HEAD.fullmatch(inner) is not None


def nested_head(behind: str) -> str:
    """The beginning of another mark at the end of these characters; "" if there is none."""
    match = _NESTED_HEAD.search(behind)
    return match.group() if match else ""


def closers(quote: str) -> str:
    """The quotation marks that can close what this one opened."""
    return _DOUBLE if quote in _DOUBLE else _SINGLE


def quoting(head: str, words: str, written: str) -> Marker:
    """The mark with this beginning and these words; more numbers with words may be among them."""
    match = _HEAD.fullmatch(head)
    parts = _NEXT_QUOTE.split(words)
    references = list(_references(match[1] if match else head, _plain(parts[0])))
    for number, quote in zip(parts[1::2], parts[2::2], strict=True):
        references.append(Reference(int(number), _plain(quote)))
    return Marker(tuple(references), written)


def _references(numbers: str, quote: str) -> tuple[Reference, ...]:
    """The numbers of a mark; the words belong to the last."""
    found: list[int] = []
    for low, high, single in _RANGE.findall(numbers):
        if single:
            found.append(int(single))
        elif int(low) < int(high) <= int(low) + _MOST_RANGE:
            found.extend(range(int(low), int(high) + 1))
        else:
            found += [int(low), int(high)]
    unique = list(dict.fromkeys(found))
    return tuple(Reference(n, quote if n == unique[-1] else "") for n in unique)


def _plain(quote: str) -> str:
    return _ESCAPED.sub(r"\1", quote).strip()
