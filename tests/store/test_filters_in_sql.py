"""Filters in SQL mean on both databases what a few lines of Python say they mean."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from filter_oracle import Row, cases, holds
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from embedsvc.core.filters import parse_filter
from embedsvc.store.database import Database
from embedsvc.store.filters import compile_filter
from embedsvc.store.tables import Json

probe = Table(
    "probe",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("outer", Json, nullable=False),
    Column("own", Json),
)
Ask = Callable[[Any, Sequence[Row]], list[bool]]
LONG = bool(os.environ.get("FUZZ"))


class _Undo(Exception):
    pass


@pytest.fixture
def ask(database: Database) -> Ask:
    """`ask(filter, rows)`: which of the rows the database says match."""
    database.alone(lambda tx: probe.create(tx))

    def ask_(raw: Any, rows: Sequence[Row]) -> list[bool]:
        where = parse_filter(raw)
        found: set[int] = set()

        def work(tx: Any) -> None:
            tx.execute(
                insert(probe),
                [{"id": i, "outer": outer, "own": own} for i, (outer, own) in enumerate(rows)],
            )
            condition = compile_filter(where, [probe.c.outer, probe.c.own], tx.dialect.name)
            found.update(tx.execute(select(probe.c.id).where(condition)).scalars())
            raise _Undo

        with pytest.raises(_Undo):
            database.alone(work)
        return [i in found for i in range(len(rows))]

    return ask_


def agree(ask: Ask, raw: Any, rows: Sequence[Row]) -> None:
    assert ask(raw, rows) == [holds(parse_filter(raw), row) for row in rows]


# -- fuzz ---------------------------------------------------------------------------------------


@settings(
    max_examples=10_000 if LONG else 250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cases())
def test_the_database_and_python_agree_on_every_filter(ask: Ask, case: Any) -> None:
    raw, rows = case
    agree(ask, raw, rows)


# -- the same, point by point --------------------------------------------------------------------


def only(*values: Any) -> list[Row]:
    return [({"a": value}, None) for value in values] + [({}, None)]


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"a": 1},
        {"a": {"$ne": 1}},
        {"a": "1"},
        {"a": True},
        {"a": {"$nin": [1, "x"]}},
        {"a": {"$in": []}},
        {"a": {"$nin": []}},
        {"a": {"$gt": 0}},
        {"a": {"$gt": ""}},
        {"a": {"$lte": "x"}},
        {"a": {"$exists": True}},
        {"a": {"$exists": False}},
        {"a": {"$contains": "x"}},
        {"a": {"$contains": ""}},
        {"a": {"$contains": 1}},
        {"a": {"$contains": None}},
        {"a": {"$not": {"$gt": 0}}},
        {"$not": {"a": {"$exists": True}}},
    ],
)
def test_values_of_every_type_meet_every_operator(ask: Ask, raw: Any) -> None:
    values = [
        *(0, 1, 1.0, -1, 0.5, True, False, None, "", "1", "x", "xyz", "X", [], [1], ["x"]),
        *([None], [True, 0], [[1]], {"x": 1}, {}, [{"x": 1}], "true", "null", "[1]", '{"x":1}'),
    ]
    agree(ask, raw, only(*values))


@pytest.mark.parametrize("raw", [{"a": None}, {"a": {"$ne": None}}, {"a": {"$in": [None, 7]}}])
def test_null_equals_null_and_missing(ask: Ask, raw: Any) -> None:
    agree(ask, raw, only(None, 0, False, "", "null", [], {}, 7))


@pytest.mark.parametrize("raw", [{"a": None}, {"a": {"$in": [None]}}, {"a": {"$ne": None}}])
def test_null_is_found_in_a_list_as_any_other_element(ask: Ask, raw: Any) -> None:
    agree(ask, raw, only([None], [1, None], [1], [[None]]))


@pytest.mark.parametrize("operator", ["$eq", "$gt", "$gte", "$lt", "$lte"])
@pytest.mark.parametrize(
    "number",
    [
        0.1 + 0.2,
        1 / 3,
        1e-300,
        1.7976931348623157e308,
        5e-324,
        2**53 + 1,
        2**63 - 1,
        1e15 + 0.3,
        -0.0,
    ],
)
def test_numbers_are_compared_exactly(ask: Ask, operator: str, number: float) -> None:
    near = [number, number + 1, number - 1, float(number), [number], 0.3, 0]
    agree(ask, {"a": {operator: number}}, only(*near))


def test_integers_beyond_64_bits_are_numbers_too(ask: Ask) -> None:
    rows = only(10**20, -(10**20), 10**40, 1)
    agree(ask, {"a": {"$gt": 2**63 - 1}}, rows)
    agree(ask, {"a": {"$lt": 0}}, rows)
    agree(ask, {"a": 1e20}, rows)


def test_strings_are_ordered_by_code_point(ask: Ask) -> None:
    words = ["", "A", "Z", "_", "a", "z", "é", "東", "\uffff", "😀", "ab", "a b"]
    for word in words:
        agree(ask, {"a": {"$lt": word}}, only(*words))


def test_the_chunk_wins_over_its_document_even_with_null(ask: Ask) -> None:
    rows: list[Row] = [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 2}),
        ({"a": 1}, {"a": None}),
        ({"a": 1}, None),
        ({}, {"a": 1}),
        ({"a": {"b": 1}}, {"a.b": 2}),
        ({"a.b": 1}, {"a": {"b": 2}}),
        ({"a.b": 1, "a": {"b": 2}}, None),
    ]
    for raw in ({"a": 1}, {"a": None}, {"a.b": 1}, {"a.b": 2}, {"a": {"$exists": True}}):
        agree(ask, raw, rows)


def test_a_dot_reaches_into_objects_and_not_into_lists(ask: Ask) -> None:
    rows = only({"b": 1}, {"b": {"c": 1}}, [1], [{"b": 1}], [[1]], {"0": 1}, {"": 1})
    for field in ("a.b", "a.b.c", "a.0", "a.-1", "a.#-1", "a.", "a.[0]", "a..b"):
        agree(ask, {field: 1}, rows)
        agree(ask, {field: {"$exists": True}}, rows)


@pytest.mark.parametrize(
    "field",
    [
        'a"b',
        "a'b",
        "a\\b",
        "$.a"[1:],
        "a b",
        "é",
        "😀",
        "a/b",
        "%s",
        ":x",
        "[0]",
        "{a}",
        "a,b",
        '"',
        "\\",
    ],
)
def test_a_field_can_have_any_name(ask: Ask, field: str) -> None:
    rows: list[Row] = [({field: 1}, None), ({field: 2}, None), ({"a": 1}, None)]
    agree(ask, {field: 1}, rows)
    agree(ask, {field: {"$exists": False}}, rows)


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "'", '"', "'; DROP TABLE probe; --", ":a", "%(a)s"]
)
def test_a_value_is_never_spelled_into_the_statement(ask: Ask, text: str) -> None:
    rows = only(text, f"x{text}y", "other", [text])
    agree(ask, {"a": text}, rows)
    agree(ask, {"a": {"$contains": text}}, rows)


def test_a_large_filter_still_runs(ask: Ask) -> None:
    rows = only(*range(5))
    agree(ask, {"$or": [{"a": n} for n in range(120)]}, rows)
    deep: Any = {"a": 1}
    for _ in range(5):
        deep = {"$not": {"$and": [{"$or": [deep]}]}}
    agree(ask, deep, rows)


@pytest.mark.parametrize(
    "where", [{"a": {"$in": list(range(3, 1_003))}}, {"a": {"$in": ["x"] * 999}}]
)
def test_a_list_of_a_thousand_values_is_looked_up_as_one(
    ask: Ask, database: Database, where: Any
) -> None:
    """Its statement has no more conditions than that of a short list, so it takes no longer."""
    agree(ask, where, only(*range(5), "x"))

    def conditions(raw: Any) -> int:
        columns = [probe.c.outer, probe.c.own]

        def work(tx: Any) -> int:
            made = compile_filter(parse_filter(raw), columns, tx.dialect.name)
            return len(re.findall(r"\b(?:AND|OR|EXISTS|CASE)\b", str(made.compile(tx))))

        return database.alone(work)

    short = {"a": {"$in": where["a"]["$in"][:3]}}
    assert conditions(where) == conditions(short) > 0
