"""From what was found to what it is worth: metrics by ir-measures, and how sure they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from embedsvc.core.metrics import KINDS, Metric
from embedsvc.core.statistics import (
    Difference,
    Estimate,
    Values,
    differences,
    estimates,
    percentile,
)
from embedsvc.errors import MissingDependency

Qrels = Mapping[str, Mapping[str, int]]
"""Relevance by query id and document id."""

Run = Mapping[str, Sequence[str]]
"""Ids of documents by query id, the best first."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What one configuration found: its run, and milliseconds for each query."""

    name: str
    run: Run
    took_ms: Sequence[float]
    embedding: str = ""
    chunks: int = 0
    degraded: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one search took, in milliseconds."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration: its metrics over all queries, and those of each query.

    `empty` are queries for which nothing was found: they count 0.
    """

    name: str
    embedding: str
    chunks: int
    metrics: Mapping[str, Estimate]
    latency: Latency
    empty: int
    degraded: Sequence[str]
    queries: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the differences between a configuration and the first; `significant` at 5 %."""

    difference: float
    low: float
    high: float
    p: float
    significant: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a configuration differs from the first, by metric."""

    name: str
    base: str
    metrics: Mapping[str, Compared]


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation found. `queries` and `qrels` count what was judged."""

    queries: int
    qrels: int
    configs: Sequence[Measured]
    comparisons: Sequence[Comparison]
    warnings: Sequence[str] = ()


def library() -> ModuleType:
    """ir-measures with pytrec_eval. Raises MissingDependency."""
    try:
        import ir_measures
        import pytrec_eval  # noqa: F401 - ir-measures looks for it when it first computes
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"evaluations need the package {error.name!r}: pip install 'embedsvc[eval]'"
        ) from error
    return ir_measures


def measure(
    ran: Sequence[Ran],
    qrels: Qrels,
    metrics: Sequence[Metric],
    seed: int,
    warnings: Sequence[str] = (),
) -> Result:
    """What these configurations are worth, each compared with the first."""
    values = [values_of(one.run, qrels, metrics) for one in ran]
    sure = estimates(np.hstack(values), seed)
    width = len(metrics)
    measured = [
        _measured(one, found, metrics, list(qrels), sure[number * width : (number + 1) * width])
        for number, (one, found) in enumerate(zip(ran, values, strict=True))
    ]
    return Result(
        queries=len(qrels),
        qrels=sum(map(len, qrels.values())),
        configs=measured,
        comparisons=_comparisons(ran, values, metrics, seed),
        warnings=warnings,
    )


def values_of(run: Run, qrels: Qrels, metrics: Sequence[Metric]) -> Values:
    """Shape (queries, metrics): of each query of `qrels`, in order; 0 where nothing was found."""
    ir = library()
    columns = {ir.parse_measure(_theirs(metric)): i for i, metric in enumerate(metrics)}
    rows = {query: i for i, query in enumerate(qrels)}
    # trec_eval sorts by score, and breaks ties by the ids of documents: the ranks have no ties
    scored = {
        query: {document: float(-rank) for rank, document in enumerate(documents)}
        for query, documents in run.items()
        if documents
    }
    judged = {query: dict(documents) for query, documents in qrels.items()}
    values = np.zeros((len(rows), len(columns)))
    if scored:
        for found in ir.iter_calc(list(columns), judged, scored):
            values[rows[found.query_id], columns[found.measure]] = found.value
    return values


def _theirs(metric: Metric) -> str:
    name = KINDS[metric.kind]
    return name if metric.cutoff is None else f"{name}@{metric.cutoff}"


def _measured(
    one: Ran,
    values: Values,
    metrics: Sequence[Metric],
    queries: Sequence[str],
    sure: Sequence[Estimate],
) -> Measured:
    names = [str(metric) for metric in metrics]
    took = np.array(one.took_ms)
    return Measured(
        name=one.name,
        embedding=one.embedding,
        chunks=one.chunks,
        metrics=dict(zip(names, sure, strict=True)),
        latency=Latency(percentile(took, 50), percentile(took, 95)),
        empty=sum(not one.run.get(query) for query in queries),
        degraded=list(one.degraded),
        queries={
            query: dict(zip(names, map(float, row), strict=True))
            for query, row in zip(queries, values, strict=True)
        },
    )


def _comparisons(
    ran: Sequence[Ran], values: Sequence[Values], metrics: Sequence[Metric], seed: int
) -> list[Comparison]:
    first, others = ran[0], ran[1:]
    if not others:
        return []
    base = np.hstack([values[0]] * len(others))
    found = iter(differences(np.hstack(values[1:]), base, seed))
    return [
        Comparison(one.name, first.name, {str(metric): compared(next(found)) for metric in metrics})
        for one in others
    ]


def compared(found: Difference) -> Compared:
    """A difference with its verdict."""
    return Compared(found.value, found.low, found.high, found.p, found.significant)
