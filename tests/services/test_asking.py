"""Answers: every quote stands where it says, and no answer is better than a wrong one."""

from collections.abc import Callable
from typing import Any

import pytest

from embedsvc.core.preparing import Draft
from embedsvc.errors import InvalidInput, NotFound, UnknownProvider
from embedsvc.services.ask import NO_ANSWER, Answer
from embedsvc.services.search import Found

Run = Callable[[Any], Any]

DOCUMENTS = [
    Draft(
        "paris",
        title="Paris",
        text="Paris is the capital of France. The Eiffel Tower was finished in 1889. "
        "It is 330 metres tall.",
    ),
    Draft("bread", text="Bread dough rises because yeast makes gas. Bake it at 230 degrees."),
    Draft("whale", text="The blue whale is the largest animal. Krill is what the blue whale eats."),
]


def check(answer: Answer, texts: dict[str, str]) -> None:
    for number, citation in enumerate(answer.citations, start=1):
        assert citation.marker == number
        assert f"[{number}]" in answer.text
        assert citation.status == "verified"
        assert texts[citation.chunk.document_id][citation.start : citation.end] == citation.quote


@pytest.mark.parametrize(
    ("question", "document", "words"),
    [
        ("When was the Eiffel Tower finished?", "paris", "1889"),
        ("What does the blue whale eat?", "whale", "krill"),
        ("Why does bread dough rise?", "bread", "yeast"),
    ],
)
def test_an_answer_quotes_the_document_that_answers(
    run: Run, opened: Any, model: Any, question: str, document: str, words: str
) -> None:
    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", question)
            assert answer.state == "answered"
            assert words.lower() in answer.text.lower()
            assert answer.citations[0].chunk.document_id == document
            check(answer, {draft.id: str(draft.text) for draft in DOCUMENTS})
            assert answer.question == question
            assert answer.model == "extractive"

    run(work())


@pytest.mark.parametrize(
    "question",
    ["How do I file a tax return in Brazil?", "Who won the chess championship?", "asdf qwer zxcv"],
)
def test_an_unrelated_question_has_no_answer(
    run: Run, opened: Any, model: Any, question: str
) -> None:
    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", question)
            assert (answer.state, answer.text) == ("no_answer", NO_ANSWER)
            assert answer.citations == []
            assert len(answer.sources) == 3

    run(work())


def test_a_stream_is_sources_then_text_with_its_citations_then_the_whole(
    run: Run, opened: Any
) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", DOCUMENTS)
            question = "Paris is the capital of France"
            events = [event async for event in service.ask.stream("c", question)]
            assert isinstance(events[0], Found)
            assert isinstance(events[-1], Answer)
            kinds = [type(event).__name__ for event in events[1:-1]]
            assert kinds[0] == "str"
            assert set(kinds) == {"str", "Citation"}
            assert all(a != "Citation" or i > 0 for i, a in enumerate(kinds))
            assert "".join(e for e in events if isinstance(e, str)) == events[-1].text
            check(events[-1], {draft.id: str(draft.text) for draft in DOCUMENTS})

    run(work())


def test_an_empty_collection_has_no_answer(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            answer = await service.ask.ask("c", "anything?")
            assert (answer.state, answer.sources) == ("no_answer", [])

    run(work())


def test_a_filter_limits_what_is_looked_at(run: Run, opened: Any) -> None:
    from embedsvc.core.filters import parse_filter

    async def work() -> None:
        async with opened() as service:
            await service.ingest.add(
                "c", [Draft("a", text="red fox", metadata={"x": 1}), *DOCUMENTS]
            )
            answer = await service.ask.ask("c", "red fox", where=parse_filter({"x": {"$ne": 1}}))
            assert "a" not in {hit.chunk.document_id for hit in answer.sources}

    run(work())


@pytest.mark.parametrize(
    ("question", "options", "field"),
    [
        ("", {}, "question"),
        (" \n", {}, "question"),
        ("x" * 4_001, {}, "question"),
        ("x", {"limit": 0}, "limit"),
        ("x", {"limit": 51}, "limit"),
    ],
)
def test_a_question_that_is_none_is_refused(
    run: Run, opened: Any, question: str, options: Any, field: str
) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            with pytest.raises(InvalidInput, match=f"^{field}: "):
                await service.ask.ask("c", question, **options)

    run(work())


def test_an_unknown_collection_or_model_is_named(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(NotFound):
                await service.ask.ask("nope", "x")
            await service.collections.put("c")
            with pytest.raises(UnknownProvider, match="nope"):
                await service.ask.ask("c", "x", model="nope")

    run(work())
