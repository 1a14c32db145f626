"""The values of declared fields, each in a row of its own, where a filter looks them up.

Under the name of a field a chunk has a row for its value, or one for each element of a list: what
its own metadata says, else that of its document. Null is a row with neither number nor text; a
missing field has no row. Two marks behind the name tell what such rows alone cannot:

    name + LIST    the chunk has a list there, empty or not
    name + LONG    the string is longer than KEPT characters, and these are its first ones
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from embedsvc.core.batching import slices
from embedsvc.core.fields import MISSING, Fields, microseconds, misfit, value_of
from embedsvc.core.model import FieldType, Metadata
from embedsvc.errors import Conflict
from embedsvc.store import tables as t

LIST = "\x1f[]"
LONG = "\x1f+"
KEPT = 500
"""Characters of a string: PostgreSQL indexes no more than 2,700 bytes."""

_PAGE = 1_000

Tagged = tuple[int, Metadata, Metadata | None]
"""A chunk's id, the metadata of its document, and its own."""


def put(tx: Connection, collection_id: int, fields: Fields, chunks: Iterable[Tagged]) -> None:
    """Write the rows of chunks that have none yet; their values must fit the fields."""
    if not fields:
        return
    rows = [
        {"chunk_id": chunk, "collection_id": collection_id, "name": name} | value
        for chunk, outer, own in chunks
        for field, kind in fields.items()
        for name, value in _values(tx, field, kind, value_of(field, own, outer))
    ]
    if rows:
        tx.execute(insert(t.field_value), rows)


def put_again(
    tx: Connection, collection_id: int, fields: Fields, document_id: int, metadata: Metadata
) -> None:
    """Write the rows of a document's chunks anew, under its new metadata."""
    if not fields:
        return
    theirs = select(t.chunk.c.id, t.chunk.c.metadata).where(t.chunk.c.document_id == document_id)
    chunks = tx.execute(theirs).all()
    for some in slices(chunks, _PAGE):
        ids = [row.id for row in some]
        tx.execute(delete(t.field_value).where(t.field_value.c.chunk_id.in_(ids)))
        put(tx, collection_id, fields, ((row.id, metadata, row.metadata) for row in some))


def declare(tx: Connection, collection_id: int, before: Fields, after: Fields) -> None:
    """Turn the rows of a collection that declared `before` into those of one with `after`.

    Raises Conflict when a stored value does not fit its new type.
    """
    gone = [name for name, kind in before.items() if after.get(name) != kind]
    if gone:
        names = [name + mark for name in gone for mark in ("", LIST, LONG)]
        tx.execute(
            delete(t.field_value).where(
                t.field_value.c.collection_id == collection_id, t.field_value.c.name.in_(names)
            )
        )
    fresh = {name: kind for name, kind in after.items() if before.get(name) != kind}
    if fresh:
        _fill(tx, collection_id, fresh)


def bound(kind: FieldType, value: Any) -> Any:
    """A value of that type as it is compared in its column."""
    if kind == "string":
        return value
    if kind == "datetime":
        return microseconds(value)
    return value if kind == "number" else int(value)


def _stored(tx: Connection, kind: FieldType, value: Any) -> Any:
    number = bound(kind, value)
    if tx.dialect.name == "postgresql":  # which would round a float to 15 digits
        return Decimal(repr(number))
    return float(number) if isinstance(number, int) and abs(number) >= 2**63 else number


def _values(
    tx: Connection, field: str, kind: FieldType, value: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the columns of each row of one field."""
    if value is MISSING:
        return
    elements = value if isinstance(value, list | tuple) else [value]
    if elements is value:
        yield field + LIST, {"number": None, "text": None}
    for one in elements:
        if one is None:
            yield field, {"number": None, "text": None}
        elif kind == "string":
            yield field + LONG * (len(one) > KEPT), {"number": None, "text": one[:KEPT]}
        else:
            yield field, {"number": _stored(tx, kind, one), "text": None}


class _Misfits:
    """Documents whose metadata does not fit, counted by field, with the first of each."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._found: dict[str, tuple[int, str, str]] = {}

    def look(self, key: str, metadata: Sequence[Metadata | None]) -> bool:
        """Count a document, given with all metadata of its own and of its chunks, if it is one."""
        some = False
        for field, kind in self._fields.items():
            words = (
                misfit(f"metadata.{field}", kind, value)
                for one in metadata
                if (value := value_of(field, one)) is not MISSING
            )
            if (wrong := next(filter(None, words), None)) is not None:
                some = True
                count, first, why = self._found.get(field, (0, key, wrong))
                self._found[field] = (count + 1, first, why)
        return some

    def refuse(self) -> None:
        """Raises Conflict when there were any."""
        for field, (count, key, wrong) in self._found.items():
            documents = "1 document does" if count == 1 else f"{count} documents do"
            raise Conflict(
                f"fields.{field}: {documents} not fit, such as {key!r} ({wrong}); "
                "change them, or declare another type",
                code="field_does_not_fit",
            )


def _fill(tx: Connection, collection_id: int, fields: Fields) -> None:
    """Write the rows of these fields for every chunk of the collection, a page at a time."""
    misfits = _Misfits(fields)
    mine = select(t.document.c.id).where(t.document.c.collection_id == collection_id)
    for numbers in slices(tx.execute(mine.order_by(t.document.c.id)).scalars().all(), _PAGE):
        documents = tx.execute(
            select(t.document.c.id, t.document.c.key, t.document.c.metadata).where(
                t.document.c.id.in_(numbers)
            )
        ).all()
        chunks: dict[int, list[Any]] = {}
        for row in tx.execute(
            select(t.chunk.c.id, t.chunk.c.document_id, t.chunk.c.metadata).where(
                t.chunk.c.document_id.in_(numbers)
            )
        ):
            chunks.setdefault(row.document_id, []).append(row)
        good = [
            document
            for document in documents
            if not misfits.look(
                document.key,
                [document.metadata, *(row.metadata for row in chunks.get(document.id, ()))],
            )
        ]
        put(
            tx,
            collection_id,
            fields,
            (
                (row.id, document.metadata, row.metadata)
                for document in good
                for row in chunks.get(document.id, ())
            ),
        )
    misfits.refuse()
