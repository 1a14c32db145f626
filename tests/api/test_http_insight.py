"""Near duplicates and topics over HTTP."""

from collections.abc import Callable
from typing import Any

import pytest

FOX = "The quick brown fox jumps over the lazy dog while seven wizards watch from the hill."


@pytest.fixture(scope="module")
def filled(shared: Any) -> Any:
    shared.add(
        {"id": "fox", "text": FOX, "title": "Fox", "metadata": {"lang": "en"}},
        {"id": "other", "text": "Blue whales eat krill in the cold southern ocean."},
        to="insight",
    )
    shared.add({"id": "copy", "text": FOX}, to="insight")
    shared.add({"id": "almost", "text": FOX + " And then."}, to="insight")
    return shared


def test_duplicates_over_http(filled: Any) -> None:
    answer = filled("POST", "/v1/collections/insight/duplicates", json={})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {
        "groups",
        "total",
        "redundant",
        "documents",
        "complete",
        "version",
        "took_ms",
    }
    assert (found["total"], found["redundant"], found["documents"]) == (1, 2, 4)
    (group,) = found["groups"]
    assert (group["kind"], group["size"], group["keep"]) == ("near", 3, "fox")
    assert [one["id"] for one in group["documents"]] == ["fox", "copy", "almost"]
    assert group["documents"][0]["title"] == "Fox"
    assert group["documents"][0]["created_at"].endswith("Z")
    exact, near = group["pairs"]
    assert (exact["ids"], exact["kind"], exact["overlap"]) == (["fox", "copy"], "exact", 1.0)
    assert (near["ids"], near["kind"]) == (["fox", "almost"], "near")
    assert 0.8 < near["overlap"] < 1
    assert 0.9 < near["cosine"] < 1


def test_the_threshold_and_a_filter_narrow_duplicates(filled: Any) -> None:
    path = "/v1/collections/insight/duplicates"
    strict = filled("POST", path, json={"threshold": 0.99}).json()
    assert [group["kind"] for group in strict["groups"]] == ["exact"]
    none = filled("POST", path, json={"filter": {"lang": "en"}}).json()
    assert (none["groups"], none["documents"]) == ([], 1)


def test_topics_over_http(filled: Any) -> None:
    asked = {"clusters": 2, "terms": 3, "examples": 1}
    answer = filled("POST", "/v1/collections/insight/topics", json=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [topic["size"] for topic in found["topics"]] == [3, 1]
    first = found["topics"][0]
    assert set(first) == {"label", "terms", "size", "share", "documents"}
    assert first["share"] == 0.75
    assert len(first["terms"]) == 3
    assert first["terms"][0]["weight"] == 1.0
    assert set(first["documents"][0]) == {"id", "title", "score"}
    assert (found["documents"], found["unassigned"], found["sampled"]) == (4, 0, 4)
    assert -1 <= found["separation"] <= 1


@pytest.mark.parametrize(
    ("verb", "body", "code", "words"),
    [
        ("duplicates", {"threshold": 1.5}, "invalid_request", ["threshold", "1.5"]),
        ("duplicates", {"threshold": 0.1}, "invalid_request", ["threshold", "0.1"]),
        ("duplicates", {"threshold": "high"}, "invalid_request", ["threshold", "high"]),
        ("duplicates", {"limit": 0}, "invalid_request", ["limit"]),
        ("duplicates", {"treshold": 0.5}, "invalid_request", ["treshold"]),
        ("duplicates", {"filter": {"a": {"$no": 1}}}, "invalid_filter", ["$no"]),
        ("topics", {"clusters": 0}, "invalid_request", ["clusters", "0"]),
        ("topics", {"clusters": 201}, "invalid_request", ["clusters", "201"]),
        ("topics", {"clusters": 5}, "invalid_request", ["clusters: 5", "4 documents"]),
        ("topics", {"terms": 99}, "invalid_request", ["terms"]),
        ("topics", {"examples": -1}, "invalid_request", ["examples"]),
        ("topics", {"filter": []}, "invalid_filter", ["filter"]),
    ],
)
def test_bad_requests_are_refused_with_the_field_and_the_value(
    filled: Any,
    problem: Callable[..., Any],
    verb: str,
    body: Any,
    code: str,
    words: list[str],
) -> None:
    answer = filled("POST", f"/v1/collections/insight/{verb}", json=body)
    problem(answer, 400, code, *words)


@pytest.mark.parametrize("verb", ["duplicates", "topics"])
def test_an_unknown_collection_is_not_found(
    filled: Any, problem: Callable[..., Any], verb: str
) -> None:
    problem(filled("POST", f"/v1/collections/none/{verb}", json={}), 404, "collection_not_found")
