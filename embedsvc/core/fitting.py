"""Texts that are longer than a model reads: cut here, where it is told, never inside a model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.chunking import split
from embedsvc.core.model import Matrix, TooLong, Truncated
from embedsvc.errors import TooLarge


@dataclass(frozen=True, slots=True)
class Fitted:
    """The parts of a text that a model can read, their tokens, and what was left out."""

    parts: list[str]
    tokens: list[int]
    truncated: Truncated | None = None


def surely_fits(text: str, window: int | None) -> bool:
    """Whether a text fits without its tokens being counted: one of ASCII has no more of them than
    characters, and one for a space that a vocabulary may put before it.
    """
    return window is None or (len(text) < window and text.isascii())


def fit(
    text: str,
    starts: NDArray[np.int64],
    window: int | None,
    too_long: TooLong,
    index: int = 0,
    place: str = "input",
) -> Fitted:
    """Make a text fit into `window` tokens, which begin at `starts`.

    With "split" it may become several parts. Raises TooLarge with "error", naming `place`.
    """
    count = len(starts)
    if window is None or count <= window:
        return Fitted([text], [count])
    if too_long == "error":
        raise TooLarge(
            f"{place}[{index}]: {count} tokens, and the model reads {window}: send less, or allow "
            "it to be cut with truncate or split",
            code="text_too_long",
        )
    if too_long == "truncate":
        kept = text[: int(starts[window])]
        return Fitted([kept], [window], Truncated(index, count, window))
    spans = split(text, starts, window)
    parts = [text[start:end] for start, end in spans]
    edges = np.searchsorted(starts, np.asarray(spans))
    return Fitted(parts, [int(high - low) for low, high in edges])


def joined(rows: Matrix, tokens: list[int]) -> NDArray[np.float32]:
    """The direction of a text from those of its parts: their mean, weighted by tokens.

    Source: OpenAI Cookbook, "Embedding texts that are longer than the model's maximum context".
    """
    mean = np.average(rows, axis=0, weights=np.maximum(tokens, 1))
    length = float(np.linalg.norm(mean))
    if length == 0:  # opposite parts have no direction in common: that of the longest
        return rows[int(np.argmax(tokens))]
    return (mean / length).astype(np.float32)
