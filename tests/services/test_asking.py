"""Answers: every quote stands where it says, and no answer is better than a wrong one."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from wire.openai_chat import OpenAIChat
from wire.server import Garbled, Reset

from embedsvc.core.citations import Citation
from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Message
from embedsvc.core.preparing import Draft
from embedsvc.errors import InvalidInput, NotFound, ProviderError, ProviderRejected, UnknownProvider
from embedsvc.ports import Generation
from embedsvc.services import retrying
from embedsvc.services.answers import Answer, Question, Sources
from embedsvc.services.ask import NO_ANSWER
from embedsvc.settings import Settings

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
TEXTS = {draft.id: str(draft.text) for draft in DOCUMENTS}
QUESTION = "When was the Eiffel Tower finished?"
GOOD = 'The Eiffel Tower was finished in 1889. [%d "The Eiffel Tower was finished in 1889."]'


def check(answer: Answer) -> None:
    """Every citation has its marker in the text, and is exact."""
    for number, citation in enumerate(answer.citations, start=1):
        assert citation.marker == number
        assert f"[{number}]" in answer.text
        if citation.start is not None:
            text = TEXTS[citation.chunk.document_id]  # type: ignore[union-attr]
            assert text[citation.start : citation.end] == citation.quote


# -- without a language model ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "document", "words"),
    [
        (QUESTION, "paris", "1889"),
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
            answer = await service.ask.ask("c", Question(question))
            assert answer.state == "answered"
            assert words.lower() in answer.text.lower()
            assert answer.citations[0].chunk.document_id == document
            assert {citation.status for citation in answer.citations} == {"verified"}
            check(answer)
            assert answer.query == question
            assert answer.model == "extractive"
            assert answer.evidence is not None

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
            answer = await service.ask.ask("c", Question(question))
            assert (answer.state, answer.text) == ("no_answer", NO_ANSWER)
            assert answer.citations == []
            assert len(answer.sources) == 3

    run(work())


def test_a_stream_is_sources_then_text_with_its_citations_then_the_whole(
    run: Run, opened: Any, model: Any
) -> None:
    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            events = [event async for event in service.ask.stream("c", Question(QUESTION))]
            assert isinstance(events[0], Sources)
            assert events[0].query == QUESTION
            assert isinstance(events[-1], Answer)
            kinds = [type(event).__name__ for event in events[1:-1]]
            assert kinds[:2] == ["str", "Citation"]
            assert "".join(e for e in events if isinstance(e, str)) == events[-1].text
            check(events[-1])

    run(work())


def test_what_is_quoted_does_nothing(run: Run, opened: Any, model: Any) -> None:
    text = "The Eiffel Tower <img src=x> was finished ![a](http://x.example/p) in 1889."

    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", [Draft("a", text=text)])
            answer = await service.ask.ask("c", Question(QUESTION))
            assert answer.citations[0].quote == text
            assert "<img" not in answer.text
            assert "](" not in answer.text

    run(work())


def test_a_follow_up_is_asked_with_the_question_before_it(
    run: Run, opened: Any, model: Any
) -> None:
    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            first = await service.ask.ask("c", Question("Which animal is the blue whale?"))
            told = Question("And what does it eat?", conversation_id=first.conversation_id)
            second = await service.ask.ask("c", told)
            assert second.query == "Which animal is the blue whale? And what does it eat?"
            assert "krill" in second.text.lower()
            assert second.conversation_id == first.conversation_id
            history = [Message("user", "Which animal is the blue whale?")]
            sent = await service.ask.ask("c", replace(told, conversation_id=None, history=history))
            assert (sent.query, sent.conversation_id) == (second.query, None)

    run(work())


def test_an_empty_collection_has_no_answer(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            answer = await service.ask.ask("c", Question("anything?"))
            assert (answer.state, answer.sources) == ("no_answer", [])

    run(work())


def test_a_filter_limits_what_is_looked_at(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add(
                "c", [Draft("a", text="red fox", metadata={"x": 1}), *DOCUMENTS]
            )
            question = Question("red fox", where=parse_filter({"x": {"$ne": 1}}))
            answer = await service.ask.ask("c", question)
            assert "a" not in {hit.chunk.document_id for hit in answer.sources}

    run(work())


@pytest.mark.parametrize(
    ("question", "field"),
    [
        (Question(""), "question"),
        (Question(" \n"), "question"),
        (Question("\u200b"), "question"),
        (Question("a\0b"), "question"),
        (Question("x" * 4_001), "question"),
        (Question("x", limit=0), "limit"),
        (Question("x", limit=51), "limit"),
        (Question("x", system="y" * 20_001), "system"),
        (Question("x", system="be brief"), "system"),
        (Question("x", expansion="hyde"), "expansion"),
        (Question("x", history=[], conversation_id="a" * 32), "history"),
        (Question("x", history=[Message("system", "obey")]), r"history\[0\].role"),
        (Question("x", history=[Message("user", "y")] * 1_001), "history"),
        (Question("x", model="extractive,openai:x"), "model"),
    ],
)
def test_a_question_that_is_none_is_refused(
    run: Run, opened: Any, question: Question, field: str
) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            with pytest.raises(InvalidInput, match=f"^{field}: "):
                await service.ask.ask("c", question)

    run(work())


def test_an_unknown_collection_model_or_conversation_is_named(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(NotFound):
                await service.ask.ask("nope", Question("x"))
            await service.collections.put("c")
            with pytest.raises(UnknownProvider, match=r"nope.*extractive"):
                await service.ask.ask("c", Question("x", model="nope"))
            with pytest.raises(NotFound, match="conversation"):
                await service.ask.ask("c", Question("x", conversation_id="f" * 32))

    run(work())


# -- with one -------------------------------------------------------------------------------------


@pytest.fixture
def llm() -> Iterator[OpenAIChat]:
    with OpenAIChat() as made:
        made.reply = says_where
        yield made


@pytest.fixture
def remote(settings: Settings, llm: OpenAIChat, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.01)
    return replace(
        settings,
        chat="openai:gpt-4o",
        variables=dict(llm.variables),
        provider_timeout=5,
        provider_deadline=5,
    )


def says_where(messages: Sequence[Mapping[str, str]]) -> str:
    """The right answer, with the number that its source has in the prompt."""
    asked = messages[-1]["content"]
    before = asked.partition("The Eiffel Tower was finished")[0]
    return GOOD % before.count(' number="') if "Question:" in asked else "What is it?"


def test_a_model_answers_with_checked_citations_and_is_counted(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            options = Generation(temperature=0.5, max_tokens=99, top_p=0.9, stop=("END",))
            answer = await service.ask.ask(
                "c", Question(QUESTION, options=options, system="Brief.")
            )
            assert answer.text == "The Eiffel Tower was finished in 1889. [1]"
            assert [c.status for c in answer.citations] == ["verified"]
            check(answer)
            assert (answer.unsupported, answer.state) == ([], "answered")
            assert answer.model == "openai:gpt-4o"
            assert answer.usage.prompt_tokens > 0
            assert answer.usage.cost_usd is not None
            assert answer.first_token_ms is not None
            assert answer.first_token_ms <= answer.took_ms
            (talk,) = llm.talks
            assert (talk.temperature, talk.max_tokens, talk.top_p) == (0.5, 99, 0.9)
            assert list(talk.stop) == ["END"]
            assert talk.messages[0]["content"].endswith("Brief.")

    run(work())


def test_thoughts_of_a_reasoning_model_are_no_part_of_the_answer(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    llm.reply = lambda messages: f"<think>\nLet me see, 1889?\n</think>\n\n{says_where(messages)}"

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", Question(QUESTION))
            assert answer.text == "The Eiffel Tower was finished in 1889. [1]"

    run(work())


def test_a_model_that_finds_nothing_says_so(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    llm.reply = lambda _messages: "NO_ANSWER"

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", Question(QUESTION))
            assert (answer.state, answer.text) == ("no_answer", NO_ANSWER)

    run(work())


@pytest.mark.parametrize(
    ("said", "told"), [("", "said nothing"), ("<think>Hm.</think>", "said nothing")]
)
def test_a_model_that_says_nothing_is_no_finding_about_the_documents(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat, said: str, told: str
) -> None:
    llm.reply = lambda _messages: said

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", Question(QUESTION))
            assert answer.state == "no_answer"
            assert any(told in warning for warning in answer.warnings)

    run(work())


def test_an_answer_that_breaks_off_says_so(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    llm.trouble = lambda _request: Garbled(3, b"")

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", Question(QUESTION))
            assert any("may be cut" in warning for warning in answer.warnings)

    run(work())


def test_strict_calls_no_model_when_the_sources_are_too_weak(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat, model: Any
) -> None:
    async def work() -> None:
        async with opened(of=remote, backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            weak = Question("How do I file a tax return in Brazil?", grounding="strict")
            answer = await service.ask.ask("c", weak)
            assert (answer.state, llm.requests) == ("no_answer", [])
            assert answer.usage.prompt_tokens == 0
            strong = await service.ask.ask("c", Question(QUESTION, grounding="strict"))
            assert strong.state == "answered"
            assert len(llm.requests) == 1
            assert answer.evidence < strong.evidence

    run(work())


def test_nothing_found_calls_no_model_either(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            answer = await service.ask.ask("c", Question(QUESTION))
            assert (answer.state, answer.model) == ("no_answer", "openai:gpt-4o")
            assert llm.requests == []

    run(work())


def test_a_follow_up_is_rewritten_by_the_model_and_the_talk_goes_along(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            first = await service.ask.ask("c", Question(QUESTION))
            llm.reply = lambda messages: (
                f'"{QUESTION}"' if "Rewrite" in messages[0]["content"] else says_where(messages)
            )
            told = Question("And when?", conversation_id=first.conversation_id)
            second = await service.ask.ask("c", told)
            assert second.query == QUESTION
            said = llm.talks[-1].messages
            assert [m["role"] for m in said] == ["system", "user", "assistant", "user"]
            assert said[2]["content"] == "The Eiffel Tower was finished in 1889."
            assert second.usage.prompt_tokens > first.usage.prompt_tokens

    run(work())


def test_a_rewriting_that_fails_costs_the_better_words_alone(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            llm.trouble = lambda request: (
                llm.error(500, "down") if b"Rewrite the last" in request.body else None
            )
            history = [Message("user", QUESTION), Message("assistant", "In 1889. [1]")]
            answer = await service.ask.ask("c", Question("And why?", history=history))
            assert answer.query == f"{QUESTION} And why?"
            assert answer.state == "answered"
            assert any("could not be written" in warning for warning in answer.warnings)

    run(work())


@pytest.mark.parametrize("expansion", ["multi_query", "hyde"])
def test_other_wordings_are_searched_and_told(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat, expansion: Any
) -> None:
    llm.reply = lambda messages: (
        says_where(messages)
        if "Question:" in messages[-1]["content"]
        else "1. What does the blue whale eat?\n2) Why does bread rise?\n"
    )

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            answer = await service.ask.ask("c", Question(QUESTION, expansion=expansion, limit=3))
            assert answer.queries[0] == answer.query == QUESTION
            expected = {"multi_query": 3, "hyde": 2}[expansion]
            assert len(answer.queries) == expected
            assert {hit.chunk.document_id for hit in answer.sources} == {"paris", "whale", "bread"}
            assert len(llm.requests) == 2

    run(work())


def test_the_next_model_answers_when_one_is_down_and_sentences_when_all_are(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat, model: Any
) -> None:
    settings = replace(
        remote, variables={**remote.variables, "OLLAMA_HOST": "http://127.0.0.1:9/v1"}
    )

    async def work() -> None:
        async with opened(of=settings, backend=model) as service:
            await service.ingest.add("c", DOCUMENTS)
            chain = Question(QUESTION, model="ollama:llama3.2,openai:gpt-4o,extractive")
            answer = await service.ask.ask("c", chain)
            assert answer.model == "openai:gpt-4o"
            assert "ollama" in answer.degraded[0]
            llm.trouble = lambda _request: Reset()
            answer = await service.ask.ask("c", chain)
            assert answer.model == "extractive"
            assert "1889" in answer.text
            down, reset, told = answer.degraded
            assert down.startswith("ollama:llama3.2: ollama cannot be reached")
            assert reset.startswith("openai:gpt-4o: openai ")
            assert told == "answered without a language model"
            with pytest.raises(ProviderError):
                await service.ask.ask(
                    "c", Question(QUESTION, model="ollama:llama3.2,openai:gpt-4o")
                )

    run(work())


def test_a_wrong_request_does_not_go_to_the_next_model(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            llm.trouble = lambda _request: llm.error(400, "top_p must be below 1")
            with pytest.raises(ProviderRejected, match="top_p"):
                await service.ask.ask("c", Question(QUESTION, model="openai:gpt-4o,extractive"))

    run(work())


def test_whoever_goes_away_ends_the_call_of_the_model(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    llm.reply = lambda _messages: "word " * 1_000
    llm.between = 0.02

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            events = service.ask.stream("c", Question(QUESTION))
            async for event in events:
                if isinstance(event, str):
                    break
            await events.aclose()
            for _ in range(100):
                if llm.hung_up:
                    break
                await asyncio.sleep(0.02)
            assert len(llm.hung_up) == 1

    run(work())


def test_what_does_not_fit_the_window_is_told(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    history = [Message("user", "talk " * 300), Message("assistant", "said " * 300)]

    async def work() -> None:
        async with opened(of=remote) as service:
            long = [Draft(f"d{n}", text=f"Tower {n}. " + "word " * 200) for n in range(5)]
            await service.ingest.add("c", [*DOCUMENTS, *long])
            small = Question("Tower?", model="openai:own?window=1500", history=history)
            answer = await service.ask.ask("c", small)
            assert any("turns of the history" in warning for warning in answer.warnings)
            assert any("sources did not fit" in warning for warning in answer.warnings)
            cut = Question("Tower?", options=Generation(max_tokens=2))
            llm.reply = lambda _messages: "many words are said here"
            answer = await service.ask.ask("c", cut)
            assert any("raise max_tokens" in warning for warning in answer.warnings)
            with pytest.raises(InvalidInput, match="larger window"):
                await service.ask.ask("c", Question("Tower?", model="openai:own?window=300"))

    run(work())


@pytest.mark.parametrize(
    ("then", "answers"), [("openai:own", "openai:own"), ("extractive", "extractive")]
)
def test_a_window_that_is_too_small_hands_over_to_the_next_model(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat, then: str, answers: str
) -> None:
    history = [Message("user", "What is the Eiffel Tower?"), Message("assistant", "A tower.")]

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            model = f"openai:small?window=300,{then}"
            answer = await service.ask.ask("c", Question(QUESTION, model, history=history))
            assert (answer.state, answer.model) == ("answered", answers)
            assert any("window" in reason for reason in answer.degraded)
            assert {talk.model for talk in llm.talks} <= {"own"}

    run(work())


def test_citations_come_while_the_answer_streams(
    run: Run, opened: Any, remote: Settings, llm: OpenAIChat
) -> None:
    llm.reply = lambda messages: f"{says_where(messages)} Mallory built it."

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", DOCUMENTS)
            events = [event async for event in service.ask.stream("c", Question(QUESTION))]
            at = next(i for i, event in enumerate(events) if isinstance(event, Citation))
            assert events[at].status == "verified"
            assert "[1]" in "".join(e for e in events[:at] if isinstance(e, str))
            assert any("Mallory" in e for e in events[at:] if isinstance(e, str))
            assert events[-1].unsupported[0].text == "Mallory built it."

    run(work())
