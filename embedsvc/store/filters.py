"""Filters compiled to SQL over JSON metadata, for SQLite and PostgreSQL alike.

Where several metadata columns are given (document, chunk), the last one that has the field wins.
Values are always bound, never spelled into the statement.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Numeric,
    Text,
    and_,
    bindparam,
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


class _Value(Protocol):
    """A JSON value inside a row: what a comparison needs of it."""

    def present(self) -> Condition: ...
    def is_null(self) -> Condition: ...
    def equals(self, value: Scalar) -> Condition: ...
    def ordered(self, operator: Comparison, value: str | float) -> Condition: ...
    def any_element(self, operator: Comparison, value: Scalar) -> Condition: ...
    def has_part(self, value: str) -> Condition: ...


def compile_filter(where: Filter, metadata: Sequence[Any], dialect: str) -> Condition:
    """The SQL condition of a filter over the given metadata columns."""
    value = _SqliteValue if dialect == "sqlite" else _PostgresValue

    def build(node: Filter) -> Condition:
        match node:
            case And(parts):
                return and_(true(), *(build(part) for part in parts))
            case Or(parts):
                return or_(false(), *(build(part) for part in parts))
            case Not(part):
                return ~func.coalesce(build(part), false())
            case Exists(field):
                return value(metadata, field).present()
            case Compare(field, operator, scalar):
                return _compare(value(metadata, field), operator, scalar)
            case OneOf(field, scalars):
                found = value(metadata, field)
                return or_(false(), *(_compare(found, "$eq", scalar) for scalar in scalars))
            case Contains(field, scalar):
                found = value(metadata, field)
                inside = found.any_element("$eq", scalar)
                return or_(inside, found.has_part(scalar)) if isinstance(scalar, str) else inside

    return build(where)


def _compare(found: _Value, operator: Comparison, scalar: Scalar) -> Condition:
    if scalar is None:
        return or_(~found.present(), found.is_null())
    inside = found.any_element(operator, scalar)
    if operator == "$eq":
        return or_(found.equals(scalar), inside)
    assert not isinstance(scalar, bool)
    return or_(found.ordered(operator, scalar), inside)


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


class _SqliteValue:
    def __init__(self, metadata: Sequence[Any], field: str) -> None:
        quoted = ["$" + "".join(f".{json.dumps(key)}" for key in path) for path in _paths(field)]
        self._places = [(column, path) for column in reversed(metadata) for path in quoted]

    def _first(self, function: Any) -> Any:
        """The value at the first place that has one, in the order of `_places`."""
        kinds = [(func.json_type(column, path), column, path) for column, path in self._places]
        branches = [(kind.is_not(None), function(column, path)) for kind, column, path in kinds]
        return branches[0][1] if len(branches) == 1 else case(*branches)

    @property
    def _kind(self) -> Any:
        return self._first(func.json_type)

    def present(self) -> Condition:
        return self._kind.is_not(None)

    def is_null(self) -> Condition:
        return self._kind == "null"

    def equals(self, value: Scalar) -> Condition:
        if isinstance(value, bool):
            return self._kind == ("true" if value else "false")
        assert value is not None
        return self.ordered("$eq", value)

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        kinds = ("text",) if isinstance(value, str) else ("integer", "real")
        atom = self._first(func.json_extract)
        return and_(self._kind.in_(kinds), _relation(atom, operator, literal(value)))

    def any_element(self, operator: Comparison, value: Scalar) -> Condition:
        each = func.json_each(self._first(func.json_extract)).table_valued("type", "atom")
        if isinstance(value, bool) or value is None:
            word = "null" if value is None else "true" if value else "false"
            inner = each.c.type == word
        else:
            kinds = ("text",) if isinstance(value, str) else ("integer", "real")
            inner = and_(each.c.type.in_(kinds), _relation(each.c.atom, operator, literal(value)))
        # json_each of anything but an array would fail or mean something else
        return case(
            (self._kind == "array", exists(select(1).select_from(each).where(inner))), else_=false()
        )

    def has_part(self, value: str) -> Condition:
        atom = self._first(func.json_extract)
        return and_(self._kind == "text", func.instr(atom, literal(value)) > 0)


class _PostgresValue:
    def __init__(self, metadata: Sequence[Any], field: str) -> None:
        places = [
            column.op("#>")(_text_array(path))
            for column in reversed(metadata)
            for path in _paths(field)
        ]
        self._json = cast(places[0] if len(places) == 1 else func.coalesce(*places), JSONB)

    @property
    def _kind(self) -> Any:
        return func.jsonb_typeof(self._json)

    def present(self) -> Condition:
        return self._json.is_not(None)

    def is_null(self) -> Condition:
        return self._kind == "null"

    def equals(self, value: Scalar) -> Condition:
        return self._json == cast(bindparam(None, value, type_=JSONB), JSONB)

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        return _postgres_atom(self._json, operator, value)

    def any_element(self, operator: Comparison, value: Scalar) -> Condition:
        elements = case((self._kind == "array", self._json), else_=cast(literal("[]", Text), JSONB))
        each = func.jsonb_array_elements(elements).table_valued("value")
        element = cast(each.c.value, JSONB)
        if value is None:
            inner: Condition = func.jsonb_typeof(element) == "null"
        elif operator == "$eq":
            inner = element == cast(bindparam(None, value, type_=JSONB), JSONB)
        else:
            assert not isinstance(value, bool)
            inner = _postgres_atom(element, operator, value)
        return exists(select(1).select_from(each).where(inner))

    def has_part(self, value: str) -> Condition:
        atom = self._json.op("#>>")(_text_array([]))
        return and_(self._kind == "string", func.strpos(cast(atom, Text), literal(value)) > 0)


def _postgres_atom(json_value: Any, operator: Comparison, value: str | float) -> Condition:
    kind = func.jsonb_typeof(json_value)
    atom = cast(json_value.op("#>>")(_text_array([])), Text)
    if isinstance(value, str):
        return and_(kind == "string", _relation(atom.collate("C"), operator, literal(value)))
    # a cast is tried before the rest of an AND is known, so it hides behind a CASE
    number = case((kind == "number", cast(atom, Numeric)), else_=None)
    return _relation(number, operator, cast(literal(value), Numeric))


def _text_array(path: Sequence[str]) -> Any:
    return cast(array(list(path), type_=Text), ARRAY(Text))
