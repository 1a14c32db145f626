"""Two texts with one vector: the sign of an answer whose rows were mixed up."""

import re
from collections.abc import Sequence

from embedsvc.core.model import Matrix

_WORD = re.compile(r"\b[a-z]{2,12}\b")  # longer ones may be no word, and unknown to a model
_READ = 400  # characters that every model reads


def repeated_rows(rows: Matrix, texts: Sequence[str]) -> tuple[int, int] | None:
    """Positions of two texts with other words and the very same vector; None when there are none.

    Only words of plain letters count, and not their order: a model may know no other, or add up
    words, and then rightly gives one vector.
    """
    seen: dict[bytes, int] = {}
    for position, row in enumerate(rows):
        first = seen.setdefault(row.tobytes(), position)
        if first != position and _words(texts[first]) != _words(texts[position]):
            return first, position
    return None


def _words(text: str) -> list[str]:
    return sorted(_WORD.findall(text[:_READ].casefold()))
