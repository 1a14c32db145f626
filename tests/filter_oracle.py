"""What a filter means, in plain Python, and filters with metadata to try it on.

Written from the docstrings of core/filters.py and core/fields.py, and from nothing else of ours.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

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
)

Row = tuple[Mapping[str, Any], Mapping[str, Any] | None]
"""The metadata of a document, and that of a chunk."""

MISSING = object()


# -- the oracle -----------------------------------------------------------------------------------


def lookup(field: str, row: Row) -> Any:
    """The last of (document, chunk) that has the field wins; a dot reaches into objects."""
    parts = field.split(".")
    paths = [[field]] if len(parts) == 1 or "" in parts else [[field], parts]
    for metadata in reversed(row):
        for path in paths:
            value: Any = MISSING if metadata is None else metadata
            for key in path:
                value = value.get(key, MISSING) if isinstance(value, Mapping) else MISSING
            if value is not MISSING:
                return value
    return MISSING


def kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return repr(type(value))
    return "number" if isinstance(value, int | float) else type(value).__name__


def relates(left: Any, operator: str, right: Any) -> bool:
    if kind(left) != kind(right):
        return False
    match operator:
        case "$gt":
            return bool(left > right)
        case "$gte":
            return bool(left >= right)
        case "$lt":
            return bool(left < right)
        case "$lte":
            return bool(left <= right)
    return bool(left == right)


def compares(value: Any, operator: str, scalar: Scalar) -> bool:
    if value is MISSING:
        return scalar is None  # as in MongoDB: what is missing equals null
    elements = value if isinstance(value, list) else [value]
    return any(relates(element, operator, scalar) for element in elements)


def time(value: Any) -> Any:
    """A string of a datetime field as a time, alone or in a list."""
    if isinstance(value, list):
        return [time(element) for element in value]
    if not isinstance(value, str):
        return value
    whole = value.upper() if len(value) > 10 else f"{value}T00:00:00Z"
    return datetime.fromisoformat(whole)


def holds(where: Filter, row: Row, times: frozenset[str] = frozenset()) -> bool:
    """Whether the row satisfies the filter; `times` are the fields declared as datetimes."""
    match where:
        case And(parts):
            return all(holds(part, row, times) for part in parts)
        case Or(parts):
            return any(holds(part, row, times) for part in parts)
        case Not(part):
            return not holds(part, row, times)
    value = lookup(where.field, row)
    read = time if where.field in times else lambda given: given
    value = read(value)
    match where:
        case Exists():
            return value is not MISSING
        case Compare(_, operator, scalar):
            return compares(value, operator, read(scalar))
        case OneOf(_, scalars):
            return any(compares(value, "$eq", read(scalar)) for scalar in scalars)
        case Contains(_, scalar):
            scalar = read(scalar)
            if isinstance(value, str) and isinstance(scalar, str):
                return scalar in value
            return isinstance(value, list) and any(relates(v, "$eq", scalar) for v in value)
    raise AssertionError(where)


# -- things to try it on ------------------------------------------------------------------------

KEYS = ["a", "b", "a.b", 'q"u', "é😀", "0", "b\\s", "x y", "a.b.a", "[0]", "{a,b}", "'", "%", "#-1"]
FIELDS = [*KEYS, "a.0", "b.a", "a..b", ".a", "b.b\\s", "a.#-1", "zzz"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 0.0, 1.0, 0.5, 2**53, 2**53 + 1, 2**31, 2**63 - 1, -(2**63)]),
    st.sampled_from([2**62, float(2**62), -(2.0**63), 2.0**63, 1e20]),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "a", "b", "ab", "A", "1", "é", "東", "😀", "%", "_", "\\", '"', "'", "null"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=4),
    st.dictionaries(
        st.sampled_from(KEYS),
        st.one_of(SCALARS, st.dictionaries(st.sampled_from(KEYS), SCALARS, max_size=2)),
        max_size=3,
    ),
)
METADATA = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5)
ROWS = st.lists(st.tuples(METADATA, st.one_of(st.none(), METADATA)), min_size=1, max_size=4)
ORDERABLE = SCALARS.filter(lambda value: value is not None and not isinstance(value, bool))


def operations(seen: st.SearchStrategy[Any], ordered: st.SearchStrategy[Any]) -> Any:
    return st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), seen),
        st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
        st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(seen, max_size=3)),
        st.tuples(st.just("$exists"), st.booleans()),
    ).map(lambda pair: dict([pair]))


def gather(value: Any) -> list[Any]:
    """All scalars inside a JSON value."""
    if isinstance(value, Mapping):
        return [scalar for inner in value.values() for scalar in gather(inner)]
    if isinstance(value, list | tuple):
        return [scalar for inner in value for scalar in gather(inner)]
    return [value]


def leaves(fields: Sequence[str], there: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Conditions on undeclared fields, over values that are there more often than not."""
    seen = st.one_of(st.sampled_from(there), SCALARS) if there else SCALARS
    good = [value for value in there if value is not None and not isinstance(value, bool)]
    ordered = st.one_of(st.sampled_from(good), ORDERABLE) if good else ORDERABLE
    operation = operations(seen, ordered)
    return st.tuples(
        st.sampled_from(fields),
        st.one_of(operation, seen, operation.map(lambda inner: {"$not": inner})),
    ).map(lambda pair: dict([pair]))


def trees(leaf: st.SearchStrategy[Any], most: int = 4) -> st.SearchStrategy[Any]:
    """Filters of up to so many conditions."""
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
            inner.map(lambda part: {"$not": part}),
        ),
        max_leaves=most,
    )


@st.composite
def cases(draw: Any) -> tuple[Any, list[Row]]:
    """Rows, and a filter over values that occur in them more often than not."""
    rows: list[Row] = draw(ROWS)
    return draw(trees(leaves(FIELDS, gather(rows)))), rows
