"""Tokens without a tokenizer: words, marks and parts of long words, where a model hides its own."""

import re

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"[A-Za-z]{1,8}|\d{1,3}|[^\W\d_a-zA-Z]{1,2}|[^\w\s]|_")
_WORD = re.compile(r"\w+", re.UNICODE)


def approximate_starts(text: str) -> NDArray[np.int64]:
    """Shape (tokens,): the offset of each token, counted as most subword vocabularies would."""
    return np.fromiter((match.start() for match in _TOKEN.finditer(text)), dtype=np.int64)


def words(text: str) -> list[str]:
    """The words of a text, case folded, for lexical comparison."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def storable(text: str) -> bool:
    """Whether every database can keep the text: no NUL, and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
