"""Learning what evidence is worth: against scikit-learn, and on cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from embedsvc.core.calibrating import WEIGHTS, Outcome, calibrate
from embedsvc.core.rehearsal import Question, pool, rehearse

KINDS: tuple[Outcome, ...] = ("answered", "near", "elsewhere")


def examples(
    count: int, apart: float, seed: int = 0
) -> tuple[np.ndarray, list[Outcome], list[int]]:
    """Answered questions have features higher by `apart` than near ones, and these than others."""
    random = np.random.default_rng(seed)
    outcomes = [KINDS[i % 3] for i in range(count)]
    shift = np.array([apart * (2 - i % 3) for i in range(count)])
    rows = random.standard_normal((count, 2)) * [1, 5] + shift[:, None] * [1, 5]
    return rows, outcomes, [i // 3 for i in range(count)]


def test_the_regression_is_that_of_scikit_learn() -> None:
    rows, outcomes, groups = examples(300, 1.5)
    found = calibrate(rows, outcomes, groups)
    weights = [WEIGHTS[kind] * 3 for kind in outcomes]
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    other = LogisticRegression(tol=1e-8).fit(
        scaled, [kind == "answered" for kind in outcomes], sample_weight=weights
    )
    assert found.weights == pytest.approx(other.coef_[0].tolist(), abs=1e-3)
    assert found.bias == pytest.approx(float(other.intercept_[0]), abs=1e-3)
    expected = other.predict_proba(scaled)[:, 1]
    assert [found.probability(row) for row in rows] == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_quality_is_measured_on_what_was_not_learnt_from() -> None:
    rows, outcomes, groups = examples(300, 0.0)
    noise = replace(calibrate(rows, outcomes, groups)).quality
    assert 0.4 < noise.auc < 0.6
    rows, outcomes, groups = examples(300, 1.5)
    found = calibrate(rows, outcomes, groups)
    quality = found.quality
    said = np.array([found.probability(row) for row in rows])
    answered = np.array([kind == "answered" for kind in outcomes])
    assert quality.auc == pytest.approx(
        roc_auc_score(answered, said, sample_weight=[WEIGHTS[k] for k in outcomes]), abs=0.02
    )
    assert 0.6 < quality.precision < 1
    assert 0.6 < quality.recall < 1
    assert quality.near < quality.elsewhere
    assert quality.examples == 300


def test_the_threshold_is_where_f1_is_best() -> None:
    rows, outcomes, groups = examples(600, 1.0)
    found = calibrate(rows, outcomes, groups)
    assert 0.05 <= found.threshold <= 0.95

    def f1(threshold: float) -> float:
        said = np.array([found.probability(row) >= threshold for row in rows])
        answered = np.array([kind == "answered" for kind in outcomes])
        weights = np.array([WEIGHTS[kind] for kind in outcomes])
        right = (weights * (said & answered)).sum()
        return float(2 * right / ((weights * said).sum() + (weights * answered).sum()))

    best = max(f1(t) for t in np.linspace(0.05, 0.95, 91))
    assert f1(found.threshold) > best - 0.02


def test_features_that_never_differ_and_those_that_tell_all_give_finite_numbers() -> None:
    rows, outcomes, groups = examples(60, 50.0)
    rows[:, 1] = 7.0
    found = calibrate(rows, outcomes, groups)
    assert found.quality.auc == 1.0
    assert found.probability(np.array([1e9, -1e9])) == pytest.approx(1.0)
    assert np.isfinite([*found.means, *found.scales, *found.weights, found.bias]).all()


def test_a_question_is_asked_with_its_passage_and_once_without_it() -> None:
    texts = ["A red fox sleeps. It dreams.", "Blue whales sing.", "Green tea is hot."]
    questions = [
        Question("Where does the red fox sleep?", 0, True),
        Question("Does the red fox dream?", 0, True),
        Question("How old is a blue whale?", 1, False),
    ]
    made = pool(texts, questions)
    assert made.statements() == [
        "A red fox sleeps.",
        "It dreams.",
        "Blue whales sing.",
        "Green tea is hot.",
    ]
    rows = np.eye(8, dtype=np.float32)
    statements = {text: rows[i] for i, text in enumerate(made.statements())}
    found = rehearse(made, rows[:3], statements, rows[5:8], 16)
    assert found.outcomes == ["answered", "elsewhere", "answered", "near"]
    assert found.groups == [0, 0, 0, 1]
    assert found.features.shape == (4, 2)
    with_it, without_it = found.features[0, 1], found.features[1, 1]
    assert with_it > 0.3 > without_it
