"""Highlights: which sentence is shown, and which part of a long one, in any script."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.highlights import LONGEST, highlight
from embedsvc.core.lexical import terms

TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n\t.!?。-_/|1aAbZ\u00a0\u0301\u0130ßﬁé東京が\u3099각\u11abไก😀"),
        st.characters(),
    ),
    max_size=300,
)
LONG = st.builds(
    "".join, st.lists(st.sampled_from(["x", "word ", "東", "\n", "| a "]), max_size=900)
)


def shown(query: str, text: str) -> str:
    found = highlight(terms(query), lambda _term: 1.0, text)
    return text[found.start : found.end]


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, LONG), TEXTS)
def test_a_highlight_is_never_empty_and_has_no_white_space_around_it(text: str, query: str) -> None:
    found = highlight(terms(query), lambda term: 1.0 + len(term), text)
    part = text[found.start : found.end]
    assert 0 <= found.start <= found.end <= len(text)
    assert 0.0 <= found.score <= 1.0
    assert part == part.strip()
    assert bool(part) == bool(text.strip())
    assert len(part) <= LONGEST
    common = set(terms(query)) & set(terms(text))
    assert (found.score > 0) == bool(common)


def test_the_sentence_with_the_rarer_words_wins() -> None:
    text = "The heart and the lungs are organs. Statins lower cholesterol in the blood. The end."
    rarity = {"statin": 5.0, "choles": 4.0, "the": 0.1, "heart": 1.0}
    found = highlight(list(rarity), lambda term: rarity[term], text)
    assert text[found.start : found.end] == "Statins lower cholesterol in the blood."
    assert found.score == pytest.approx(9.1 / 10.1, abs=0.03)


def test_nothing_found_is_the_first_sentence_with_score_zero() -> None:
    text = "  One sentence here. Another one there."
    found = highlight(terms("zebra"), lambda _term: 1.0, text)
    assert (found.start, found.end, found.score) == (2, 20, 0.0)
    assert highlight([], lambda _term: 1.0, text) == found


def test_of_equals_the_first_is_shown() -> None:
    assert shown("cats", "Some dogs were here. Two cats sat down. Six cats sat down.") == (
        "Two cats sat down."
    )


def test_a_sentence_wins_over_a_heading_with_the_same_words() -> None:
    text = "# Filters\n\nA search with filters returns as many results as there are.\n"
    assert shown("filters", text) == "A search with filters returns as many results as there are."


def test_a_page_without_sentence_ends_is_cut_around_the_matches() -> None:
    lines = [f"row {n},{n * n},nothing" for n in range(300)]
    lines[150] = "row 150,22500,zebra crossing"
    found = shown("zebra", "\n".join(lines))
    assert "row 150,22500,zebra crossing" in found.split("\n")
    assert set(found.split("\n")) <= set(lines)  # whole lines alone
    assert 200 < len(found) <= LONGEST


def test_the_densest_part_of_a_long_text_is_shown() -> None:
    filler = "lorem ipsum dolor " * 40
    found = shown("red green blue", f"red {filler} green blue {filler} red {filler} blue")
    assert "green blue" in found
    assert found.split()[0] in ("lorem", "ipsum", "dolor", "green")


def test_a_table_row_is_a_highlight() -> None:
    text = "| name | age |\n|---|---|\n| Ada | 36 |\n| Grace | 85 |\n"
    assert shown("grace age", text) in ("| Grace | 85 |", "| name | age |")
    assert shown("grace", text) == "| Grace | 85 |"


def test_chinese_without_spaces_is_found() -> None:
    text = "我们在北京工作。人工智能改变世界！今天天气很好。"
    assert shown("人工智能", text) == "人工智能改变世界！"
    long = "天气很好，" * 200 + "人工智能改变世界，" + "天气很好，" * 200
    found = shown("人工智能", long)
    assert "人工智能" in found
    assert len(found) <= LONGEST


@pytest.mark.parametrize(
    "word", ["zebra", "İstanbul", "Re\u0301sume\u0301", "COVID-19", "ﾊﾟ京\u0301"]
)
def test_a_word_is_shown_wherever_it_stands_in_a_long_text(word: str) -> None:
    for before in range(0, 1_000, 37):
        text = "é " * before + word + " é" * (1_000 - before)
        found = shown(word, text)
        assert word in found
        assert len(found) <= LONGEST


def test_a_word_far_inside_a_long_text_has_others_on_both_sides() -> None:
    found = shown("zebra", "lorem " * 200 + "zebra " + "ipsum " * 200)
    assert found.startswith("lorem ")
    assert found.endswith(" ipsum")
    assert found.count("lorem") > 5
    assert found.count("ipsum") > 5


def test_huge_texts_are_read_only_so_far() -> None:
    started = time.perf_counter()
    for text in ("word " * 1_000_000, "x" * 5_000_000, "\n" * 3_000_000 + "東" * 2_000_000):
        found = highlight(terms("zebra word 東東"), lambda _term: 1.0, text)
        assert 0 < found.end - found.start <= LONGEST
    assert time.perf_counter() - started < 10
