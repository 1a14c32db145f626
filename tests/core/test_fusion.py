"""Fusion and diversity: against the formulas, written out plainly."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.fusion import Candidates, Fusion, Ranking, diversified, fuse, ranked
from embedsvc.errors import InvalidInput


def candidates(dense: dict[int, float], lexical: dict[int, float]) -> Candidates:
    """Chunks with the scores of both stages; each stage found those that it has a score for."""
    ids = np.array(sorted({*dense, *lexical}), dtype=np.int64)

    def order(scores: dict[int, float]) -> Any:
        return np.array(sorted(scores, key=lambda i: (-scores[i], i)), dtype=np.int64)

    return Candidates(
        ids,
        np.array([dense.get(int(i), np.nan) for i in ids], dtype=np.float32),
        np.array([lexical.get(int(i), 0) for i in ids], dtype=np.float32),
        order(dense),
        order(lexical),
        True,
    )


DENSE = {1: 0.9, 2: 0.5, 3: 0.1}
LEXICAL = {2: 1.0, 3: 0.8, 4: 0.2}


def test_scores_are_added_with_their_weights() -> None:
    found = fuse(candidates(DENSE, LEXICAL), Fusion(dense=3, lexical=1))
    assert found.ids.tolist() == [1, 2, 3, 4]
    expected = [0.9 * 3 / 4, (0.5 * 3 + 1) / 4, (0.1 * 3 + 0.8) / 4, 0.2 / 4]
    assert found.scores.tolist() == pytest.approx(expected)


def test_reciprocal_ranks_are_added_with_their_weights() -> None:
    found = fuse(candidates(DENSE, LEXICAL), Fusion("rrf", dense=1, lexical=2, k=10))
    expected = {2: (1 / 12 + 2 / 11) / 3, 3: (1 / 13 + 2 / 12) / 3, 4: 2 / 13 / 3, 1: 1 / 11 / 3}
    assert found.ids.tolist() == list(expected)
    assert found.scores.tolist() == pytest.approx(list(expected.values()))


def test_a_weight_of_0_leaves_the_other_stage_alone() -> None:
    both = candidates(DENSE, LEXICAL)
    assert fuse(both, Fusion(dense=0)).ids.tolist()[:3] == [2, 3, 4]
    assert fuse(both, Fusion(lexical=0)).ids.tolist()[:3] == [1, 2, 3]


def test_one_stage_alone_is_its_own_ranking() -> None:
    both = candidates(DENSE, LEXICAL)
    dense = Candidates(both.ids, both.dense, None, both.by_dense, both.by_lexical[:0], True)
    lexical = Candidates(both.ids, None, both.lexical, both.by_dense[:0], both.by_lexical, True)
    assert fuse(lexical, Fusion()).scores.tolist() == pytest.approx([1, 0.8, 0.2, 0])
    assert fuse(dense, Fusion()).ids.tolist()[:3] == [1, 2, 3]


def test_equal_scores_keep_the_order_of_ids() -> None:
    assert ranked(np.array([3, 5, 9]), np.array([0.5, 0.7, 0.5])).ids.tolist() == [5, 3, 9]


@pytest.mark.parametrize(
    "wrong", [{"dense": -1}, {"lexical": float("nan")}, {"dense": 0, "lexical": 0}, {"k": 0}]
)
def test_weights_that_mean_nothing_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="fusion"):
        Fusion(**wrong)


SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12)


@given(SCORES, st.floats(0, 1), st.integers(1, 12), st.integers(0, 99))
def test_diversity_is_maximal_marginal_relevance(
    scores: list[float], diversity: float, count: int, seed: int
) -> None:
    found = ranked(np.arange(len(scores)), np.array(scores, dtype=np.float32))
    vectors = np.random.default_rng(seed).standard_normal((len(scores), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = diversified(found, vectors, diversity, count)
    low, high = found.scores.min(), found.scores.max()
    relevance = (found.scores - low) / (high - low) if high > low else np.ones(len(found))
    places = [0]
    while len(places) < min(count, len(found)):
        gain = {
            i: (1 - diversity) * float(relevance[i])
            - diversity * max(float(vectors[i] @ vectors[j]) for j in places)
            for i in range(len(found))
            if i not in places
        }
        took = int(np.flatnonzero(found.ids == chosen.ids[len(places)])[0])
        assert gain[took] == pytest.approx(max(gain.values()), abs=1e-5)
        places.append(took)
    assert chosen.ids.tolist() == found.ids[places].tolist()


def test_without_diversity_the_order_stays_and_with_it_twins_are_apart() -> None:
    found = Ranking(np.array([1, 2, 3]), np.array([0.9, 0.89, 0.5], dtype=np.float32))
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert diversified(found, vectors, 0, 3).ids.tolist() == [1, 2, 3]
    assert diversified(found, vectors, 0.7, 2).ids.tolist() == [1, 3]
