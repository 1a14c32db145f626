"""Where sentences begin and end. Offsets are characters; nothing of the text is lost or changed."""

import re
from collections.abc import Iterator

Span = tuple[int, int]

_END = re.compile(
    r"""
    (?<=[.!?…])["'”’»)\]]*(?=\s)                      # closing mark, then white space
    | (?<=[。！？])["”’」』）]*                          # CJK marks need no white space
    | (?=\n[ \t\r]*\n)                                # a paragraph
    | (?<=\n)(?=[ \t]*(?:[-*•#|`]|\d+[.)][ \t]))       # a list item, a heading, a table, code
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[“\"'])(?:[A-Za-z]|[A-Za-z](?:\.[A-Za-z])+|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|cf|al|"
    r"Fig|Figs|Eq|No|Nos|Vol|pp|ca|approx|Inc|Ltd|Co|Corp|bzw|usw|Nr|Abb|Sra|Dra|Ud)\.$|(?:^|\n)\s*\d{1,3}\.$"
)
_LOOK_BACK = 16


def sentences(text: str) -> list[Span]:
    """Cut `text` into sentences without surrounding white space, in order, never overlapping.

    All characters that are not white space are inside exactly one span.
    """
    spans: list[Span] = []
    start = 0
    for end in [*_boundaries(text), len(text)]:
        span = strip(text, start, end)
        if span is not None:
            spans.append(span)
        start = end
    return spans


def strip(text: str, start: int, end: int) -> Span | None:
    """Shrink a span by the white space at its ends; None when nothing is left."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left == len(piece):
        return None
    return start + left, end - (len(piece) - len(piece.rstrip()))


def _boundaries(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        end = match.end()
        before = text[max(0, end - _LOOK_BACK) : end]
        if (
            before.endswith(".")
            and _ABBREVIATION.search(before)
            and "\n" not in text[end : end + 1]
        ):
            continue
        yield end
