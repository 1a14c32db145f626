"""Chunks: ordered, whole, small enough, and never for ever."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.chunking import CHARACTERS_PER_TOKEN, split
from embedsvc.core.sentences import sentences
from embedsvc.core.tokens import approximate_starts

WORDS = st.sampled_from(
    [
        "a",
        "be",
        "see",
        "extraordinarily",
        "東京都",
        "3.14",
        "End.",
        "Why?",
        "x" * 70,
        "\n\n",
        "- item",
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=60).map(" ".join),
    st.text(max_size=150),
    st.lists(WORDS, max_size=40).map("".join),
)
STRATEGIES = st.sampled_from(["sentences", "tokens", "none"])


def tokens(starts: np.ndarray, span: tuple[int, int]) -> int:
    return int(((starts >= span[0]) & (starts < span[1])).sum())


def check_spans(text: str, spans: list[tuple[int, int]]) -> None:
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(spans))
    covered = {position for start, end in spans for position in range(start, end)}
    assert all(text[i].isspace() for i in set(range(len(text))) - covered)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.integers(1, 40), st.integers(0, 60), STRATEGIES)
def test_chunks_are_ordered_cover_everything_and_fit(
    text: str, size: int, overlap: int, strategy: str
) -> None:
    starts = approximate_starts(text)
    overlap = min(overlap, size - 1)
    spans = split(text, starts, size, overlap, strategy)  # type: ignore[arg-type]
    check_spans(text, spans)
    if strategy == "none":
        assert len(spans) == (1 if text.strip() else 0)
        return
    for span in spans:
        assert tokens(starts, span) <= size
        assert span[1] - span[0] <= size * CHARACTERS_PER_TOKEN
    for before, after in pairwise(spans):
        assert tokens(starts, (after[0], before[1])) <= overlap


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data(), st.integers(1, 12))
def test_chunks_fit_whatever_the_tokenizer_counts(
    text: str, data: st.DataObject, size: int
) -> None:
    """A tokenizer may begin tokens at white space, as byte-level ones do."""
    chosen = data.draw(st.sets(st.integers(0, max(0, len(text) - 1))))
    starts = np.array(sorted(chosen), dtype=np.int64)
    spans = split(text, starts, size)
    check_spans(text, spans)
    assert all(tokens(starts, span) <= size for span in spans)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_tokenizer_that_cuts_one_character_into_several_tokens_is_no_endless_loop(
    size: int,
) -> None:
    """Byte-level tokenizers give all tokens of one emoji the same offset."""
    text = "😀" * 20
    starts = np.repeat(np.arange(20, dtype=np.int64), 3)
    check_spans(text, split(text, starts, size))


@pytest.mark.parametrize("strategy", ["sentences", "tokens"])
@pytest.mark.parametrize("overlap", [0, 10])
def test_a_long_text_without_spaces_is_cut_by_length(strategy: str, overlap: int) -> None:
    text = "x" * 100_000
    started = time.perf_counter()
    spans = split(text, np.array([0], dtype=np.int64), 64, overlap, strategy)  # type: ignore[arg-type]
    assert time.perf_counter() - started < 5
    check_spans(text, spans)
    assert max(end - start for start, end in spans) <= 64 * CHARACTERS_PER_TOKEN


def test_a_short_text_is_one_chunk() -> None:
    text = "  One. Two.\n"
    assert split(text, approximate_starts(text), 100) == [(2, 11)]


@pytest.mark.parametrize("strategy", ["sentences", "tokens", "none"])
def test_white_space_has_no_chunk(strategy: str) -> None:
    assert split(" \n ", np.empty(0, dtype=np.int64), 10, 0, strategy) == []  # type: ignore[arg-type]


def test_chunks_end_where_sentences_end() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(20))
    ends = {end for _, end in sentences(text)}
    spans = split(text, approximate_starts(text), 16)
    assert len(spans) > 3
    assert {end for _, end in spans} <= ends


def test_chunks_are_of_like_length_rather_than_full_ones_and_a_rest() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(9))
    starts = approximate_starts(text)
    sizes = [tokens(starts, span) for span in split(text, starts, len(starts) - 6)]
    assert len(sizes) == 2
    assert max(sizes) - min(sizes) <= 12


def test_neighbours_share_whole_sentences_within_the_overlap() -> None:
    text = " ".join(f"This is sentence number {n}." for n in range(30))
    starts = approximate_starts(text)
    spans = split(text, starts, 32, 8)
    shared = [tokens(starts, (b[0], a[1])) for a, b in pairwise(spans)]
    assert min(shared) > 0
    assert max(shared) <= 8
    assert {start for start, _ in spans} <= {start for start, _ in sentences(text)}


def test_the_tokens_strategy_overlaps_too() -> None:
    text = " ".join(str(n) for n in range(500))
    starts = approximate_starts(text)
    spans = split(text, starts, 50, 10, "tokens")
    shared = [tokens(starts, (b[0], a[1])) for a, b in pairwise(spans)]
    assert min(shared) > 0
    assert max(shared) <= 10


def test_a_text_is_cut_in_a_time_that_grows_with_its_length_alone() -> None:
    text = " ".join(f"Sentence {n} says something of its own." for n in range(20_000))
    started = time.perf_counter()
    spans = split(text, approximate_starts(text), 128, 32)
    assert time.perf_counter() - started < 5
    assert len(spans) > 1000
