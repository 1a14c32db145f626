"""What answers are worth: by SQuAD's comparison, their citations, and when they keep silent."""

import re
import string
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from embedsvc.core.answer_metrics import (
    METRICS,
    Cited,
    Given,
    Gold,
    answer_metrics,
    contains,
    exact_match,
    f1,
    parse_answer_metric,
    plain,
    tokens,
)
from embedsvc.core.statistics import Shares, differences, estimates, ratio_differences, ratios
from embedsvc.errors import InvalidInput

# -- texts ----------------------------------------------------------------------------------------


def as_squad_has_it(text: str) -> list[str]:
    """The rules of the official script in their order: small letters, punctuation, articles."""
    bare = "".join(one for one in text.lower() if one not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Denver Broncos.", ["denver", "broncos"]),
        ("  an  Apple,\tA\nday ", ["apple", "day"]),
        ("theater and anthem", ["theater", "and", "anthem"]),  # no articles inside of words
        ("24–10 (won)", ["2410", "won"]),
        ("U.S.A. o'clock", ["usa", "oclock"]),
        ("$1,000.50", ["100050"]),
        ("well-known", ["wellknown"]),
        ("the", []),
        ("", []),
    ],
)
def test_words_are_those_of_the_script_of_squad(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected
    if text.isascii():
        assert tokens(text) == as_squad_has_it(text)


def test_plain_english_is_compared_exactly_as_by_the_script_of_squad() -> None:
    random = np.random.default_rng(0)
    words = ["the", "a", "an", "The", "fox", "Fox.", "b-c", "d,e", "$5", "x_y", "...", "A.", "12"]
    for _ in range(300):
        one, other = (" ".join(random.choice(words, size=random.integers(0, 6))) for _ in range(2))
        found, gold = as_squad_has_it(one), as_squad_has_it(other)
        shared = sum((Counter(found) & Counter(gold)).values())
        if not found or not gold:
            wanted = float(found == gold)
        elif not shared:
            wanted = 0.0
        else:
            precision, recall = shared / len(found), shared / len(gold)
            wanted = 2 * precision * recall / (precision + recall)
        assert f1(one, [other]) == pytest.approx(wanted), (one, other)
        assert exact_match(one, [other]) == (found == gold), (one, other)


@pytest.mark.parametrize(
    ("answer", "golds", "em", "overlap", "held"),
    [
        ("the Denver Broncos!", ["Denver Broncos"], 1, 1, 1),
        ("The Broncos won the game", ["Denver Broncos"], 0, 2 * 1 / (3 + 2), 0),
        ("It was in 1998, in Paris", ["1998", "Paris, France"], 0, 2 * 1 / (6 + 1), 1),
        ("Paris France", ["1998", "Paris, France"], 1, 1, 0),
        ("fox fox", ["fox"], 0, 2 / 3, 1),
        ("the", ["a"], 1, 1, 0),
        ("", ["fox"], 0, 0, 0),
        ("Große Straße", ["GROSSE  STRASSE"], 1, 1, 1),
        ("„Ja“, sagte er …", ["ja sagte er"], 1, 1, 0),
        ("東京タワー。", ["東京"], 0, 2 * 2 / (5 + 2), 1),
        ("高さは333メートル", ["333 メートル"], 0, 2 * 5 / (8 + 5), 0),
        ("١٢ كتاب؟", ["١٢ كتاب"], 1, 1, 1),
        ("a\u00a0ﬁne  day", ["Fine day"], 1, 1, 1),
    ],
)
def test_the_gold_that_fits_best_counts(
    answer: str, golds: list[str], em: float, overlap: float, held: float
) -> None:
    assert exact_match(answer, golds) == em
    assert f1(answer, golds) == pytest.approx(overlap)
    assert contains(answer, golds) == held


def test_markers_of_citations_are_no_part_of_an_answer() -> None:
    assert plain("Paris [1] is [2][10] large [unverified].") == "Paris is large."
    assert plain("see [a] and [1 x]") == "see [a] and [1 x]"
    gold, given = Gold(["Paris"]), Given(True, "Paris [1]")
    for metric in ("em", "f1", "contains"):
        assert METRICS[metric](gold, given) == (1, 1)


# -- metrics --------------------------------------------------------------------------------------

KNOWN = Gold(["Paris"], frozenset({"d1", "d2"}))
NOWHERE = Gold(["Paris"])
UNANSWERABLE = Gold(answerable=False)
SILENT = Given(False, "The documents do not answer this question.", sources=frozenset({"d1"}))
SAID = Given(
    True,
    "Paris [1]. Lyon [2]. Nice [3].",
    [Cited("d1", True), Cited("x", True), Cited("d2", False), Cited(None, False)],
    frozenset({"d1", "x"}),
    claims=3,
    unsupported=1,
)


@pytest.mark.parametrize(
    ("metric", "gold", "given", "expected"),
    [
        ("em", KNOWN, SAID, (0, 1)),
        ("contains", KNOWN, SAID, (1, 1)),
        ("f1", KNOWN, SILENT, (0, 1)),  # silent where there is an answer
        ("em", UNANSWERABLE, SAID, (0, 0)),
        ("em", UNANSWERABLE, SILENT, (0, 0)),
        ("citation_precision", KNOWN, SAID, (1, 4)),  # verified, and of a document with the answer
        ("citation_precision", NOWHERE, SAID, (2, 4)),
        ("citation_precision", KNOWN, SILENT, (0, 0)),
        ("citation_precision", UNANSWERABLE, SAID, (0, 0)),
        ("citation_recall", KNOWN, SAID, (1, 1)),
        ("citation_recall", KNOWN, replace(SAID, citations=SAID.citations[1:]), (0, 1)),
        ("citation_recall", NOWHERE, SAID, (0, 0)),
        ("citation_recall", KNOWN, SILENT, (0, 0)),
        ("verified", UNANSWERABLE, SAID, (2, 4)),
        ("verified", KNOWN, SILENT, (0, 0)),
        ("supported", KNOWN, SAID, (2, 3)),
        ("supported", KNOWN, replace(SAID, claims=0), (0, 1)),
        ("retrieved", KNOWN, SILENT, (1, 1)),
        ("retrieved", KNOWN, replace(SAID, sources=frozenset("x")), (0, 1)),
        ("retrieved", NOWHERE, SAID, (0, 0)),
        ("answered", KNOWN, SAID, (1, 1)),
        ("answered", UNANSWERABLE, SILENT, (0, 1)),
        ("abstention_precision", UNANSWERABLE, SILENT, (1, 1)),
        ("abstention_precision", KNOWN, SILENT, (0, 1)),
        ("abstention_precision", UNANSWERABLE, SAID, (0, 0)),
        ("abstention_recall", UNANSWERABLE, SAID, (0, 1)),
        ("abstention_recall", KNOWN, SILENT, (0, 0)),
        ("abstention_f1", UNANSWERABLE, SILENT, (2, 2)),
        ("abstention_f1", UNANSWERABLE, SAID, (0, 1)),
        ("abstention_f1", KNOWN, SILENT, (0, 1)),
        ("abstention_f1", KNOWN, SAID, (0, 0)),
    ],
)
def test_what_one_answer_adds_to_a_metric(
    metric: str, gold: Gold, given: Given, expected: tuple[float, float]
) -> None:
    assert METRICS[metric](gold, given) == expected


def test_abstention_over_many_questions_is_precision_recall_and_their_harmonic_mean() -> None:
    pairs = [(UNANSWERABLE, SILENT)] * 6 + [(UNANSWERABLE, SAID)] * 4 + [(KNOWN, SILENT)] * 2
    pairs += [(KNOWN, SAID)] * 8

    def value(metric: str) -> float:
        shares = [METRICS[metric](gold, given) for gold, given in pairs]
        return sum(part for part, _ in shares) / sum(whole for _, whole in shares)

    precision, recall = value("abstention_precision"), value("abstention_recall")
    assert (precision, recall) == (6 / 8, 6 / 10)
    harmonic = 2 * precision * recall / (precision + recall)
    assert value("abstention_f1") == pytest.approx(harmonic)


# -- names ----------------------------------------------------------------------------------------


def test_without_names_the_metrics_are_those_that_the_questions_tell_of() -> None:
    plain_ones = ["em", "f1", "contains", "citation_precision"]
    silent_ones = ["abstention_precision", "abstention_recall", "abstention_f1"]
    both = ["supported", "answered"]
    assert answer_metrics(None, [KNOWN]) == [*plain_ones, "citation_recall", *both]
    assert answer_metrics([], [NOWHERE]) == [*plain_ones, *both]
    assert answer_metrics(None, [UNANSWERABLE]) == [*both, *silent_ones]
    assert answer_metrics(None, [NOWHERE, UNANSWERABLE]) == [*plain_ones, *both, *silent_ones]
    assert answer_metrics(["F1", " exact_match", "f1"], [UNANSWERABLE]) == ["f1", "em"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f2", "'f2' is not known of answers; did you mean 'f1'"),
        ("citation_recal", "did you mean 'citation_recall'"),
        ("ndcg@10", "'ndcg@10' is not known of answers; Known are em, f1"),
        ("", "'' is not known"),
    ],
)
def test_an_unknown_metric_is_refused_with_the_nearest_known_one(name: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_answer_metric(name)


# -- how sure -------------------------------------------------------------------------------------


def noise(seed: int, questions: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size=(questions, 3)).astype(np.float64)


def test_shares_of_one_each_are_means() -> None:
    ours, base = noise(0), noise(1)
    one = np.ones_like(ours)
    assert ratios(Shares(ours, one), 5) == [pytest.approx(e) for e in estimates(ours, 5)]
    apart = ratio_differences(Shares(ours, one), Shares(base, one), 5)
    for found, wanted in zip(apart, differences(ours, base, 5), strict=True):
        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx(
            (wanted.value, wanted.low, wanted.high)
        )
        assert found.p == pytest.approx(wanted.p)


def test_a_share_has_an_interval_around_the_sum_over_the_sum() -> None:
    parts, wholes = noise(2), 1 + noise(3)
    for found, part, whole in zip(
        ratios(Shares(parts, wholes), 0), parts.sum(axis=0), wholes.sum(axis=0), strict=True
    ):
        assert found is not None
        assert found.value == pytest.approx(part / whole)
        assert found.low < found.value < found.high
        error = np.sqrt(found.value * (1 - found.value) / whole)
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.5)


def test_what_no_question_says_anything_of_has_no_value() -> None:
    parts, wholes = noise(4), np.ones((120, 3))
    parts[:, 1] = wholes[:, 1] = 0
    shares, whole = Shares(parts, wholes), Shares(noise(5), np.ones((120, 3)))
    assert [one is None for one in ratios(shares, 0)] == [False, True, False]
    for found in (ratio_differences(shares, whole, 0), ratio_differences(whole, shares, 0)):
        assert [one is None for one in found] == [False, True, False]


def test_a_share_that_few_questions_know_is_still_estimated() -> None:
    parts, wholes = np.zeros((100, 1)), np.zeros((100, 1))
    parts[3], wholes[3], wholes[4] = 1, 1, 1
    [found] = ratios(Shares(parts, wholes), 0)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    [apart] = ratio_differences(Shares(parts, wholes), Shares(wholes, wholes), 0)
    assert apart is not None
    assert apart.value == -0.5
    assert not apart.significant


def test_abstention_that_is_better_is_told_from_chance() -> None:
    golds = [UNANSWERABLE, KNOWN] * 60
    good = [SILENT if not gold.answerable else SAID for gold in golds]
    poor = [SILENT if n % 3 else SAID for n in range(len(golds))]

    def shares(given: list[Given]) -> Shares:
        rows = np.array([METRICS["abstention_f1"](*p) for p in zip(golds, given, strict=True)])
        return Shares(rows[:, :1], rows[:, 1:])

    [found] = ratio_differences(shares(good), shares(poor), 0)
    assert found is not None
    assert found.significant
    assert found.value == pytest.approx(1 - 2 * 40 / (80 + 60))
    [same] = ratio_differences(shares(poor), shares(poor), 0)
    assert same is not None
    assert (same.value, same.p, same.significant) == (0, 1, False)
