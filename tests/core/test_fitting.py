"""Texts longer than a model reads: cut where they are told to be, and never silently."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.fitting import Fitted, fit, joined, surely_fits
from embedsvc.core.model import Truncated
from embedsvc.core.tokens import approximate_starts
from embedsvc.errors import TooLarge

_WORDS = st.sampled_from(
    ["a", "be", "extraordinarily", "東京都", "3.14", "End.", "Why?", "x" * 70, "\n\n", "\t"]
)
TEXTS = st.one_of(
    st.lists(_WORDS, min_size=1, max_size=60).map(" ".join), st.text(min_size=1, max_size=150)
).filter(str.strip)


def fitted(text: str, window: int | None, too_long: Any, **named: Any) -> Fitted:
    return fit(text, approximate_starts(text), window, too_long, **named)


@pytest.mark.parametrize("too_long", ["truncate", "split", "error"])
@pytest.mark.parametrize("window", [None, 3, 100])
def test_a_text_that_fits_is_left_as_it_is(too_long: str, window: int | None) -> None:
    assert fitted(" one two three ", window, too_long) == Fitted([" one two three "], [3])


def test_a_text_is_truncated_at_a_token_and_that_is_told() -> None:
    found = fitted("one two three four", 2, "truncate", index=7)
    assert found == Fitted(["one two "], [2], Truncated(7, 4, 2))


def test_a_text_is_split_into_parts_and_nothing_is_left_out() -> None:
    found = fitted("One two. Three four. Five.", 3, "split")
    assert found == Fitted(["One two.", "Three four.", "Five."], [3, 3, 2])


def test_an_error_names_the_text_its_tokens_and_the_limit() -> None:
    with pytest.raises(TooLarge, match=r"texts\[2\]: 4 tokens, and the model reads 3") as caught:
        fitted("one two three four", 3, "error", index=2, place="texts")
    assert caught.value.code == "text_too_long"


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_split_parts_cover_the_text_and_no_part_is_above_the_window(text: str, window: int) -> None:
    found = fitted(text, window, "split")
    assert found.truncated is None
    assert found.parts
    assert len(found.parts) == len(found.tokens)
    at = 0
    for part, tokens in zip(found.parts, found.tokens, strict=True):
        start = text.index(part, at)
        assert not text[at:start].strip(), "only white space is left out"
        assert tokens <= window
        at = start + len(part)
    assert not text[at:].strip()
    assert sum(found.tokens) == len(approximate_starts(text))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_a_truncated_text_is_the_beginning_and_has_the_tokens_it_says(
    text: str, window: int
) -> None:
    found = fitted(text, window, "truncate")
    (part,) = found.parts
    assert text.startswith(part)
    count = len(approximate_starts(text))
    assert found.tokens == [min(count, window)]
    assert found.truncated == (Truncated(0, count, window) if count > window else None)
    assert (part == text) == (count <= window)


# -- one vector from the parts --------------------------------------------------------------------


def unit(*numbers: float) -> np.ndarray:
    row = np.array(numbers, dtype=np.float32)
    return row / np.linalg.norm(row)


def test_parts_are_joined_by_their_tokens() -> None:
    rows = np.stack([unit(1, 0), unit(0, 1)])
    np.testing.assert_allclose(joined(rows, [3, 1]), unit(3, 1), atol=1e-6)
    np.testing.assert_allclose(joined(rows, [0, 0]), unit(1, 1), atol=1e-6)


def test_a_part_alone_is_the_whole() -> None:
    np.testing.assert_allclose(joined(np.stack([unit(3, 4)]), [9]), unit(3, 4), atol=1e-6)


def test_opposite_parts_give_the_direction_of_the_longest() -> None:
    rows = np.stack([unit(1, 0), unit(-1, 0)])
    np.testing.assert_allclose(joined(rows, [5, 5]), unit(1, 0))
    three = np.stack([unit(1, 0), unit(-1, 0), unit(1, 0)])
    np.testing.assert_allclose(joined(three, [1, 2, 1]), unit(-1, 0))


@given(st.text(st.characters(codec="ascii"), max_size=300), st.integers(1, 300))
def test_what_surely_fits_does_fit(text: str, window: int) -> None:
    if surely_fits(text, window):
        assert len(approximate_starts(text)) <= window


def test_only_ascii_is_judged_by_its_length() -> None:
    assert surely_fits("a" * 9, 10)
    assert not surely_fits("a" * 10, 10)
    assert not surely_fits("가", 10)
    assert surely_fits("가" * 99, None)
