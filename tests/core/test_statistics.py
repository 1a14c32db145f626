"""How sure a mean is: the bootstrap finds what was planted, and nothing where nothing is."""

import numpy as np
import pytest

from embedsvc.core.metrics import DEFAULTS, Metric, parse_metric, parse_metrics
from embedsvc.core.statistics import differences, estimates, percentile
from embedsvc.errors import InvalidInput


def noise(queries: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((queries, 1))


def test_a_mean_lies_inside_its_interval_which_narrows_with_more_queries() -> None:
    few, many = (estimates(noise(n, 1), seed=0)[0] for n in (20, 2_000))
    for one in (few, many):
        assert one.low < one.value < one.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_the_interval_is_about_that_of_the_normal_distribution_for_many_queries() -> None:
    values = noise(2_000, 2)
    found = estimates(values, seed=0)[0]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_the_interval_holds_the_true_mean_about_19_times_of_20() -> None:
    held = 0
    for seed in range(60):
        found = estimates(noise(60, seed), seed=seed)[0]
        held += found.low <= 0.5 <= found.high
    assert 51 <= held <= 60


def test_a_planted_difference_is_found() -> None:
    base = noise(200, 3)
    better = base + 0.03 + 0.1 * (noise(200, 4) - 0.5)
    found = differences(better, base, seed=0)[0]
    assert found.value == pytest.approx((better - base).mean())
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.001
    assert found.significant
    worse = differences(base, better, seed=0)[0]
    assert worse.significant
    assert worse.high < 0


def test_nothing_is_found_between_equal_runs() -> None:
    base = noise(200, 5)
    found = differences(base.copy(), base, seed=0)[0]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.significant


def test_runs_that_differ_by_chance_are_told_apart_about_once_in_20() -> None:
    wrong = 0
    for seed in range(60):
        apart = np.random.default_rng(seed).normal(size=(40, 1))
        wrong += differences(apart, np.zeros_like(apart), seed)[0].significant
    assert wrong <= 9


def test_few_queries_never_make_a_difference_significant() -> None:
    for queries in range(1, 6):
        base = np.zeros((queries, 1))
        assert not differences(base + 0.5, base, seed=0)[0].significant


def test_one_query_has_an_interval_of_a_point() -> None:
    found = estimates(np.array([[0.25, 1.0]]), seed=0)
    assert [(one.low, one.value, one.high) for one in found] == [(0.25,) * 3, (1.0,) * 3]


def test_the_same_seed_gives_the_same_figures_and_another_one_nearly() -> None:
    values = noise(50, 6)
    assert estimates(values, seed=7) == estimates(values, seed=7)
    one, other = estimates(values, seed=7)[0], estimates(values, seed=8)[0]
    assert one != other
    assert one.low == pytest.approx(other.low, abs=0.01)


def test_columns_do_not_disturb_each_other() -> None:
    values = np.hstack([noise(60, seed) for seed in range(3)])
    together = estimates(values, seed=0)
    assert [estimates(values[:, [i]], seed=0)[0].value for i in range(3)] == [
        pytest.approx(one.value) for one in together
    ]
    assert estimates(values[:, [1]], seed=0)[0].low == pytest.approx(together[1].low)


def test_many_queries_are_resampled_in_blocks() -> None:
    values = noise(5_000, 9)
    found = estimates(values, seed=0)[0]
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 5_000**0.5, rel=0.1)


def test_percentiles_are_interpolated() -> None:
    assert percentile(np.array([1.0, 2.0, 3.0, 4.0]), 50) == 2.5


# -- names of metrics -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ndcg@10", "ndcg@10"),
        (" nDCG@10 ", "ndcg@10"),
        ("R@100", "recall@100"),
        ("RR@10", "mrr@10"),
        ("mrr", "mrr"),
        ("AP", "map"),
        ("precision@5", "p@5"),
        ("Success@1", "success@1"),
    ],
)
def test_metrics_have_one_name_whatever_they_are_called(given: str, expected: str) -> None:
    assert str(parse_metric(given)) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("ndgc@10", ["'ndgc@10'", "did you mean 'ndcg@10'"]),
        ("recal@50", ["did you mean 'recall@50'"]),
        ("zzz", ["known are ndcg, recall"]),
        ("", ["known are"]),
        ("ndcg@", ["did you mean 'ndcg@10'"]),
        ("ndcg@-1", ["ndcg@"]),
        ("ndcg@0", ["1 to 1000"]),
        ("ndcg@9999999", ["1 to 1000"]),
        ("recall", ["recall@10"]),
        ("x" * 1_000, ["known are"]),
    ],
)
def test_an_unknown_metric_is_refused_with_the_nearest_known(given: str, words: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_metric(given)
    for word in words:
        assert word in refused.value.detail
    assert len(refused.value.detail) < 300


def test_the_default_metrics_are_those_that_the_run_is_deep_enough_for() -> None:
    assert tuple(map(str, parse_metrics(None, 100))) == DEFAULTS
    assert [str(metric) for metric in parse_metrics([], 10)] == ["ndcg@10", "recall@10", "mrr@10"]


def test_a_metric_that_looks_deeper_than_the_run_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'recall@100' looks deeper than the 10"):
        parse_metrics(["recall@100"], 10)
    assert parse_metrics(["map", "map", "AP"], 10) == [Metric("map")]
    with pytest.raises(InvalidInput, match="33 of them"):
        parse_metrics(["map"] * 33, 10)
