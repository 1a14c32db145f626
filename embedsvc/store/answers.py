"""Every SQL statement about answers and conversations, one method a transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from embedsvc.core.model import AnswerState, Collection, Grounding, Speaker
from embedsvc.errors import NotFound
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.store import LIVING, lives

_SHOWN = 200  # characters of the first question of a conversation
_PRUNED = 500  # rows of each kind in one transaction


@dataclass(frozen=True, slots=True)
class Record:
    """An answer as stored; `details` is JSON, empty where it was not read. Microseconds."""

    id: str
    conversation_id: str | None
    created_at: int
    state: AnswerState
    grounding: Grounding
    model: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    cost_usd: float | None
    took_ms: float
    first_token_ms: float | None
    evidence: float | None
    question: str
    text: str
    details: str = ""
    collection: str = ""
    rating: int | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation; of a question too, `answer_id` is the answer to it."""

    role: Speaker
    content: str
    answer_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns: how many there are, and how the first question begins."""

    id: str
    collection: str
    turns: int
    question: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which answers; None: whatever it is."""

    collection: str | None = None
    state: str | None = None
    rating: int | None = None
    conversation_id: str | None = None


Place = tuple[int, str]
"""Where a page begins: before this time and id."""


class Answers:
    """Answers and conversations in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- answers --------------------------------------------------------------------------------

    async def add(self, collection: Collection, record: Record, *, opens: bool = False) -> bool:
        """Keep an answer, with question and answer as turns of its conversation if it has one.

        With `opens` the conversation begins with them. False, and nothing is written, when the
        collection or the conversation was deleted meanwhile.
        """

        def work(tx: Connection) -> bool:
            if not lives(tx, collection):
                return False
            if record.conversation_id is not None and not _add_turns(tx, collection, record, opens):
                return False
            row = asdict(record) | {"collection_id": collection.id}
            tx.execute(insert(t.answer), {c.name: row[c.name] for c in t.answer.c})
            return True

        return await self._db.write(work, f"{collection.name}/{record.conversation_id}")

    async def get(self, answer_id: str) -> Record | None:
        """One answer with its details; None when there is none of that id."""
        query = _answers(t.answer.c.details).where(t.answer.c.id == answer_id)
        return await self._db.read(lambda tx: _first(tx, query))

    async def page(self, wanted: Wanted, before: Place | None, limit: int) -> list[Record]:
        """Up to `limit` answers without details, the newest first, older than `before`.

        Raises NotFound when the collection does not exist.
        """

        def work(tx: Connection) -> list[Record]:
            query = _answers()
            for column in ("state", "rating", "conversation_id"):
                if (value := getattr(wanted, column)) is not None:
                    query = query.where(t.answer.c[column] == value)
            if wanted.collection is not None:
                number = _collection_id(tx, wanted.collection)
                query = query.where(t.answer.c.collection_id == number)
            query = _newest(query, t.answer.c.created_at, t.answer.c.id, before)
            return [_to_record(row) for row in tx.execute(query.limit(limit))]

        return await self._db.read(work)

    async def rate(self, answer_id: str, rating: int, comment: str | None) -> Record | None:
        """Write what somebody thinks of an answer; the answer without details, None of none."""
        query = _answers().where(t.answer.c.id == answer_id)
        change = update(t.answer).where(t.answer.c.id == answer_id)

        def work(tx: Connection) -> Record | None:
            tx.execute(change.values(rating=rating, comment=comment))
            return _first(tx, query)

        return await self._db.write(work)

    async def delete(self, answer_id: str) -> bool:
        """Forget an answer and its turns in a conversation; whether there was one."""
        here = t.answer.c.id == answer_id

        def work(tx: Connection) -> bool:
            found = tx.execute(select(t.answer.c.conversation_id).where(here)).first()
            if found is None:
                return False
            if found.conversation_id is not None:
                _lock(tx, [found.conversation_id])
                tx.execute(delete(t.message).where(t.message.c.answer_id == answer_id))
                tx.execute(_empty().where(t.conversation.c.id == found.conversation_id))
            return tx.execute(delete(t.answer).where(here)).rowcount > 0

        return await self._db.write(work)

    # -- conversations --------------------------------------------------------------------------

    async def turns(self, conversation_id: str, collection_id: int, most: int) -> list[Turn]:
        """The last turns of a conversation of that collection; empty when there is none."""
        mine = t.conversation.c.collection_id == collection_id
        query = _last_turns(conversation_id, most).where(mine)
        return await self._db.read(lambda tx: _to_turns(tx, query))

    async def conversation(
        self, conversation_id: str, most: int
    ) -> tuple[Conversation, list[Turn]] | None:
        """A conversation and its last turns; None when there is none of that id."""
        query = _conversations().where(t.conversation.c.id == conversation_id)

        def work(tx: Connection) -> tuple[Conversation, list[Turn]] | None:
            row = tx.execute(query).first()
            if row is None:
                return None
            return Conversation(*row), _to_turns(tx, _last_turns(conversation_id, most))

        return await self._db.read(work)

    async def conversations(
        self, collection: str | None, before: Place | None, limit: int
    ) -> list[Conversation]:
        """Up to `limit` conversations, the last used first. Raises NotFound of the collection."""

        def work(tx: Connection) -> list[Conversation]:
            query = _conversations()
            if collection is not None:
                number = _collection_id(tx, collection)
                query = query.where(t.conversation.c.collection_id == number)
            query = _newest(query, t.conversation.c.updated_at, t.conversation.c.id, before)
            return [Conversation(*row) for row in tx.execute(query.limit(limit))]

        return await self._db.read(work)

    async def forget(self, conversation_id: str) -> bool:
        """Forget a conversation and the answers in it; whether there was one."""

        def work(tx: Connection) -> bool:
            return _forget(tx, _lock(tx, [conversation_id])) > 0

        return await self._db.write(work)

    async def forget_some(self, collection: str | None, rows: int = _PRUNED) -> int:
        """Forget some conversations and the answers in them; how many, 0 when none is left.

        Raises NotFound when the collection does not exist.
        """

        def work(tx: Connection) -> int:
            query = _conversation_ids().limit(rows)
            if collection is not None:
                number = _collection_id(tx, collection)
                query = query.where(t.conversation.c.collection_id == number)
            return _forget(tx, _lock(tx, tx.execute(query).scalars().all()))

        return await self._db.write(work, collection or "")

    async def prune(self, before: int, rows: int = _PRUNED) -> bool:
        """Forget some of what is from before that time; True while there is more."""

        def work(tx: Connection) -> bool:
            found = tx.execute(_conversation_ids().where(_has_old_turns(before)).limit(rows))
            ids = _lock(tx, found.scalars().all())
            mine = t.message.c.conversation_id.in_(ids)
            tx.execute(delete(t.message).where(mine, t.message.c.created_at < before))
            tx.execute(_empty().where(t.conversation.c.id.in_(ids)))
            some = select(t.answer.c.id).where(t.answer.c.created_at < before).limit(rows)
            gone = tx.execute(delete(t.answer).where(t.answer.c.id.in_(some))).rowcount
            return bool(ids) or gone > 0

        return await self._db.write(work)


# -- pieces of transactions -----------------------------------------------------------------------


def _add_turns(tx: Connection, collection: Collection, record: Record, opens: bool) -> bool:
    """Add question and answer; False when the conversation is gone."""
    conversation = {"id": record.conversation_id, "collection_id": collection.id}
    times = {"created_at": record.created_at, "updated_at": record.created_at}
    if opens:
        tx.execute(insert(t.conversation), conversation | times | {"turns": 2})
        first = 0
    else:
        end = tx.execute(  # which locks it: turns of two answers never mix
            update(t.conversation)
            .where(*(t.conversation.c[name] == value for name, value in conversation.items()))
            .values(turns=t.conversation.c.turns + 2, updated_at=record.created_at)
            .returning(t.conversation.c.turns)
        ).scalar()
        if end is None:
            return False
        first = end - 2
    said = (("user", record.question), ("assistant", record.text))
    rows = [
        {
            "conversation_id": record.conversation_id,
            "ordinal": ordinal,
            "role": role,
            "answer_id": record.id,
            "created_at": record.created_at,
            "content": content,
        }
        for ordinal, (role, content) in enumerate(said, start=first)
    ]
    tx.execute(insert(t.message), rows)
    return True


def _lock(tx: Connection, ids: Sequence[str]) -> list[str]:
    """Those of the conversations that are there; nothing is added to them until the commit."""
    query = _conversation_ids().where(t.conversation.c.id.in_(ids))
    ordered = query.order_by(t.conversation.c.id).with_for_update()
    return list(tx.execute(ordered).scalars())


def _forget(tx: Connection, ids: Sequence[str]) -> int:
    """Delete locked conversations with their turns and answers."""
    tx.execute(delete(t.message).where(t.message.c.conversation_id.in_(ids)))
    tx.execute(delete(t.answer).where(t.answer.c.conversation_id.in_(ids)))
    return tx.execute(delete(t.conversation).where(t.conversation.c.id.in_(ids))).rowcount


def _empty() -> Any:
    """Deletes conversations without turns."""
    turns = exists().where(t.message.c.conversation_id == t.conversation.c.id)
    return delete(t.conversation).where(~turns)


def _has_old_turns(before: int) -> ColumnElement[bool]:
    return t.conversation.c.id.in_(
        select(t.message.c.conversation_id).where(t.message.c.created_at < before)
    )


def _collection_id(tx: Connection, name: str) -> int:
    query = select(t.collection.c.id).where(t.collection.c.name == name, LIVING)
    found = tx.execute(query).scalar()
    if found is None:
        raise NotFound(f"no collection is called {name!r}", code="collection_not_found")
    return int(found)


# -- queries and rows -----------------------------------------------------------------------------


def _answers(*more: ColumnElement[Any]) -> Select[Any]:
    plain = [c for c in t.answer.c if c.name not in ("details", "collection_id")]
    return (
        select(*plain, t.collection.c.name.label("collection"), *more)
        .join(t.collection, t.collection.c.id == t.answer.c.collection_id)
        .where(LIVING)
    )


def _conversation_ids() -> Select[Any]:
    return select(t.conversation.c.id)


def _conversations() -> Select[Any]:
    mine = t.message.c.conversation_id == t.conversation.c.id
    counted = select(func.count()).select_from(t.message).where(mine)
    asked = (
        select(func.substr(t.message.c.content, 1, _SHOWN))
        .where(mine, t.message.c.role == "user")
        .order_by(t.message.c.ordinal)
        .limit(1)
    )
    return (
        select(
            t.conversation.c.id,
            t.collection.c.name,
            counted.scalar_subquery(),
            asked.scalar_subquery(),
            t.conversation.c.created_at,
            t.conversation.c.updated_at,
        )
        .join(t.collection, t.collection.c.id == t.conversation.c.collection_id)
        .where(LIVING)
    )


def _last_turns(conversation_id: str, most: int) -> Select[Any]:
    """The last turns, from the end."""
    return (
        select(
            t.message.c.role,
            t.message.c.content,
            t.message.c.answer_id,
            t.message.c.created_at,
        )
        .join(t.conversation, t.conversation.c.id == t.message.c.conversation_id)
        .where(t.message.c.conversation_id == conversation_id)
        .order_by(t.message.c.ordinal.desc())
        .limit(most)
    )


def _newest(query: Select[Any], at: Any, key: Any, before: Place | None) -> Select[Any]:
    """The newest first, from a place on."""
    if before is not None:
        query = query.where(or_(at < before[0], and_(at == before[0], key < before[1])))
    return query.order_by(at.desc(), key.desc())


def _first(tx: Connection, query: Select[Any]) -> Record | None:
    row = tx.execute(query).first()
    return None if row is None else _to_record(row)


def _to_record(row: Row[Any]) -> Record:
    known = row._mapping
    return Record(**{f.name: known[f.name] for f in fields(Record) if f.name in known})


def _to_turns(tx: Connection, query: Select[Any]) -> list[Turn]:
    return [Turn(*row) for row in tx.execute(query)][::-1]
