"""Texts into calls: as many as a limit of texts and of tokens allows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(lengths: Iterable[int], most_texts: int, most_tokens: int | None) -> list[list[int]]:
    """Positions of texts, in order, each list within both limits or of one text alone."""
    made: list[list[int]] = []
    tokens = 0
    for position, length in enumerate(lengths):
        over = most_tokens is not None and tokens + length > most_tokens
        if not made or len(made[-1]) == most_texts or over:
            made.append([])
            tokens = 0
        made[-1].append(position)
        tokens += length
    return made


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """All values in order, so many at a time."""
    return (values[at : at + size] for at in range(0, len(values), size))
