"""Answers and conversations in SQL: whole or not at all, in order, and gone when they shall be."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from embedsvc.core.model import Chunking, Collection, Space
from embedsvc.errors import NotFound
from embedsvc.store import tables as t
from embedsvc.store.answers import Answers, Record, Wanted
from embedsvc.store.database import Database
from embedsvc.store.store import Store

Run = Callable[[Any], Any]


def record(question: str = "q", at: int = 1_000, talk: str | None = None, **more: Any) -> Record:
    given = {
        "id": uuid4().hex,
        "conversation_id": talk,
        "created_at": at,
        "state": "answered",
        "grounding": "normal",
        "model": "echo",
        "prompt_tokens": 2**40,
        "completion_tokens": 2,
        "estimated": True,
        "cost_usd": 0.25,
        "took_ms": 1.5,
        "first_token_ms": None,
        "evidence": 0.75,
        "question": question,
        "text": f"answer to {question}",
        "details": "{}",
    }
    return Record(**(given | more))


@pytest.fixture
def answers(database: Database) -> Answers:
    return Answers(database)


@pytest.fixture
def make(run: Run, store: Store) -> Callable[[str], Collection]:
    def create(name: str) -> Collection:
        made: Collection = run(
            store.create_collection(name, "hash:8", Space("hash", "8", 8), Chunking())
        )[0]
        return made

    return create


@pytest.fixture
def c(make: Any) -> Collection:
    made: Collection = make("c")
    return made


def count(database: Database) -> dict[str, int]:
    def work(tx: Any) -> dict[str, int]:
        tables = (t.answer, t.message, t.conversation)
        return {
            table.name: tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }

    found: dict[str, int] = database.alone(work)
    return found


NOTHING = {"answer": 0, "message": 0, "conversation": 0}


def test_an_answer_is_read_as_it_was_written(run: Run, answers: Answers, c: Collection) -> None:
    kept = record("why – 🦜?", details='{"a": 1}')
    assert run(answers.add(c, kept))
    read = run(answers.get(kept.id))
    assert (read.collection, read.details) == ("c", '{"a": 1}')
    for name in ("question", "text", "prompt_tokens", "estimated", "cost_usd", "first_token_ms"):
        assert getattr(read, name) == getattr(kept, name)
    listed = run(answers.page(Wanted(), None, 10))
    assert [(one.id, one.details, one.rating) for one in listed] == [(kept.id, "", None)]
    assert run(answers.get("0" * 32)) is None


def test_turns_of_answers_at_the_same_moment_stay_together(
    run: Run, answers: Answers, c: Collection, url: str
) -> None:
    """Written by two processes, as far as the database can tell."""
    talk, other = uuid4().hex, Database(url)

    async def work() -> Any:
        await answers.add(c, record("first", talk=talk), opens=True)
        many = [record(f"q{number}", at=2_000 + number, talk=talk) for number in range(20)]
        doors = [answers, Answers(other)] * 10
        added = (door.add(c, one) for door, one in zip(doors, many, strict=True))
        assert all(await asyncio.gather(*added))
        return await answers.turns(talk, c.id, 1_000), await answers.conversation(talk, 3)

    turns, (found, last) = run(work())
    other.close()
    assert len(turns) == found.turns == 42
    assert found.question == "first"
    assert [turn.role for turn in turns] == ["user", "assistant"] * 21
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        assert answered.content == f"answer to {asked.content}"
        assert answered.answer_id == asked.answer_id
    assert {turn.content for turn in turns[::2]} == {"first", *(f"q{n}" for n in range(20))}
    assert last == turns[-3:]


def test_nothing_is_added_to_what_was_deleted_meanwhile(
    run: Run, answers: Answers, store: Store, database: Database, make: Any
) -> None:
    c, other = make("c"), make("other")
    talk = uuid4().hex
    assert run(answers.add(c, record(talk=talk), opens=True))
    assert not run(answers.add(other, record(talk=talk))), "a conversation of another collection"
    assert run(answers.forget(talk))
    assert not run(answers.add(c, record(talk=talk)))
    run(store.delete_collection("c"))
    assert not run(answers.add(c, record()))
    assert not run(answers.add(c, record(talk=talk), opens=True))
    assert count(database) == NOTHING


def test_a_deleted_collection_takes_its_answers_along(
    run: Run, answers: Answers, store: Store, database: Database, make: Any
) -> None:
    c, other = make("c"), make("other")
    talk, alone = uuid4().hex, record()
    run(answers.add(c, record(talk=talk), opens=True))
    run(answers.add(c, alone))
    run(answers.add(other, record("kept", talk=uuid4().hex), opens=True))
    run(store.delete_collection("c"))
    assert [one.question for one in run(answers.page(Wanted(), None, 9))] == ["kept"]
    assert [one.question for one in run(answers.conversations(None, None, 9))] == ["kept"]
    assert run(answers.get(alone.id)) is None
    assert run(answers.conversation(talk, 9)) is None

    async def sweep() -> None:
        while await store.sweep():
            pass

    run(sweep())
    assert count(database) == {"answer": 1, "message": 2, "conversation": 1}


def test_the_answers_of_a_deleted_collection_go_a_few_at_a_time(
    run: Run, answers: Answers, store: Store, database: Database, c: Collection
) -> None:
    for _ in range(7):
        run(answers.add(c, record()))
    run(store.delete_collection("c"))
    left = [7]
    while run(store.sweep(3)):
        left.append(count(database)["answer"])
    assert left[:4] == [7, 4, 1, 0]
    assert run(store.collections("", 9)) == []


def test_pages_are_the_newest_first_and_miss_nothing(
    run: Run, answers: Answers, c: Collection
) -> None:
    made = [record(str(number), at=number // 3) for number in range(10)]
    for one in made:
        run(answers.add(c, one))
    wanted = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
    found: list[Record] = []
    while page := run(
        answers.page(Wanted(), (found[-1].created_at, found[-1].id) if found else None, 4)
    ):
        found += page
    assert [one.id for one in found] == [one.id for one in wanted]


def test_answers_are_chosen_by_collection_state_rating_and_conversation(
    run: Run, answers: Answers, make: Any
) -> None:
    c, other, talk = make("c"), make("other"), uuid4().hex
    good, none = record("good", talk=talk), record("none", state="no_answer")
    run(answers.add(c, good, opens=True))
    run(answers.add(c, none))
    run(answers.add(other, record("other")))
    rated = run(answers.rate(good.id, 1, "exactly"))
    assert (rated.rating, rated.comment, rated.question) == (1, "exactly", "good")
    assert run(answers.rate("0" * 32, 1, None)) is None

    def questions(**wanted: Any) -> set[str]:
        return {one.question for one in run(answers.page(Wanted(**wanted), None, 9))}

    assert questions(collection="c") == {"good", "none"}
    assert questions(state="no_answer") == {"none"}
    assert questions(rating=1) == questions(conversation_id=talk) == {"good"}
    assert questions(rating=-1) == questions(collection="other", rating=1) == set()
    for name in ("nope", "#1"):
        with pytest.raises(NotFound, match=name):
            questions(collection=name)


def test_what_is_old_is_forgotten_turn_by_turn(
    run: Run, answers: Answers, database: Database, c: Collection
) -> None:
    old, mixed = uuid4().hex, uuid4().hex
    run(answers.add(c, record("old", at=10, talk=old), opens=True))
    run(answers.add(c, record("before", at=20, talk=mixed), opens=True))
    run(answers.add(c, record("after", at=30, talk=mixed)))
    run(answers.add(c, record("alone", at=29)))

    async def prune(before: int) -> None:
        while await answers.prune(before, rows=1):
            pass

    run(prune(30))
    assert [one.question for one in run(answers.page(Wanted(), None, 9))] == ["after"]
    (left,) = run(answers.conversations(None, None, 9))
    assert (left.id, left.turns, left.question) == (mixed, 2, "after")
    assert run(answers.add(c, record("next", at=40, talk=mixed)))
    assert [turn.content for turn in run(answers.turns(mixed, c.id, 9))][::2] == ["after", "next"]
    run(prune(41))
    assert count(database) == NOTHING


def test_a_forgotten_answer_leaves_the_conversation(
    run: Run, answers: Answers, database: Database, c: Collection
) -> None:
    talk = uuid4().hex
    first, second = record("first", talk=talk), record("second", talk=talk)
    run(answers.add(c, first, opens=True))
    run(answers.add(c, second))
    assert run(answers.delete(first.id))
    assert not run(answers.delete(first.id))
    assert run(answers.turns(talk, c.id, 9))[0].content == "second"
    assert run(answers.delete(second.id))
    assert count(database) == NOTHING


def test_conversations_are_forgotten_with_their_answers(
    run: Run, answers: Answers, database: Database, make: Any
) -> None:
    c, other = make("c"), make("other")
    talks = [uuid4().hex for _ in range(3)]
    for number, talk in enumerate(talks):
        run(answers.add(c, record(talk=talk, at=number), opens=True))
    run(answers.add(other, record("kept", talk=uuid4().hex), opens=True))
    assert run(answers.forget(talks[0]))
    assert not run(answers.forget(talks[0]))
    assert run(answers.forget_some("c", rows=1)) == 1
    assert run(answers.forget_some("c")) == 1
    assert run(answers.forget_some("c")) == 0
    with pytest.raises(NotFound):
        run(answers.forget_some("nope"))
    assert count(database) == {"answer": 1, "message": 2, "conversation": 1}
    assert run(answers.forget_some(None)) == 1
    assert count(database) == NOTHING
