"""Declared fields: what a value of each type is, and where the metadata of a chunk has it.

    "fields": {"year": "integer", "tags": "string", "published": "datetime"}

A declared field holds values of its type, lists of them, or null. A datetime is written as in
RFC 3339 and compared as a time, down to the microsecond.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from embedsvc.core.filters import (
    And,
    Compare,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    Or,
    Scalar,
    show,
)
from embedsvc.core.model import FieldType, Metadata
from embedsvc.core.tokens import storable
from embedsvc.errors import InvalidInput

Fields = Mapping[str, FieldType]

MOST_FIELDS = 100
MOST_NAME_BYTES = 250

_NAMES: Mapping[FieldType, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "datetime": "a datetime such as 2024-05-31T12:00:00Z",
}
_BITS = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-](?:0\d|1[0-4]):\d\d))?",
    re.ASCII,
)


class _Missing:
    """The one value of its class says that metadata does not have a field."""


MISSING: Final = _Missing()


@lru_cache(maxsize=4_096)
def paths(field: str) -> tuple[tuple[str, ...], ...]:
    """The field as one key, and, where it has dots, as a path of keys; the first found counts."""
    parts = tuple(field.split("."))
    return ((field,),) if len(parts) == 1 or "" in parts else ((field,), parts)


def value_of(field: str, *metadata: Metadata | None) -> Any:
    """The value of a field in the first metadata that has it (chunk before document), or MISSING.

    A dot in its name reaches into objects.
    """
    for one in metadata:
        for path in paths(field) if one is not None else ():
            value: Any = one
            for key in path:
                value = value.get(key, MISSING) if isinstance(value, Mapping) else MISSING
            if value is not MISSING:
                return value
    return MISSING


def is_integer(value: Any) -> bool:
    """Whether it is a whole number of 64 bits, even when it is written 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_BITS <= value < _BITS and value == int(value)


def is_number(value: Any) -> bool:
    """Whether it is a number that a float can come near to."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def microseconds(text: Any) -> int | None:
    """Microseconds since 1970 of a time or date as in RFC 3339; None when it is not one.

    A date is its first moment in UTC. What is finer than a microsecond is cut off.
    """
    found = _DATETIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{(zone or 'Z').upper()}")
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (at - _EPOCH) // timedelta(microseconds=1) + int((fraction or "")[:6].ljust(6, "0"))


_FITS: Mapping[FieldType, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": is_integer,
    "number": is_number,
    "boolean": lambda value: isinstance(value, bool),
    "datetime": lambda value: microseconds(value) is not None,
}


def misfit(place: str, kind: FieldType, value: Any) -> str | None:
    """What is wrong with a stored value of a declared field, in words; None when it fits."""
    values: Iterable[tuple[str, Any]] = [(place, value)]
    if isinstance(value, list | tuple):
        values = ((f"{place}[{i}]", element) for i, element in enumerate(value))
    for where, one in values:
        if one is not None and not _FITS[kind](one):
            return f"{where[:200]}: {_wrong(kind, one)}"
    return None


def check_values(place: str, metadata: Metadata | None, fields: Fields) -> None:
    """Refuse metadata with a value of another type than its field is declared, naming both."""
    if not metadata:
        return
    for field, kind in fields.items():
        value = value_of(field, metadata)
        wrong = None if value is MISSING else misfit(f"{place}.{field}", kind, value)
        if wrong is not None:
            raise InvalidInput(f"{wrong}; the collection declares it so")


def check_fields(fields: Fields) -> None:
    """Refuse names that no field can have, and more fields than a collection can declare."""
    if len(fields) > MOST_FIELDS:
        raise InvalidInput(f"fields: {len(fields)} of them; at most {MOST_FIELDS} can be declared")
    for name in fields:
        printable = name.isprintable() and storable(name)
        if not name or name.startswith("$") or not printable:
            raise InvalidInput(f"fields: {show(name)} is not a name of a field")
        if len(name.encode()) > MOST_NAME_BYTES:
            raise InvalidInput(
                f"fields: the name {show(name)} has {len(name.encode())} bytes; "
                f"at most {MOST_NAME_BYTES} are allowed"
            )


def check_filter(where: Filter, fields: Fields) -> None:
    """Refuse a filter that compares a declared field with a value of another type.

    Raises InvalidInput with the code `invalid_filter`, naming the place.
    """
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                check_filter(part, fields)
        case Not(part):
            check_filter(part, fields)
        case Compare(field, _, value) | Contains(field, value):
            _check(where.place, field, [value], fields)
        case OneOf(field, values):
            _check(where.place, field, values, fields)
        case Exists():
            pass


def _check(place: str, field: str, values: Sequence[Scalar], fields: Fields) -> None:
    if field not in fields:
        return
    kind = fields[field]
    for value in values:
        if value is not None and not _FITS[kind](value):
            raise InvalidInput(
                f"{place[:200]}: {_wrong(kind, value)}; the collection declares {field!r} so",
                code="invalid_filter",
            )


def _wrong(kind: FieldType, value: Any) -> str:
    too_big = kind in ("integer", "number") and isinstance(value, int | float) and value is not True
    bits = " of 64 bits" if too_big and value is not False and abs(value) >= _BITS else ""
    return f"{show(value)} is not {_NAMES[kind]}{bits}"
