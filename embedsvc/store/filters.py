"""Filters compiled to SQL over JSON metadata, for SQLite and PostgreSQL alike.

Where several metadata columns are given (document, chunk), the last one that has the field wins.
Values are always bound, never spelled into the statement.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import (
    REAL,
    TIMESTAMP,
    ColumnElement,
    Integer,
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

from embedsvc.core.fields import Fields, microseconds, paths
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

_NONE: Fields = {}


class _Json(Protocol):
    """A JSON value inside a row: what a comparison needs of it."""

    def present(self) -> Condition: ...
    def is_list(self) -> Condition: ...
    def one_of(self, values: Sequence[Scalar]) -> Condition: ...
    def ordered(self, operator: Comparison, value: str | float) -> Condition: ...
    def has_part(self, value: str) -> Condition: ...
    def elements(self) -> tuple[Any, "_Json"]: ...


def compile_filter(
    where: Filter, metadata: Sequence[Any], dialect: str, fields: Fields = _NONE
) -> Condition:
    """The SQL condition of a filter over the given metadata columns.

    `fields` tells which ones are datetimes; values and filter must fit them.
    """
    make = _sqlite_field if dialect == "sqlite" else _postgres_field

    def field_of(field: str) -> _Json:
        return make(metadata, field, is_time=fields.get(field) == "datetime")

    def build(node: Filter) -> Condition:
        match node:
            case And(parts):
                return and_(true(), *(build(part) for part in parts))
            case Or(parts):
                return or_(false(), *(build(part) for part in parts))
            case Not(part):
                return ~func.coalesce(build(part), false())
            case Exists(field):
                return field_of(field).present()
            case Compare(field, "$eq", scalar):
                return _equals(field_of(field), [scalar])
            case Compare(field, operator, scalar):
                assert scalar is not None
                assert not isinstance(scalar, bool)
                found = field_of(field)
                each, element = found.elements()
                inside = exists(
                    select(1).select_from(each).where(element.ordered(operator, scalar))
                )
                return case((found.is_list(), inside), else_=found.ordered(operator, scalar))
            case OneOf(field, scalars):
                return _equals(field_of(field), scalars)
            case Contains(field, scalar):
                found = field_of(field)
                inside_it = found.has_part(scalar) if isinstance(scalar, str) else false()
                return case((found.is_list(), _inside(found, [scalar])), else_=inside_it)

    return build(where)


def _equals(found: _Json, values: Sequence[Scalar]) -> Condition:
    """The value, or an element of it, is one of the values; a missing field equals null."""
    here = case((found.is_list(), _inside(found, values)), else_=found.one_of(values))
    return or_(~found.present(), here) if None in values else here


def _inside(found: _Json, values: Sequence[Scalar]) -> Condition:
    each, element = found.elements()
    return exists(select(1).select_from(each).where(element.one_of(values)))


def relation(left: Any, operator: Comparison, right: Any) -> Condition:
    """`left operator right` in SQL."""
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


def has_part(text: Any, part: str, dialect: str) -> Condition:
    """Whether the part stands in the text."""
    find = func.instr if dialect == "sqlite" else func.strpos
    return find(text, literal(part)) > 0


def _times(values: Sequence[Scalar]) -> list[int]:
    return [time for value in values if (time := microseconds(value)) is not None]


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

    def is_list(self) -> Condition:
        return self._kind == "array"

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
        return and_(fits, relation(self._atom, operator, literal(value)))

    def has_part(self, value: str) -> Condition:
        return and_(self._kind == "text", has_part(self._atom, value, "sqlite"))

    def elements(self) -> tuple[Any, "_SqliteJson"]:
        # of anything but an array, json_each would fail or mean something else
        only = case((self._kind == "array", self._whole), else_=literal("[]"))
        each = func.json_each(only).table_valued("type", "atom")
        return each, type(self)(each.c.type, each.c.atom, literal("[]"))

    @property
    def _is_number(self) -> Condition:
        return self._kind.in_(("integer", "real"))


class _SqliteTime(_SqliteJson):
    """A value that is a time as in RFC 3339."""

    def one_of(self, values: Sequence[Scalar]) -> Condition:
        null = self._kind == "null" if None in values else false()
        times = _times(values)
        return or_(null, and_(self._kind == "text", self._time.in_(times)) if times else false())

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        wanted = literal(microseconds(value))
        return and_(self._kind == "text", relation(self._time, operator, wanted))

    def has_part(self, value: str) -> Condition:
        return false()

    @property
    def _time(self) -> Any:
        """Microseconds since 1970. strftime would round the fraction, so that is read apart."""
        text = func.upper(self._atom)
        has_zone = and_(func.length(text) > 10, func.substr(text, -1) != "Z")
        zone = case((has_zone, func.substr(text, -6)), else_="")
        seconds = cast(func.strftime("%s", func.substr(text, 1, 19).concat(zone)), Integer)
        fraction = cast(literal("0").concat(func.substr(text, 20, 7)), REAL)
        return seconds * 1_000_000 + cast(func.round(fraction * 1_000_000), Integer)


def _sqlite_field(metadata: Sequence[Any], field: str, *, is_time: bool) -> _SqliteJson:
    """The value at the first place that has one: chunk before document, key before path."""
    ways = ["$" + "".join(f".{json.dumps(key)}" for key in path) for path in paths(field)]
    places = [(column, path) for column in reversed(metadata) for path in ways]

    def first(function: Any) -> Any:
        branches = [
            (func.json_type(column, path).is_not(None), function(column, path))
            for column, path in places
        ]
        return branches[0][1] if len(branches) == 1 else case(*branches)

    value = first(func.json_extract)
    return (_SqliteTime if is_time else _SqliteJson)(first(func.json_type), value, value)


# -- PostgreSQL -----------------------------------------------------------------------------------


class _PostgresJson:
    """A value as a jsonb expression."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def present(self) -> Condition:
        return self._value.is_not(None)

    def is_list(self) -> Condition:
        return self._is("array")

    def one_of(self, values: Sequence[Scalar]) -> Condition:
        strings, numbers, booleans, null = _by_kind(values)
        others = [*strings, *booleans, *([None] if null else [])]
        wanted = [_jsonb(json.dumps(value)) for value in others]
        wanted += [_jsonb(f"{number:f}") for value in numbers for number in decimals(value)]
        return self._value.in_(wanted) if wanted else false()

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        if isinstance(value, str):
            return and_(self._is("string"), relation(self._text.collate("C"), operator, value))
        # a cast is tried before the rest of an AND is known, so it hides behind a CASE
        number = case((self._is("number"), cast(self._text, Numeric)), else_=None)
        return decimal_relation(number, operator, value)

    def has_part(self, value: str) -> Condition:
        return and_(self._is("string"), has_part(self._text, value, "postgresql"))

    def elements(self) -> tuple[Any, "_PostgresJson"]:
        only = case((self._is("array"), self._value), else_=_jsonb("[]"))
        each = func.jsonb_array_elements(only).table_valued("value")
        return each, type(self)(cast(each.c.value, JSONB))

    def _is(self, kind: str) -> Condition:
        return func.jsonb_typeof(self._value) == kind

    @property
    def _text(self) -> Any:
        return cast(self._value.op("#>>")(cast(array([], type_=Text), ARRAY(Text))), Text)


class _PostgresTime(_PostgresJson):
    """A value that is a time as in RFC 3339."""

    def one_of(self, values: Sequence[Scalar]) -> Condition:
        null = self._is("null") if None in values else false()
        return or_(null, self._time.in_([_moment(time) for time in _times(values)]))

    def ordered(self, operator: Comparison, value: str | float) -> Condition:
        wanted = microseconds(value)
        return false() if wanted is None else relation(self._time, operator, _moment(wanted))

    def has_part(self, value: str) -> Condition:
        return false()

    @property
    def _time(self) -> Any:
        cut = func.regexp_replace(func.upper(self._text), r"(\.\d{6})\d+", r"\1")
        whole = case((func.length(cut) == 10, cut.concat("T00:00:00Z")), else_=cut)
        return case((self._is("string"), cast(whole, TIMESTAMP(timezone=True))), else_=None)


def _moment(time: int) -> Any:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return literal(at, TIMESTAMP(timezone=True))


def _postgres_field(metadata: Sequence[Any], field: str, *, is_time: bool) -> _PostgresJson:
    places = []
    for column in reversed(metadata):
        for path in paths(field):
            value = cast(column, JSONB)
            for key in path:  # step by step: a path at once would take a number for a place
                value = cast(value.op("->")(cast(literal(key), Text)), JSONB)
            places.append(value)
    value = places[0] if len(places) == 1 else cast(func.coalesce(*places), JSONB)
    return (_PostgresTime if is_time else _PostgresJson)(value)


def _jsonb(text: str) -> Any:
    return cast(literal(text, Text), JSONB)


def decimals(value: float) -> list[Decimal]:
    """The number as PostgreSQL may hold it: exactly, and as a float of that value is written.

    They differ from about 1e16: 2**62 as a float is written 4.611686018427388e+18.
    """
    written = Decimal(repr(value))
    if value != int(value) or float(value) != value:
        return [written]
    return [Decimal(value), *({written, Decimal(repr(float(value)))} - {Decimal(value)})]


def decimal_relation(left: Any, operator: Comparison, value: float) -> Condition:
    """`left operator value` in PostgreSQL, where `left` is one of `decimals(value)` if equal."""
    exact, *written = (literal(number, Numeric) for number in decimals(value))
    if operator in ("$gte", "$lte", "$eq"):
        return or_(relation(left, operator, exact), *(left == one for one in written))
    return and_(relation(left, operator, exact), *(left != one for one in written))
