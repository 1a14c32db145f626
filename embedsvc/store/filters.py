"""Filters compiled to SQL over JSON metadata, for SQLite and PostgreSQL alike.

Where several metadata columns are given (document, chunk), the last one that has the field wins.
Values are always bound, never spelled into the statement.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Numeric,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array

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
)

Condition = ColumnElement[bool]


class _Json(Protocol):
    """A JSON value inside a row: what a comparison needs of it."""

    def present(self) -> Condition: ...
    def one_of(self, values: Sequence[Scalar]) -> Condition: ...
    def ordered(self, operator: Comparison, value: str | float) -> Condition: ...
    def has_part(self, value: str) -> Condition: ...
    def elements(self) -> tuple[Any, "_Json"]: ...


def compile_filter(where: Filter, metadata: Sequence[Any], dialect: str) -> Condition:
    """The SQL condition of a filter over the given metadata columns."""
    field_of = _sqlite_field if dialect == "sqlite" else _postgres_field

    def build(node: Filter) -> Condition:
        match node:
            case And(parts):
                return and_(true(), *(build(part) for part in parts))
            case Or(parts):
                return or_(false(), *(build(part) for part in parts))
            case Not(part):
                return ~func.coalesce(build(part), false())
            case Exists(field):
                return field_of(metadata, field).present()
            case Compare(field, "$eq", scalar):
                return _equals(field_of(metadata, field), [scalar])
            case Compare(field, operator, scalar):
                assert scalar is not None
                assert not isinstance(scalar, bool)
                found = field_of(metadata, field)
                each, element = found.elements()
                inside = exists(
                    select(1).select_from(each).where(element.ordered(operator, scalar))
                )
                return or_(found.ordered(operator, scalar), inside)
            case OneOf(field, scalars):
                return _equals(field_of(metadata, field), scalars)
            case Contains(field, scalar):
                found = field_of(metadata, field)
                element_fits = _inside(found, [scalar])
                if isinstance(scalar, str):
                    return or_(element_fits, found.has_part(scalar))
                return element_fits

    return build(where)


def _equals(found: _Json, values: Sequence[Scalar]) -> Condition:
    """The value, or an element of it, is one of the values; a missing field equals null."""
    here = or_(found.one_of(values), _inside(found, values))
    return or_(~found.present(), here) if None in values else here


def _inside(found: _Json, values: Sequence[Scalar]) -> Condition:
    each, element = found.elements()
    return exists(select(1).select_from(each).where(element.one_of(values)))


def _relation(left: Any, operator: Comparison, right: Any) -> Condition:
    match operator:
        case "$gt":
            return left > right
        case "$gte":
            return left >= right
        case "$lt":
            return left < right
        case "$lte":
            return left <= right
    return left == right


def _paths(field: str) -> list[list[str]]:
    """The field as one key, and, where it has dots, as a path of keys."""
    parts = field.split(".")
    return [[field]] if len(parts) == 1 or "" in parts else [[field], parts]


def _by_kind(values: Sequence[Scalar]) -> tuple[list[str], list[float], list[bool], bool]:
    """Strings, numbers, booleans, and whether null is among the values."""
    strings = [value for value in values if isinstance(value, str)]
    booleans = [value for value in values if isinstance(value, bool)]
    numbers = [
        value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return strings, numbers, booleans, None in values


# -- SQLite ---------------------------------------------------------------------------------------


class _SqliteJson:
    """A value as SQLite sees it: its JSON type, its SQL value, and its elements as JSON."""

    def __init__(self, kind: Any, atom: Any, whole: Any) -> None:
        self._kind, self._atom, self._whole = kind, atom, whole

    def present(self) -> Condition:
        return self._kind.is_not(None)

    def one_of(self, values: Sequence[Scalar]) -> Condition:
        strings, numbers, booleans, null = _by_kind(values)
        words = [*("true" if value else "false" for value in booleans), *(["null"] if null else [])]
        return or_(
            false(),
            and_(self._kind == "text", self._atom.in_(strings)) if strings else false(),
            and_(self._is_number, self._atom.in_(numbers)) if numbers else false(),
            self._kind.in_(words) if words else false(),
        )

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        fits = self._kind == "text" if isinstance(value, str) else self._is_number
        return and_(fits, _relation(self._atom, operator, literal(value)))

    def has_part(self, value: str) -> Condition:
        return and_(self._kind == "text", func.instr(self._atom, literal(value)) > 0)

    def elements(self) -> tuple[Any, "_SqliteJson"]:
        # of anything but an array, json_each would fail or mean something else
        only = case((self._kind == "array", self._whole), else_=literal("[]"))
        each = func.json_each(only).table_valued("type", "atom")
        return each, _SqliteJson(each.c.type, each.c.atom, literal("[]"))

    @property
    def _is_number(self) -> Condition:
        return self._kind.in_(("integer", "real"))


def _sqlite_field(metadata: Sequence[Any], field: str) -> _SqliteJson:
    """The value at the first place that has one: chunk before document, key before path."""
    paths = ["$" + "".join(f".{json.dumps(key)}" for key in path) for path in _paths(field)]
    places = [(column, path) for column in reversed(metadata) for path in paths]

    def first(function: Any) -> Any:
        branches = [
            (func.json_type(column, path).is_not(None), function(column, path))
            for column, path in places
        ]
        return branches[0][1] if len(branches) == 1 else case(*branches)

    value = first(func.json_extract)
    return _SqliteJson(first(func.json_type), value, value)


# -- PostgreSQL -----------------------------------------------------------------------------------


class _PostgresJson:
    """A value as a jsonb expression."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def present(self) -> Condition:
        return self._value.is_not(None)

    def one_of(self, values: Sequence[Scalar]) -> Condition:
        wanted = [_jsonb(value) for value in values]
        return self._value.in_(wanted) if wanted else false()

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        if isinstance(value, str):
            return and_(self._is("string"), _relation(self._text.collate("C"), operator, value))
        # a cast is tried before the rest of an AND is known, so it hides behind a CASE
        number = case((self._is("number"), cast(self._text, Numeric)), else_=None)
        return _relation(number, operator, literal(Decimal(repr(value)), Numeric))

    def has_part(self, value: str) -> Condition:
        return and_(self._is("string"), func.strpos(self._text, literal(value)) > 0)

    def elements(self) -> tuple[Any, "_PostgresJson"]:
        only = case((self._is("array"), self._value), else_=_jsonb([]))
        each = func.jsonb_array_elements(only).table_valued("value")
        return each, _PostgresJson(cast(each.c.value, JSONB))

    def _is(self, kind: str) -> Condition:
        return func.jsonb_typeof(self._value) == kind

    @property
    def _text(self) -> Any:
        return cast(self._value.op("#>>")(cast(array([], type_=Text), ARRAY(Text))), Text)


def _postgres_field(metadata: Sequence[Any], field: str) -> _PostgresJson:
    places = []
    for column in reversed(metadata):
        for path in _paths(field):
            value = cast(column, JSONB)
            for key in path:  # step by step: a path at once would take a number for a place
                value = cast(value.op("->")(cast(literal(key), Text)), JSONB)
            places.append(value)
    return _PostgresJson(places[0] if len(places) == 1 else cast(func.coalesce(*places), JSONB))


def _jsonb(value: Any) -> Any:
    return cast(literal(json.dumps(value), Text), JSONB)
