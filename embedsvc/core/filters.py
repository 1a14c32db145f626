"""Filters over metadata: parsed once into a small syntax tree, refused with the place of the fault.

    {"year": {"$gte": 2020}, "lang": {"$in": ["en", "de"]}, "$or": [{…}, {…}]}

A comparison holds only between values of one JSON type (numbers among themselves). A value that
is a list is matched by any of its elements. `$ne` and `$nin` also hold where the field is missing;
but a missing field equals null.
A dot in a field's name reaches into nested objects.

Where a collection declares a field a datetime, its strings are compared as times (core/fields.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from hashlib import sha256
from typing import Any, Literal

from embedsvc.core.tokens import storable
from embedsvc.errors import InvalidInput

Scalar = str | int | float | bool | None
Comparison = Literal["$eq", "$gt", "$gte", "$lt", "$lte"]

MOST_DEPTH = 16
MOST_NODES = 256
MOST_VALUES = 1_000
_ORDERED = ("$gt", "$gte", "$lt", "$lte")
_OPERATORS = ("$eq", "$ne", *_ORDERED, "$in", "$nin", "$exists", "$contains", "$not")
_BIGGEST = 2**63


@dataclass(frozen=True, slots=True)
class Compare:
    """The field stands in that relation to the value; `place` is where the filter says so."""

    field: str
    operator: Comparison
    value: Scalar
    place: str = attribute(default="filter", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field equals one of the values."""

    field: str
    values: Sequence[Scalar]
    place: str = attribute(default="filter", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, null counted in."""

    field: str


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a list with that element, or a string with that part."""

    field: str
    value: Scalar
    place: str = attribute(default="filter", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; none at all holds too."""

    parts: Sequence["Filter"]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds."""

    parts: Sequence["Filter"]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Filter"


Filter = Compare | OneOf | Exists | Contains | And | Or | Not


def parse_filter(raw: Any) -> Filter:
    """The syntax tree of a filter. Raises InvalidInput with the code `invalid_filter`."""
    return _Parser().filter(raw, "filter", 0)


def matches_all(where: Filter) -> bool:
    """Whether the filter says nothing, however it is wrapped, so that everything matches it."""
    match where:
        case And(parts) | Or(parts):
            return all(matches_all(part) for part in parts)
    return False


def fields_of(where: Filter) -> frozenset[str]:
    """The fields that the filter asks for."""
    match where:
        case And(parts) | Or(parts):
            return frozenset().union(*map(fields_of, parts))
        case Not(part):
            return fields_of(part)
    return frozenset((where.field,))


def fingerprint(where: Filter) -> bytes:
    """Equal for filters that say the same in the same words; true and 1 are different words."""
    return sha256(repr(where).encode()).digest()


class _Parser:
    """Counts nodes while it descends, so that a hostile filter is refused early."""

    def __init__(self) -> None:
        self._nodes = 0

    def filter(self, raw: Any, place: str, depth: int) -> Filter:
        if not isinstance(raw, Mapping):
            raise _fault(place, f"an object is needed, not {show(raw)}")
        self._count(place, depth)
        return _all([self._entry(key, value, place, depth) for key, value in raw.items()])

    def _entry(self, key: str, value: Any, place: str, depth: int) -> Filter:
        here = f"{place}.{key}"
        self._count(here, depth)
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise _fault(here, f"a list of filters is needed, not {show(value)}")
            parts = [self.filter(v, f"{here}[{i}]", depth + 1) for i, v in enumerate(value)]
            return And(parts) if key == "$and" else Or(parts)
        if key == "$not":
            return Not(self.filter(value, here, depth + 1))
        if key.startswith("$"):
            raise _fault(here, "unknown operator; here $and, $or and $not can stand")
        if not key or len(key) > 255 or not storable(key):
            raise _fault(place, f"{show(key)} is not a field name")
        return self._field(key, value, here, depth)

    def _field(self, field: str, value: Any, place: str, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            return Compare(field, "$eq", _scalar(value, place), place)
        if not value:
            raise _fault(place, 'an operator is needed, such as {"$eq": …}')
        parts = []
        for operator, operand in value.items():
            here = f"{place}.{operator}"
            self._count(here, depth)
            parts.append(self._operation(field, operator, operand, here, depth))
        return _all(parts)

    def _operation(self, field: str, operator: str, value: Any, place: str, depth: int) -> Filter:
        match operator:
            case "$eq":
                return Compare(field, "$eq", _scalar(value, place), place)
            case "$ne":
                return Not(Compare(field, "$eq", _scalar(value, place), place))
            case "$gt" | "$gte" | "$lt" | "$lte":
                scalar = _scalar(value, place)
                if scalar is None or isinstance(scalar, bool):
                    raise _fault(place, f"a number or a string is needed, not {show(value)}")
                return Compare(field, operator, scalar, place)
            case "$in" | "$nin":
                found = OneOf(field, _scalars(value, place), place)
                return found if operator == "$in" else Not(found)
            case "$exists":
                if not isinstance(value, bool):
                    raise _fault(place, f"true or false is needed, not {show(value)}")
                return Exists(field) if value else Not(Exists(field))
            case "$contains":
                return Contains(field, _scalar(value, place), place)
            case "$not":
                return Not(self._field(field, _operators(value, place), place, depth + 1))
        raise _fault(place, f"unknown operator; known are {', '.join(_OPERATORS)}")

    def _count(self, place: str, depth: int) -> None:
        self._nodes += 1
        if depth > MOST_DEPTH:
            raise _fault(place, f"nested deeper than {MOST_DEPTH}")
        if self._nodes > MOST_NODES:
            raise _fault(place, f"more than {MOST_NODES} conditions")


def _all(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else And(parts)


def _operators(value: Any, place: str) -> Any:
    if not isinstance(value, Mapping):
        raise _fault(place, f"an object of operators is needed, not {show(value)}")
    return value


def _scalars(value: Any, place: str) -> list[Scalar]:
    if not isinstance(value, list):
        raise _fault(place, f"a list is needed, not {show(value)}")
    if len(value) > MOST_VALUES:
        raise _fault(place, f"{len(value)} values; at most {MOST_VALUES} are allowed")
    return [_scalar(item, f"{place}[{i}]") for i, item in enumerate(value)]


def _scalar(value: Any, place: str) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not storable(value):
            raise _fault(place, f"{show(value)} holds a character that no text can hold")
        return value
    if isinstance(value, int) and not -_BIGGEST <= value < _BIGGEST:
        raise _fault(place, f"{show(value)} does not fit into 64 bits")
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    raise _fault(place, f"a string, number, boolean or null is needed, not {show(value)}")


def _fault(place: str, why: str) -> InvalidInput:
    return InvalidInput(f"{place[:200]}: {why}", code="invalid_filter")


def show(value: Any) -> str:
    """The value as an error message names it, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
