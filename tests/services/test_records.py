"""What is kept of answers: as they were, for so many days, and only where that is wanted."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from embedsvc.core.citations import Citation
from embedsvc.core.model import Chunk, Message
from embedsvc.core.preparing import Draft
from embedsvc.core.reading import Unsupported
from embedsvc.errors import InvalidInput, NotFound
from embedsvc.services.answer_records import to_answer, to_record
from embedsvc.services.answers import Answer, AnswerUsage, Question
from embedsvc.services.records import MOST_COMMENT, Records, Talk
from embedsvc.services.search import Hit, StageScores
from embedsvc.store.answers import Answers, Wanted

Run = Callable[[Any], Any]

CHUNK = Chunk(7, "a/b", 2, 10, 20, 3, "the source", "Title", None, {"year": 2020, "tags": ["x"]})
ANSWER = Answer(
    text='It is so [1], and so [2]. "🦜"\u2028',
    state="answered",
    citations=[
        Citation(1, CHUNK, "source", 14, 20, "verified"),
        Citation(2, None, "invented", None, None, "not_found"),
    ],
    unsupported=[Unsupported(14, 24, "and so [2].")],
    sources=[Hit(CHUNK, 0.5, StageScores(0.25, 0.125), (14, 20))],
    model="openai:gpt-4o",
    usage=AnswerUsage(100, 20, None, estimated=True),
    conversation_id=None,
    query="what is so?",
    queries=["what is so?", "how is it?"],
    version=4,
    took_ms=12.5,
    first_token_ms=None,
    evidence=0.75,
    grounding="strict",
    warnings=["the oldest 2 turns were left out"],
    degraded=["ollama:x: down"],
    prompt=[Message("system", "rules"), Message("user", "sources and question")],
)
ALL = Wanted()
STORED = (
    '{"query":"what is so?","queries":["what is so?","how is it?"],"version":4,"citations":['
    '{"marker":1,"chunk_id":7,"quote":"source","start":14,"end":20,"status":"verified"},'
    '{"marker":2,"chunk_id":null,"quote":"invented","start":null,"end":null,"status":"not_found"}],'
    '"unsupported":[{"start":14,"end":24,"text":"and so [2]."}],"sources":[{"chunk":{"id":7,'
    '"document_id":"a/b","ordinal":2,"start":10,"end":20,"page":3,"text":"the source",'
    '"title":"Title","url":null,"metadata":{"year":2020,"tags":["x"]}},"score":0.5,"scores":'
    '{"dense":0.25,"lexical":0.125,"rerank":null},"highlight":[14,20]}],"prompt":['
    '{"role":"system","content":"rules"},{"role":"user","content":"sources and question"}],'
    '"warnings":["the oldest 2 turns were left out"],"degraded":["ollama:x: down"]}'
)
"""The details of ANSWER as they were first written: such records are out there."""


def test_an_answer_is_read_as_it_was_given(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            records = service.records
            talk = await records.talk(collection, None)
            kept = await records.keep(collection, talk, "so?", ANSWER)
            found = await records.get(kept)
            assert found.answer == replace(ANSWER, id=kept, conversation_id=talk.id)
            assert (found.question, found.collection, found.rating) == ("so?", "c", None)
            await records.rate(kept, -1, "no")
            await records.rate(kept, 1, None)
            again = await records.get(kept)
            assert (again.rating, again.comment) == (1, None)
            await records.remove(kept)
            for call in (records.get(kept), records.remove(kept), records.rate(kept, 1, None)):
                with pytest.raises(NotFound, match=kept):
                    await call

    run(work())


def test_a_record_of_the_first_days_can_be_read() -> None:
    record = to_record(None, "so?", ANSWER)
    assert to_answer(replace(record, details=STORED)) == replace(ANSWER, id=record.id)
    assert json.loads(record.details) == json.loads(STORED), "else say here how it is read"
    bare = '{"query":"q","queries":["q"],"version":1,"of tomorrow":[]}'
    assert to_answer(replace(record, details=bare)).sources == []


def test_a_model_may_write_what_no_database_keeps(
    run: Run, opened: Any, either_settings: Any
) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            collection, _ = await service.collections.put("c")
            broken = "NUL \0, half \ud83d"
            citation = Citation(1, None, broken, None, None, "not_found")
            claim = Unsupported(0, len(broken), broken)
            answer = replace(ANSWER, text=broken, citations=[citation], unsupported=[claim])
            talk = await service.records.talk(collection, None)
            kept = await service.records.keep(collection, talk, "so?", answer)
            found = (await service.records.get(kept)).answer
            assert found.text == "NUL \ufffd, half ?"
            assert found.citations[0].quote == found.unsupported[0].text == found.text
            known = await service.records.talk(collection, talk.id)
            assert known.messages[1].content == found.text

    run(work())


def test_a_new_talk_is_written_with_its_first_answer(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            other, _ = await service.collections.put("other")
            records = service.records
            talk = await records.talk(collection, None)
            assert await records.conversations(None, None, 9) == ([], None)
            with pytest.raises(NotFound):
                await records.talk(collection, talk.id)
            await records.keep(collection, talk, "so?", ANSWER)
            known = await records.talk(collection, talk.id)
            assert known.messages == [Message("user", "so?"), Message("assistant", ANSWER.text)]
            await records.keep(collection, known, "and?", ANSWER)
            assert len((await records.talk(collection, talk.id)).messages) == 4
            for name, where in ((talk.id, other), ("x" * 200, collection), ("\0", collection)):
                with pytest.raises(NotFound) as caught:
                    await records.talk(where, name)
                assert caught.value.code == "conversation_not_found"
            assert await records.keep(collection, Talk(None), "alone", ANSWER)
            assert len((await records.conversations("c", None, 9))[0]) == 1
            assert len((await records.page(ALL, None, 9))[0]) == 3

    run(work())


def test_nothing_is_kept_for_a_collection_that_is_gone(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            talk = await service.records.talk(collection, None)
            await service.collections.delete("c")
            assert await service.records.keep(collection, talk, "so?", ANSWER) is None

    run(work())


def test_with_no_days_nothing_is_kept_and_the_client_is_told(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            await service.records.keep(collection, Talk(None), "before", ANSWER)
            off = Records(Answers(service.database), 0)
            talk = await off.talk(collection, None)
            assert talk == Talk(None)
            assert await off.keep(collection, talk, "so?", ANSWER) is None
            with pytest.raises(
                InvalidInput, match=r"^conversation_id: .*EMBEDSVC_RECORD_DAYS is 0"
            ):
                await off.talk(collection, "0" * 32)
            await off.prune()
            assert await off.page(ALL, None, 9) == ([], None)

    run(work())


def test_what_is_older_than_the_days_goes_in_the_background(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            old = await service.records.keep(collection, Talk(None), "old", ANSWER)
            stored = Answers(service.database)
            fresh = await stored.get(old)
            three_days = 3 * 86_400 * 1_000_000
            aged = replace(fresh, id="0" * 32, created_at=fresh.created_at - three_days)
            await stored.add(collection, aged)
            watching = asyncio.create_task(Records(stored, 2).watch())
            while await stored.get(aged.id) is not None:  # noqa: ASYNC110 - done by another
                await asyncio.sleep(0.01)
            watching.cancel()
            assert await stored.get(old) is not None

    run(work())


def test_pages_go_on_where_the_last_one_ended(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            collection, _ = await service.collections.put("c")
            for number in range(5):
                talk = await service.records.talk(collection, None)
                await service.records.keep(collection, talk, str(number), ANSWER)
            for page, wanted in (
                (service.records.page, ALL),
                (service.records.conversations, None),
            ):
                first, more = await page(wanted, None, 3)
                rest, end = await page(wanted, more, 3)
                assert [one.question for one in (*first, *rest)] == ["4", "3", "2", "1", "0"]
                assert end is None
                assert await page(wanted, None, 5) == ([*first, *rest], None)
            with pytest.raises(InvalidInput, match="Bad"):
                await service.records.forget_all("Bad")
            assert await service.records.page(Wanted(conversation_id="\0"), None, 9) == ([], None)
            assert await service.records.forget_all("c") == 5

    run(work())


@pytest.mark.parametrize(
    ("rating", "comment", "field"),
    [(0, None, "rating"), (2, None, "rating"), (1, "x\0", "comment"), (1, "x" * 10_001, "comment")],
)
def test_feedback_that_is_none_is_refused(
    run: Run, opened: Any, rating: int, comment: str | None, field: str
) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(InvalidInput, match=f"^{field}: "):
                await service.records.rate("0" * 32, rating, comment)

    assert MOST_COMMENT == 10_000
    run(work())


# -- through a question ---------------------------------------------------------------------------


def test_a_question_is_kept_with_what_the_model_was_sent(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="red fox"), Draft("b", text="whale")])
            answer = await service.ask.ask("c", Question("red fox?", model="echo"))
            found = await service.records.get(answer.id)
            assert found.answer == answer
            assert any("red fox" in message.content for message in found.answer.prompt)
            again = Question("and?", model="echo", conversation_id=answer.conversation_id)
            second = await service.ask.ask("c", again)
            assert second.conversation_id == answer.conversation_id
            prompt = (await service.records.get(second.id)).answer.prompt
            assert Message("user", "red fox?") in prompt
            _, turns = await service.records.conversation(answer.conversation_id)
            assert [turn.content for turn in turns][::2] == ["red fox?", "and?"]

    run(work())


def test_a_question_that_shall_not_be_kept_leaves_nothing(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="red fox")])
            answer = await service.ask.ask("c", Question("red fox?", model="echo", record=False))
            assert (answer.id, answer.conversation_id) == (None, None)
            sent = Question("red fox?", model="echo", history=[], record=True)
            answer = await service.ask.ask("c", sent)
            assert answer.id is not None, "only the talk is kept by the client"
            assert answer.conversation_id is None
            assert len((await service.records.page(ALL, None, 9))[0]) == 1
            assert await service.records.conversations(None, None, 9) == ([], None)

    run(work())
