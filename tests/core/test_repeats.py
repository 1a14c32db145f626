"""Different texts with one vector: told where it means mixed up rows, and only there."""

import numpy as np
import pytest

from embedsvc.core.repeats import repeated_rows

ONE, TWO = [1.0, 0.0], [0.0, 1.0]


def rows(*which: list[float]) -> np.ndarray:
    return np.array(which, dtype=np.float32)


def test_texts_with_their_own_vectors_are_right() -> None:
    assert repeated_rows(rows(ONE, TWO), ["red fox", "blue whale"]) is None
    assert repeated_rows(rows(), []) is None


def test_two_texts_with_the_same_vector_are_named() -> None:
    found = repeated_rows(rows(TWO, ONE, ONE), ["a whale", "red fox", "blue whale"])
    assert found == (1, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("red fox", "red fox"),
        ("red fox", "Red  FOX!"),
        ("東京", "大阪"),  # a model of English may know neither
        ("12", "13"),
        ("?", "!"),
        ("", " "),
        ("same " * 100 + "end", "same " * 100 + "other"),  # it may have read only the beginning
        ("q" * 40, "z" * 50),  # no word
    ],
)
def test_texts_that_a_model_may_not_tell_apart_may_share_a_vector(one: str, other: str) -> None:
    assert repeated_rows(rows(ONE, ONE), [one, other]) is None


def test_nearly_the_same_vector_is_another() -> None:
    near = [float(np.nextafter(np.float32(1), np.float32(0))), 0.0]
    assert repeated_rows(rows(ONE, near), ["red fox", "blue whale"]) is None
