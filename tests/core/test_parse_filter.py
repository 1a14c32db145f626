"""Filters: understood, or refused with the place of the fault."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.filters import (
    MOST_DEPTH,
    MOST_NODES,
    MOST_VALUES,
    And,
    Compare,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    Or,
    parse_filter,
)
from embedsvc.errors import InvalidInput


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, And([])),
        ({"a": 1}, Compare("a", "$eq", 1)),
        ({"a": None}, Compare("a", "$eq", None)),
        ({"a": True}, Compare("a", "$eq", True)),
        ({"a": {"$eq": "x"}}, Compare("a", "$eq", "x")),
        ({"a": {"$ne": 1.5}}, Not(Compare("a", "$eq", 1.5))),
        ({"a": {"$gt": 1}}, Compare("a", "$gt", 1)),
        ({"a": {"$gte": 1}}, Compare("a", "$gte", 1)),
        ({"a": {"$lt": "m"}}, Compare("a", "$lt", "m")),
        ({"a": {"$lte": 1}}, Compare("a", "$lte", 1)),
        ({"a": {"$in": [1, "x", None]}}, OneOf("a", [1, "x", None])),
        ({"a": {"$in": []}}, OneOf("a", [])),
        ({"a": {"$nin": [1]}}, Not(OneOf("a", [1]))),
        ({"a": {"$exists": True}}, Exists("a")),
        ({"a": {"$exists": False}}, Not(Exists("a"))),
        ({"a": {"$contains": "x"}}, Contains("a", "x")),
        ({"a": {"$not": {"$gt": 1}}}, Not(Compare("a", "$gt", 1))),
        ({"$not": {"a": 1}}, Not(Compare("a", "$eq", 1))),
        ({"$and": [{"a": 1}, {"b": 2}]}, And([Compare("a", "$eq", 1), Compare("b", "$eq", 2)])),
        ({"$or": [{"a": 1}, {"b": 2}]}, Or([Compare("a", "$eq", 1), Compare("b", "$eq", 2)])),
        ({"a": 1, "b": 2}, And([Compare("a", "$eq", 1), Compare("b", "$eq", 2)])),
        (
            {"a": {"$gte": 1, "$lt": 3}},
            And([Compare("a", "$gte", 1), Compare("a", "$lt", 3)]),
        ),
        ({"a.b": 1}, Compare("a.b", "$eq", 1)),
        ({"a": 2**63 - 1}, Compare("a", "$eq", 2**63 - 1)),
        ({"a": -(2**63)}, Compare("a", "$eq", -(2**63))),
    ],
)
def test_a_filter_becomes_its_syntax_tree(raw: Any, expected: Filter) -> None:
    assert parse_filter(raw) == expected


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ([], "filter: "),
        ("year > 3", "filter: "),
        (None, "filter: "),
        (5, "filter: "),
        ({"a": {}}, "filter.a: "),
        ({"a": [1]}, "filter.a: "),
        ({"a": {"$foo": 1}}, "filter.a.$foo: "),
        ({"a": {"b": 1}}, "filter.a.b: "),
        ({"$foo": 1}, "filter.$foo: "),
        ({"$eq": 1}, "filter.$eq: "),
        ({"": 1}, "filter: "),
        ({"x" * 256: 1}, "filter: "),
        ({"a\0b": 1}, "filter: "),
        ({"a": "x\0y"}, "filter.a: "),
        ({"a": {"$in": ["x\0"]}}, "filter.a.$in[0]: "),
        ({"a": float("nan")}, "filter.a: "),
        ({"a": {"$gt": float("inf")}}, "filter.a.$gt: "),
        ({"a": 2**63}, "filter.a: "),
        ({"a": -(2**63) - 1}, "filter.a: "),
        ({"a": 10**400}, "filter.a: "),
        ({"a": {"$gt": None}}, "filter.a.$gt: "),
        ({"a": {"$lte": True}}, "filter.a.$lte: "),
        ({"a": {"$gte": [1]}}, "filter.a.$gte: "),
        ({"a": {"$eq": {"b": 1}}}, "filter.a.$eq: "),
        ({"a": {"$in": 1}}, "filter.a.$in: "),
        ({"a": {"$in": [[1]]}}, "filter.a.$in[0]: "),
        ({"a": {"$nin": {"x": 1}}}, "filter.a.$nin: "),
        ({"a": {"$in": list(range(MOST_VALUES + 1))}}, "filter.a.$in: "),
        ({"a": {"$exists": 1}}, "filter.a.$exists: "),
        ({"a": {"$contains": ["x"]}}, "filter.a.$contains: "),
        ({"a": {"$not": 3}}, "filter.a.$not: "),
        ({"a": {"$not": {}}}, "filter.a.$not: "),
        ({"$and": []}, "filter.$and: "),
        ({"$or": {"a": 1}}, "filter.$or: "),
        ({"$and": [{"a": 1}, 3]}, "filter.$and[1]: "),
        ({"$or": [{"a": 1}, {"b": {"$x": 1}}]}, "filter.$or[1].b.$x: "),
        ({"$not": [1]}, "filter.$not: "),
        ({"a": object()}, "filter.a: "),
        ({"a": "half \ud800"}, "filter.a: "),
        ({"half \udc00": 1}, "filter"),
    ],
)
def test_a_malformed_filter_is_refused_with_its_place(raw: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(raw)
    assert caught.value.detail.startswith(place)
    assert caught.value.code == "invalid_filter"
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize("word", ["$and", "$or", "$not"])
def test_a_filter_that_is_nested_too_deep_is_refused(word: str) -> None:
    def nested(depth: int) -> Any:
        raw: Any = {"a": 1}
        for _ in range(depth):
            raw = {word: raw} if word == "$not" else {word: [raw]}
        return raw

    parse_filter(nested(MOST_DEPTH))
    with pytest.raises(InvalidInput, match="nested deeper"):
        parse_filter(nested(MOST_DEPTH + 1))
    with pytest.raises(InvalidInput, match="nested deeper"):
        parse_filter(nested(300))


def test_a_field_with_many_nots_is_refused_too() -> None:
    raw: Any = {"$eq": 1}
    for _ in range(MOST_DEPTH + 1):
        raw = {"$not": raw}
    with pytest.raises(InvalidInput, match="nested deeper"):
        parse_filter({"a": raw})


def test_a_filter_with_too_many_conditions_is_refused() -> None:
    parse_filter({"$or": [{"a": n} for n in range(MOST_NODES // 2 - 1)]})
    with pytest.raises(InvalidInput, match="more than 256 conditions"):
        parse_filter({"$or": [{"a": n} for n in range(MOST_NODES)]})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=3),
                st.sampled_from(["$and", "$or", "$not", "$eq", "$gt", "$in", "$exists", "a"]),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_parsed_or_refused_and_nothing_else(raw: Any) -> None:
    fault = None
    try:
        parse_filter(raw)
    except InvalidInput as error:
        fault = error
    assert fault is None or fault.code == "invalid_filter"
    assert fault is None or fault.detail.startswith("filter")
