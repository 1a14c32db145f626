"""Tokens without a tokenizer: words, marks and parts of long words, where a model hides its own.

What is stored was cut where `approximate_starts` says, which therefore stays as it is; what a
language model reads and writes is counted by `estimated_tokens`, which knows more languages.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"[A-Za-z]{1,8}|\d{1,3}|[^\W\d_a-zA-Z]{1,2}|[^\w\s]|_")
_WORD = re.compile(r"\w+", re.UNICODE)

_LOWER, _UPPER, _DIGIT, _MARK, _SPACE, _BREAK, _OTHER = range(7)

_SAVING: Mapping[int, Sequence[str]] = {
    7: (" the ", " of ", " and ", " to ", " THE ", " OF ", " AND ", " TO "),
    3: (" de ", " del ", " des ", " les ", " los ", " que "),
}
"""How many tokens each of these saves. They show that the words around are English, French or
Spanish, and there most are one token, however long; English has one in every eight words."""

_OF_PROGRAMS = np.frombuffer(b"(){}<>=_", dtype=np.uint8)
"""Marks that save two tokens each in the same way: names in programs are English."""

_PER_CHARACTER: Sequence[tuple[int, float]] = (
    (0x0080, 1.0),
    (0x00C0, 0.4),  # in addition: these letters are parts of words
    (0x0100, 0.9),
    (0x0250, 1.2),
    (0x0300, 2.0),  # marks above and below letters
    (0x0370, 1.05),  # Greek
    (0x0400, 0.65),  # Cyrillic
    (0x0480, 1.1),  # of Kazakh and others
    (0x0530, 2.15),  # Armenian
    (0x0590, 1.15),  # Hebrew
    (0x0600, 0.85),  # Arabic
    (0x0780, 2.0),
    (0x0900, 1.25),  # Devanagari
    (0x0980, 1.4),
    (0x0A00, 2.2),
    (0x0B80, 1.55),  # Tamil
    (0x0C00, 2.0),
    (0x0E00, 1.1),  # Thai
    (0x0E80, 2.2),
    (0x10A0, 2.1),  # Georgian
    (0x1200, 2.9),  # Ethiopic
    (0x1780, 1.8),  # Khmer
    (0x1800, 2.8),
    (0x1E00, 1.0),  # in addition: letters with two marks, as in Vietnamese
    (0x1F00, 2.0),
    (0x2000, 0.8),  # marks of all languages
    (0x2080, 1.9),
    (0x3000, 1.0),  # kana
    (0x3400, 1.45),  # Chinese signs
    (0xA000, 2.8),
    (0xAC00, 1.45),  # Hangul
    (0xD800, 2.0),
    (0xFF00, 1.1),  # wide letters and marks
    (0x10000, 2.6),  # emoji, rare signs
)
"""Where a block of Unicode begins, and how many tokens one of its characters is in cl100k: from
two thirds of one in Russian to one for each byte of what is seldom written."""

_LONGEST_WORD = 24
_OF_MIXTURE = 0.9
"""Tokens more for each word that begins with a capital within a run that is no word."""


def approximate_starts(text: str) -> NDArray[np.int64]:
    """Shape (tokens,): the offset of each token, counted as most subword vocabularies would."""
    return np.fromiter((match.start() for match in _TOKEN.finditer(text)), dtype=np.int64)


def estimated_tokens(text: str) -> int:
    """Tokens of a text for a language model: close for English, on the safe side for all else.

    Texts in a row have no more than each of them alone, but for what stands where they meet.
    """
    if not text:
        return 0
    codes, kinds, weight = _read(text)
    begins = kinds != np.concatenate([kinds[:1], kinds[:-1]])
    begins[1:] &= (kinds[1:] != _LOWER) | (kinds[:-1] != _UPPER)
    begins[0] = True
    starts = np.flatnonzero(begins)
    lengths, of = np.diff(starts, append=len(codes)), kinds[starts]
    plain, more = _of_words(lengths[of <= _UPPER])
    saved = sum(n * text.count(each) for n, found in _SAVING.items() for each in found)
    marks = kinds == _MARK
    saved += 2 * int(np.bincount(codes[marks], minlength=128)[_OF_PROGRAMS].sum())
    return ceil(
        weight
        + plain
        + max(0.0, more - saved)
        + _of_mixtures(lengths, of)
        + _of_numbers(lengths, of)
        + _of_marks(codes[marks], begins[marks])
        + _of_blanks(lengths[of == _SPACE], lengths[of == _BREAK])
    )


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


def _of_words(lengths: NDArray[np.int64]) -> tuple[float, float]:
    """Tokens of words of these lengths in English, and how many more in other languages."""
    english = 1 + np.maximum(0, lengths - 10) / 5 + np.maximum(0, lengths - _LONGEST_WORD) * 0.35
    others = np.maximum(english, lengths / 2.6)
    return float(english.sum()), float((others - english).sum())


def _of_mixtures(lengths: NDArray[np.int64], of: NDArray[np.uint8]) -> float:
    """What long runs of letters and digits have more tokens than their parts: base64, keys."""
    within = of <= _DIGIT
    inner = np.flatnonzero((of[1:] == _UPPER) & within[:-1]) + 1
    outside = np.flatnonzero(~within)
    at = np.searchsorted(outside, inner)
    ends = np.cumsum(lengths)
    begins = np.concatenate([[0], ends[outside]])[at]
    stops = np.concatenate([ends[outside] - lengths[outside], ends[-1:]])[at]
    return _OF_MIXTURE * np.count_nonzero(stops - begins > _LONGEST_WORD)


def _of_numbers(lengths: NDArray[np.int64], of: NDArray[np.uint8]) -> float:
    """Tokens of numbers: of three digits or of one; a space before a number is one more."""
    numbers = of == _DIGIT
    apart = np.count_nonzero(numbers[1:] & (of[:-1] == _SPACE))
    return float(((lengths[numbers] + 1) // 2).sum() + apart)


def _of_marks(codes: NDArray[np.unsignedinteger], begins: NDArray[np.bool_]) -> float:
    """Tokens of ASCII's marks; what stands in a row is shared, above all of the same."""
    same = np.concatenate([[False], codes[1:] == codes[:-1]]) & ~begins
    return float(np.where(begins, 1.0, np.where(same, 0.1, 0.5)).sum())


def _of_blanks(spaces: NDArray[np.int64], breaks: NDArray[np.int64]) -> float:
    """Tokens of white space: a single space belongs to the word behind it."""
    wide = spaces[spaces > 1]
    return float(len(wide) + (wide // 16).sum() + len(breaks) + (breaks // 4).sum())


def _read(
    text: str,
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8], float]:
    """The code points of a text, their kinds, and the tokens of those that count by themselves."""
    kinds, weights = _characters()
    if text.isascii():
        plain = np.frombuffer(text.encode(), dtype=np.uint8)
        return plain, kinds[plain], 0.0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = np.minimum(codes, len(kinds) - 1)
    return codes, kinds[codes], float(weights[codes].sum())


@cache
def _characters() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """By code point, the last for all beyond: the kind, and the tokens of a character."""
    kinds = np.full(0x10001, _OTHER, dtype=np.uint8)
    for code in (*range(0x250), *range(0x1E00, 0x1F00)):
        kinds[code] = _kind(chr(code))
    weights = np.zeros(len(kinds), dtype=np.float32)
    for begin, weight in _PER_CHARACTER:
        weights[begin:] = weight
    return kinds, weights


def _kind(character: str) -> int:
    if character.isalpha():
        return _UPPER if character.isupper() else _LOWER
    if not character.isascii():
        return _OTHER
    if character.isspace():
        return _SPACE if character == " " else _BREAK
    return _DIGIT if character.isdigit() else _MARK
