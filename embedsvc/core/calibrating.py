"""Learn from examples how likely it is that evidence means an answer: a logistic regression.

Pure. The regression is fitted by Newton's method with a small penalty on its weights, and judged by
cross-validation: no example is judged by what was learnt from its own group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

Outcome = Literal["answered", "near", "elsewhere"]
"""What is known of an example: there is an answer, only something near to it, or nothing."""

WEIGHTS: dict[Outcome, float] = {"answered": 0.5, "near": 0.3, "elsewhere": 0.2}
"""Of the questions that are asked, how many are of each outcome: an assumption."""

FOLDS = 5

_PENALTY = 1.0
_STEPS = 50
_THRESHOLDS = np.linspace(0.05, 0.95, 181)
_AS_GOOD = 0.005  # thresholds whose F1 differs by less: the middle one is taken


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the evidence tells answers from the rest, by cross-validation.

    `auc` is the chance that an answered question has more evidence than another; `precision`,
    `recall` and `f1` are those of "answered" at the threshold, and `near` and `elsewhere` the
    parts of such questions that are refused.
    """

    examples: int
    auc: float
    precision: float
    recall: float
    f1: float
    near: float
    elsewhere: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learnt. Evidence is enough from `threshold` on, where F1 of "answered" is best."""

    means: Sequence[float]
    scales: Sequence[float]
    weights: Sequence[float]
    bias: float
    threshold: float
    quality: Quality

    def probability(self, features: Numbers) -> float:
        """The probability that the sources answer, of features of shape (features,)."""
        raw = (features - np.array(self.means)) / np.array(self.scales)
        return float(_sigmoid(raw @ np.array(self.weights) + self.bias))


def calibrate(features: Numbers, outcomes: Sequence[Outcome], groups: Sequence[int]) -> Calibration:
    """Learn from examples: `features` has the shape (examples, features).

    All outcomes and several groups must be there. The same examples give the same result.
    """
    kinds = np.array(outcomes)
    answered = kinds == "answered"
    counts = {kind: max(1, int((kinds == kind).sum())) for kind in WEIGHTS}
    weights = np.array([WEIGHTS[kind] * len(kinds) / counts[kind] for kind in outcomes])
    means, scales = features.mean(axis=0), features.std(axis=0)
    scales[scales < 1e-9] = 1.0
    rows = np.column_stack([(features - means) / scales, np.ones(len(features))])
    judged = _cross_validated(rows, answered, weights, np.array(groups) % FOLDS)
    threshold = _best_threshold(judged, answered, weights)
    found = _fit(rows, answered, weights)
    return Calibration(
        means.tolist(),
        scales.tolist(),
        found[:-1].tolist(),
        float(found[-1]),
        threshold,
        _quality(judged, kinds, weights, threshold),
    )


def _cross_validated(
    rows: Numbers, answered: NDArray[np.bool_], weights: Numbers, folds: NDArray[np.int64]
) -> Numbers:
    """The probability of each example by what was learnt from the other folds."""
    judged = np.empty(len(rows))
    for fold in range(FOLDS):
        inside = folds == fold
        found = _fit(rows[~inside], answered[~inside], weights[~inside])
        judged[inside] = _sigmoid(rows[inside] @ found)
    return judged


def _fit(rows: Numbers, answered: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Weights and, last, the bias that make the examples most likely, less the penalty."""
    found = np.zeros(rows.shape[1])
    penalty = np.full(rows.shape[1], _PENALTY)
    penalty[-1] = 1e-9  # the bias is free
    for _ in range(_STEPS):
        chance = _sigmoid(rows @ found)
        slope = rows.T @ (weights * (chance - answered)) + penalty * found
        curve = (rows * (weights * chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return found


def _best_threshold(judged: Numbers, answered: NDArray[np.bool_], weights: Numbers) -> float:
    scores = np.array([_scores(judged >= t, answered, weights)[2] for t in _THRESHOLDS])
    good = _THRESHOLDS[scores >= scores.max() - _AS_GOOD]
    return float(np.median(good))


def _scores(
    said: NDArray[np.bool_], answered: NDArray[np.bool_], weights: Numbers
) -> tuple[float, float, float]:
    """Precision, recall and F1 of what was said to be answered."""
    right = float(weights[said & answered].sum())
    precision = right / max(float(weights[said].sum()), 1e-12)
    recall = right / max(float(weights[answered].sum()), 1e-12)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def _quality(
    judged: Numbers, kinds: NDArray[np.str_], weights: Numbers, threshold: float
) -> Quality:
    said, answered = judged >= threshold, kinds == "answered"
    precision, recall, f1 = _scores(said, answered, weights)
    refused = {
        kind: float((~said[kinds == kind]).mean()) if (kinds == kind).any() else 1.0
        for kind in ("near", "elsewhere")
    }
    return Quality(len(kinds), _auc(judged, answered, weights), precision, recall, f1, **refused)


def _auc(judged: Numbers, answered: NDArray[np.bool_], weights: Numbers) -> float:
    """The area under the ROC curve; equal values count half."""
    above = judged[answered][:, None] - judged[~answered][None, :]
    wins = (above > 0) + 0.5 * (above == 0)
    return float(
        np.average(wins @ weights[~answered] / weights[~answered].sum(), weights=weights[answered])
    )


def _sigmoid(values: Numbers) -> Numbers:
    clipped: Numbers = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return clipped
