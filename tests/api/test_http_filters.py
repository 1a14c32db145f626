"""Filters over HTTP: what they find, and how they are refused, at each door that takes one."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

C = "/v1/collections/c"
DOORS = ["search", "list", "delete"]
MOST_SECONDS = 1.0  # milliseconds, on a machine that does other things too

Ask = Callable[[str, Any], Any]


@pytest.fixture(scope="module")
def ask(either: Any) -> Ask:
    """`ask(door, filter)`: the answer of one of the doors; a filter as text is sent as it is."""
    either(
        "PUT",
        C,
        json={"fields": {"year": "integer", "lang": "string", "at": "datetime", "on": "boolean"}},
    )
    either.add(
        *(
            {
                "id": f"d{n}",
                "text": f"text {n}",
                "metadata": {"year": 2000 + n, "lang": "en", "at": "2024-05-31", "free": [n, "x"]},
            }
            for n in range(5)
        )
    )

    def ask_(door: str, where: Any) -> Any:
        text = sent(where)
        if door == "list":
            return either("GET", f"{C}/documents?filter={quote(text)}")
        query = '"query": "text", ' if door == "search" else ""
        return either(
            "POST",
            f"{C}/{door}",
            content=f'{{{query}"filter": {text}}}',
            headers={"content-type": "application/json"},
        )

    return ask_


def deep(levels: int, word: str = "$not") -> str:
    inside = f'{{"{word}":' if word == "$not" else f'{{"{word}":[' + '{"a":1},'
    end = "}" if word == "$not" else "]}"
    return inside * levels + '{"a":1}' + end * levels


HOSTILE = {
    "deep": (deep(1_000), "filter"),
    "deep lists": (deep(1_000, "$or"), "filter"),
    "too deep": (deep(17), "nested deeper than 16"),
    "deeper than Python": (deep(100_000), ""),
    "a tower of arrays": ('{"a":' + "[" * 1_000 + "]" * 1_000 + "}", ""),
    "wide": (json.dumps({f"f{n}": n for n in range(100_000)}), "more than 256 conditions"),
    "wide list": (json.dumps({"$or": [{"a": 1}] * 100_000}), "more than 256 conditions"),
    "many values": (json.dumps({"a": {"$in": list(range(10_000))}}), "filter.a.$in: 10000 values"),
    "a long name": (json.dumps({"a" * 100_000: 1}), "field name"),
    "a long operator": (json.dumps({"a": {"$" + "x" * 100_000: 1}}), "unknown operator"),
    "a huge number": ('{"a": 1' + "0" * 5_000 + "}", "filter"),
    "$where": ({"$where": "this.a == 1"}, "filter.$where: unknown operator"),
    "$where inside": ({"a": {"$where": "1"}}, "filter.a.$where: unknown operator"),
    "$expr": ({"$expr": {"$gt": ["$a", 1]}}, "filter.$expr"),
    "$regex": ({"a": {"$regex": ".*"}}, "filter.a.$regex: unknown operator"),
    "no operator": ({"a": {}}, "filter.a: an operator is needed"),
    "no operator behind $not": ({"a": {"$not": {}}}, "filter.a.$not: an operator is needed"),
    "no list": ({"a": {"$in": "x"}}, "filter.a.$in: a list is needed"),
    "an empty $or": ({"$or": []}, "filter.$or: a list of filters is needed"),
    "an empty $and": ({"$and": []}, "filter.$and: a list of filters is needed"),
    "no filters": ({"$and": [1]}, "filter.$and[0]: an object is needed"),
    "$not of a list": ({"$not": []}, "filter.$not: an object is needed"),
    "a plain list": ({"a": [1]}, "filter.a: a string, number, boolean or null is needed"),
    "an object": ({"a": {"$eq": {}}}, "filter.a.$eq: a string, number"),
    "an order of booleans": ({"a": {"$gt": True}}, "filter.a.$gt: a number or a string"),
    "$exists of a word": ({"a": {"$exists": "yes"}}, "filter.a.$exists: true or false"),
    "an empty name": ({"": 1}, "filter: '' is not a field name"),
    "a NUL": ({"a": "\0"}, "filter.a: "),
    "half a character": ('{"a": "\\ud800"}', ""),
    "no object": ("[1]", "filter"),
    "a word": ('"year"', "filter"),
    "another type": ({"year": "2020"}, "filter.year: '2020' is not an integer"),
    "a fraction": ({"year": {"$gt": 1.5}}, "filter.year.$gt: 1.5 is not an integer"),
    "another type in a list": ({"lang": {"$in": ["en", 5]}}, "filter.lang.$in: 5 is not a string"),
    "another type, negated": ({"$not": {"on": {"$ne": 1}}}, "filter.$not.on.$ne: 1 is not a bool"),
    "no time": (
        {"$or": [{"at": {"$lt": "yesterday"}}]},
        "filter.$or[0].at.$lt: 'yesterday' is not",
    ),
    "no part of a number": ({"year": {"$contains": "20"}}, "filter.year.$contains: '20' is not"),
}


NOT_JSON = {"half a character", "a huge number"}


def sent(where: Any) -> str:
    return where if isinstance(where, str) else json.dumps(where)


@pytest.mark.parametrize(
    ("name", "door"),
    [
        (name, door)
        for name, (where, _) in HOSTILE.items()
        for door in DOORS
        if door != "list" or len(sent(where)) <= 10_000  # the parameter may be no longer
    ],
)
def test_a_bad_filter_is_refused_at_once_with_the_place(
    ask: Ask, problem: Any, name: str, door: str
) -> None:
    where, words = HOSTILE[name]
    started = time.perf_counter()
    answer = ask(door, sent(where))
    assert time.perf_counter() - started < MOST_SECONDS
    found = problem(answer, 400, None, words)
    assert len(found["detail"]) < 600
    understood = found["code"] == "invalid_filter"
    assert understood or name in NOT_JSON


def test_a_filter_that_is_too_long_for_the_address_is_refused(ask: Ask, problem: Any) -> None:
    problem(ask("list", json.dumps({"a": "x" * 20_000})), 400, None, "filter")


def test_a_body_that_is_too_large_is_413(ask: Ask, problem: Any, either: Any) -> None:
    limit = either("GET", "/v1/info").json()["limits"]["body_bytes"]
    problem(ask("search", json.dumps({"a": "x" * (limit + 1)})), 413)


INJECTIONS = [
    "'; DROP TABLE document; --",
    '"); DELETE FROM chunk; --',
    "year' OR '1'='1",
    "metadata) OR 1=1 --",
    "%s",
    ":name",
    "\\",
    "a\x1f[]",
    "year\x1f+",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_a_name_or_a_value_is_a_name_or_a_value(ask: Ask, text: str) -> None:
    for where in ({text: 1}, {"lang": text}, {"free": text}, {text: {"$contains": text}}):
        assert ask("search", where).json()["results"] == []
        assert ask("list", where).json()["documents"] == []
        assert ask("delete", where).json()["deleted"] == 0
    assert len(ask("list", {}).json()["documents"]) == 5


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({}, "01234"),
        ({"$and": [{}, {"year": 2001}]}, "1"),
        ({"year": {"$gte": 2003}}, "34"),
        ({"year": {"$in": []}}, ""),
        ({"year": {"$nin": []}}, "01234"),
        ({"year": None}, ""),
        ({"year": {"$ne": None}}, "01234"),
        ({"year": 2001.0}, "1"),
        ({"at": "2024-05-31T02:00:00+02:00", "free": {"$contains": 3}}, "3"),
        ({"$or": [{"year": 2000}, {"free": 4}]}, "04"),
        ({"$not": {"$or": [{"year": {"$lt": 2003}}, {"free": 4}]}}, "3"),
        ({"on": {"$exists": False}, "lang": {"$gt": "e"}, "year": {"$gt": 2000, "$lt": 2002}}, "1"),
        ({"x" * 255: {"$exists": False}, "free": "x"}, "01234"),
        ({"lang": {"$contains": "n"}, "year": {"$not": {"$gt": 2000}}}, "0"),
        ({"lang": "x" * 5_000}, ""),
    ],
)
def test_searches_and_lists_find_the_same(ask: Ask, where: Any, ids: str) -> None:
    wanted = [f"d{n}" for n in ids]
    searched = ask("search", where).json()
    assert sorted(hit["document_id"] for hit in searched["results"]) == wanted
    assert [one["id"] for one in ask("list", where).json()["documents"]] == wanted


# -- declared fields ------------------------------------------------------------------------------


def test_a_value_of_another_type_fails_its_document_alone(web: Any) -> None:
    web("PUT", C, json={"fields": {"year": "integer", "a.b": "datetime"}})
    added = web.add(
        {"id": "good", "text": "x", "metadata": {"year": [1, None], "a": {"b": "2024-05-31"}}},
        {"id": "bad", "text": "x", "metadata": {"year": "abc"}},
        {"id": "list", "text": "x", "metadata": {"year": [1, 2.5]}},
        {"id": "path", "text": "x", "metadata": {"a": {"b": "now"}}},
        {"id": "chunk", "chunks": [{"text": "x"}, {"text": "y", "metadata": {"year": True}}]},
        {"id": "huge", "text": "x", "metadata": {"year": 2**64}},
    )
    assert [one["status"] for one in added["documents"]] == ["indexed"] + 5 * ["failed"]
    details = [one["error"]["detail"] for one in added["documents"][1:]]
    assert details[0] == "metadata.year: 'abc' is not an integer; the collection declares it so"
    assert details[1].startswith("metadata.year[1]: 2.5 is not an integer")
    assert details[2].startswith("metadata.a.b: 'now' is not a datetime such as 2024")
    assert details[3].startswith("chunks[1].metadata.year: True is not an integer")
    assert details[4].startswith("metadata.year: 18446744073709551616 is not an integer of 64 bits")


def test_a_patch_of_another_type_is_400(web: Any, problem: Any) -> None:
    web("PUT", C, json={"fields": {"year": "integer"}})
    web.add({"id": "d", "text": "x", "metadata": {"year": 1}})
    answer = web("PATCH", f"{C}/documents/d", json={"metadata": {"year": "x"}})
    problem(answer, 400, "invalid_request", "metadata.year: 'x' is not an integer")
    assert web("PATCH", f"{C}/documents/d", json={"metadata": {"year": 2}}).status_code == 200
    assert len(web.search(query="x", filter={"year": 2})["results"]) == 1
    assert len(web.search(query="x", filter={"year": 1})["results"]) == 0


def test_fields_can_be_declared_later_unless_something_does_not_fit(web: Any, problem: Any) -> None:
    web.add({"id": "d", "text": "x", "metadata": {"year": 1, "lang": 5}})
    assert web("PUT", C, json={"fields": {"year": "integer"}}).status_code == 200
    assert len(web.search(query="x", filter={"year": {"$lt": 2}})["results"]) == 1
    answer = web("PUT", C, json={"fields": {"year": "integer", "lang": "string"}})
    problem(answer, 409, "field_does_not_fit", "fields.lang", "1 document", "'d'", "5 is not a str")
    assert web("GET", C).json()["fields"] == {"year": "integer"}


@pytest.mark.parametrize("name", ["", "$a", "a\nb", "\x1f", "x" * 251, "é" * 126])
def test_a_name_that_no_field_can_have_is_400(web: Any, problem: Any, name: str) -> None:
    problem(web("PUT", C, json={"fields": {name: "string"}}), 400, "invalid_request", "fields")


def test_too_many_fields_are_400(web: Any, problem: Any) -> None:
    fields = {f"f{n}": "string" for n in range(101)}
    problem(web("PUT", C, json={"fields": fields}), 400, "invalid_request", "101", "100")
