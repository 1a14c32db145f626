"""Sentences: where they begin and end, and that nothing of a text is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.sentences import sentences, strip

TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n\t.!?…。！？\"'()[]-*#|1a.AbZ\r\u00a0\u2028é東京😀"), st.characters()
    ),
    max_size=200,
)


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_every_character_that_is_not_white_space_is_in_exactly_one_sentence(text: str) -> None:
    spans = sentences(text)
    covered = [position for start, end in spans for position in range(start, end)]
    assert covered == sorted(set(covered))
    outside = set(range(len(text))) - set(covered)
    assert all(text[position].isspace() for position in outside)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


def test_closing_marks_end_a_sentence() -> None:
    assert cut("One. Two! Three? Four… Five") == ["One.", "Two!", "Three?", "Four…", "Five"]


def test_quotes_and_brackets_stay_with_their_sentence() -> None:
    assert cut('He said "go." (She went.) Then.') == ['He said "go."', "(She went.)", "Then."]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith met Prof. Jones.",
        "See Fig. 3 and Eq. 4.",
        "J. R. R. Tolkien wrote it.",
        "It is large, e.g. a house.",
        "Meier bzw. Schulze kam.",
        "Smith et al. showed it.",
    ],
)
def test_an_abbreviation_does_not_end_a_sentence(text: str) -> None:
    assert cut(text) == [text]


def test_a_number_with_a_point_stays_whole() -> None:
    assert cut("Pi is 3.14 or so. Fine.") == ["Pi is 3.14 or so.", "Fine."]


def test_chinese_and_japanese_sentences_need_no_space_between_them() -> None:
    assert cut("今日は晴れ。明日は雨！本当？はい。") == [
        "今日は晴れ。",
        "明日は雨！",
        "本当？",
        "はい。",
    ]


def test_paragraphs_lists_and_headings_end_sentences() -> None:
    text = "A heading\n\nBody one\n- item a\n- item b\n# next"
    assert cut(text) == ["A heading", "Body one", "- item a", "- item b", "# next"]


def test_the_number_of_a_list_item_is_no_sentence_of_its_own() -> None:
    assert cut("Steps:\n1. Mix it.\n2. Bake it.") == ["Steps:", "1. Mix it.", "2. Bake it."]


def test_a_single_line_break_does_not_end_a_sentence() -> None:
    assert cut("one\ntwo") == ["one\ntwo"]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t ", "\u00a0\u2003"])
def test_white_space_alone_has_no_sentence(text: str) -> None:
    assert sentences(text) == []
    assert strip(text, 0, len(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\n" * 10_000 + "b",
        "a" + " \n" * 6_000 + "b",
        "a." * 30_000,
        "." * 50_000,
        '."' * 30_000,
        "1" * 50_000,
        "\n1" * 30_000,
        "x" * 200_000,
        "a. " + " " * 50_000 + "b",
    ],
    ids=[
        "newlines",
        "blank-lines",
        "points",
        "dots",
        "quotes",
        "digits",
        "lines",
        "word",
        "spaces",
    ],
)
def test_a_strange_text_takes_no_more_than_seconds(text: str) -> None:
    started = time.perf_counter()
    sentences(text)
    assert time.perf_counter() - started < 2
