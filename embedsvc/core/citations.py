"""Check a citation: does the quote stand in the source, and where."""

from dataclasses import dataclass
from typing import Literal

from embedsvc.core.model import Chunk

CitationStatus = Literal["verified", "unsupported", "not_found"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote and what the check found: `document.text[start:end] == quote` when verified."""

    marker: int
    chunk: Chunk
    quote: str
    start: int | None
    end: int | None
    status: CitationStatus


def check(marker: int, quote: str, chunk: Chunk) -> Citation:
    """Look the quote up, letter by letter, in the chunk that it names."""
    at = chunk.text.find(quote) if quote else -1
    if at < 0:
        return Citation(marker, chunk, quote, None, None, "not_found")
    start = chunk.start + at
    return Citation(marker, chunk, quote, start, start + len(quote), "verified")
