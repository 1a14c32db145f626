"""Which chunks satisfy a filter, found as sets of ids.

A condition on a declared field is a range of the index over `field_value`; the others are read
from the metadata, document by document. What `$and`, `$or` and `$not` say of conditions of both
kinds is done with the sets, in memory. The database hands over a set as one text of numbers: a row
for each would take four times as long.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select

from embedsvc.core.fields import Fields, check_filter
from embedsvc.core.filters import (
    And,
    Compare,
    Comparison,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    Or,
    Scalar,
    fields_of,
    matches_all,
)
from embedsvc.core.model import Ids
from embedsvc.store import tables as t
from embedsvc.store.fields import KEPT, LIST, LONG, bound
from embedsvc.store.filters import compile_filter, decimal_relation, decimals, has_part, relation

FEW = 2_000
"""So many chunks at most are looked at one by one."""

_NOTHING: Ids = np.empty(0, dtype=np.int64)


def matching(tx: Connection, collection_id: int, where: Filter, few: int = FEW) -> Ids:
    """Ids of the chunks that satisfy the filter, ascending.

    Raises InvalidInput when a value in it is not of the type that its field is declared.
    """
    query = select(t.collection.c.fields, t.collection.c.chunks)
    row = tx.execute(query.where(t.collection.c.id == collection_id)).first()
    if row is None:
        return _NOTHING
    check_filter(where, row.fields)
    return _Sets(tx, collection_id, row.fields, row.chunks, few).of(where)


class _Sets:
    """Sets of chunks of one collection, in one transaction."""

    def __init__(
        self, tx: Connection, collection_id: int, fields: Fields, chunks: int, few: int
    ) -> None:
        self._tx = tx
        self._collection_id = collection_id
        self._fields = fields
        self._chunks = chunks
        self._few = few
        self._is_sqlite = tx.dialect.name == "sqlite"

    def of(self, where: Filter) -> Ids:
        """The chunks that satisfy it."""
        if matches_all(where):
            return self._all
        if not self._is_declared(where):
            return self._read(where)
        match where:
            case And(parts):
                return self._every(parts)
            case Or(parts):
                declared, others = self._parted(parts)
                sets = [self.of(part) for part in declared]
                return _union(*sets, *([self._read(Or(others))] if others else []))
            case Not(part):
                return _without(self._all, self.of(part))
        return self._looked_up(where)

    def _every(self, parts: Sequence[Filter]) -> Ids:
        """The intersection, and only what is left of it is read from the metadata."""
        declared, others = self._parted(parts)
        wanted = [part for part in declared if not isinstance(part, Not)]
        found = self.of(wanted[0]) if wanted else self._all
        for part in wanted[1:]:
            found = _both(found, self.of(part)) if len(found) else found
        for unwanted in declared:
            if isinstance(unwanted, Not) and len(found):
                found = _without(found, self.of(unwanted.part))
        return self._read(And(others), found) if others and len(found) else found

    def _parted(self, parts: Sequence[Filter]) -> tuple[list[Filter], list[Filter]]:
        """The parts that ask for a declared field, and the others."""
        declared = [part for part in parts if self._is_declared(part)]
        return declared, [part for part in parts if not self._is_declared(part)]

    def _is_declared(self, where: Filter) -> bool:
        return not self._fields.keys().isdisjoint(fields_of(where))

    @cached_property
    def _all(self) -> Ids:
        return self._ids(select(t.chunk.c.id).where(t.chunk.c.collection_id == self._collection_id))

    def _ids(self, query: Select[tuple[int]]) -> Ids:
        """The numbers that the query finds, ascending, each once."""
        (column,) = query.selected_columns
        if self._is_sqlite:
            joined: Any = func.group_concat(column)
        else:
            joined = func.string_agg(cast(column, Text), ",")
        found = self._tx.execute(query.with_only_columns(joined, maintain_column_froms=True))
        numbers = found.scalar()
        return _set(np.fromstring(numbers, dtype=np.int64, sep=",")) if numbers else _NOTHING

    # -- from the metadata ------------------------------------------------------------------------

    def _read(self, where: Filter, among: Ids | None = None) -> Ids:
        """Those of `among` (None: of all) whose metadata satisfies it."""
        if among is not None and len(among) <= self._few:
            condition = self._condition(where, t.document.c.metadata, t.chunk.c.metadata)
            return self._ids(_JOINED.where(t.chunk.c.id.in_(among.tolist()), condition))
        found = self._read_all(where)
        return found if among is None else _both(found, among)

    def _read_all(self, where: Filter) -> Ids:
        """Each document is read once; the chunks that have metadata of their own besides."""
        own = t.chunk.c.metadata.is_not(None)
        mine = t.chunk.c.collection_id == self._collection_id
        of_both = _JOINED.where(
            mine, self._condition(where, t.document.c.metadata, t.chunk.c.metadata)
        )
        special = self._ids(select(t.chunk.c.id).where(mine, own))
        if len(special) > self._chunks // 2:
            return self._ids(of_both)
        found = self._ids(
            _JOINED.where(
                t.document.c.collection_id == self._collection_id,
                self._condition(where, t.document.c.metadata),
            )
        )
        if not len(special):
            return found
        return _union(_without(found, special), self._ids(of_both.where(own)))

    def _condition(self, where: Filter, *metadata: Any) -> ColumnElement[bool]:
        return compile_filter(where, metadata, self._tx.dialect.name, self._fields)

    # -- from the rows of declared fields ---------------------------------------------------------

    def _looked_up(self, where: Filter) -> Ids:
        match where:
            case Exists(field):
                return self._present(field)
            case Compare(field, "$eq", value):
                return self._equal(where, field, [value])
            case Compare(field, _, value):
                return self._ordered(where, field)
            case OneOf(field, values):
                return self._equal(where, field, values)
            case Contains(field, value):
                return self._containing(where, field)
        raise AssertionError(f"no leaf: {where}")

    def _present(self, field: str) -> Ids:
        return _union(*(self._rows(field + mark) for mark in ("", LIST, LONG)))

    def _equal(self, where: Filter, field: str, values: Sequence[Scalar]) -> Ids:
        if any(map(_is_long, values)):
            return self._read(where)
        found = self._having(field, values)
        if None not in values:
            return found
        return _union(found, _without(self._all, self._present(field)))

    def _having(self, field: str, values: Sequence[Scalar]) -> Ids:
        """The chunks with one of the values there, in a list or alone."""
        kind, column = self._fields[field], self._column(field)
        sets = []
        if known := [bound(kind, value) for value in values if value is not None]:
            if kind != "string" and not self._is_sqlite:
                known = [number for value in known for number in decimals(value)]
            sets.append(self._rows(field, column.in_(known)))
        if None in values:
            sets.append(self._rows(field, column.is_(None)))
        return _union(*sets)

    def _ordered(self, where: Compare, field: str) -> Ids:
        kind, operator = self._fields[field], where.operator
        if _is_long(where.value):
            return self._read(where)
        value = bound(kind, where.value)
        column = self._column(field)
        if kind != "string":
            related = relation if self._is_sqlite else decimal_relation
            return self._rows(field, related(column, operator, value))
        if not self._is_sqlite:
            column = column.collate("C")
        # a string whose beginning equals the value goes on, so it is greater
        longer: Comparison = "$gte" if operator in ("$gt", "$gte") else "$lt"
        sets = [
            self._rows(field, relation(column, operator, value)),
            self._rows(field + LONG, relation(column, longer, value)),
        ]
        return _union(*sets)

    def _containing(self, where: Contains, field: str) -> Ids:
        if _is_long(where.value):
            return self._read(where)
        lists = self._rows(field + LIST)
        found = _both(self._having(field, [where.value]), lists)
        if self._fields[field] != "string" or not isinstance(where.value, str):
            return found
        inside = has_part(self._column(field), where.value, self._tx.dialect.name)
        long = _without(self._rows(field + LONG), lists)
        read = self._read(where, long) if len(long) else _NOTHING
        return _union(found, _without(self._rows(field, inside), lists), read)

    def _column(self, field: str) -> Any:
        row = t.field_value.c
        return row.text if self._fields[field] == "string" else row.number

    def _rows(self, name: str, *conditions: ColumnElement[bool]) -> Ids:
        row = t.field_value.c
        mine = (row.collection_id == self._collection_id, row.name == name)
        return self._ids(select(row.chunk_id).where(*mine, *conditions))


_JOINED: Select[tuple[int]] = select(t.chunk.c.id).join(
    t.document, t.document.c.id == t.chunk.c.document_id
)


def _is_long(value: Scalar) -> bool:
    return isinstance(value, str) and len(value) > KEPT


def _set(ids: Ids) -> Ids:
    """The ids ascending, each once: in a tenth of the time of np.unique."""
    ids.sort()
    fresh = np.empty(len(ids), dtype=bool)
    fresh[:1] = True
    np.not_equal(ids[1:], ids[:-1], out=fresh[1:])
    return ids if fresh.all() else ids[fresh]


def _union(*sets: Ids) -> Ids:
    return _set(np.concatenate(sets)) if sets else _NOTHING


def _both(one: Ids, other: Ids) -> Ids:
    return np.intersect1d(one, other, assume_unique=True)


def _without(one: Ids, other: Ids) -> Ids:
    return np.setdiff1d(one, other, assume_unique=True)
