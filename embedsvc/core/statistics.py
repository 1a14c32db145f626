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


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts and their wholes, a row a query: what is measured is the sum over the sum."""

    parts: Values
    wholes: Values

    @property
    def both(self) -> Values:
        """Side by side: the parts, then the wholes."""
        return np.hstack([self.parts, self.wholes])


def ratios(shares: Shares, seed: int) -> list[Estimate | None]:
    """The sum of the parts over that of the wholes, with its percentile interval.

    Queries are resampled with all that belongs to them. None where the whole is 0.
    """
    values = _over(shares.both.sum(axis=0)[None])[0]
    drawn = _over(_resampled(shares.both, seed))
    return [
        Estimate(float(value), *_tails(drawn[:, column])) if np.isfinite(value) else None
        for column, value in enumerate(values)
    ]


def ratio_differences(shares: Shares, base: Shares, seed: int) -> list[Difference | None]:
    """How each ratio differs from that of a base over the same queries.

    By the paired bootstrap and the paired randomisation test, as `differences`; in the latter a
    query changes sides with its parts and its wholes. None where a whole is 0.
    """
    values = _over(shares.both.sum(axis=0)[None])[0] - _over(base.both.sum(axis=0)[None])[0]
    ours, theirs = np.hsplit(_resampled(np.hstack([shares.both, base.both]), seed), 2)
    drawn = _over(ours) - _over(theirs)
    chances = _randomised_ratios(shares.both, base.both, seed)
    return [
        Difference(float(value), *_tails(drawn[:, column]), float(chances[column]))
        if np.isfinite(value)
        else None
        for column, value in enumerate(values)
    ]


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The percentile (0 to 100) of at least one value, interpolated linearly."""
    return float(np.percentile(values, percent))


def _interval(values: Values, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the means of resampled queries lie."""
    means = _resampled(values, seed) / len(values)
    tail = 100 * ALPHA / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _resampled(values: Values, seed: int) -> Values:
    """Shape (RESAMPLES, columns): the sums over resampled queries, all columns alike."""
    queries, columns = values.shape
    random = np.random.default_rng(seed)
    sums = np.empty((RESAMPLES, columns))
    for part in _blocks(queries):
        size = part.stop - part.start
        drawn = random.integers(0, queries, size=(size, queries))
        drawn += np.arange(size)[:, None] * queries
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        sums[part] = counts @ values
    return sums


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


def _randomised_ratios(ours: Values, theirs: Values, seed: int) -> NDArray[np.float64]:
    """As `_randomised` for parts with their wholes: a query is given to either side by chance."""
    queries, columns = ours.shape
    random = np.random.default_rng([seed, 1])
    apart, base = ours - theirs, theirs.sum(axis=0)
    all_ = ours.sum(axis=0) + base
    seen = np.abs(_over((all_ - base)[None]) - _over(base[None]))[0] - _ROUNDING
    as_far = np.zeros(columns // 2, dtype=np.int64)
    drawn = np.zeros(columns // 2, dtype=np.int64)
    for part in _blocks(queries):
        sides = random.integers(0, 2, size=(part.stop - part.start, queries)) * 1.0
        mine = sides @ apart + base
        found = _over(mine) - _over(all_ - mine)
        as_far += (np.abs(found) >= seen).sum(axis=0)  # never where it is not a number
        drawn += np.isfinite(found).sum(axis=0)
    return (as_far + 1) / (drawn + 1)


def _over(both: Values) -> Values:
    """Parts over wholes, which stand right of them; not a number where the whole is 0."""
    parts, wholes = np.hsplit(both, 2)
    nothing = np.full(parts.shape, np.nan)
    return np.divide(parts, wholes, out=nothing, where=wholes > _ROUNDING)


def _tails(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Where the values lie that are numbers, but for 5 % of them."""
    tail = 100 * ALPHA / 2
    low, high = np.percentile(drawn[np.isfinite(drawn)], [tail, 100 - tail])
    return float(low), float(high)


def _blocks(queries: int) -> Iterator[slice]:
    size = max(1, _CELLS // queries)
    for start in range(0, RESAMPLES, size):
        yield slice(start, min(start + size, RESAMPLES))
