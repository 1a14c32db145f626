"""Evaluations of answers: the figures follow from the answers, and nothing is left behind."""

import asyncio
import csv
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from wire.openai_chat import OpenAIChat

from embedsvc.core.answer_metrics import Gold
from embedsvc.core.citations import Citation
from embedsvc.core.model import AnswerState, Chunk, Chunking
from embedsvc.core.preparing import Draft
from embedsvc.core.prompting import NO_ANSWER_WORD
from embedsvc.core.reading import Unsupported
from embedsvc.errors import (
    EmbedsvcError,
    InvalidInput,
    NotFound,
    ProviderBusy,
    ProviderRejected,
    TooLarge,
    UnknownProvider,
)
from embedsvc.services.answer_evaluation import AT_ONCE, AnswerEvaluation
from embedsvc.services.answer_files import read_answered
from embedsvc.services.answer_measuring import Answering, AnswerResult, Got, got, measure_answers
from embedsvc.services.answer_request import AnswerConfig, AnswerRequest, GoldAnswer
from embedsvc.services.answers import Answer, AnswerUsage, Question
from embedsvc.services.ask import check_question
from embedsvc.services.charting import draw
from embedsvc.services.copies import Copies
from embedsvc.services.evaluation import RESTARTED, Evaluate, Evaluation
from embedsvc.services.evaluation_request import Asked
from embedsvc.services.llms import Chain
from embedsvc.services.search import Hit, StageScores
from embedsvc.services.search_evaluation import SearchEvaluation
from embedsvc.services.service import Service
from embedsvc.settings import Settings
from embedsvc.store.evaluations import Evaluations

Run = Callable[[Any], Any]

CAPITALS = {
    "france": ("Paris", "France"),
    "spain": ("Madrid", "Spain"),
    "italy": ("Rome", "Italy"),
    "peru": ("Lima", "Peru"),
    "japan": ("Tokyo", "Japan"),
}
DOCUMENTS = {i: f"The capital of {land} is {town}." for i, (town, land) in CAPITALS.items()}
QUERIES = [
    *(Asked(i, f"What is the capital of {land}?") for i, (_, land) in CAPITALS.items()),
    Asked("moon", "What is the capital of the Moon?"),
]
ANSWERS = [
    *(GoldAnswer(i, [town], [i]) for i, (town, _) in CAPITALS.items()),
    GoldAnswer("moon", answerable=False),
]
REQUEST = AnswerRequest("c", QUERIES, ANSWERS, [AnswerConfig(model="good")])


@dataclass
class Model:
    """A model that is only there to be counted."""

    name: str
    remote: bool = False
    kind: str = "chat"
    window: int = 8_000


Script = Callable[[Question], Answer]


@dataclass
class Scripted:
    """Answers as a script says, by model; counts who asks at the same time."""

    script: dict[str, Script]
    away: Sequence[str] = ()
    asked: list[Question] = field(default_factory=list)
    collections: list[str] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0
    most: int = 0
    pause: float = 0.0

    async def chain(self, question: Question) -> Chain:
        check_question(question)
        name = question.model or "good"
        if name not in self.script:
            raise UnknownProvider(f"no language models are called {name!r}")
        return Chain([Model(name, name in self.away)], False, name)  # type: ignore[list-item]

    async def ask(self, name: str, question: Question) -> Answer:
        self.collections.append(name)
        self.asked.append(question)
        self.reached.set()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.pause)
            return self.script[question.model or "good"](question)
        finally:
            self.now -= 1


def hit(document: str) -> Hit:
    text = DOCUMENTS[document]
    chunk = Chunk(1, document, 0, 0, len(text), None, text, None, None, {})
    return Hit(chunk, 1.0, StageScores(None, None))


def said(
    text: str,
    cited: Sequence[tuple[str, Any]] = (),
    *,
    state: AnswerState = "answered",
    **changed: Any,
) -> Answer:
    """An answer whose citations are (document, status)."""
    sources = [hit(document) for document in DOCUMENTS]
    chunks = {one.chunk.document_id: one.chunk for one in sources}
    made = Answer(
        text=text,
        state=state,
        citations=[Citation(n, chunks[i], "", 0, 0, s) for n, (i, s) in enumerate(cited, 1)],
        unsupported=(),
        sources=sources,
        model="scripted",
        usage=AnswerUsage(100, 10, 0.001),
        conversation_id=None,
        query="",
        queries=(),
        version=1,
        took_ms=20.0,
        first_token_ms=5.0,
        evidence=None,
        grounding="normal",
    )
    return replace(made, **changed)


NOTHING = said("The documents do not answer this question.", state="no_answer")


def good(question: Question) -> Answer:
    """Right, with a verified citation; silent about the Moon."""
    for document, (town, land) in CAPITALS.items():
        if land in question.text:
            return said(f"{town} [1].", [(document, "verified")])
    return NOTHING


def poor(question: Question) -> Answer:
    """Says Rome whatever it is asked, at greater length and greater cost."""
    unsupported = [Unsupported(0, 10, "It is Rome.")]
    answer = said("It is Rome [1]. So it is.", [("italy", "verified"), ("spain", "not_found")])
    return replace(answer, unsupported=unsupported, usage=AnswerUsage(900, 90, None, True))


async def fill(service: Service) -> None:
    await service.ingest.add("c", [Draft(i, text=text) for i, text in DOCUMENTS.items()])


async def ended(service: Service, evaluation_id: str) -> Evaluation:
    for _ in range(2_000):
        found = await service.evaluate.get(evaluation_id)
        if found.record.state not in ("queued", "running"):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it does not end")


async def evaluated(service: Service, request: AnswerRequest) -> AnswerResult:
    found = await ended(service, (await service.evaluate.start(request)).record.id)
    assert found.record.state == "done", found.record.error
    assert found.record.done == found.record.total
    assert isinstance(found.result, AnswerResult)
    return found.result


async def failure(service: Service, request: AnswerRequest) -> str:
    found = await ended(service, (await service.evaluate.start(request)).record.id)
    assert found.record.state == "failed"
    return str(found.record.error)


@pytest.fixture
def filled(opened: Any) -> Any:
    """`async with filled(asker) as service`: with the documents; `asker` takes the place of Ask."""

    @asynccontextmanager
    async def open_(asker: Any = None, **options: Any) -> AsyncIterator[Service]:
        async with opened(**options) as service:
            store, named = service.store, service.collections
            copies = Copies(store, named, service.ingest, service.embedders, 100)
            searching = SearchEvaluation(
                store, named, service.search, copies, service.judging, service.rerank
            )
            answering = AnswerEvaluation(store, named, asker or service.ask, copies)
            made = Evaluate(Evaluations(service.database), copies, searching, answering)
            service = replace(service, evaluate=made)
            await fill(service)
            try:
                yield service
            finally:
                await service.evaluate.aclose()
                await service.llms.aclose()

    return open_


# -- figures --------------------------------------------------------------------------------------


def test_models_are_compared_by_what_they_answer(run: Run, filled: Any) -> None:
    asker = Scripted({"good": good, "poor": poor})
    configs = [AnswerConfig(model="poor"), AnswerConfig(model="good", name="the good one")]

    async def work() -> None:
        async with filled(asker) as service:
            result = await evaluated(service, replace(REQUEST, configs=configs))
            bad, fine = result.configs
            assert (bad.name, fine.name) == ("poor", "the good one")
            assert (result.queries, result.answerable, result.warnings) == (6, 5, [])
            values = {name: one.value for name, one in fine.metrics.items() if one is not None}
            assert values["answered"] == pytest.approx(5 / 6)
            assert {value for name, value in values.items() if name != "answered"} == {1.0}
            assert len(values) == len(fine.metrics) == 10
            poorly = {name: one and one.value for name, one in bad.metrics.items()}
            assert poorly["em"] == 0
            assert poorly["contains"] == pytest.approx(1 / 5)
            assert poorly["citation_precision"] == pytest.approx(1 / 10)
            assert poorly["citation_recall"] == pytest.approx(1 / 5)
            assert poorly["supported"] == pytest.approx(1 / 2)
            assert poorly["abstention_precision"] is None  # it never kept silent
            assert poorly["abstention_recall"] == poorly["abstention_f1"] == 0
            [comparison] = result.comparisons
            assert (comparison.name, comparison.base) == ("the good one", "poor")
            assert comparison.metrics["em"].difference == 1
            assert "abstention_precision" not in comparison.metrics
            assert (fine.answered, fine.no_answer, fine.failed) == (5, 1, 0)
            assert (fine.usage.prompt_tokens, fine.usage.completion_tokens) == (600, 60)
            assert fine.usage.cost_usd == pytest.approx(0.006)
            assert (bad.usage.cost_usd, bad.usage.estimated) == (None, True)
            assert fine.models == {"scripted": 6}
            assert (fine.latency.median_ms, fine.chunks, fine.embedding) == (20, 5, "hash")
            assert fine.first_token is not None
            assert fine.first_token.p95_ms == 5

    run(work())


def test_each_answer_can_be_looked_at(run: Run, filled: Any) -> None:
    def long(question: Question) -> Answer:
        return replace(poor(question), text="Rome " * 500)

    async def work() -> None:
        async with filled(Scripted({"good": good, "long": long})) as service:
            configs = [AnswerConfig(model="good"), AnswerConfig(model="long")]
            result = await evaluated(service, replace(REQUEST, configs=configs))
            right, none = (result.configs[0].queries[i] for i in ("peru", "moon"))
            assert (right.state, right.answer, right.answerable) == ("answered", "Lima [1].", True)
            assert [(one.document_id, one.status) for one in right.citations] == [
                ("peru", "verified")
            ]
            assert right.retrieved is True
            assert right.metrics["em"] == right.metrics["citation_recall"] == 1
            assert (right.took_ms, right.model, right.error) == (20, "scripted", None)
            assert (none.state, none.answer, none.answerable) == ("no_answer", "", False)
            assert none.metrics["abstention_recall"] == 1
            assert "em" not in none.metrics
            assert none.retrieved is None
            wrong = result.configs[1].queries["peru"]
            assert len(wrong.answer) == 500
            assert wrong.answer.endswith("…")

    run(work())


def test_a_metric_of_which_no_answer_says_anything_has_no_value_and_is_drawn_all_the_same() -> None:
    golds = {"a": Gold(["x"]), "b": Gold(["y"])}
    silent = Answering("silent", dict.fromkeys(golds, got(NOTHING)))
    result = measure_answers([silent, replace(silent, name="b")], golds, ["f1", "verified"], 0)
    assert result.configs[0].metrics["verified"] is None
    assert list(result.comparisons[0].metrics) == ["f1"]
    svg = draw(result, "c", "svg")
    assert b"silent" in svg
    assert draw(replace(result, configs=result.configs[:1]), "c", "png").startswith(b"\x89PNG")


def test_questions_that_failed_are_in_no_metric_and_in_no_comparison() -> None:
    golds = {str(n): Gold(["Paris"]) for n in range(4)}
    right = got(said("Paris"))
    wrong = got(said("Rome"))
    base = Answering("base", {"0": right, "1": wrong, "2": right, "3": Got(error="busy")})
    other = Answering("other", {"0": right, "1": wrong, "2": wrong, "3": right})
    result = measure_answers([base, other], golds, ["em"], 0)
    first, second = result.configs
    assert first.metrics["em"] is not None
    assert first.metrics["em"].value == pytest.approx(2 / 3)
    assert second.metrics["em"] is not None
    assert second.metrics["em"].value == pytest.approx(2 / 4)
    assert result.comparisons[0].metrics["em"].difference == pytest.approx(1 / 3 - 2 / 3)
    assert (first.failed, first.errors) == (1, {"busy": 1})
    assert first.queries["3"].state == "failed"
    assert first.queries["3"].metrics == {}


# -- the whole ------------------------------------------------------------------------------------


def test_questions_are_asked_by_themselves_as_configured_and_kept_nowhere(
    run: Run, filled: Any
) -> None:
    asker = Scripted({"good": good})
    config = AnswerConfig(
        grounding="strict",
        limit=3,
        mode="lexical",
        filter={"year": 3},
        expansion="hyde",
        temperature=0.2,
        max_tokens=50,
    )

    async def work() -> None:
        async with filled(asker) as service:
            result = await evaluated(service, replace(REQUEST, configs=[config]))
            assert result.configs[0].name == (
                "good, strict, 3 sources, lexical, filtered, hyde, temperature 0.2, 50 tokens"
            )
            for question in asker.asked:
                assert (question.history, question.record) == ((), False)
                assert (question.grounding, question.limit, question.mode) == (
                    *("strict", 3),
                    "lexical",
                )
                assert (question.options.temperature, question.options.max_tokens) == (0.2, 50)
                assert question.expansion == "hyde"
                assert question.where is not None

    run(work())


def test_without_configurations_the_model_of_the_service_answers(run: Run, filled: Any) -> None:
    async def work() -> None:
        async with filled(Scripted({"good": good})) as service:
            started = await service.evaluate.start(replace(REQUEST, configs=()))
            assert [(one.name, one.model) for one in started.summary.configs] == [("good", "good")]
            assert (await ended(service, started.record.id)).record.state == "done"

    run(work())


def test_models_on_this_machine_take_turns_and_remote_ones_are_asked_a_few_at_once(
    run: Run, filled: Any
) -> None:
    here, away = Scripted({"good": good, "poor": poor}), Scripted({"good": good}, ["good"])
    here.pause = away.pause = 0.01
    many = [Asked(str(n), "What is the capital of Peru?") for n in range(20)]
    known = [GoldAnswer(str(n), ["Lima"]) for n in range(20)]

    async def work() -> None:
        two = [AnswerConfig(model="good"), AnswerConfig(model="poor")]
        async with filled(here) as service:
            await evaluated(service, replace(REQUEST, configs=two))
            assert here.most == 1
            asked = [question.model for question in here.asked]
            assert asked == ["good", "poor"] * 7  # the first question also to warm up

    async def remote() -> None:
        async with filled(away) as service:
            await evaluated(service, replace(REQUEST, queries=many, answers=known))
            assert away.most == AT_ONCE
            assert len(away.asked) == 20

    run(work())
    run(remote())


def test_a_few_failures_are_counted_and_more_than_a_tenth_fail_the_evaluation(
    run: Run, filled: Any
) -> None:
    many = [Asked(str(n), f"What is the capital of Peru, {n}?") for n in range(20)]
    known = [GoldAnswer(str(n), ["Lima"]) for n in range(20)]
    request = replace(REQUEST, queries=many, answers=known)

    def failing(*numbers: int) -> Script:
        def script(question: Question) -> Answer:
            if any(f", {number}?" in question.text for number in numbers):
                raise ProviderBusy("good is over its limit")
            return good(question)

        return script

    async def work() -> None:
        async with filled(Scripted({"good": failing(7, 19)})) as service:
            result = await evaluated(service, request)
            assert result.warnings == ["good: 2 of 20 questions failed and are in no metric"]
            assert result.configs[0].errors == {"good is over its limit": 2}
            assert result.configs[0].queries["7"].error == "good is over its limit"
            assert result.configs[0].metrics["em"] is not None
            assert result.configs[0].metrics["em"].value == 1

    async def too_many() -> None:
        asker = Scripted({"good": failing(3, 5, 7)}, ["good"], pause=0.01)
        async with filled(asker) as service:
            told = await failure(service, request)
            assert told == "good: 3 questions failed, the last one '7': good is over its limit"
            assert len(asker.asked) < 16  # the rest is not paid for

    async def first() -> None:
        asker = Scripted({"good": failing(0)}, ["good"])
        async with filled(asker) as service:
            told = await failure(service, request)
            assert told == "good: the first question, '0', failed: good is over its limit"
            assert len(asker.asked) == 1

    for one in (work, too_many, first):
        run(one())


def test_other_documents_are_tried_on_copies_that_are_gone_afterwards(
    run: Run, filled: Any
) -> None:
    asker = Scripted({"good": good})
    configs = [
        AnswerConfig(model="good"),
        AnswerConfig(model="good", embedding="hash:32"),
        AnswerConfig(model="good", chunking=Chunking(size=2)),
    ]

    async def work() -> None:
        async with filled(asker) as service:
            result = await evaluated(service, replace(REQUEST, configs=configs))
            assert [one.name for one in result.configs] == [
                "good",
                "good, hash:32",
                "good, chunks of 2",
            ]
            assert [one.embedding for one in result.configs] == ["hash", "hash:32", "hash"]
            assert result.configs[2].chunks > 5
            assert [name[-2:] for name in dict.fromkeys(asker.collections)] == ["c", "-1", "-2"]
            assert [one.name for one in await service.store.collections("", 9)] == ["c"]

    run(work())


def test_it_can_be_cancelled_and_a_restart_fails_it(run: Run, filled: Any) -> None:
    asker = Scripted({"good": good}, ["good"], pause=1_000)

    async def under_way(service: Service) -> str:
        started = await service.evaluate.start(REQUEST)
        await asyncio.wait_for(asker.reached.wait(), 30)
        asker.reached.clear()
        return started.record.id

    async def work() -> None:
        async with filled(asker) as service:
            number = await under_way(service)
            found = await service.evaluate.get(number)
            assert (found.record.state, found.record.done, found.record.total) == ("running", 0, 6)
            await service.evaluate.remove(number)
            assert asker.now == 0  # nobody is asked any more
            assert (await service.evaluate.get(number)).record.state == "cancelled"
            number = await under_way(service)
            await service.evaluate.aclose()
            record = (await service.evaluate.get(number)).record
            assert (record.state, record.error) == ("failed", RESTARTED)

    run(work())


def test_the_extractive_answerer_and_a_language_model_are_evaluated_in_either_database(
    run: Run, filled: Any, either_settings: Settings
) -> None:
    configs = [
        AnswerConfig(model="extractive"),
        AnswerConfig(model="echo", grounding="normal", limit=2),
        AnswerConfig(model="echo,extractive", name="chain"),
    ]

    async def work() -> None:
        async with filled(of=either_settings) as service:
            result = await evaluated(service, replace(REQUEST, configs=configs))
            extractive, echo, _ = result.configs
            assert extractive.name == "extractive"
            assert set(extractive.models) == {"extractive"}
            assert set(echo.models) == {"echo"}
            for shown in extractive.queries.values():
                assert {one.status for one in shown.citations} <= {"verified"}
            assert echo.usage.prompt_tokens > 0
            assert echo.metrics["f1"] is not None
            found, _ = await service.evaluate.page(None, 5)
            assert [one.summary.subject for one in found] == ["answers"]

    run(work())


def from_its_sources(messages: Any) -> str:
    """What an obedient model says: the town of the source about the land that is asked for."""
    asked = messages[-1]["content"]
    land = asked.rpartition("Question: ")[2].partition("?")[0].split()[-1]
    sources = re.findall(r'number="(\d+)">\n(.*)\n', asked)
    for number, text in sources:
        if f"of {land} is" in text:
            return f'{text.rpartition(" ")[2]} [{number} "{text}"]'
    return NO_ANSWER_WORD


def test_a_remote_model_is_evaluated_over_the_wire(
    run: Run, filled: Any, settings: Settings
) -> None:
    with OpenAIChat() as server:
        server.reply = from_its_sources
        chosen = replace(settings, variables=server.variables)
        config = AnswerConfig(model="openai:gpt-4o", temperature=0, max_tokens=100, mode="lexical")

        async def work() -> None:
            async with filled(of=chosen) as service:
                result = await evaluated(service, replace(REQUEST, configs=[config]))
                remote = result.configs[0]
                assert remote.models == {"openai:gpt-4o": 6}
                values = {name: one and one.value for name, one in remote.metrics.items()}
                assert values["answered"] == pytest.approx(5 / 6)
                assert {value for name, value in values.items() if name != "answered"} == {1}
                assert remote.queries["peru"].answer == "Lima. [1]"
                assert [one.status for one in remote.queries["peru"].citations] == ["verified"]
                assert remote.usage.prompt_tokens > 6 * 100
                assert remote.usage.cost_usd
                assert not remote.usage.estimated
                assert remote.first_token is not None
                assert 0 < remote.first_token.median_ms <= remote.latency.median_ms

        run(work())
        assert len(server.talks) == 6
        assert {talk.temperature for talk in server.talks} == {0}


# -- bad input ------------------------------------------------------------------------------------


NONSENSE: Sequence[tuple[Any, type[EmbedsvcError], str]] = [
    ({"collection": "nope"}, NotFound, "'nope'"),
    ({"queries": ()}, InvalidInput, "queries: the list is empty"),
    ({"answers": ()}, InvalidInput, "answers: the list is empty"),
    ({"queries": [*QUERIES, QUERIES[0]]}, InvalidInput, r"queries\[6\].id: 'france' comes"),
    (
        {"queries": [Asked("moon", "x" * 4_001)], "answers": ANSWERS[-1:]},
        InvalidInput,
        r"queries\[0\].text: 4001 characters; at most 4000",
    ),
    (
        {"answers": [GoldAnswer("nope", ["x"])]},
        InvalidInput,
        r"answers\[0\].query_id: no query has the id 'nope'",
    ),
    (
        {"answers": [*ANSWERS, ANSWERS[1]]},
        InvalidInput,
        r"answers\[6\].query_id: 'spain' comes twice; send all its answers in one",
    ),
    (
        {"answers": [GoldAnswer("moon", answerable=True)]},
        InvalidInput,
        r"answers\[0\].answers: the list is empty, and answerable is true",
    ),
    ({"answers": [GoldAnswer("moon", ["x", " "])]}, InvalidInput, r"\[0\].answers\[1\]: it is"),
    ({"answers": [GoldAnswer("moon", ["x"] * 101)]}, TooLarge, r"answers\[0\].answers: 101"),
    (
        {"answers": [GoldAnswer("moon", ["x"], ["d", ""])]},
        InvalidInput,
        r"answers\[0\].document_ids\[1\]: it is empty",
    ),
    (
        {"answers": [GoldAnswer("moon", ["x"], ["d" * 513])]},
        InvalidInput,
        r"document_ids\[0\]: 513 characters; at most 512",
    ),
    ({"answers": [GoldAnswer("moon", ["a\0b"])]}, InvalidInput, "NUL"),
    ({"metrics": ["ndcg@10"]}, InvalidInput, "'ndcg@10' is not known of answers"),
    ({"seed": -1}, InvalidInput, "seed: -1"),
    ({"configs": [AnswerConfig()] * 17}, TooLarge, "configs: 17"),
    (
        {"configs": [AnswerConfig(name="a"), AnswerConfig(name="a")]},
        InvalidInput,
        r"configs\[1\].name: 'a' comes twice",
    ),
    ({"configs": [AnswerConfig(model="nope:x")]}, UnknownProvider, "nope"),
    ({"configs": [AnswerConfig(filter={"$x": 1})]}, InvalidInput, r"configs\[0\].filter"),
    ({"configs": [AnswerConfig(limit=51)]}, InvalidInput, r"configs\[0\].limit: 51"),
    ({"configs": [AnswerConfig(embedding="nope:x")]}, UnknownProvider, "nope"),
    (
        {
            "queries": [Asked(str(n), "x") for n in range(5_000)],
            "answers": [GoldAnswer(str(n), ["x"]) for n in range(5_000)],
            "configs": [AnswerConfig()] * 11,
        },
        InvalidInput,
        "5000 with answers in 11 configurations are 55000 questions; at most 50000",
    ),
]


def test_a_request_that_makes_no_sense_is_refused_before_anything_runs(
    run: Run, filled: Any
) -> None:
    asker = Scripted({"good": good})

    async def work() -> None:
        async with filled(asker) as service:
            for changed, error, words in NONSENSE:
                with pytest.raises(error, match=words):
                    await service.evaluate.start(replace(REQUEST, **changed))
            assert await service.evaluate.page(None, 10) == ([], None)
            assert asker.asked == []

    run(work())


def test_what_the_figures_do_not_tell_is_told(run: Run, filled: Any) -> None:
    request = replace(
        REQUEST,
        queries=[*QUERIES, Asked("alone", "nothing is known of this")],
        answers=[*ANSWERS[1:], GoldAnswer("france", ["Paris"], ["france", "gone"])],
    )

    async def work() -> None:
        async with filled(Scripted({"good": good})) as service:
            result = await evaluated(service, request)
            assert result.warnings == [
                "1 gold document is not in the collection",
                "1 query has no entry in answers and is not asked",
            ]
            assert list(result.configs[0].queries) == [query.id for query in QUERIES]

    run(work())


def test_a_question_that_is_refused_fails_alone(run: Run, filled: Any) -> None:
    many = [Asked(str(n), f"What is the capital of Peru, {n}?") for n in range(10)]
    known = [GoldAnswer(str(n), ["Lima"]) for n in range(10)]

    def picky(question: Question) -> Answer:
        if ", 4?" in question.text:
            raise ProviderRejected("good refuses that")
        return good(question)

    async def work() -> None:
        async with filled(Scripted({"good": picky})) as service:
            result = await evaluated(service, replace(REQUEST, queries=many, answers=known))
            assert result.configs[0].failed == 1

    run(work())


# -- files ----------------------------------------------------------------------------------------


def test_a_folder_with_questions_and_answers_is_read(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "question": "one?", "answers": ["a", "b", "a"], "doc_ids": ["d"], "more": 1},
        {"id": "2", "question": "two?", "answers": [{"text": "c", "start": 3}], "answerable": True},
        {"id": "3", "question": "three\u2028?", "answers": [], "answerable": False},
    ]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "qa.jsonl").write_text(lines + "\n", encoding="utf-8")
    found = read_answered(tmp_path)
    assert found.queries == [Asked("1", "one?"), Asked("2", "two?"), Asked("3", "three\u2028?")]
    assert found.answers == [
        GoldAnswer("1", ["a", "b"], ["d"]),
        GoldAnswer("2", ["c"], [], True),
        GoldAnswer("3", [], [], False),
    ]
    assert found.first(1).answers == found.answers[:1]
    assert found.first(None) == found


def test_the_rows_of_a_question_in_a_csv_are_its_answers(tmp_path: Path) -> None:
    file = tmp_path / "qa.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        rows = csv.writer(stream, delimiter=";")
        rows.writerow(["Answer", "question", "document_id", "answerable", "note"])
        rows.writerow(["Paris", "where; then?", "d1", "", ""])
        rows.writerow(["in Paris", "where; then?", "d2", "Yes", ""])
        rows.writerow(["", "who?", "", "", ""])
        rows.writerow(["maybe", "why?", "", "FALSE", ""])
    found = read_answered(file)
    assert [query.text for query in found.queries] == ["where; then?", "who?", "why?"]
    assert found.answers == [
        GoldAnswer("where; then?", ["Paris", "in Paris"], ["d1", "d2"], True),
        GoldAnswer("who?", [], [], None),
        GoldAnswer("why?", ["maybe"], [], False),
    ]
    (tmp_path / "short.csv").write_text("question,answer\nwho?,I\n")
    assert read_answered(tmp_path / "short.csv").answers == [GoldAnswer("who?", ["I"], [])]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("qa.jsonl", '{"id":"1","question":"x"}\n{', "qa.jsonl, line 2"),
        ("qa.jsonl", '{"id":"1"}\n', "line 1: not a question with id, question"),
        ("qa.jsonl", '{"id":"1","question":"x"}\n' * 2, "line 2: the id '1' comes twice"),
        ("qa.csv", "question,document_id\nx,y\n", "line 1: no column answer; the columns are"),
        ("qa.csv", "question,answer\n,y\n", "line 2: the question is empty"),
        ("qa.csv", "question,answer,answerable\nx,y,perhaps\n", "line 2: answerable 'perhaps'"),
        (
            "qa.csv",
            "question,answer,answerable\nx,y,yes\nx,z,no\n",
            "line 3: 'x' is answerable in one row",
        ),
        ("qa.csv", "question,answer\nx\n", "line 2: 1 fields, and the first line has 2"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=words):
        read_answered(tmp_path if name == "qa.jsonl" else tmp_path / name)


def test_a_folder_without_questions_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"qa\.jsonl: it cannot be read"):
        read_answered(tmp_path)
