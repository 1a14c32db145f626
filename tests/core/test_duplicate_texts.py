"""Which texts are nearly the same: the measure, its estimate, and what is never missed."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.duplicates import (
    SIGNATURE,
    Linked,
    candidates,
    overlap,
    shingles,
    signature,
)

TEXTS = st.text(alphabet=st.one_of(st.sampled_from(" ab.é東ไ\n"), st.characters()), max_size=80)
MOST = 200_000


def words(seed: int, count: int = 120) -> list[str]:
    return [f"w{n}" for n in np.random.default_rng(seed).integers(5_000, size=count)]


def changed(text: list[str], places: int, seed: int) -> list[str]:
    found = list(text)
    for at in np.random.default_rng(seed).choice(len(text), size=places, replace=False):
        found[at] = f"changed{at}"
    return found


def alike(one: str, other: str) -> float:
    return overlap(shingles(one), shingles(other))


@settings(deadline=None)
@given(TEXTS)
def test_a_text_is_the_same_as_itself_if_it_has_words(text: str) -> None:
    found = shingles(text)
    assert (np.diff(found.astype(object)) > 0).all()
    assert overlap(found, found) == (1.0 if len(found) else 0.0)
    assert signature(found).shape == (SIGNATURE,)


def test_case_accents_and_marks_make_no_difference() -> None:
    assert alike("The naïve, old Fox!", "the naive old fox") == 1.0
    assert alike("我们在北京工作。", "我们在北京工作") == 1.0


def test_the_overlap_is_the_share_of_runs_of_three_words() -> None:
    assert alike("a b c d e", "a b c d f") == pytest.approx(2 / 4)
    assert alike("a b c d e", "e d c b a") == 0.0
    assert alike("我们在北京工作", "我们在南京工作") == pytest.approx(2 / 8)


def test_short_texts_are_compared_too() -> None:
    assert alike("yes", "Yes.") == 1.0
    assert alike("yes", "no") == 0.0
    assert alike("yes we", "we yes") == 0.0
    assert alike("", "yes") == 0.0
    assert alike("!", "?") == 0.0


def test_the_signature_estimates_the_overlap() -> None:
    text = words(1, 600)
    for places in (5, 30, 90):
        one, other = shingles(" ".join(text)), shingles(" ".join(changed(text, places, 2)))
        estimate = (signature(one) == signature(other)).mean()
        assert abs(estimate - overlap(one, other)) < 0.2


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_pairs_that_overlap_enough_are_candidates(threshold: float) -> None:
    texts = []
    for seed in range(150):
        text = words(seed)
        texts += [text, changed(text, seed % 12, seed)]
    runs = [shingles(" ".join(text)) for text in texts]
    found = candidates(np.stack([signature(one) for one in runs]), threshold, MOST)
    assert (found[:, 0] < found[:, 1]).all()
    given_ = {tuple(pair) for pair in found.tolist()}
    true = {
        (a, b)
        for a, b in combinations(range(len(runs)), 2)
        if overlap(runs[a], runs[b]) >= threshold
    }
    assert len(true - given_) <= 0.01 * len(true)
    assert len(given_) < 5 * len(true) + 50


def test_a_crowd_of_the_same_costs_no_square_of_its_size() -> None:
    one = signature(shingles(" ".join(words(1))))
    found = candidates(np.tile(one, (3_000, 1)), 0.7, MOST)
    assert len(found) <= 2 * 3_000
    linked = Linked(3_000)
    for a, b in found.tolist():
        linked.link(a, b)
    assert [len(group) for group in linked.groups()] == [3_000]


def test_only_the_most_likely_pairs_are_kept() -> None:
    made = np.random.default_rng(3).integers(6, size=(300, SIGNATURE)).astype(np.uint32)
    every = candidates(made, 0.3, MOST)
    assert len(every) > 1_000
    assert len({tuple(pair) for pair in every.tolist()}) == len(every)
    assert (every[:, 0] < every[:, 1]).all()
    seems = (made[every[:, 0]] == made[every[:, 1]]).mean(axis=1)
    assert (np.diff(seems) <= 0).all()
    assert candidates(made, 0.3, 50).tolist() == every[:50].tolist()


def test_many_buckets_of_a_low_threshold_take_little_memory() -> None:
    made = np.random.default_rng(4).integers(80, size=(2_000, SIGNATURE)).astype(np.uint32)
    tracemalloc.start()
    try:
        candidates(made, 0.3, 1_000)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_no_texts_have_no_candidates() -> None:
    assert len(candidates(np.empty((0, SIGNATURE), dtype=np.uint32), 0.7, MOST)) == 0
    assert len(candidates(np.ones((1, SIGNATURE), dtype=np.uint32), 0.7, MOST)) == 0


def test_what_is_linked_around_a_corner_is_one_group() -> None:
    linked = Linked(6)
    for one, other in ((4, 5), (0, 4), (1, 2)):
        linked.link(one, other)
    assert sorted(linked.groups()) == [[0, 4, 5], [1, 2]]
