"""What is read of whole collections: documents page by page, their texts, their mean vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, Connection, func, select

from embedsvc.core.batching import slices
from embedsvc.core.fields import check_filter
from embedsvc.core.filters import Filter
from embedsvc.core.model import Collection, Ids, Matrix
from embedsvc.core.vectors import from_blobs
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.filters import compile_filter

_SLICE = 1_000  # documents in one IN list
_ROWS = 4_096
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Listed:
    """A document that can be found, without its text. `number` ascends with its arrival."""

    number: int
    id: str
    title: str | None
    created_at: int
    text_hash: bytes
    chunks: int


class Reading:
    """Reads documents in bulk; every method is one consistent look."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def documents(
        self, collection: Collection, where: Filter | None, after: int, limit: int
    ) -> list[Listed]:
        """Up to `limit` documents with chunks whose numbers follow `after`, ascending.

        Raises InvalidInput for a filter that does not fit the declared fields.
        """

        def work(tx: Connection) -> list[Listed]:
            query = (
                select(*_LISTED)
                .where(
                    t.document.c.collection_id == collection.id,
                    t.document.c.id > after,
                    t.document.c.chunks > 0,
                )
                .order_by(t.document.c.id)
                .limit(limit)
            )
            if where is not None:
                query = query.where(_condition(tx, collection, where))
            return [Listed(*row) for row in tx.execute(query)]

        return await self._db.read(work)

    async def texts(self, numbers: Sequence[int], most: int | None = None) -> dict[int, str]:
        """The texts of those documents that exist, by number; `most`: only the first characters."""
        column = t.document.c.text if most is None else func.substr(t.document.c.text, 1, most)

        def work(tx: Connection) -> dict[int, str]:
            found: dict[int, str] = {}
            for some in slices(numbers, _SLICE):
                query = select(t.document.c.id, column).where(t.document.c.id.in_(some))
                found.update((row[0], row[1]) for row in tx.execute(query))
            return found

        return await self._db.read(work)

    async def means(self, collection: Collection, numbers: Sequence[int]) -> tuple[Ids, Matrix]:
        """The mean directions of the chunks of documents, by ascending number.

        Documents that are gone, or whose vectors cancel out, are left out.
        """

        def work(tx: Connection) -> tuple[Ids, Matrix]:
            parts = [_means(tx, collection, some) for some in slices(sorted(numbers), _SLICE)]
            if not parts:
                return np.empty(0, np.int64), np.empty((0, collection.dimensions), np.float32)
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

        return await self._db.read(work)


_LISTED = (
    t.document.c.id,
    t.document.c.key,
    t.document.c.title,
    t.document.c.created_at,
    t.document.c.text_hash,
    t.document.c.chunks,
)


def _condition(tx: Connection, collection: Collection, where: Filter) -> ColumnElement[bool]:
    """The filter over documents, by the fields that are declared at this moment."""
    declared = select(t.collection.c.fields).where(t.collection.c.id == collection.id)
    fields = tx.execute(declared).scalar() or {}
    check_filter(where, fields)
    return compile_filter(where, [t.document.c.metadata], tx.dialect.name, fields)


def _means(tx: Connection, collection: Collection, numbers: Sequence[int]) -> tuple[Ids, Matrix]:
    query = (
        select(t.chunk.c.document_id, t.vector.c.data)
        .join(t.vector, t.has_vector(collection.space_id))
        .where(t.chunk.c.document_id.in_(numbers), t.chunk.c.collection_id == collection.id)
        .order_by(t.chunk.c.document_id, t.chunk.c.ordinal)
    )
    order = np.unique(np.asarray(numbers, dtype=np.int64))
    sums = np.zeros((len(order), collection.dimensions), dtype=np.float32)
    with tx.execute(query.execution_options(yield_per=_ROWS)) as found:
        for part in found.partitions():  # a document may have more chunks than fit into memory
            owners, starts = np.unique([row[0] for row in part], return_index=True)
            vectors = from_blobs([row[1] for row in part], collection.dimensions)
            sums[np.searchsorted(order, owners)] += np.add.reduceat(vectors, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1)
    there = lengths > _SMALLEST
    return order[there], sums[there] / lengths[there, None]
