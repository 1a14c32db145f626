"""Texts into calls: in order, all of them, within both limits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.batching import batches

LENGTHS = st.lists(st.integers(0, 50), max_size=60)


@given(LENGTHS, st.integers(1, 10), st.one_of(st.none(), st.integers(1, 60)))
def test_every_text_is_in_one_call_in_order_and_within_the_limits(
    lengths: list[int], texts: int, tokens: int | None
) -> None:
    made = batches(lengths, texts, tokens)
    assert [position for call in made for position in call] == list(range(len(lengths)))
    for call in made:
        assert 1 <= len(call) <= texts
        total = sum(lengths[position] for position in call)
        assert tokens is None or total <= tokens or len(call) == 1


@given(LENGTHS, st.integers(1, 10), st.one_of(st.none(), st.integers(1, 60)))
def test_no_call_has_room_for_the_next_text(
    lengths: list[int], texts: int, tokens: int | None
) -> None:
    made = batches(lengths, texts, tokens)
    for call, following in pairwise(made):
        total = sum(lengths[position] for position in [*call, following[0]])
        assert len(call) == texts or (tokens is not None and total > tokens)


def test_a_text_over_the_limit_goes_alone() -> None:
    assert batches([1, 99, 1, 1], 10, 5) == [[0], [1], [2, 3]]


def test_no_texts_are_no_calls() -> None:
    assert batches([], 3, None) == []
