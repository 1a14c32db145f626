"""How sure a mean over queries is: intervals by the bootstrap, differences by paired tests.

Everything is seeded: the same values give the same figures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""Shape (queries, columns): one metric of one configuration a column."""

RESAMPLES = 10_000
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE

_CELLS = 4_000_000  # drawn at once: a block of resamples stays within tens of megabytes
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and the interval that holds the true one with a confidence of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a mean differs from another over the same queries.

    `p` is the chance of a difference at least as large if both were equally good.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether chance alone is a poor explanation: by the interval and by the test."""
        return self.p < ALPHA and not self.low <= 0 <= self.high


def estimates(values: Values, seed: int) -> list[Estimate]:
    """The mean of each column with its percentile interval (Efron 1979)."""
    lows, highs = _interval(values, seed)
    return [
        Estimate(*map(float, row)) for row in zip(values.mean(axis=0), lows, highs, strict=True)
    ]


def differences(values: Values, base: Values, seed: int) -> list[Difference]:
    """How each column of `values` differs from that of `base`, query by query.

    The interval is that of the paired bootstrap over queries; `p` is that of the paired
    randomisation test (Smucker, Allan and Carterette, CIKM 2007), which stays honest for few
    queries, where the bootstrap does not.
    """
    apart = values - base
    lows, highs = _interval(apart, seed)
    chances = _randomised(apart, seed)
    rows = zip(apart.mean(axis=0), lows, highs, chances, strict=True)
    return [Difference(*map(float, row)) for row in rows]


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The percentile (0 to 100) of at least one value, interpolated linearly."""
    return float(np.percentile(values, percent))


def _interval(values: Values, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the means of resampled queries lie; all columns are resampled alike."""
    queries, columns = values.shape
    random = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, columns))
    for part in _blocks(queries):
        size = part.stop - part.start
        drawn = random.integers(0, queries, size=(size, queries))
        drawn += np.arange(size)[:, None] * queries
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        means[part] = counts @ values / queries
    tail = 100 * ALPHA / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _randomised(apart: Values, seed: int) -> NDArray[np.float64]:
    """How often differences of random sign make a mean as far from 0 as the one that was seen."""
    queries, columns = apart.shape
    random = np.random.default_rng([seed, 1])
    seen = np.abs(apart.sum(axis=0)) - _ROUNDING
    as_far = np.zeros(columns, dtype=np.int64)
    for part in _blocks(queries):
        signs = random.integers(0, 2, size=(part.stop - part.start, queries)) * 2.0 - 1.0
        as_far += (np.abs(signs @ apart) >= seen).sum(axis=0)
    return (as_far + 1) / (RESAMPLES + 1)


def _blocks(queries: int) -> Iterator[slice]:
    size = max(1, _CELLS // queries)
    for start in range(0, RESAMPLES, size):
        yield slice(start, min(start + size, RESAMPLES))
