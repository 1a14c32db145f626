"""Thoughts of reasoning models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.thinking import Spoken, spoken


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("<think>Hm. Is it?</think>\n\nParis. [1]", "Paris. [1]"),
        ("\n<think>\n</think>Paris.", "Paris."),
        ("<think>a</think><think>b</think>c", "c"),
        ("Paris <think>is</think> it.", "Paris <think>is</think> it."),
        ("<thin ice", "<thin ice"),
        ("<think>never ends", ""),
        ("<thi", "<thi"),
        ("", ""),
        ("  Paris", "  Paris"),
    ],
)
def test_thoughts_at_the_beginning_are_left_out(said: str, left: str) -> None:
    assert spoken(said) == left


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Hm. Is it?\n</think>\n\nParis.", "Paris."),
        ("</think>Paris.", "Paris."),
        ("<think>a</think>b</think>c", "c"),
        ("Hm.</think>", ""),
    ],
)
def test_thoughts_that_began_in_the_prompt_are_left_out_of_a_whole_text(
    said: str, left: str
) -> None:
    assert spoken(said) == left


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", " ", "x", "</"]), max_size=12),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_it_is_the_same_however_it_is_cut(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    made = Spoken()
    at, found = 0, ""
    for cut in [*sorted(cuts), len(text)]:
        found += made.feed(text[at:cut])
        at = max(at, cut)
    whole = Spoken()
    assert found + made.close() == whole.feed(text) + whole.close()
