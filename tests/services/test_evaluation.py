"""Evaluations: the figures are those of ir-measures, and nothing is left behind."""

import asyncio
import csv
import json
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from embedsvc.core.metrics import parse_metrics
from embedsvc.core.model import Chunking
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import (
    Conflict,
    InvalidInput,
    MissingDependency,
    NotFound,
    ProviderError,
    TooLarge,
    UnknownProvider,
)
from embedsvc.services.answer_evaluation import AnswerEvaluation
from embedsvc.services.charting import draw
from embedsvc.services.copies import Copies, name_of
from embedsvc.services.evaluation import RESTARTED, Evaluate, Evaluation
from embedsvc.services.evaluation_files import read_judged
from embedsvc.services.evaluation_request import Asked, Config, Qrel, Request, Summary
from embedsvc.services.measuring import Ran, Result, measure, values_of
from embedsvc.services.search_evaluation import SearchEvaluation
from embedsvc.services.service import Service
from embedsvc.settings import Settings
from embedsvc.store.database import Database
from embedsvc.store.evaluations import Evaluations, Judgement, Record
from embedsvc.store.store import Store, now

Run = Callable[[Any], Any]

WORDS = ["fox", "whale", "bread", "river", "stone", "cloud", "piano", "maple", "comet", "tiger"]


def texts(count: int) -> dict[str, str]:
    """Documents of a few words; every third word decides which are alike."""
    random = np.random.default_rng(1)
    return {f"d{n}": " ".join(random.choice(WORDS, size=4)) for n in range(count)}


DOCUMENTS = texts(30)
QUERIES = [Asked(f"q{n}", " ".join(WORDS[n : n + 2])) for n in range(8)]
QRELS = [
    Qrel(query.id, document, 1 + text.startswith(query.text.split()[0]))
    for query in QUERIES
    for document, text in DOCUMENTS.items()
    if query.text.split()[0] in text
]
DENSE = Request("c", QUERIES, QRELS, [Config(mode="dense")])


async def fill(service: Service, name: str = "c") -> None:
    drafts = [
        Draft(i, text=text, title=f"title {i}", metadata={"n": n, "even": n % 2 == 0})
        for n, (i, text) in enumerate(DOCUMENTS.items())
    ]
    await service.ingest.add(name, drafts)


async def ended(service: Service, evaluation_id: str) -> Evaluation:
    for _ in range(2_000):
        found = await service.evaluate.get(evaluation_id)
        if found.record.state not in ("queued", "running"):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it does not end")


async def evaluated(service: Service, request: Request) -> Result:
    found = await ended(service, (await service.evaluate.start(request)).record.id)
    assert found.record.state == "done", found.record.error
    assert found.record.done == found.record.total
    assert isinstance(found.result, Result)
    return found.result


async def names(service: Service) -> list[str]:
    return [one.name for one in await service.store.collections("", 100)]


def another(service: Service, search: Any = None, **seconds: float) -> Evaluate:
    """The evaluations as another process has them."""
    store, named, asked = service.store, service.collections, search or service.search
    copies = Copies(store, named, service.ingest, service.embedders, 100)
    return Evaluate(
        Evaluations(service.database),
        copies,
        SearchEvaluation(store, named, asked, copies, service.judging, service.rerank),
        AnswerEvaluation(store, named, service.ask, copies),
        **seconds,
    )


@pytest.fixture
def filled(opened: Any) -> Any:
    """`async with filled() as service`: with the documents, its evaluations ended at the end."""

    @asynccontextmanager
    async def open_(search: Any = None, **options: Any) -> AsyncIterator[Service]:
        async with opened(**options) as service:
            if search is not None:
                service = replace(service, evaluate=another(service, search=search))
            await fill(service)
            try:
                yield service
            finally:
                await service.evaluate.aclose()

    return open_


# -- figures --------------------------------------------------------------------------------------


def test_metrics_are_those_of_ir_measures_on_the_same_run() -> None:
    random = np.random.default_rng(0)
    documents = [f"d{n}" for n in range(200)]
    qrels = {
        f"q{n}": {d: int(random.integers(0, 4)) for d in random.choice(documents, 15, False)}
        for n in range(40)
    }
    run = {q: list(random.permutation(documents)[: random.integers(1, 101)]) for q in qrels}
    run["q3"] = []  # nothing was found
    del run["q4"]
    ours = ["ndcg@10", "ndcg", "recall@100", "mrr@10", "mrr", "map@10", "map", "p@10", "success@5"]
    theirs = ["nDCG@10", "nDCG", "R@100", "RR@10", "RR", "AP@10", "AP", "P@10", "Success@5"]
    values = values_of(run, qrels, parse_metrics(ours, 100))
    scored = {q: {d: 1 / (n + 1) for n, d in enumerate(found)} for q, found in run.items() if found}
    for column, name in enumerate(theirs):
        wanted = ir_measures.parse_measure(name)
        mean = ir_measures.calc_aggregate([wanted], qrels, scored)[wanted]
        assert values[:, column].mean() == pytest.approx(mean), name
        single = {m.query_id: m.value for m in ir_measures.iter_calc([wanted], qrels, scored)}
        assert dict(zip(qrels, values[:, column], strict=True)) == pytest.approx(single)


def test_documents_of_equal_score_count_in_the_order_they_were_found() -> None:
    qrels = {"q": {"b": 1, "a": 0}}
    metrics = parse_metrics(["mrr"], 10)
    assert values_of({"q": ["b", "a"]}, qrels, metrics)[0, 0] == 1
    assert values_of({"q": ["a", "b"]}, qrels, metrics)[0, 0] == 0.5


def test_configurations_are_compared_with_the_first_by_metric() -> None:
    qrels = {f"q{n}": {"yes": 1} for n in range(60)}
    good = {q: ["yes", "no"] for q in qrels}
    poor = {q: ["no", "yes"] if n % 3 else ["yes"] for n, q in enumerate(qrels)}
    ran = [
        Ran("poor", poor, [1.0] * 60),
        Ran("good", good, [2.0] * 60),
        Ran("same", poor, [3.0] * 60),
    ]
    result = measure(ran, qrels, parse_metrics(["mrr", "recall@10"], 10), seed=0)
    better, same = result.comparisons
    assert (better.name, better.base) == ("good", "poor")
    assert better.metrics["mrr"].significant
    assert better.metrics["mrr"].difference == pytest.approx(1 / 3)
    assert 0 < better.metrics["mrr"].low < 1 / 3 < better.metrics["mrr"].high
    assert not better.metrics["recall@10"].significant
    assert same.metrics["mrr"].p == 1
    assert [one.latency.median_ms for one in result.configs] == [1, 2, 3]
    assert result.configs[0].queries["q1"] == {"mrr": 0.5, "recall@10": 1}


# -- the whole ------------------------------------------------------------------------------------


def test_the_runs_are_those_of_plain_searches(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            result = await evaluated(service, replace(DENSE, configs=(), limit=20))
            assert [one.name for one in result.configs] == ["dense", "lexical", "hybrid"]
            qrels: dict[str, dict[str, int]] = {}
            for one in QRELS:
                qrels.setdefault(one.query_id, {})[one.document_id] = one.relevance
            wanted = ir_measures.parse_measure("nDCG@10")
            for measured in result.configs:
                queries = [
                    Config(mode=measured.name).query(query.text, 20)  # type: ignore[arg-type]
                    for query in QUERIES
                ]
                found = await service.search.search("c", queries)
                scored = {
                    query.id: {hit.chunk.document_id: float(-n) for n, hit in enumerate(hits)}
                    for query, hits in zip(QUERIES, found.hits, strict=True)
                }
                mean = ir_measures.calc_aggregate([wanted], qrels, scored)[wanted]
                estimate = measured.metrics["ndcg@10"]
                assert estimate.value == pytest.approx(mean)
                assert estimate.low <= estimate.value <= estimate.high
                assert 0 < measured.latency.median_ms <= measured.latency.p95_ms
                assert (measured.chunks, measured.degraded) == (30, [])
            assert (result.queries, result.qrels) == (len(qrels), len(QRELS))
            assert result.warnings == []

    run(work())


def test_the_same_request_gives_the_same_figures(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            one, other = [await evaluated(service, DENSE) for _ in range(2)]
            assert one.configs[0].metrics == other.configs[0].metrics
            seeded = await evaluated(service, replace(DENSE, seed=5))
            assert seeded.configs[0].metrics != one.configs[0].metrics
            assert seeded.configs[0].queries == one.configs[0].queries

    run(work())


def test_each_part_of_a_configuration_reaches_the_search(run: Run, filled: Any) -> None:
    from embedsvc.core.fusion import Fusion

    configs = [
        Config(mode="lexical"),
        Config(fusion=Fusion("rrf", 1, 3)),
        Config(rerank="default"),
        Config(mode="dense", diversity=0.9),
        Config(mode="dense", filter={"even": True}),
        Config(mode="dense", per_document=2),
    ]

    async def work() -> None:
        async with filled() as service:
            result = await evaluated(service, replace(DENSE, configs=configs))
            assert [one.name for one in result.configs] == [
                "lexical",
                "hybrid rrf 1:3 k=60",
                "hybrid, rerank",
                "dense, diversity 0.9",
                "dense, filtered",
                "dense, 2 per document",
            ]
            recall = [one.metrics["recall@100"].value for one in result.configs]
            assert recall[3] == 1
            assert recall[4] < 1
            ndcg = [one.metrics["ndcg@10"].value for one in result.configs]
            assert ndcg[3] != ndcg[5]

    run(work())


def test_another_model_and_other_chunks_are_tried_on_copies_that_are_gone_afterwards(
    run: Run, filled: Any, scripted: Any
) -> None:
    configs = [
        Config(mode="dense"),
        Config(mode="dense", embedding="hash:32"),
        Config(mode="dense", embedding="hash:32", filter={"n": {"$lt": 10}}),
        Config(mode="dense", chunking=Chunking(size=2)),
        Config(mode="dense", embedding="hash"),  # what it has already
    ]

    async def work() -> None:
        async with filled() as service:
            await service.ingest.add(
                "c", [Draft("cut", chunks=[DraftChunk("one two"), DraftChunk("three four five")])]
            )
            before = await service.embedders.meter.report(["collection"])
            result = await evaluated(service, replace(DENSE, configs=configs))
            chunks = [one.chunks for one in result.configs]
            assert chunks[0] == chunks[1] == chunks[2] == chunks[4] == 32
            assert chunks[3] > 60
            assert [one.embedding for one in result.configs[:3]] == ["hash", "hash:32", "hash:32"]
            assert result.configs[2].metrics["recall@100"].value < 1
            assert await names(service) == ["c"]
            copied = await service.embedders.meter.report(["collection"])
            # two copies were embedded, one for the two configurations of the same model
            made = {row["collection"]: row["texts"] for row in copied if row not in before}
            assert sorted(name[-2:] for name in made if name.startswith("eval-")) == ["-1", "-2"]

    run(work())


def test_a_document_that_cannot_be_copied_fails_the_evaluation(run: Run, filled: Any) -> None:
    bad = Config(chunking=Chunking(size=1_000_000))

    async def work() -> None:
        async with filled() as service:
            found = await service.evaluate.start(replace(DENSE, configs=[bad]))
            done = await ended(service, found.record.id)
            assert done.record.state == "failed"
            assert "chunking.size: 1000000" in str(done.record.error)
            assert await names(service) == ["c"]

    run(work())


def test_what_the_figures_do_not_tell_is_told(run: Run, filled: Any) -> None:
    request = replace(
        DENSE,
        queries=[*QUERIES, Asked("alone", "nobody judged this"), Asked("none", "no answer")],
        qrels=[*QRELS, Qrel("q0", "gone", 1), Qrel("q1", "gone too", 1), Qrel("none", "d1", 0)],
    )

    async def work() -> None:
        async with filled() as service:
            result = await evaluated(service, request)
            assert result.warnings == [
                "2 judged documents are not in the collection",
                "1 query has no judgement and is not asked",
                "1 query has no relevant document and counts 0",
            ]
            assert result.queries == len(QUERIES) + 1
            assert "alone" not in result.configs[0].queries

    run(work())


def test_queries_that_find_nothing_count_zero(run: Run, filled: Any) -> None:
    nothing = Config(name="nothing", filter={"n": -1})

    async def work() -> None:
        async with filled() as service:
            result = await evaluated(service, replace(DENSE, configs=[nothing]))
            assert result.configs[0].empty == len(QUERIES)
            assert result.configs[0].metrics["ndcg@10"].value == 0

    run(work())


def test_a_reranker_that_fails_fails_the_evaluation(run: Run, filled: Any) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise ProviderError("the reranker is on fire")

    async def work() -> None:
        async with filled() as service:
            service.rerank.rerank = fail
            request = replace(DENSE, configs=[Config(rerank="default")])
            found = await ended(service, (await service.evaluate.start(request)).record.id)
            assert found.record.state == "failed"
            assert "the reranker is on fire" in (found.record.error or "")

    run(work())


# -- judgements -----------------------------------------------------------------------------------


def test_judgements_grow_one_by_one_and_are_what_is_measured_by(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            for one in QRELS:
                text = next(query.text for query in QUERIES if query.id == one.query_id)
                await service.judging.judge("c", f" {text}\n", one.document_id, one.relevance)
            stored = await evaluated(service, replace(DENSE, queries=(), qrels=None))
            sent = await evaluated(service, DENSE)
            for name, estimate in sent.configs[0].metrics.items():
                assert stored.configs[0].metrics[name].value == pytest.approx(estimate.value)
            assert set(stored.configs[0].queries) == {q.text for q in QUERIES}

    run(work())


def test_a_later_judgement_replaces_an_earlier_one(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            await service.judging.judge("c", "fox", "d1", 3)
            await service.judging.judge("c", "fox ", "d1", 0)
            await service.judging.judge("c", "fox", "d2", 1)
            found, more = await service.judging.page("c", None, 10)
            assert [(j.query, j.document_id, j.relevance) for j in found] == [
                ("fox", "d1", 0),
                ("fox", "d2", 1),
            ]
            assert more is None
            await service.judging.forget("c", "fox", "d1")
            with pytest.raises(NotFound, match="no judgement of 'd1'"):
                await service.judging.forget("c", "fox", "d1")

    run(work())


def test_judgements_come_in_pages(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            wanted = {(f"query {n % 3}", f"d{n}") for n in range(7)}
            for query, document in wanted:
                await service.judging.judge("c", query, document, 1)
            found, place = await service.judging.page("c", None, 3)
            while place is not None:
                more, place = await service.judging.page("c", place, 3)
                found += more
            assert len(found) == 7
            assert {(j.query, j.document_id) for j in found} == wanted
            assert len([j async for j in service.judging.all("c")]) == 7

    run(work())


@pytest.mark.parametrize(
    ("query", "document", "relevance", "error", "words"),
    [
        ("x", "d1", -1, InvalidInput, "relevance: -1"),
        ("x", "d1", 4, InvalidInput, "relevance: 4"),
        (" ", "d1", 1, InvalidInput, "query: it is empty"),
        ("x\0", "d1", 1, InvalidInput, "NUL"),
        ("x" * 20_001, "d1", 1, InvalidInput, "20001 characters"),
        ("x", "nope", 1, NotFound, "'nope'"),
    ],
)
def test_a_judgement_that_cannot_be_kept_is_refused(
    run: Run, filled: Any, query: str, document: str, relevance: int, error: Any, words: str
) -> None:
    async def work() -> None:
        async with filled() as service:
            with pytest.raises(error, match=words):
                await service.judging.judge("c", query, document, relevance)
            with pytest.raises(InvalidInput, match="none are stored"):
                await service.evaluate.start(replace(DENSE, queries=(), qrels=None))

    run(work())


# -- bad input ------------------------------------------------------------------------------------


MANY = [Asked(str(n), "x") for n in range(20_001)]


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"collection": "nope"}, NotFound, "'nope'"),
        ({"queries": ()}, InvalidInput, "queries: the list is empty"),
        ({"qrels": ()}, InvalidInput, "qrels: the list is empty"),
        ({"queries": MANY}, TooLarge, "queries: 20001"),
        ({"queries": [*QUERIES, QUERIES[2]]}, InvalidInput, r"queries\[8\].id: 'q2' comes twice"),
        ({"queries": [Asked("q", "  ")]}, InvalidInput, r"queries\[0\].text: it is empty"),
        ({"queries": [Asked("", "x")]}, InvalidInput, r"queries\[0\].id"),
        ({"qrels": [*QRELS, Qrel("nope", "d1", 1)]}, InvalidInput, "no query has the id 'nope'"),
        ({"qrels": [*QRELS, QRELS[0]]}, InvalidInput, "is judged twice for"),
        ({"qrels": [Qrel("q0", "d1", -1)]}, InvalidInput, "relevance: -1"),
        ({"qrels": [Qrel("q0", "", 1)]}, InvalidInput, "document_id: 0 characters"),
        ({"metrics": ["ndgc@10"]}, InvalidInput, "did you mean 'ndcg@10'"),
        ({"limit": 0}, InvalidInput, "limit: 0"),
        ({"limit": 1_001}, InvalidInput, "limit: 1001"),
        ({"seed": -1}, InvalidInput, "seed: -1"),
        ({"configs": [Config()] * 17}, TooLarge, "configs: 17"),
        ({"configs": [Config(name="a"), Config(name="a")]}, InvalidInput, "'a' comes twice"),
        ({"configs": [Config(filter={"$x": 1})]}, InvalidInput, "filter"),
        ({"configs": [Config(embedding="nope:x")]}, Exception, "nope"),
        ({"configs": [Config(rerank="nope:x")]}, UnknownProvider, "nope"),
        (
            {"configs": [Config(mode="lexical", diversity=0.5)]},
            InvalidInput,
            "the configuration 'lexical, diversity 0.5': diversity: it compares vectors",
        ),
        (
            {
                "queries": [Asked(str(n), "x") for n in range(13_000)],
                "qrels": [Qrel(str(n), "d1", 1) for n in range(13_000)],
                "configs": [Config()] * 16,
            },
            InvalidInput,
            "13000 with a judgement in 16 configurations by 5 metrics are 1040000 values; at most",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_runs(
    run: Run, filled: Any, changed: Any, error: Any, words: str
) -> None:
    async def work() -> None:
        async with filled() as service:
            with pytest.raises(error, match=words):
                await service.evaluate.start(replace(DENSE, **changed))
            assert await service.evaluate.page(None, 10) == ([], None)

    run(work())


def test_configurations_without_a_name_get_different_ones(run: Run, filled: Any) -> None:
    configs = [Config(mode="dense"), Config(mode="dense"), Config(name="dense (2)")]

    async def work() -> None:
        async with filled() as service:
            result = await evaluated(service, replace(DENSE, configs=configs))
            assert [one.name for one in result.configs] == ["dense", "dense (3)", "dense (2)"]

    run(work())


def test_without_the_library_the_package_is_named(
    run: Run, filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytrec_eval", None)

    async def work() -> None:
        async with filled() as service:
            with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[eval\]'"):
                await service.evaluate.start(DENSE)

    run(work())


# -- under way, cancelled, restarted --------------------------------------------------------------


@dataclass
class Stuck:
    """Searches that take for ever."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def search(self, *_: Any, **__: Any) -> Any:
        self.reached.set()
        await asyncio.Event().wait()


async def slow(evaluate: Evaluate, stuck: Stuck, copies: bool = True) -> str:
    """An evaluation that has made its copy and then takes for ever."""
    other = [Config(mode="dense", embedding="hash:16")] if copies else [Config()]
    found = await evaluate.start(replace(DENSE, configs=other))
    await asyncio.wait_for(stuck.reached.wait(), 30)
    return found.record.id


def test_an_evaluation_that_is_cancelled_stops_and_leaves_no_copy(run: Run, filled: Any) -> None:
    async def work() -> None:
        stuck = Stuck()
        async with filled(stuck) as service:
            number = await slow(service.evaluate, stuck)
            assert len(await names(service)) == 2
            listed, _ = await service.collections.list("", 1)
            assert [one.collection.name for one in listed] == ["c"]  # a copy is nobody's business
            found = await service.evaluate.get(number)
            assert found.record.state == "running"
            assert found.record.done == len(DOCUMENTS)
            assert found.record.total == len(DOCUMENTS) + len(QUERIES)
            await service.evaluate.remove(number)
            assert await names(service) == ["c"]
            assert (await service.evaluate.get(number)).record.state == "cancelled"
            await service.evaluate.remove(number)
            with pytest.raises(NotFound, match=number):
                await service.evaluate.get(number)

    run(work())


def test_evaluations_wait_for_their_turn_and_can_be_cancelled_there(run: Run, filled: Any) -> None:
    async def work() -> None:
        stuck = Stuck()
        async with filled(stuck) as service:
            first = await slow(service.evaluate, stuck, copies=False)
            waiting = [(await service.evaluate.start(DENSE)).record.id for _ in range(15)]
            with pytest.raises(Conflict, match="16 evaluations are under way"):
                await service.evaluate.start(DENSE)
            assert (await service.evaluate.get(waiting[0])).record.state == "queued"
            await service.evaluate.remove(waiting[0])
            assert (await service.evaluate.get(waiting[0])).record.state == "cancelled"
            page, more = await service.evaluate.page(None, 10)
            rest, none = await service.evaluate.page(more, 10)
            listed = [one.record.id for one in [*page, *rest]]
            assert listed == [*reversed(waiting), first]
            assert none is None

    run(work())


def test_what_was_under_way_when_the_service_stops_has_failed_and_leaves_nothing(
    run: Run, filled: Any
) -> None:
    async def work() -> None:
        stuck = Stuck()
        async with filled(stuck) as service:
            running = await slow(service.evaluate, stuck)
            waiting = (await service.evaluate.start(DENSE)).record.id
            await service.evaluate.aclose()
            for number in (running, waiting):
                record = (await service.evaluate.get(number)).record
                assert (record.state, record.error) == ("failed", RESTARTED)
            assert await names(service) == ["c"]

    run(work())


async def crashed(service: Service, age_seconds: float) -> str:
    """What is left of an evaluation whose process was killed so long ago."""
    at = now() - int(age_seconds * 1e6)
    number = "0123456789abcdef" * 2
    summary = '{"configs":[],"metrics":[],"limit":1,"seed":0,"queries":1,"qrels":1}'
    stored = Evaluations(service.database)
    await stored.add(Record(number, "c", "running", 1, 9, summary, at, at))
    await service.collections.put(name_of(number, 1), copy=True)
    return number


def test_what_a_crash_left_is_failed_and_its_copies_are_swept_away(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            number = await crashed(service, age_seconds=60)
            await service.collections.put("eval-mine")
            nobodys = name_of("f" * 32, 1)  # made before such names were reserved
            await service.collections.put(nobodys, copy=True)
            await service.evaluate.tidy()
            record = (await service.evaluate.get(number)).record
            assert (record.state, record.error) == ("failed", RESTARTED)
            assert await names(service) == ["c", nobodys, "eval-mine"]

    run(work())


def test_an_evaluation_of_another_living_process_is_left_alone(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            number = await crashed(service, age_seconds=0)  # it gave a sign of life just now
            await service.evaluate.tidy()
            assert (await service.evaluate.get(number)).record.state == "running"
            assert len(await names(service)) == 2

    run(work())


def test_who_asks_for_an_abandoned_evaluation_learns_it_at_once(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            number = await crashed(service, age_seconds=60)
            assert (await service.evaluate.get(number)).record.error == RESTARTED

    run(work())


def test_another_process_can_cancel_what_runs_here(run: Run, filled: Any) -> None:
    async def work() -> None:
        stuck = Stuck()
        async with filled() as service:
            here = another(service, stuck, beat_seconds=0.05)
            number = await slow(here, stuck)
            await service.evaluate.remove(number)
            for _ in range(500):
                if await names(service) == ["c"]:
                    break
                await asyncio.sleep(0.01)
            assert await names(service) == ["c"]
            assert (await service.evaluate.get(number)).record.state == "cancelled"

    run(work())


def test_an_unexpected_error_fails_the_evaluation_without_its_words(run: Run, filled: Any) -> None:
    class Broken:
        async def search(self, *_: Any) -> Any:
            raise ValueError("secret words")

    async def work() -> None:
        async with filled(Broken()) as service:
            number = (await service.evaluate.start(DENSE)).record.id
            record = (await ended(service, number)).record
            assert record.state == "failed"
            assert "the log has it" in str(record.error)

    run(work())


def test_how_long_it_may_take_is_counted_from_when_its_turn_came(run: Run, filled: Any) -> None:
    at = 1_000_000_000_000
    summary = Summary([], [], 1, 0, 1, 1)
    record = Record("a" * 32, "c", "running", 1, 5, "", at - 600 * 10**6, at)
    assert Evaluation(record, summary, begun_at=at - 10 * 10**6).eta_s == 40
    assert Evaluation(record, summary).eta_s is None  # another process runs it

    async def work() -> None:
        stuck = Stuck()
        async with filled(stuck) as service:
            number = await slow(service.evaluate, stuck)
            found = await service.evaluate.get(number)
            assert found.record.created_at < (found.begun_at or 0) <= found.record.updated_at
            page, _ = await service.evaluate.page(None, 1)
            assert page[0].begun_at == found.begun_at

    run(work())


def test_no_more_than_sixteen_begin_at_the_same_moment(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled(Stuck()) as service:
            started = [service.evaluate.start(DENSE) for _ in range(20)]
            found = await asyncio.gather(*started, return_exceptions=True)
            assert sum(isinstance(one, Evaluation) for one in found) == 16
            assert sum(isinstance(one, Conflict) for one in found) == 4
            await service.evaluate.aclose()
            with pytest.raises(InvalidInput):  # one that is refused keeps no place
                await service.evaluate.start(replace(DENSE, seed=-1))
            await asyncio.gather(*(service.evaluate.start(DENSE) for _ in range(16)))

    run(work())


def test_a_filter_that_does_not_fit_the_declared_fields_is_refused_at_once(
    run: Run, filled: Any
) -> None:
    wrong = Config(name="mine", filter={"n": "five"})

    async def work() -> None:
        async with filled() as service:
            await service.collections.put("c", fields={"n": "number"})
            with pytest.raises(InvalidInput, match=r"the configuration 'mine': filter.*'n'"):
                await service.evaluate.start(replace(DENSE, configs=[wrong]))

    run(work())


def test_the_names_of_copies_are_refused_for_the_collections_of_others(
    run: Run, filled: Any
) -> None:
    name = name_of("0" * 32, 1)

    async def work() -> None:
        async with filled() as service:
            with pytest.raises(InvalidInput, match=f"'{name}' is a name of the copies"):
                await service.collections.put(name)
            with pytest.raises(InvalidInput, match="choose another one"):
                await service.ingest.add(name, [Draft("d", text="x")])
            assert (await service.collections.put(f"{name}x"))[1]

    run(work())


def test_an_evaluation_that_is_forgotten_takes_the_copies_along_that_it_left(
    run: Run, filled: Any
) -> None:
    async def work() -> None:
        async with filled() as service:
            number = await crashed(service, age_seconds=60)
            assert (await service.evaluate.get(number)).record.state == "failed"
            await service.evaluate.remove(number)
            assert await names(service) == ["c"]

    run(work())


def test_copies_are_hidden_from_the_pages_of_collections(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled() as service:
            for n in range(5):
                await service.collections.put(name_of("0" * 32, n), copy=True)
            await service.collections.put("eval-0")
            await service.collections.put("zoo")
            found: list[str] = []
            after: str | None = ""
            while after is not None:
                page, after = await service.collections.list(after, 1)
                assert len(page) == 1
                found += [one.collection.name for one in page]
            assert found == ["c", "eval-0", "zoo"]

    run(work())


def test_a_judgement_of_a_collection_that_is_being_deleted_is_refused_by_name(
    run: Run, opened: Any, either_settings: Settings
) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            await fill(service)
            collection = await service.collections.get("c")
            await service.collections.delete("c")  # its rows are still there
            judgement = Judgement("fox", "d1", 1, now())
            with pytest.raises(NotFound, match="the collection 'c' was deleted meanwhile"):
                await Evaluations(service.database).judge(collection, judgement)
            while await service.store.sweep():
                pass

    run(work())


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON judgement FOR EACH ROW EXECUTE FUNCTION slow()
"""


def test_a_collection_that_is_being_judged_is_deleted_after_that_in_postgresql(
    run: Run, opened: Any, settings: Settings, postgres_databases: Any
) -> None:
    url = postgres_databases.fresh()

    async def work() -> None:
        async with opened(of=replace(settings, database_url=url)) as service:
            await fill(service)
            await service.database.write(lambda tx: tx.execute(text(SLOW)))
            collection = await service.collections.get("c")
            judgement = Judgement("fox", "d1", 1, now())
            judging = asyncio.create_task(
                Evaluations(service.database).judge(collection, judgement)
            )
            await asyncio.sleep(0.2)  # it has looked for the collection, and inserts
            other = Database(url)  # another process: its transactions overlap with ours
            await Store(other).delete_collection("c")
            while await Store(other).sweep():
                pass
            other.close()
            await judging

    run(work())


def test_tidying_goes_on_after_an_error_that_nobody_expected(run: Run, opened: Any) -> None:
    trigger = "CREATE TRIGGER no BEFORE DELETE ON collection BEGIN SELECT RAISE(ABORT, 'no'); END"

    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            await service.collections.delete("c")
            await service.database.write(lambda tx: tx.execute(text(trigger)))
            with capture_logs() as logs:
                tidying = asyncio.create_task(service._tidy())
                for _ in range(500):
                    if logs or tidying.done():
                        break
                    await asyncio.sleep(0.01)
                assert not tidying.done()
                assert [one["event"] for one in logs] == ["tidying_failed"]
            tidying.cancel()

    run(work())


def test_everything_is_kept_in_either_database(
    run: Run, opened: Any, either_settings: Settings
) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            await fill(service)
            await service.judging.judge("c", "fox", "d1", 2)
            await service.judging.judge("c", "fox", "d1", 3)
            request = replace(DENSE, configs=[Config(), Config(embedding="hash:16")])
            result = await evaluated(service, request)
            assert len(result.comparisons) == 1
            number = await crashed(service, age_seconds=60)
            await service.evaluate.tidy()
            assert await names(service) == ["c"]
            found, _ = await service.evaluate.page(None, 10)
            assert [one.record.state for one in found] == ["done", "failed"]
            await service.evaluate.remove(number)
            await service.collections.delete("c")
            while await service.store.sweep():
                pass

    run(work())


# -- pictures -------------------------------------------------------------------------------------


def a_result() -> Result:
    qrels = {f"q{n}": {"yes": 1} for n in range(5)}
    run = {query: ["yes"] for query in qrels}
    ran = [Ran(name, run, [1.0] * 5) for name in ("$a$", "_b", "\x01狐")]
    return measure(ran, qrels, parse_metrics(None, 100), seed=0)


def test_the_picture_is_svg_or_png_and_the_same_each_time() -> None:
    from xml.etree import ElementTree

    result = a_result()
    svg = draw(result, "c", "svg")
    assert svg == draw(result, "c", "svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert draw(result, "c", "png").startswith(b"\x89PNG")


def test_a_picture_of_many_long_names_in_a_script_that_the_font_lacks_is_drawn() -> None:
    result = a_result()
    one = result.configs[0]
    many = [replace(one, name=f"{n} {'狐 fox ' * 70}") for n in range(16)]
    svg = draw(replace(result, configs=many), "狐", "svg")  # a warning would be an error here
    assert len(svg) < 2_000_000


def test_pictures_may_be_drawn_at_the_same_time() -> None:
    result = a_result()
    filters, once = list(warnings.filters), draw(result, "c", "svg")
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw(result, "c", "svg"), range(6)))
    assert set(drawn) == {once}
    assert warnings.filters == filters


def test_without_matplotlib_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[eval\]'"):
        draw(a_result(), "c", "svg")


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "queries.jsonl").write_text(
        '{"_id": "1", "text": "one", "metadata": {}}\n\n{"_id": "2", "text": "two"}\n'
        '{"_id": "3", "text": "not judged"}\n'
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n2\ta\t1\n1\tb\t2\n1\tc\t-1\n")
    return folder


def test_a_folder_in_the_layout_of_beir_is_read(beir: Path) -> None:
    judged = read_judged(beir)
    assert judged.queries == [Asked("1", "one"), Asked("2", "two")]
    assert judged.qrels == [Qrel("2", "a", 1), Qrel("1", "b", 2), Qrel("1", "c", 0)]
    assert judged.first(1).queries == [Asked("1", "one")]
    assert judged.first(1).qrels == [Qrel("1", "b", 2), Qrel("1", "c", 0)]


def test_qrels_may_lie_in_their_own_folder_and_have_no_header_or_the_four_columns_of_trec(
    beir: Path,
) -> None:
    (beir / "qrels").mkdir()
    (beir / "qrels.tsv").unlink()
    (beir / "qrels" / "test.tsv").write_text("1\t0\tb\t2\n1\t0\tb\t2\n")
    assert read_judged(beir).qrels == [Qrel("1", "b", 2)]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("qrels.tsv", "1\tb\n", "qrels.tsv, line 1: 2 fields"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n1\tb\tx\n", "line 2: relevance 'x'"),
        ("qrels.tsv", "1\tb\t1\n9\tb\t1\n", "line 2: no query has the id '9'"),
        ("qrels.tsv", "1\t\t1\n", "line 1: the id of the document is empty"),
        ("qrels.tsv", "1\tb\t1\n1\tb\t2\n", "line 2: 'b' is judged twice"),
        ("queries.jsonl", '{"_id": "1", "text": "x"}\n{', "queries.jsonl, line 2"),
        ("queries.jsonl", '{"_id": "1"}\n', "queries.jsonl, line 1"),
        ("queries.jsonl", '{"_id": "1", "text": "x"}\n' * 2, "line 2: the id '1' comes twice"),
    ],
)
def test_a_broken_line_of_a_folder_is_named(
    beir: Path, file: str, content: str, words: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(InvalidInput, match=words):
        read_judged(beir)


def test_a_file_that_is_missing_or_no_text_is_named(beir: Path) -> None:
    (beir / "queries.jsonl").unlink()
    with pytest.raises(InvalidInput, match=r"queries.jsonl: it cannot be read"):
        read_judged(beir)
    (beir / "queries.jsonl").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_judged(beir)
    (beir / "qrels.tsv").unlink()
    with pytest.raises(InvalidInput, match=r"neither qrels\.tsv nor qrels/test\.tsv"):
        read_judged(beir)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_is_read_whatever_stands_between_its_columns(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "judged.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        rows = csv.writer(stream, delimiter=delimiter)
        rows.writerow(["Relevance", "query", "note", "document_id"])
        rows.writerow([1, 'a, "quoted"; query', "", "d/1"])
        rows.writerow([2, "a\nlong one", "x", "d/2"])
        rows.writerow([0, 'a, "quoted"; query', "", "d/2"])
    judged = read_judged(file)
    first, second = 'a, "quoted"; query', "a\nlong one"
    assert judged.queries == [Asked(first, first), Asked(second, second)]
    assert judged.qrels[0] == Qrel(first, "d/1", 1)


ODD = "one\u2028two\u2029three\x85four\x0bfive\x1csix"


def test_texts_may_hold_what_unicode_calls_the_end_of_a_line(beir: Path, tmp_path: Path) -> None:
    line = json.dumps({"_id": "1", "text": ODD}, ensure_ascii=False)
    for sign in ("\x0b", "\x1c"):  # JSON has these escaped
        line = line.replace(sign, json.dumps(sign)[1:-1])
    (beir / "queries.jsonl").write_text(f'{line}\r\n{{"_id": "2", "text": "two"}}\n')
    (beir / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\r\n2\ta\u2028b\t1\r\n1\tb\t2")
    judged = read_judged(beir)
    assert judged.queries == [Asked("1", ODD), Asked("2", "two")]
    assert judged.qrels == [Qrel("2", "a\u2028b", 1), Qrel("1", "b", 2)]
    file = tmp_path / "judged.csv"
    file.write_text(f"query,document_id,relevance\r\n{ODD},d\x0b1,1\r\n", newline="")
    assert read_judged(file).qrels == [Qrel(ODD, "d\x0b1", 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("query,document,relevance\nx,y,1\n", "line 1: no column document_id"),
        ("", "line 1: no column query, document_id, relevance"),
        ("query,document_id,relevance\nx,y\n", "line 2: 2 fields, and the first line has 3"),
        ("query,document_id,relevance\nx,y,1\n\nx,z,good\n", "line 4: relevance 'good'"),
        ("query,document_id,relevance\n ,y,1\n", "line 2: the query is empty"),
        ("query,document_id,relevance\nx,,1\n", "line 2: the id of the document is empty"),
        ("query,document_id,relevance\nx,y,1\nx,y,2\n", "line 3: 'y' is judged twice"),
        ('query,document_id,relevance\nx,"y,1\n', "line 2"),
    ],
)
def test_a_broken_line_of_a_csv_is_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "judged.csv"
    file.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        read_judged(file)
