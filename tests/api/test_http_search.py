"""Search over REST: modes, scores, highlights and explanations."""

from typing import Any

import pytest

DOCUMENTS = [
    {"id": "fox", "title": "Foxes", "text": "The quick brown fox jumps. It is red in winter."},
    {"id": "bear", "text": "A brown bear sleeps all winter.", "metadata": {"n": 1}},
    {"id": "code", "text": "Error ERR-4711 means that the fuse is blown.", "metadata": {"n": 2}},
]


@pytest.fixture
def animals(web: Any) -> Any:
    web.add(*DOCUMENTS)
    return web


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_every_mode_says_what_it_did(animals: Any, mode: str) -> None:
    found = animals.search(query="brown bear", mode=mode, include=["scores"])
    assert found["plan"]["mode"] == mode
    expected = {"hybrid": {"dense", "lexical"}, "dense": {"dense"}, "lexical": {"lexical"}}[mode]
    assert all(set(hit["scores"]) == expected for hit in found["results"])
    assert found["results"][0]["document_id"] == "bear"


def test_a_code_is_found_by_default(animals: Any) -> None:
    assert animals.search(query="err 4711")["results"][0]["document_id"] == "code"


def test_the_title_counts(animals: Any) -> None:
    found = animals.search(query="foxes", mode="lexical")["results"]
    assert [hit["document_id"] for hit in found] == ["fox"]


def test_a_highlight_stands_in_the_document(animals: Any) -> None:
    hit = animals.search(query="red in winter", limit=1, include=["highlight"])["results"][0]
    shown = hit["highlight"]
    text = next(one["text"] for one in DOCUMENTS if one["id"] == hit["document_id"])
    assert shown["text"] == text[shown["start"] : shown["end"]] == "It is red in winter."


def test_results_are_explained_when_asked(animals: Any) -> None:
    plain = animals.search(query="brown bear")
    found = animals.search(query="brown bear", explain=True)
    assert "explain" not in plain["results"][0]
    for place, hit in enumerate(found["results"], start=1):
        stages = {one["stage"]: one for one in hit["explain"]}
        assert list(stages) == ["dense", "lexical", "fusion", "results"]
        assert stages["results"] == {"stage": "results", "rank": place, "score": hit["score"]}


def explain(web: Any, **body: Any) -> Any:
    answer = web("POST", "/v1/collections/c/explain", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_document_that_is_missing_from_the_results_is_explained(animals: Any) -> None:
    found = explain(animals, query="brown bear", document_id="code", limit=1)
    assert (found["found"], found["dropped_by"]) == (False, "limit")
    assert [one["stage"] for one in found["stages"]] == [
        "indexed",
        "dense",
        "lexical",
        "candidates",
        "fusion",
        "limit",
    ]
    found = explain(animals, query="brown bear", document_id="fox", filter={"n": 1})
    assert (found["dropped_by"], found["plan"]) == ("filter", None)
    found = explain(animals, query="brown bear", document_id="bear", filter={"n": 1})
    assert (found["found"], found["rank"], found["dropped_by"]) == (True, 1, None)
    assert found["plan"]["matched"] == 1


def test_an_explanation_needs_a_document_and_a_query(animals: Any, problem: Any) -> None:
    path = "/v1/collections/c/explain"
    problem(animals("POST", path, json={"query": "x"}), 400, "invalid_request", "document_id")
    problem(animals("POST", path, json={"document_id": "fox"}), 400, "invalid_request", "query")
    body = {"query": "x", "document_id": "nobody"}
    problem(animals("POST", path, json=body), 404, "document_not_found", "nobody")
    problem(animals("POST", "/v1/collections/none/explain", json=body), 404, "collection_not_found")


def test_a_failing_reranker_is_named_in_the_answer(animals: Any) -> None:
    found = animals.search(query="brown bear", rerank="tei:http://127.0.0.1:9/model")
    assert found["results"][0]["document_id"] == "bear"
    assert "rerank" in found["degraded"][0]
