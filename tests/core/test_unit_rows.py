"""Vectors: refused when they have no direction, else of unit length."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.vectors import from_blobs, to_blob, top, unit_rows
from embedsvc.errors import InvalidInput


def test_rows_come_back_with_unit_length_and_their_direction() -> None:
    rows = unit_rows([[3, 4], [-2, 0]], 2, 2, "here")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [-1, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([[1.0, 2.0]], "1 vectors where 2"),
        ([[1.0, 2.0]] * 3, "3 vectors where 2"),
        ([], "0 vectors where 2"),
        ([[1.0], [2.0]], "1 dimensions where the model has 2"),
        ([[1.0, 2.0, 3.0]] * 2, "3 dimensions"),
        ([[1.0, 2.0], [1.0]], "not a list of vectors"),
        ([[1.0, 2.0], [float("nan"), 1.0]], "vector 1 holds a number that is not finite"),
        ([[float("inf"), 2.0], [1.0, 1.0]], "vector 0 holds a number that is not finite"),
        ([[-float("inf"), 2.0], [1.0, 1.0]], "not finite"),
        ([[1.0, 2.0], [0.0, 0.0]], "vector 1 is all zeros"),
        ([[1.0, 2.0], ["a", "b"]], "not a list of vectors"),
        ([[1.0, 2.0], None], "here: "),
        ([[1.0, 2.0], [None, 1.0]], "here: "),
        ("text", "here: "),
        (5, "here: "),
        ({"a": 1}, "here: "),
        ([[10**400, 1], [1, 1]], "here: "),
        ([[[1.0, 2.0], [1.0, 2.0]]] * 2, "here: "),
    ],
)
def test_what_is_no_matrix_of_vectors_is_refused_in_words(raw: Any, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        unit_rows(raw, 2, 2, "here")
    assert words in caught.value.detail
    assert caught.value.detail.startswith("here: ")


@pytest.mark.parametrize("scale", [1e-10, 1e-6, 1e38, 1e150, 1e200, 1.7e308])
def test_the_length_of_a_vector_does_not_matter_to_its_direction(scale: float) -> None:
    rows = unit_rows([[scale, 0.0], [scale, scale]], 2, 2, "here")
    np.testing.assert_allclose(rows, [[1, 0], [2**-0.5, 2**-0.5]], rtol=1e-6)


def test_integers_and_float16_are_numbers_too() -> None:
    np.testing.assert_allclose(unit_rows([[0, 7]], 1, 2, ""), [[0, 1]])
    np.testing.assert_allclose(unit_rows(np.array([[0, 7]], np.float16), 1, 2, ""), [[0, 1]])


def test_no_vectors_are_no_rows() -> None:
    assert unit_rows(np.empty((0, 3)), 0, 3, "").shape == (0, 3)


def test_a_blob_gives_the_same_vector_back() -> None:
    rows = unit_rows(np.random.default_rng(1).standard_normal((5, 7)), 5, 7, "")
    back = from_blobs([to_blob(row) for row in rows], 7)
    np.testing.assert_array_equal(back, rows)
    assert from_blobs([], 7).shape == (0, 7)
    assert to_blob(rows[0]) == rows[0].astype("<f4").tobytes()


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=60), st.integers(0, 70))
def test_the_top_is_by_score_and_equal_scores_by_position(values: list[float], k: int) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert top(scores, k).tolist() == expected
