"""Cut a text into chunks that a model can read whole.

Sizes are in tokens of the model, which the caller gives as the offset where each token begins; so
the cutting itself is pure and the same for every model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Strategy
from embedsvc.core.sentences import Span, sentences, strip

CHARACTERS_PER_TOKEN = 32
"""A chunk has at most `size` times as many characters: text without spaces counts by length."""


@dataclass(frozen=True, slots=True)
class _Ruler:
    """Measures spans of a text in tokens."""

    starts: NDArray[np.int64]

    def tokens(self, start: int, end: int) -> int:
        low, high = np.searchsorted(self.starts, (start, end))
        return int(high - low)

    def reach(self, start: int, size: int) -> int | None:
        """The offset at which the token after `size` tokens from `start` begins."""
        last = int(np.searchsorted(self.starts, start)) + size
        return int(self.starts[last]) if last < len(self.starts) else None


def split(
    text: str,
    token_starts: NDArray[np.int64],
    size: int,
    overlap: int = 0,
    strategy: Strategy = "sentences",
) -> list[Span]:
    """Spans of `text`, in order, each of at most `size` tokens, that together cover all of it.

    `token_starts`: ascending character offsets, one a token. Neighbours share whole sentences (or
    tokens, with the strategy "tokens") of at most `overlap` tokens. With "none" the text stays
    one span, whatever its length. A text of white space has no span.
    """
    whole = strip(text, 0, len(text))
    if whole is None:
        return []
    if strategy == "none":
        return [whole]
    ruler = _Ruler(token_starts)
    if ruler.tokens(*whole) <= size and whole[1] - whole[0] <= size * CHARACTERS_PER_TOKEN:
        return [whole]
    units = [whole] if strategy == "tokens" else sentences(text)
    step = size if strategy == "sentences" else max(1, overlap or size)
    atoms = [part for unit in units for part in _cut(text, unit, ruler, step)]
    return _pack(atoms, ruler, size, overlap)


def _cut(text: str, unit: Span, ruler: _Ruler, size: int) -> list[Span]:
    """Cut a unit that is too long at the token (and if it can, the word) before it is too long."""
    parts: list[Span] = []
    start, end = unit
    while start < end:
        stop = min(ruler.reach(start, size) or end, start + size * CHARACTERS_PER_TOKEN, end)
        if stop < end:
            stop = _word_end(text, start, stop)
        span = strip(text, start, stop)
        if span is not None:
            parts.append(span)
        start = stop
    return parts


def _word_end(text: str, start: int, stop: int) -> int:
    """The last white space in the second half of the span, else `stop` itself."""
    for position in range(stop, (start + stop) // 2, -1):
        if text[position - 1].isspace():
            return position
    return stop


def _pack(atoms: Sequence[Span], ruler: _Ruler, size: int, overlap: int) -> list[Span]:
    """Fill chunks evenly: three of equal length rather than two full ones and a rest."""
    total = ruler.tokens(atoms[0][0], atoms[-1][1])
    target = total / max(1, -(-total // size))
    spans: list[Span] = []
    first, last = 0, 0
    while last < len(atoms):
        last = _fill(atoms, ruler, first, last + 1, size, target)
        spans.append((atoms[first][0], atoms[last - 1][1]))
        if last < len(atoms):
            first = _step_back(atoms, ruler, first, last, size, overlap)
    return spans


def _fill(
    atoms: Sequence[Span], ruler: _Ruler, first: int, last: int, size: int, target: float
) -> int:
    """The end of the chunk from `first` to at least `last`: near `target`, never above `size`."""
    start = atoms[first][0]
    tokens = ruler.tokens(start, atoms[last - 1][1])
    while last < len(atoms):
        end = atoms[last][1]
        grown = ruler.tokens(start, end)
        if grown > size or end - start > size * CHARACTERS_PER_TOKEN:
            break
        if grown - target > target - tokens:  # the chunk is nearer to its share without it
            break
        tokens, last = grown, last + 1
    return last


def _step_back(
    atoms: Sequence[Span], ruler: _Ruler, first: int, last: int, size: int, overlap: int
) -> int:
    """Where the chunk after `last` begins: as early as `overlap` allows, and after `first`.

    Whatever is repeated, the atom at `last` still fits into the chunk, so that it goes on.
    """
    start, end, new_end = last, atoms[last - 1][1], atoms[last][1]
    while overlap and start - 1 > first:
        begin = atoms[start - 1][0]
        too_long = new_end - begin > size * CHARACTERS_PER_TOKEN
        if too_long or ruler.tokens(begin, end) > overlap or ruler.tokens(begin, new_end) > size:
            break
        start -= 1
    return start
