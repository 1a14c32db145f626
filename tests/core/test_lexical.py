"""Words of a text and BM25: languages, codes, and the formula against one written out plainly."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.lexical import (
    K1,
    LONGEST,
    MOST_COUNT,
    STEM,
    B,
    Statistics,
    bag,
    bm25,
    fold,
    held,
    terms,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cats purr", ["cats", "purr"]),
        ("naïve Größe ÉCOLE", ["naive", "grosse", "ecole"]),
        ("internationalisation internationally", ["intern", "intern"]),
        ("COVID-19", ["covid", "19", "covid19"]),
        ("covid19 H1N1", ["covid19", "h1n1"]),
        ("ERR_4711-AB/2", ["err", "4711", "ab", "2", "err4711ab2"]),
        ("3.14 2024-11-22", ["3", "14", "2024", "11", "22"]),
        ("don't", ["don", "t"]),
        ("東京大学", ["東京", "京大", "大学", "東", "京", "大", "学"]),
        ("東", ["東"]),
        ("한국어는", ["한국", "국어", "어는"]),
        ("Python入門3", ["python", "入門", "入", "門", "3"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שָׁלוֹם", ["שלום"]),
        ("ﬁne", ["fine"]),
        ("…!? —", []),
        ("", []),
    ],
)
def test_the_words_of_a_text(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Entscheidungen", "Entscheidung"),
        ("universidades", "Universidad"),
        ("ERR-4711", "err4711"),
        ("Straße", "STRASSE"),
        ("résumés", "resume"),
        ("ﾃｽﾄ", "テスト"),
    ],
)
def test_what_means_the_same_shares_a_term(one: str, other: str) -> None:
    assert set(terms(one)) & set(terms(other))


@given(st.text())
def test_terms_are_short_and_hold_letters_digits_and_marks_alone(text: str) -> None:
    for term in terms(text):
        assert 0 < len(term) <= LONGEST
        assert not set(term) & set(" \t\n\"'\\|&!():*-_./")
        if term.isalpha():
            assert len(term) <= STEM


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.lists(st.text(max_size=40), max_size=3))
def test_a_bag_holds_every_term_as_often_as_it_comes(texts: list[str]) -> None:
    found = bag(*texts)
    every = [term for text in texts for term in terms(text)]
    assert found.words == len(every)
    assert {term: every.count(term) for term in every} == found.counts
    assert held(list(found.counts), found.packed()) == list(found.counts)
    assert held(["\u2603absent"], found.packed()) == []
    assert held([], found.packed()) == []


WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8), st.lists(st.sampled_from("abcdxyz"), unique=True))
def test_scores_are_those_of_the_formula(texts: list[str], query: list[str]) -> None:
    bags = [bag(text) for text in texts]
    holding = {t: sum(t in one.counts for one in bags) for t in query}
    mean = float(np.mean([one.words for one in bags]))
    found = bm25(query, Statistics(len(bags), mean, holding), [one.packed() for one in bags])
    rarity = {t: log(1 + (len(bags) - holding[t] + 0.5) / (holding[t] + 0.5)) for t in query}
    for one, score in zip(bags, found, strict=True):
        plain = 0.0
        for term in query:
            count = one.counts.get(term, 0)
            norm = K1 * (1 - B + B * one.words / mean)
            plain += rarity[term] * count * (K1 + 1) / (count + norm)
        assert score == pytest.approx(plain / (sum(rarity.values()) or 1), abs=1e-5)


def test_a_text_of_mean_length_with_every_word_once_has_the_score_1() -> None:
    statistics = Statistics(10, 3.0, {"red": 4, "fox": 1})
    found = bm25(["red", "fox"], statistics, [bag("red fox runs").packed(), bag("cow").packed()])
    assert found.tolist() == pytest.approx([1, 0])


def test_a_word_that_comes_very_often_is_counted_up_to_a_byte() -> None:
    found = bag("a " * 1000)
    assert found.words == 1000
    assert found.packed()[-1] == MOST_COUNT


def test_nothing_asked_or_nothing_there_scores_nothing() -> None:
    statistics = Statistics(0, 0.0, {})
    assert bm25([], statistics, [b""]).tolist() == [0]
    assert bm25(["a"], statistics, []).tolist() == []
    assert bm25(["a"], statistics, [b""]).tolist() == [0]
