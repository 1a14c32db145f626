"""Every SQL statement about judgements and evaluations, one method a transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from embedsvc.core.model import Collection
from embedsvc.errors import NotFound
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.store import lives, now

State = Literal["queued", "running", "done", "failed", "cancelled"]

UNFINISHED = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well a document answers a query: 0 not at all, 3 fully. Time in microseconds."""

    query: str
    document_id: str
    relevance: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Record:
    """An evaluation as stored; `request` and `result` are JSON. Times in microseconds."""

    id: str
    collection: str
    state: State
    done: int
    total: int
    request: str
    created_at: int
    updated_at: int
    result: str | None = None
    error: str | None = None


Place = tuple[bytes, str]
"""Where a page of judgements begins: after this query (its hash) and document."""


class Evaluations:
    """Judgements and evaluations in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- judgements ---------------------------------------------------------------------------

    async def judge(self, collection: Collection, judgement: Judgement) -> None:
        """Keep a judgement, in the place of an earlier one of the same query and document.

        Raises NotFound when the collection is gone.
        """
        row = {
            "collection_id": collection.id,
            "query_hash": _hash(judgement.query),
            "document_key": judgement.document_id,
            "query": judgement.query,
            "relevance": judgement.relevance,
            "created_at": judgement.created_at,
        }

        def work(tx: Connection) -> None:
            if not lives(tx, collection):
                raise NotFound(
                    f"the collection {collection.name!r} was deleted meanwhile",
                    code="collection_not_found",
                )
            dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
            statement = dialect.insert(t.judgement)
            changed = {
                name: statement.excluded[name] for name in ("query", "relevance", "created_at")
            }
            keys = ["collection_id", "query_hash", "document_key"]
            tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), row)

        await self._db.write(work)

    async def judgements(
        self, collection_id: int, after: Place | None, limit: int
    ) -> tuple[list[Judgement], Place | None]:
        """A page of judgements, those of a query together, and where the next page begins."""
        key, document = t.judgement.c.query_hash, t.judgement.c.document_key
        query = select(t.judgement).where(t.judgement.c.collection_id == collection_id)
        if after is not None:
            later = or_(key > after[0], and_(key == after[0], document > after[1]))
            query = query.where(later)
        query = query.order_by(key, document).limit(limit + 1)

        def work(tx: Connection) -> tuple[list[Judgement], Place | None]:
            rows = tx.execute(query).all()
            last = rows[limit - 1] if len(rows) > limit else None
            place = None if last is None else (last.query_hash, last.document_key)
            return [_to_judgement(row) for row in rows[:limit]], place

        return await self._db.read(work)

    async def forget_judgement(self, collection_id: int, query: str, document_id: str) -> bool:
        """Delete a judgement; whether there was one."""
        statement = delete(t.judgement).where(
            t.judgement.c.collection_id == collection_id,
            t.judgement.c.query_hash == _hash(query),
            t.judgement.c.document_key == document_id,
        )
        return await self._db.write(lambda tx: tx.execute(statement).rowcount > 0)

    # -- evaluations --------------------------------------------------------------------------

    async def add(self, record: Record) -> None:
        """Keep a new evaluation."""
        row = {name: getattr(record, name) for name in Record.__slots__}
        await self._db.write(lambda tx: tx.execute(insert(t.evaluation), row))

    async def get(self, evaluation_id: str) -> Record | None:
        """One evaluation; None when there is none of that id."""
        query = select(t.evaluation).where(t.evaluation.c.id == evaluation_id)

        def work(tx: Connection) -> Record | None:
            row = tx.execute(query).first()
            return None if row is None else _to_record(row, row.result)

        return await self._db.read(work)

    async def page(self, before: tuple[int, str] | None, limit: int) -> list[Record]:
        """Up to `limit` evaluations without results, the newest first, older than `before`."""
        columns = [column for column in t.evaluation.c if column.name != "result"]
        created, key = t.evaluation.c.created_at, t.evaluation.c.id
        query = select(*columns).order_by(created.desc(), key.desc()).limit(limit)
        if before is not None:
            query = query.where(
                or_(created < before[0], and_(created == before[0], key < before[1]))
            )
        return await self._db.read(lambda tx: [_to_record(row) for row in tx.execute(query)])

    async def beat(
        self, evaluation_id: str, done: int, total: int, state: State = "running"
    ) -> bool:
        """Say how far an unfinished evaluation is; False when it was finished by others."""
        values = {"done": done, "total": total, "state": state}
        return await self._change(evaluation_id, values)

    async def finish(
        self, evaluation_id: str, state: State, result: str | None = None, error: str | None = None
    ) -> bool:
        """Write how an unfinished evaluation ended; False when that is written already."""
        values: dict[str, Any] = {"state": state, "result": result, "error": error}
        return await self._change(evaluation_id, values)

    async def delete(self, evaluation_id: str) -> None:
        """Forget an evaluation."""
        statement = delete(t.evaluation).where(t.evaluation.c.id == evaluation_id)
        await self._db.write(lambda tx: tx.execute(statement))

    async def silent(self, since: int) -> list[str]:
        """Ids of unfinished evaluations of which nothing was heard since that time."""
        query = select(t.evaluation.c.id).where(
            t.evaluation.c.state.in_(UNFINISHED), t.evaluation.c.updated_at <= since
        )
        return await self._db.read(lambda tx: list(tx.execute(query).scalars()))

    async def finished(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are known and neither queued nor running."""
        query = select(t.evaluation.c.id).where(
            t.evaluation.c.state.not_in(UNFINISHED), t.evaluation.c.id.in_(ids)
        )
        return await self._db.read(lambda tx: set(tx.execute(query).scalars()))

    async def collections(self, prefix: str) -> list[str]:
        """The names of all collections that begin so, in whatever order."""
        name = t.collection.c.name
        query = select(name).where(name.startswith(prefix, autoescape=True))
        return await self._db.read(lambda tx: list(tx.execute(query).scalars()))

    async def _change(self, evaluation_id: str, values: Mapping[str, Any]) -> bool:
        statement = (
            update(t.evaluation)
            .where(t.evaluation.c.id == evaluation_id, t.evaluation.c.state.in_(UNFINISHED))
            .values(**values, updated_at=now())
        )
        return await self._db.write(lambda tx: tx.execute(statement).rowcount > 0)


def _hash(query: str) -> bytes:
    return sha256(query.encode()).digest()


def _to_judgement(row: Row[Any]) -> Judgement:
    return Judgement(row.query, row.document_key, row.relevance, row.created_at)


def _to_record(row: Row[Any], result: str | None = None) -> Record:
    return Record(
        id=row.id,
        collection=row.collection,
        state=row.state,
        done=row.done,
        total=row.total,
        request=row.request,
        result=result,
        error=row.error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
