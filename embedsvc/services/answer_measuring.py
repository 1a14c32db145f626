"""From answers to what they are worth: metrics with their intervals, latency, tokens and cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedsvc.core.answer_metrics import METRICS, NOTHING, Cited, Given, Gold, Share, plain
from embedsvc.core.citations import CitationStatus
from embedsvc.core.sentences import sentences
from embedsvc.core.statistics import Estimate, Shares, percentile, ratio_differences, ratios
from embedsvc.services.answers import Answer, AnswerUsage
from embedsvc.services.measuring import Comparison, Latency, compared

MOST_SHOWN = 500
"""Characters of an answer that a result keeps."""

MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class CitationFound:
    """A citation of an answer and what its check found."""

    document_id: str | None
    status: CitationStatus


@dataclass(frozen=True, slots=True)
class Got:
    """What one question got; `given` is None when it failed, with the reason in `error`."""

    given: Given | None = None
    citations: Sequence[CitationFound] = ()
    model: str = ""
    usage: AnswerUsage = AnswerUsage()
    took_ms: float = 0.0
    first_token_ms: float | None = None
    degraded: Sequence[str] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """What one configuration answered, by query id."""

    name: str
    answers: Mapping[str, Got]
    embedding: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class AnswerShown:
    """The answer to one query, shortened, with the metrics that it says something of."""

    state: Literal["answered", "no_answer", "failed"]
    answerable: bool
    answer: str
    citations: Sequence[CitationFound]
    retrieved: bool | None
    metrics: Mapping[str, float]
    model: str
    took_ms: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AnswersMeasured:
    """One configuration: its metrics, what it took, and the answer to each query.

    A metric is None where no answer says anything of it. `models` counts who answered, and `errors`
    why queries failed; these are in no metric.
    """

    name: str
    embedding: str
    chunks: int
    models: Mapping[str, int]
    metrics: Mapping[str, Estimate | None]
    latency: Latency
    first_token: Latency | None
    usage: AnswerUsage
    answered: int
    no_answer: int
    failed: int
    errors: Mapping[str, int]
    degraded: Sequence[str]
    queries: Mapping[str, AnswerShown]


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """What an evaluation of answers found."""

    queries: int
    answerable: int
    configs: Sequence[AnswersMeasured]
    comparisons: Sequence[Comparison]
    warnings: Sequence[str] = ()


def got(answer: Answer) -> Got:
    """What is needed of an answer."""
    found = [
        CitationFound(None if one.chunk is None else one.chunk.document_id, one.status)
        for one in answer.citations
    ]
    given = Given(
        answered=answer.state == "answered",
        text=answer.text,
        citations=[Cited(one.document_id, one.status == "verified") for one in found],
        sources=frozenset(hit.chunk.document_id for hit in answer.sources),
        claims=len(sentences(plain(answer.text))),
        unsupported=len(answer.unsupported),
    )
    return Got(
        given,
        found,
        answer.model,
        answer.usage,
        answer.took_ms,
        answer.first_token_ms,
        answer.degraded,
    )


def measure_answers(
    ran: Sequence[Answering],
    golds: Mapping[str, Gold],
    metrics: Sequence[str],
    seed: int,
    warnings: Sequence[str] = (),
) -> AnswerResult:
    """What these configurations are worth, each compared with the first."""
    shares = [shares_of(one.answers, golds, metrics) for one in ran]
    all_ = Shares(
        np.hstack([one.parts for one in shares]), np.hstack([one.wholes for one in shares])
    )
    sure, width = ratios(all_, seed), len(metrics)
    return AnswerResult(
        queries=len(golds),
        answerable=sum(gold.answerable for gold in golds.values()),
        configs=[
            _measured(
                one, golds, dict(zip(metrics, sure[n * width : (n + 1) * width], strict=True))
            )
            for n, one in enumerate(ran)
        ],
        comparisons=_comparisons(ran, shares, golds, metrics, seed),
        warnings=warnings,
    )


def shares_of(
    answers: Mapping[str, Got], golds: Mapping[str, Gold], metrics: Sequence[str]
) -> Shares:
    """A row for each query of `golds`, in order; nothing where it failed."""
    rows = [[_share(metric, golds[query], answers[query]) for metric in metrics] for query in golds]
    both = np.array(rows, dtype=np.float64).reshape(len(golds), len(metrics), 2)
    return Shares(both[:, :, 0], both[:, :, 1])


def _share(metric: str, gold: Gold, found: Got) -> Share:
    return NOTHING if found.given is None else METRICS[metric](gold, found.given)


def _measured(
    one: Answering, golds: Mapping[str, Gold], metrics: Mapping[str, Estimate | None]
) -> AnswersMeasured:
    done = [found for found in one.answers.values() if found.given is not None]
    first = [found.first_token_ms for found in done if found.first_token_ms is not None]
    states = Counter(_state(found) for found in one.answers.values())
    errors = Counter(found.error for found in one.answers.values() if found.error is not None)
    return AnswersMeasured(
        name=one.name,
        embedding=one.embedding,
        chunks=one.chunks,
        models=dict(Counter(found.model for found in done).most_common()),
        metrics=metrics,
        latency=_latency([found.took_ms for found in done]),
        first_token=_latency(first) if first else None,
        usage=AnswerUsage.of(found.usage for found in done),
        answered=states["answered"],
        no_answer=states["no_answer"],
        failed=states["failed"],
        errors=dict(errors.most_common(MOST_REASONS)),
        degraded=sorted({told for found in done for told in found.degraded})[:MOST_REASONS],
        queries={
            query: _shown(gold, one.answers[query], list(metrics)) for query, gold in golds.items()
        },
    )


def _state(found: Got) -> Literal["answered", "no_answer", "failed"]:
    if found.given is None:
        return "failed"
    return "answered" if found.given.answered else "no_answer"


def _shown(gold: Gold, found: Got, metrics: Sequence[str]) -> AnswerShown:
    shares = {metric: _share(metric, gold, found) for metric in metrics}
    known = found.given is not None and bool(gold.document_ids)
    text = "" if found.given is None or not found.given.answered else found.given.text
    return AnswerShown(
        state=_state(found),
        answerable=gold.answerable,
        answer=text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…",
        citations=found.citations,
        retrieved=bool(_share("retrieved", gold, found)[0]) if known else None,
        metrics={metric: part / whole for metric, (part, whole) in shares.items() if whole},
        model=found.model,
        took_ms=found.took_ms,
        error=found.error,
    )


def _latency(took: Sequence[float]) -> Latency:
    values = np.array(took)
    return Latency(percentile(values, 50), percentile(values, 95))


def _comparisons(
    ran: Sequence[Answering],
    shares: Sequence[Shares],
    golds: Mapping[str, Gold],
    metrics: Sequence[str],
    seed: int,
) -> list[Comparison]:
    """By the queries that failed on neither side."""
    rows = [
        np.array([one.answers[query].given is not None for query in golds])[:, None] for one in ran
    ]
    made = []
    for number, one in enumerate(ran[1:], start=1):
        both = rows[0] & rows[number]
        ours, base = (Shares(s.parts * both, s.wholes * both) for s in (shares[number], shares[0]))
        found = zip(metrics, ratio_differences(ours, base, seed), strict=True)
        known = {metric: compared(apart) for metric, apart in found if apart is not None}
        made.append(Comparison(one.name, ran[0].name, known))
    return made
