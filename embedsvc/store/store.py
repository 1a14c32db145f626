"""Every SQL statement of the service, one method a transaction.

The first statement of every write to a collection takes its next version, which locks it until
the commit; so versions become visible in order, and chunk ids ascend with them.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from embedsvc.core.batching import slices
from embedsvc.core.fields import Fields, check_filter, check_values
from embedsvc.core.filters import Filter
from embedsvc.core.lexical import Bag, bag
from embedsvc.core.model import (
    Chunk,
    Chunking,
    Collection,
    Document,
    FieldType,
    Ids,
    Matrix,
    Metadata,
    Piece,
    Prepared,
    Space,
    content_hash,
)
from embedsvc.core.tokens import storable
from embedsvc.core.vectors import from_blobs, to_blob
from embedsvc.errors import Conflict, NotFound
from embedsvc.store import fields as declared
from embedsvc.store import lexical
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.filters import compile_filter
from embedsvc.store.matching import matching

KEPT_VERSIONS = 10_000
"""An index that is further behind than this many writes is rebuilt instead of caught up."""

_PRUNE_EVERY = 500
_SLICE = 5_000  # bound variables in one IN list
_LARGE = 500  # rows of tens of kilobytes in one transaction
_GONE = "#"  # first character of the name of a collection that is being swept away

LIVING = ~t.collection.c.name.startswith(_GONE)
"""The collections that were not deleted."""


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Known:
    """What tells whether a document has changed."""

    content_hash: bytes
    status: str
    chunks: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A document whose embedding this process has taken on."""

    collection: str
    id: str
    revision: int
    attempts: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer that a repeated request with the same Idempotency-Key gets again."""

    key: str
    request_hash: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """A space as it was written down, with the vectors of its canaries once there are some."""

    id: int
    space: Space
    canaries: Matrix | None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a model read for a collection on one day; of `unpriced_tokens` no price is known."""

    day: str
    collection: str
    model: str
    requests: int
    texts: int
    tokens: int
    cost_usd: float
    unpriced_tokens: int

    def __add__(self, other: "UsageRow") -> "UsageRow":
        return replace(
            self, **{name: getattr(self, name) + getattr(other, name) for name in _USAGE_SUMS}
        )


_USAGE_KEYS = ("day", "collection", "model")
_USAGE_SUMS = ("requests", "texts", "tokens", "cost_usd", "unpriced_tokens")


class FieldsChanged(Conflict):
    """The collection now declares other fields than the documents were checked against."""

    code = "fields_changed"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return True


Remember = Callable[[int], Reply]
"""What to remember of a write, once its version is known."""


class Store:
    """Collections, documents, chunks and vectors in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._spaces: dict[int, StoredSpace] = {}

    # -- collections ------------------------------------------------------------------------

    async def collection(self, name: str) -> Collection:
        """One collection. Raises NotFound."""
        return await self._db.read(lambda tx: _collection(tx, name))

    async def collections(self, after: str, limit: int) -> list[Collection]:
        """Up to `limit` collections whose names follow `after`, by name."""
        query = (
            select(t.collection)
            .where(t.collection.c.name > after, LIVING)
            .order_by(t.collection.c.name)
            .limit(limit)
        )
        return await self._db.read(lambda tx: [_to_collection(r) for r in tx.execute(query)])

    async def create_collection(
        self,
        name: str,
        embedding: str,
        space: Space,
        chunking: Chunking,
        description: str | None = None,
        fields: Mapping[str, FieldType] | None = None,
    ) -> tuple[Collection, bool]:
        """The collection of that name and whether this call created it."""

        def work(tx: Connection) -> tuple[Collection, bool]:
            space_id = _space_id(tx, space)
            row = {
                "name": name,
                "embedding": embedding,
                "space_id": space_id,
                "dimensions": space.dimensions,
                "version": 0,
                "pruned_to": 0,
                "chunks": 0,
                "words": 0,
                "description": description,
                "chunking": asdict(chunking),
                "fields": dict(fields or {}),
                "created_at": now(),
            }
            created = _insert_one(tx, t.collection, row, ["name"])
            return _collection(tx, name), created

        return await self._db.write(work, name)

    async def space_id(self, space: Space) -> int:
        """The id of the row of that space, created when it is new."""
        return await self._db.write(lambda tx: _space_id(tx, space))

    async def space(self, space_id: int) -> StoredSpace:
        """A space that some collection has."""
        if space_id not in self._spaces:
            query = select(t.space).where(t.space.c.id == space_id)
            found = _to_space(await self._db.read(lambda tx: tx.execute(query).one()))
            if found.canaries is None:
                return found
            self._spaces[space_id] = found  # complete: it never changes any more
        return self._spaces[space_id]

    async def spaces(self, dimensions: int) -> list[StoredSpace]:
        """Every space of so many dimensions, the oldest first."""
        query = select(t.space).order_by(t.space.c.id)
        rows = await self._db.read(lambda tx: [_to_space(row) for row in tx.execute(query)])
        return [row for row in rows if row.space.dimensions == dimensions]

    async def keep_canaries(self, space_id: int, canaries: Matrix) -> None:
        """Write the canaries of a space, unless somebody else was first."""
        change = (
            update(t.space)
            .where(t.space.c.id == space_id, t.space.c.canaries.is_(None))
            .values(canaries=to_blob(canaries))
        )
        await self._db.write(lambda tx: tx.execute(change))

    async def update_collection(
        self,
        name: str,
        description: str | None,
        fields: Mapping[str, FieldType] | None,
        embedding: str | None = None,
    ) -> Collection:
        """Change description, fields or the name of the embedding; None leaves it. Raises NotFound.

        The other embedding must make the vectors of the same space. Raises Conflict when what is
        stored does not fit the fields.
        """

        def work(tx: Connection) -> Collection:
            current = _collection(tx, name)
            changed: dict[str, Any] = {}
            if description is not None:
                changed["description"] = description
            if fields is not None and dict(fields) != current.fields:
                _next_version(tx, current)
                current = _collection(tx, name)
                declared.declare(tx, current.id, current.fields, fields)
                changed["fields"] = dict(fields)
            if embedding is not None:
                changed["embedding"] = embedding
            if changed:
                tx.execute(
                    update(t.collection).where(t.collection.c.id == current.id).values(changed)
                )
            return _collection(tx, name)

        return await self._db.write(work, name)

    async def delete_collection(self, name: str) -> Collection:
        """Make the collection unreachable at once; `sweep` frees its rows later."""

        def work(tx: Connection) -> Collection:
            current = _collection(tx, name)
            tx.execute(
                update(t.collection)
                .where(t.collection.c.id == current.id)
                .values(name=f"{_GONE}{current.id}", version=t.collection.c.version + 1)
            )
            return current

        return await self._db.write(work, name)

    async def sweep(self, rows: int = 5_000) -> bool:
        """Delete some rows of deleted collections; True while there is more to do."""

        def work(tx: Connection) -> bool:
            gone = tx.execute(select(t.collection.c.id).where(~LIVING).limit(1)).scalar()
            if gone is None:
                return False
            some = select(t.chunk.c.id).where(t.chunk.c.collection_id == gone).limit(rows)
            if chunks := tx.execute(some).scalars().all():
                _delete_chunks(tx, chunks)
                return True
            for table, key, most in (
                (t.pending, t.pending.c.document_id, rows),
                (t.document, t.document.c.id, rows),
                (t.answer, t.answer.c.id, min(rows, _LARGE)),
            ):
                owner = (
                    t.pending.c.document_id.in_(
                        select(t.document.c.id).where(t.document.c.collection_id == gone)
                    )
                    if table is t.pending
                    else table.c.collection_id == gone
                )
                some = select(key).where(owner).limit(most)
                if tx.execute(delete(table).where(key.in_(some))).rowcount:
                    return True
            some = select(t.conversation.c.id).where(t.conversation.c.collection_id == gone)
            if talks := tx.execute(some.limit(min(rows, _LARGE))).scalars().all():
                tx.execute(delete(t.message).where(t.message.c.conversation_id.in_(talks)))
                tx.execute(delete(t.conversation).where(t.conversation.c.id.in_(talks)))
                return True
            for table in (t.removal, t.idempotency, t.judgement):
                tx.execute(delete(table).where(table.c.collection_id == gone))
            tx.execute(delete(t.collection).where(t.collection.c.id == gone))
            return True

        return await self._db.write(work)

    async def counts(self, collection_id: int) -> tuple[int, int]:
        """How many documents and chunks there are."""

        def work(tx: Connection) -> tuple[int, int]:
            counted = [
                tx.execute(
                    select(func.count())
                    .select_from(table)
                    .where(table.c.collection_id == collection_id)
                ).scalar_one()
                for table in (t.document, t.chunk)
            ]
            return counted[0], counted[1]

        return await self._db.read(work)

    async def empty(self) -> bool:
        """Whether no collection was ever created here: a space stays when its collections go."""
        query = select(t.space.c.id).limit(1)
        return await self._db.read(lambda tx: tx.execute(query).first() is None)

    # -- vectors ----------------------------------------------------------------------------

    async def stored_keys(self, space_id: int, keys: Sequence[bytes]) -> set[bytes]:
        """Those of `keys` that have a vector in the space."""

        def work(tx: Connection) -> set[bytes]:
            found: set[bytes] = set()
            for some in slices(keys, _SLICE):
                found.update(
                    tx.execute(
                        select(t.vector.c.key).where(
                            t.vector.c.space_id == space_id, t.vector.c.key.in_(some)
                        )
                    ).scalars()
                )
            return found

        return await self._db.read(work)

    async def add_vectors(self, space_id: int, keys: Sequence[bytes], vectors: Matrix) -> None:
        """Store vectors under their keys; a key that is there keeps its vector."""
        rows = [
            {"space_id": space_id, "key": key, "data": to_blob(row)}
            for key, row in sorted(zip(keys, vectors, strict=True), key=lambda pair: pair[0])
        ]
        await self._db.write(
            lambda tx: _insert_new(tx, t.vector, rows, ["space_id", "key"]), "~vectors"
        )

    # -- documents --------------------------------------------------------------------------

    async def known(self, collection_id: int, ids: Sequence[str]) -> dict[str, Known]:
        """What is stored under each of `ids` that exists."""

        def work(tx: Connection) -> dict[str, Known]:
            found: dict[str, Known] = {}
            for some in slices(_possible(ids), _SLICE):
                rows = tx.execute(
                    select(
                        t.document.c.key,
                        t.document.c.content_hash,
                        t.document.c.status,
                        t.document.c.chunks,
                    ).where(t.document.c.collection_id == collection_id, t.document.c.key.in_(some))
                )
                found.update({r.key: Known(r.content_hash, r.status, r.chunks) for r in rows})
            return found

        return await self._db.read(work)

    async def digests(self, collection_id: int) -> dict[str, tuple[str, str]]:
        """Status and SHA-256 (hex) of the text of every document, by id."""
        query = select(t.document.c.key, t.document.c.status, t.document.c.text_hash).where(
            t.document.c.collection_id == collection_id
        )
        return await self._db.read(
            lambda tx: {r.key: (r.status, r.text_hash.hex()) for r in tx.execute(query)}
        )

    async def replace(
        self,
        collection: Collection,
        documents: Sequence[Prepared],
        revisions: Mapping[str, int] | None = None,
        reply: Remember | None = None,
    ) -> int:
        """Put these documents in the place of those with the same ids; return the new version.

        With `revisions`, only documents whose pending revision is still that one. Their vectors
        must be stored already. What `reply` remembers is kept in the same transaction. Raises
        FieldsChanged when the collection declares other fields than they were checked against.
        """

        bags = await asyncio.to_thread(_bags, documents)

        def work(tx: Connection) -> int:
            version = _next_version(tx, collection)
            _check_unchanged(tx, collection)
            wanted = documents
            if revisions is not None:
                current = _revisions(tx, collection.id, list(revisions))
                wanted = [d for d in documents if current.get(d.id) == revisions[d.id]]
            ids = _put_documents(tx, collection.id, version, wanted)
            _put_chunks(tx, collection, version, wanted, ids, bags)
            if reply is not None:
                _put_reply(tx, collection.id, reply(version))
            return version

        return await self._db.write(work, collection.name)

    async def enqueue(
        self,
        collection: Collection,
        documents: Sequence[tuple[Prepared, bytes]],
        reply: Remember | None = None,
    ) -> int:
        """Store documents (without pieces, with their request bodies) to be embedded later.

        What was indexed under these ids stays searchable until then. Returns the version. Raises
        FieldsChanged as `replace` does.
        """

        def work(tx: Connection) -> int:
            version = _next_version(tx, collection)
            _check_unchanged(tx, collection)
            ids = _existing(tx, collection.id, [d.id for d, _ in documents])
            fresh = [d for d, _ in documents if d.id not in ids]
            ids |= _insert_documents(tx, collection.id, fresh, "pending", with_text=False)
            numbers = [ids[d.id] for d, _ in documents]
            tx.execute(
                update(t.document)
                .where(t.document.c.id.in_(numbers))
                .values(status="pending", error=None)
            )
            tx.execute(delete(t.pending).where(t.pending.c.document_id.in_(numbers)))
            tx.execute(
                insert(t.pending),
                [
                    {
                        "document_id": ids[d.id],
                        "revision": version,
                        "attempts": 0,
                        "claimed_until": 0,
                        "body": body.decode(),
                    }
                    for d, body in documents
                ],
            )
            if reply is not None:
                _put_reply(tx, collection.id, reply(version))
            return version

        return await self._db.write(work, collection.name)

    async def claim(self, limit: int, seconds: float) -> list[Claimed]:
        """Take on up to `limit` pending documents for `seconds`, oldest first."""

        def work(tx: Connection) -> list[Claimed]:
            free = (
                select(t.pending.c.document_id)
                .join(t.document, t.document.c.id == t.pending.c.document_id)
                .join(t.collection, t.collection.c.id == t.document.c.collection_id)
                .where(
                    t.pending.c.claimed_until < now(),
                    ~t.collection.c.name.startswith(_GONE),
                )
                .order_by(t.pending.c.revision, t.pending.c.document_id)
                .limit(limit)
                .with_for_update(of=t.pending, skip_locked=True)
            )
            numbers = list(tx.execute(free).scalars())
            if not numbers:
                return []
            tx.execute(
                update(t.pending)
                .where(t.pending.c.document_id.in_(numbers))
                .values(claimed_until=now() + int(seconds * 1e6), attempts=t.pending.c.attempts + 1)
            )
            rows = tx.execute(
                select(
                    t.collection.c.name,
                    t.document.c.key,
                    t.pending.c.revision,
                    t.pending.c.attempts,
                    t.pending.c.body,
                )
                .join(t.document, t.document.c.id == t.pending.c.document_id)
                .join(t.collection, t.collection.c.id == t.document.c.collection_id)
                .where(t.pending.c.document_id.in_(numbers))
                .order_by(t.pending.c.revision, t.pending.c.document_id)
            )
            return [Claimed(r.name, r.key, r.revision, r.attempts, r.body.encode()) for r in rows]

        return await self._db.write(work)

    async def release(
        self, collection: Collection, claimed: Claimed, error: str | None, retry_in: float
    ) -> None:
        """Give a claimed document back: failed for good with `error`, or to be tried again."""

        def work(tx: Connection) -> None:
            mine = and_(
                t.pending.c.document_id.in_(
                    select(t.document.c.id).where(
                        t.document.c.collection_id == collection.id,
                        t.document.c.key == claimed.id,
                    )
                ),
                t.pending.c.revision == claimed.revision,
            )
            if error is None:
                later = now() + int(retry_in * 1e6)
                tx.execute(update(t.pending).where(mine).values(claimed_until=later))
            elif tx.execute(delete(t.pending).where(mine)).rowcount:
                tx.execute(
                    update(t.document)
                    .where(
                        t.document.c.collection_id == collection.id,
                        t.document.c.key == claimed.id,
                    )
                    .values(status="failed", error=error)
                )

        await self._db.write(work, collection.name)

    async def document(
        self, name: str, document_id: str, *, text: bool, chunks: bool
    ) -> tuple[Document, list[Chunk]]:
        """One document, if asked with its text and its chunks. Raises NotFound."""

        def work(tx: Connection) -> tuple[Document, list[Chunk]]:
            owner = _collection(tx, name)
            number = _existing(tx, owner.id, [document_id]).get(document_id)
            row = tx.execute(
                select(*_document_columns(text)).where(t.document.c.id == number)
            ).first()
            if row is None:
                raise _no_document(document_id, name)
            parts = tx.execute(
                _CHUNKS.where(t.chunk.c.document_id == row.id).order_by(t.chunk.c.ordinal)
            )
            return _to_document(row), [_to_chunk(r) for r in parts] if chunks else []

        return await self._db.read(work)

    async def documents(
        self, name: str, after: int, limit: int, where: Filter | None
    ) -> tuple[list[Document], int | None]:
        """A page of documents in the order they came, and the cursor of the next page.

        Raises InvalidInput when the filter does not fit the declared fields.
        """

        def work(tx: Connection) -> tuple[list[Document], int | None]:
            owner = _collection(tx, name)
            rows = tx.execute(
                select(*_document_columns(text=False))
                .where(
                    t.document.c.collection_id == owner.id,
                    t.document.c.id > after,
                    *_conditions(tx, where, owner.fields),
                )
                .order_by(t.document.c.id)
                .limit(limit + 1)
            ).all()
            more = rows[limit - 1].id if len(rows) > limit else None
            return [_to_document(row) for row in rows[:limit]], more

        return await self._db.read(work)

    async def patch(
        self, name: str, document_id: str, title: str | None, metadata: Metadata | None
    ) -> Document:
        """Change title or metadata of a document (None: leave); its vectors stay.

        Raises NotFound, and InvalidInput when the metadata does not fit the declared fields.
        """

        def work(tx: Connection) -> Document:
            _next_version(tx, _collection(tx, name))
            owner = _collection(tx, name)
            check_values("metadata", metadata, owner.fields)
            mine = t.document.c.id == _existing(tx, owner.id, [document_id]).get(document_id)
            row = tx.execute(select(*_document_columns(text=False)).where(mine)).first()
            if row is None:
                raise _no_document(document_id, name)
            if row.status == "pending":  # what is pending would take the change back
                raise Conflict(
                    f"document {document_id!r} is pending; change it once it is indexed",
                    code="document_pending",
                )
            new_title = row.title if title is None else title
            new_metadata = row.metadata if metadata is None else dict(metadata)
            tx.execute(
                update(t.document)
                .where(mine)
                .values(
                    title=new_title,
                    metadata=new_metadata,
                    content_hash=content_hash(
                        row.text_hash, row.cuts, new_title, row.url, new_metadata
                    ),
                    updated_at=now(),
                )
            )
            if new_title != row.title:
                _index_words_again(tx, owner.id, row.id, new_title)
            if metadata is not None:
                declared.put_again(tx, owner.id, owner.fields, row.id, new_metadata)
            return _to_document(
                tx.execute(select(*_document_columns(text=False)).where(mine)).one()
            )

        return await self._db.write(work, name)

    async def delete_documents(
        self, name: str, ids: Sequence[str] | None, where: Filter | None
    ) -> tuple[int, int]:
        """Delete by ids or by filter; return how many and the collection's version.

        Raises InvalidInput when the filter does not fit the declared fields.
        """

        def work(tx: Connection) -> tuple[int, int]:
            version = _next_version(tx, _collection(tx, name))
            owner = _collection(tx, name)
            mine = [t.document.c.collection_id == owner.id]
            mine += _conditions(tx, where, owner.fields)
            if ids is not None:
                numbers = list(_existing(tx, owner.id, ids).values())
            else:
                numbers = list(tx.execute(select(t.document.c.id).where(*mine)).scalars())
            for some in slices(numbers, _SLICE):
                _drop_chunks(tx, owner.id, version, some)
                tx.execute(delete(t.pending).where(t.pending.c.document_id.in_(some)))
                tx.execute(delete(t.document).where(t.document.c.id.in_(some)))
            _prune(tx, owner.id, version)
            return len(numbers), version

        return await self._db.write(work, name)

    # -- what search and the indexes read -----------------------------------------------------

    async def chunks(self, collection_id: int, ids: Iterable[int]) -> dict[int, Chunk]:
        """The chunks of these ids that exist now, by id."""
        wanted = list(ids)

        def work(tx: Connection) -> dict[int, Chunk]:
            found: dict[int, Chunk] = {}
            for some in slices(wanted, _SLICE):
                rows = tx.execute(_CHUNKS_BY_ID, {"ids": some, "collection_id": collection_id})
                found.update({row[0]: _to_chunk(row) for row in rows})
            return found

        return await self._db.read(work)

    async def owners(self, collection_id: int, ids: Sequence[int]) -> dict[int, str]:
        """The document's id of each of these chunks that exists now."""

        def work(tx: Connection) -> dict[int, str]:
            found: dict[int, str] = {}
            for some in slices(ids, _SLICE):
                rows = tx.execute(_OWNERS, {"ids": some, "collection_id": collection_id})
                found.update((row[0], row[1]) for row in rows)
            return found

        return await self._db.read(work)

    async def chunk_vectors(self, collection: Collection, ids: Sequence[int]) -> tuple[Ids, Matrix]:
        """The vectors of these chunks, from the truth; those that have none are left out."""

        def work(tx: Connection) -> list[Row[Any]]:
            return [
                row
                for some in slices(ids, _SLICE)
                for row in tx.execute(
                    _vector_query(collection).where(t.chunk.c.id.in_(some)).order_by(t.chunk.c.id)
                )
            ]

        return await self._db.read(lambda tx: _to_vectors(work(tx), collection.dimensions))

    async def document_vectors(self, collection: Collection, document_id: str) -> Matrix:
        """The vectors of a document's chunks, in order. Raises NotFound."""

        def work(tx: Connection) -> list[bytes]:
            number = _existing(tx, collection.id, [document_id]).get(document_id)
            if number is None:
                raise _no_document(document_id, collection.name)
            rows = tx.execute(
                _vector_query(collection)
                .where(t.chunk.c.document_id == number)
                .order_by(t.chunk.c.ordinal)
            )
            return [row.data for row in rows]

        return from_blobs(await self._db.read(work), collection.dimensions)

    async def matching(self, collection: Collection, where: Filter) -> Ids:
        """Ids of the chunks that satisfy the filter, ascending.

        Raises InvalidInput when the filter does not fit the declared fields.
        """
        return await self._db.read(lambda tx: matching(tx, collection.id, where))

    async def holding(self, collection_id: int, terms: Sequence[str]) -> Mapping[str, int]:
        """How many chunks of the collection hold each term."""
        return await self._db.read(lambda tx: lexical.holding(tx, collection_id, terms))

    @property
    def full_text(self) -> str:
        """What indexes the words."""
        return "fts5" if self._db.is_sqlite else "gin"

    @property
    def looked_at(self) -> int:
        """About how many chunks should hold the terms that `best_by_words` is given."""
        return lexical.LOOKED_AT["sqlite" if self._db.is_sqlite else "postgresql"]

    async def best_by_words(
        self, collection: Collection, terms: Sequence[str], limit: int, within: Ids | None
    ) -> Ids:
        """Ids of chunks that hold one of the terms: on SQLite the `limit` best of them."""
        share = 1.0 if within is None else len(within) / max(1, collection.chunks)
        return await self._db.read(
            lambda tx: lexical.best(tx, collection.id, terms, limit, within, share)
        )

    async def bags(self, ids: Ids) -> tuple[Ids, list[bytes]]:
        """Those of the chunks that exist, ascending, and their packed bags of terms."""

        def work(tx: Connection) -> tuple[Ids, list[bytes]]:
            rows = [
                row
                for some in slices(ids.tolist(), _SLICE)
                for row in tx.execute(_BAGS, {"ids": some})
            ]
            return np.array([row[0] for row in rows], dtype=np.int64), [row[1] for row in rows]

        return await self._db.read(work)

    async def removed(self, collection_id: int, since: int, upto: int) -> Ids | None:
        """Ids of chunks removed after version `since`; None when that is no longer known."""

        def work(tx: Connection) -> Ids | None:
            pruned = tx.execute(
                select(t.collection.c.pruned_to).where(t.collection.c.id == collection_id)
            ).scalar()
            if since == 0:
                return np.empty(0, dtype=np.int64)
            if pruned is None or since < pruned:
                return None
            rows = tx.execute(
                select(t.removal.c.chunk_id).where(
                    t.removal.c.collection_id == collection_id,
                    t.removal.c.version > since,
                    t.removal.c.version <= upto,
                )
            ).scalars()
            return np.unique(np.fromiter(rows, dtype=np.int64))

        return await self._db.read(work)

    async def added(
        self, collection: Collection, since: tuple[int, int], upto: int, limit: int
    ) -> tuple[Ids, Matrix, tuple[int, int] | None]:
        """A page of chunks added after `since` (version, chunk id) up to version `upto`.

        Returns their ids, their vectors, and where the next page begins (None: this was all).
        """

        def work(tx: Connection) -> list[Row[Any]]:
            return list(
                tx.execute(
                    _vector_query(collection)
                    .where(
                        t.chunk.c.collection_id == collection.id,
                        tuple_(t.chunk.c.version, t.chunk.c.id)
                        > tuple_(literal(since[0]), literal(since[1])),
                        t.chunk.c.version <= upto,
                    )
                    .order_by(t.chunk.c.version, t.chunk.c.id)
                    .limit(limit)
                )
            )

        def page(tx: Connection) -> tuple[Ids, Matrix, tuple[int, int] | None]:
            rows = work(tx)
            more = (rows[-1].version, rows[-1].id) if len(rows) == limit else None
            return *_to_vectors(rows, collection.dimensions), more

        return await self._db.read(page)

    async def chunk_ids(self, collection_id: int, after: int, limit: int) -> Ids:
        """Ids of chunks above `after`, ascending, whether they have a vector or not."""
        query = (
            select(t.chunk.c.id)
            .where(t.chunk.c.collection_id == collection_id, t.chunk.c.id > after)
            .order_by(t.chunk.c.id)
            .limit(limit)
        )
        return await self._db.read(
            lambda tx: np.fromiter(tx.execute(query).scalars(), dtype=np.int64)
        )

    # -- repeated requests --------------------------------------------------------------------

    async def reply(self, collection_id: int, key: str) -> Reply | None:
        """What was answered to the request with that Idempotency-Key."""
        query = select(t.idempotency).where(
            t.idempotency.c.collection_id == collection_id, t.idempotency.c.key == key
        )

        def work(tx: Connection) -> Reply | None:
            row = tx.execute(query).first()
            return None if row is None else Reply(row.key, row.request_hash, row.body)

        return await self._db.read(work)

    async def remember(self, collection: Collection, reply: Reply) -> None:
        """Keep the answer to a request that wrote nothing. Raises Conflict when it is there."""
        await self._db.write(lambda tx: _put_reply(tx, collection.id, reply), collection.name)

    async def add_usage(self, rows: Sequence[UsageRow]) -> None:
        """Add to what was counted before."""

        def work(tx: Connection) -> None:
            statement = _insert(tx, t.usage)
            sums = {name: t.usage.c[name] + statement.excluded[name] for name in _USAGE_SUMS}
            tx.execute(
                statement.on_conflict_do_update(index_elements=_USAGE_KEYS, set_=sums),
                [asdict(row) for row in rows],
            )

        await self._db.write(work)

    async def usage(self, group_by: Sequence[str]) -> list[dict[str, Any]]:
        """Sums of what was counted, by some of day, collection and model."""
        keys = [t.usage.c[name] for name in group_by]
        sums = [
            func.coalesce(cast(func.sum(column), column.type), 0)  # PostgreSQL makes it numeric
            for column in (t.usage.c[name] for name in _USAGE_SUMS)
        ]
        query = select(*keys, *sums).group_by(*keys).order_by(*keys)

        def work(tx: Connection) -> list[dict[str, Any]]:
            names = (*group_by, *_USAGE_SUMS)
            return [dict(zip(names, row, strict=True)) for row in tx.execute(query)]

        return await self._db.read(work)

    async def forget_replies(self, older_than: int) -> None:
        """Forget the answers to requests from before that time."""
        await self._db.write(
            lambda tx: tx.execute(
                delete(t.idempotency).where(t.idempotency.c.created_at < older_than)
            )
        )


# -- pieces of transactions -------------------------------------------------------------------


def lives(tx: Connection, collection: Collection) -> bool:
    """Whether the collection was not deleted meanwhile, nor will be until the commit.

    Whoever deletes it renames it first, and the lock keeps them from it: so nothing is added to
    what is being swept away.
    """
    query = (
        select(t.collection.c.id)
        .where(t.collection.c.id == collection.id, t.collection.c.name == collection.name)
        .with_for_update(read=True, key_share=True)
    )
    return tx.execute(query).first() is not None


def _collection(tx: Connection, name: str) -> Collection:
    row = tx.execute(_COLLECTION_BY_NAME, {"name": name}).first()
    if row is None:
        raise NotFound(f"no collection is called {name!r}", code="collection_not_found")
    return _to_collection(row)


def _no_document(document_id: str, name: str) -> NotFound:
    return NotFound(
        f"no document {document_id!r} in the collection {name!r}", code="document_not_found"
    )


def _next_version(tx: Connection, collection: Collection) -> int:
    version = tx.execute(
        update(t.collection)
        .where(t.collection.c.id == collection.id, t.collection.c.name == collection.name)
        .values(version=t.collection.c.version + 1)
        .returning(t.collection.c.version)
    ).scalar()
    if version is None:
        raise NotFound(f"no collection is called {collection.name!r}", code="collection_not_found")
    return int(version)


def _check_unchanged(tx: Connection, collection: Collection) -> None:
    """Refuse to write what was checked against other fields; the collection is locked already."""
    query = select(t.collection.c.fields).where(t.collection.c.id == collection.id)
    if tx.execute(query).scalar_one() != collection.fields:
        raise FieldsChanged(
            f"the declared fields of {collection.name!r} were changed at the same moment; try again"
        )


def _space_id(tx: Connection, space: Space) -> int:
    identity = json.dumps(asdict(space), sort_keys=True)
    _insert_one(tx, t.space, {"identity": identity, "created_at": now()}, ["identity"])
    return int(tx.execute(select(t.space.c.id).where(t.space.c.identity == identity)).scalar_one())


def _to_space(row: Row[Any]) -> StoredSpace:
    space = Space(**json.loads(row.identity))
    canaries = None
    if row.canaries is not None:
        canaries = np.frombuffer(row.canaries, dtype="<f4").reshape(-1, space.dimensions)
    return StoredSpace(row.id, space, canaries)


def _insert_new(
    tx: Connection, table: Any, rows: Sequence[Mapping[str, Any]], unique: Sequence[str]
) -> None:
    """Insert the rows that are not there yet."""
    if rows:
        tx.execute(_insert(tx, table).on_conflict_do_nothing(index_elements=unique), list(rows))


def _insert_one(tx: Connection, table: Any, row: Mapping[str, Any], unique: Sequence[str]) -> bool:
    """Insert the row, unless it is there; whether it was not."""
    statement = _insert(tx, table).on_conflict_do_nothing(index_elements=unique)
    return tx.execute(statement.returning(table.c[unique[0]]), row).first() is not None


def _insert(tx: Connection, table: Any) -> Any:
    return (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(table)


def _existing(tx: Connection, collection_id: int, ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in slices(_possible(ids), _SLICE):
        rows = tx.execute(
            select(t.document.c.key, t.document.c.id).where(
                t.document.c.collection_id == collection_id, t.document.c.key.in_(some)
            )
        )
        found.update({row.key: row.id for row in rows})
    return found


def _possible(ids: Sequence[str]) -> list[str]:
    """Those that a document can have at all; a database may refuse even to look for others."""
    return [i for i in ids if storable(i)]


def _revisions(tx: Connection, collection_id: int, ids: Sequence[str]) -> dict[str, int]:
    rows = tx.execute(
        select(t.document.c.key, t.pending.c.revision)
        .join(t.pending, t.pending.c.document_id == t.document.c.id)
        .where(t.document.c.collection_id == collection_id, t.document.c.key.in_(ids))
    )
    return {row.key: row.revision for row in rows}


def _put_documents(
    tx: Connection, collection_id: int, version: int, documents: Sequence[Prepared]
) -> dict[str, int]:
    """Write the document rows, drop what their old ones had; return their ids by key."""
    ids = _existing(tx, collection_id, [d.id for d in documents])
    for some in slices(list(ids.values()), _SLICE):
        _drop_chunks(tx, collection_id, version, some)
        tx.execute(delete(t.pending).where(t.pending.c.document_id.in_(some)))
    for document in documents:
        if document.id in ids:
            tx.execute(
                update(t.document)
                .where(t.document.c.id == ids[document.id])
                .values(**_document_values(document), status="indexed", updated_at=now())
            )
    fresh = [d for d in documents if d.id not in ids]
    if ids:
        _prune(tx, collection_id, version)
    return ids | _insert_documents(tx, collection_id, fresh, "indexed", with_text=True)


def _insert_documents(
    tx: Connection,
    collection_id: int,
    documents: Sequence[Prepared],
    status: str,
    *,
    with_text: bool,
) -> dict[str, int]:
    if not documents:
        return {}
    at = now()
    rows = []
    for document in documents:
        row = _document_values(document) | {
            "collection_id": collection_id,
            "key": document.id,
            "status": status,
            "created_at": at,
            "updated_at": at,
        }
        if not with_text:  # nothing of it is indexed yet: the row says no more than "pending"
            row |= {"text": "", "text_hash": b"", "content_hash": b"", "chunks": 0}
        rows.append(row)
    found = tx.execute(insert(t.document).returning(t.document.c.key, t.document.c.id), rows)
    return {row.key: row.id for row in found}


def _document_values(document: Prepared) -> dict[str, Any]:
    return {
        "text_hash": document.text_hash,
        "cuts": document.cuts,
        "content_hash": document.content_hash,
        "chunks": len(document.pieces),
        "title": document.title,
        "url": document.url,
        "metadata": dict(document.metadata),
        "text": document.text,
        "error": None,
    }


def _put_chunks(
    tx: Connection,
    collection: Collection,
    version: int,
    documents: Sequence[Prepared],
    ids: Mapping[str, int],
    bags: Mapping[str, Sequence[Bag]],
) -> None:
    placed = {
        (ids[document.id], ordinal): (piece, bags[document.id][ordinal])
        for document in documents
        for ordinal, piece in enumerate(document.pieces)
    }
    if not placed:
        return
    rows = [
        _chunk_values(piece)
        | {
            "collection_id": collection.id,
            "document_id": document_id,
            "version": version,
            "ordinal": ordinal,
            "words": words.words,
            "terms": words.packed(),
        }
        for (document_id, ordinal), (piece, words) in placed.items()
    ]
    made = tx.execute(
        insert(t.chunk).returning(t.chunk.c.id, t.chunk.c.document_id, t.chunk.c.ordinal), rows
    ).all()
    lexical.insert(
        tx, ((row.id, collection.id, placed[row.document_id, row.ordinal][1]) for row in made)
    )
    outer = {ids[document.id]: document.metadata for document in documents}
    pieces = ((row, placed[row.document_id, row.ordinal][0]) for row in made)
    tagged = ((row.id, outer[row.document_id], piece.metadata) for row, piece in pieces)
    declared.put(tx, collection.id, collection.fields, tagged)
    _count(tx, collection.id, len(rows), sum(row["words"] for row in rows))


def _chunk_values(piece: Piece) -> dict[str, Any]:
    return {
        "start": piece.start,
        "end": piece.end,
        "page": piece.page,
        "vector_key": piece.key,
        "metadata": None if piece.metadata is None else dict(piece.metadata),
        "text": piece.text,
    }


def _drop_chunks(
    tx: Connection, collection_id: int, version: int, documents: Sequence[int]
) -> None:
    """Delete the chunks of these documents and remember that they are gone."""
    theirs = t.chunk.c.document_id.in_(documents)
    gone = tx.execute(select(t.chunk.c.id, t.chunk.c.words).where(theirs)).all()
    if not gone:
        return
    tx.execute(
        insert(t.removal),
        [{"collection_id": collection_id, "version": version, "chunk_id": row.id} for row in gone],
    )
    _delete_chunks(tx, [row.id for row in gone])
    _count(tx, collection_id, -len(gone), -sum(row.words for row in gone))


def _delete_chunks(tx: Connection, ids: Sequence[int]) -> None:
    """Delete chunks with all that is indexed of them."""
    for some in slices(ids, _SLICE):
        lexical.delete(tx, some)
        tx.execute(delete(t.field_value).where(t.field_value.c.chunk_id.in_(some)))
        tx.execute(delete(t.chunk).where(t.chunk.c.id.in_(some)))


def _count(tx: Connection, collection_id: int, chunks: int, words: int) -> None:
    tx.execute(
        update(t.collection)
        .where(t.collection.c.id == collection_id)
        .values(chunks=t.collection.c.chunks + chunks, words=t.collection.c.words + words)
    )


def _bags(documents: Sequence[Prepared]) -> dict[str, list[Bag]]:
    """The terms of every chunk, with those of the title, by the document's id."""
    return {d.id: [bag(d.title or "", piece.text) for piece in d.pieces] for d in documents}


def _index_words_again(
    tx: Connection, collection_id: int, document_id: int, title: str | None
) -> None:
    """Index the chunks of a document under its new title."""
    rows = tx.execute(
        select(t.chunk.c.id, t.chunk.c.text, t.chunk.c.words).where(
            t.chunk.c.document_id == document_id
        )
    ).all()
    bags = [bag(title or "", row.text) for row in rows]
    if not rows:
        return
    tx.execute(
        update(t.chunk).where(t.chunk.c.id == bindparam("chunk")),
        [
            {"chunk": row.id, "words": words.words, "terms": words.packed()}
            for row, words in zip(rows, bags, strict=True)
        ],
    )
    for some in slices([row.id for row in rows], _SLICE):
        lexical.delete(tx, some)
    lexical.insert(
        tx, ((row.id, collection_id, words) for row, words in zip(rows, bags, strict=True))
    )
    _count(tx, collection_id, 0, sum(b.words for b in bags) - sum(row.words for row in rows))


def _prune(tx: Connection, collection_id: int, version: int) -> None:
    """Now and then, forget removals that only a very old index would ask for."""
    limit = version - KEPT_VERSIONS
    if limit <= 0 or version % _PRUNE_EVERY:
        return
    tx.execute(
        delete(t.removal).where(
            t.removal.c.collection_id == collection_id, t.removal.c.version <= limit
        )
    )
    tx.execute(
        update(t.collection).where(t.collection.c.id == collection_id).values(pruned_to=limit)
    )


def _put_reply(tx: Connection, collection_id: int, reply: Reply) -> None:
    row = {
        "key": reply.key,
        "collection_id": collection_id,
        "request_hash": reply.request_hash,
        "body": reply.body,
        "created_at": now(),
    }
    if not _insert_one(tx, t.idempotency, row, ["key", "collection_id"]):
        raise Conflict(
            f"a request with the Idempotency-Key {reply.key!r} is being answered at the same time",
            code="idempotency_key_in_use",
        )


def _conditions(tx: Connection, where: Filter | None, fields: Fields) -> list[ColumnElement[bool]]:
    """The filter over the metadata of documents. Raises InvalidInput."""
    if where is None:
        return []
    check_filter(where, fields)
    return [compile_filter(where, [t.document.c.metadata], tx.dialect.name, fields)]


# -- rows to values ---------------------------------------------------------------------------


def _document_columns(text: bool) -> list[Any]:
    columns = [column for column in t.document.c if column.name != "text"]
    return [*columns, t.document.c.text] if text else columns


# Built once: to put these together takes longer than to run them.
_COLLECTION_BY_NAME = select(t.collection).where(t.collection.c.name == bindparam("name"))
_CHUNKS = select(
    t.chunk.c.id,
    t.document.c.key,
    t.chunk.c.ordinal,
    t.chunk.c.start,
    t.chunk.c.end,
    t.chunk.c.page,
    t.chunk.c.text,
    t.document.c.title,
    t.document.c.url,
    t.document.c.metadata,
    t.chunk.c.metadata,
).join(t.document, t.document.c.id == t.chunk.c.document_id)
_CHUNKS_BY_ID = _CHUNKS.where(
    t.chunk.c.id.in_(bindparam("ids", expanding=True)),
    t.chunk.c.collection_id == bindparam("collection_id"),
)


_OWNERS = (
    select(t.chunk.c.id, t.document.c.key)
    .join(t.document, t.document.c.id == t.chunk.c.document_id)
    .where(
        t.chunk.c.id.in_(bindparam("ids", expanding=True)),
        t.chunk.c.collection_id == bindparam("collection_id"),
    )
)
_BAGS = (
    select(t.chunk.c.id, t.chunk.c.terms)
    .where(t.chunk.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(t.chunk.c.id)
)


def _vector_query(collection: Collection) -> Any:
    columns = (t.chunk.c.id, t.chunk.c.version, t.vector.c.data)
    return select(*columns).join(t.vector, t.has_vector(collection.space_id))


def _to_vectors(rows: Sequence[Row[Any]], dimensions: int) -> tuple[Ids, Matrix]:
    ids, _, blobs = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(ids, dtype=np.int64), from_blobs(blobs, dimensions)


def _to_collection(row: Row[Any]) -> Collection:
    return Collection(
        id=row.id,
        name=row.name,
        embedding=row.embedding,
        space_id=row.space_id,
        dimensions=row.dimensions,
        version=row.version,
        pruned_to=row.pruned_to,
        chunks=row.chunks,
        words=row.words,
        description=row.description,
        chunking=Chunking(**row.chunking),
        fields=row.fields,
        created_at=row.created_at,
    )


def _to_document(row: Row[Any]) -> Document:
    return Document(
        id=row.key,
        status=row.status,
        title=row.title,
        url=row.url,
        metadata=row.metadata,
        text_hash=row.text_hash,
        cuts=row.cuts,
        chunks=row.chunks,
        created_at=row.created_at,
        updated_at=row.updated_at,
        error=row.error,
        text=getattr(row, "text", ""),
    )


def _to_chunk(row: Any) -> Chunk:
    number, key, ordinal, start, end, page, text, title, url, metadata, own = row
    merged = metadata if own is None else {**metadata, **own}
    return Chunk(number, key, ordinal, start, end, page, text, title, url, merged)
