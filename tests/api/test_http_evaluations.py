"""Evaluations and judgements over HTTP."""

import time
from typing import Any
from xml.etree import ElementTree

import pytest

URL = "/v1/evaluations"
JUDGEMENTS = "/v1/collections/c/judgements"
QUERIES = [{"id": "1", "text": "quick fox"}, {"id": "2", "text": "blue whale"}]
QRELS = [
    {"query_id": "1", "document_id": "fox", "relevance": 2},
    {"query_id": "2", "document_id": "whale", "relevance": 1},
]


@pytest.fixture(scope="module")
def filled(either: Any) -> Any:
    """An application with a few documents in `c`, which no test here changes."""
    either.add(
        {"id": "fox", "text": "the quick brown fox", "metadata": {"year": 1}},
        {"id": "whale", "text": "a blue whale eats krill", "metadata": {"year": 2}},
        {"id": "bread", "text": "bread is baked", "metadata": {"year": 2}},
    )
    return either


def body(**changed: Any) -> dict[str, Any]:
    return {"collection": "c", "queries": QUERIES, "qrels": QRELS, **changed}


def done(web: Any, started: Any) -> Any:
    """The evaluation once it has ended."""
    assert started.status_code == 202, started.text
    for _ in range(1_000):
        found = web("GET", f"{URL}/{started.json()['id']}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.01)
    raise AssertionError("it does not end")


def test_configurations_are_compared_and_drawn(filled: Any, problem: Any) -> None:
    configs = [
        {"mode": "dense"},
        {"mode": "lexical", "filter": {"year": 1}, "name": "old ones"},
        {"fusion": {"method": "rrf", "dense": 1, "lexical": 2, "k": 10}, "diversity": 0.1},
        {"rerank": True, "per_document": 1},
        {"embedding": "hash:32", "chunking": {"size": 4}},
    ]
    metrics = ["ndcg@10", "RR@10", "success@1"]
    sent = body(configs=configs, metrics=metrics, limit=10, seed=3)
    started = filled("POST", URL, json=sent)
    begun = started.json()
    assert (begun["kind"], begun["state"]) == ("evaluation", "queued")
    assert (begun["done"], begun["total"]) == (0, 2 * 5 + 3)
    found = done(filled, started)
    assert found["state"] == "done", found
    assert (found["done"], found["total"], found["limit"], found["seed"]) == (13, 13, 10, 3)
    assert (found["subject"], found["queries"], found["qrels"]) == ("search", 2, 2)
    assert found["metrics"] == ["ndcg@10", "mrr@10", "success@1"]
    assert found["configs"][1] == {"name": "old ones", "mode": "lexical", "filter": {"year": 1}}
    names = [one["name"] for one in found["result"]["configs"]]
    assert names == [one["name"] for one in found["configs"]]
    assert names[2:] == [
        "hybrid rrf 1:2 k=10, diversity 0.1",
        "hybrid, rerank, 1 per document",
        "hybrid, hash:32, chunks of 4",
    ]
    first, old = found["result"]["configs"][:2]
    assert first["metrics"]["ndcg@10"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert first["queries"] == {q: dict.fromkeys(found["metrics"], 1.0) for q in ("1", "2")}
    assert (old["empty"], old["metrics"]["mrr@10"]["value"]) == (1, 0.5)
    compared = found["result"]["comparisons"]
    assert [one["base"] for one in compared] == ["dense"] * 4
    assert compared[0]["metrics"]["mrr@10"]["difference"] == -0.5
    assert compared[0]["metrics"]["mrr@10"]["significant"] is False
    picture = filled("GET", f"{URL}/{found['id']}/picture")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert ElementTree.fromstring(picture.text).tag.endswith("svg")
    listed = filled("GET", "/v1/collections").json()["collections"]
    assert not [one["name"] for one in listed if one["name"].startswith("eval-")]


def test_without_configurations_the_three_modes_are_compared(filled: Any) -> None:
    found = done(filled, filled("POST", URL, json=body()))
    names = [one["name"] for one in found["result"]["configs"]]
    assert names == ["dense", "lexical", "hybrid"]
    assert found["metrics"] == ["ndcg@10", "recall@10", "recall@100", "mrr@10", "map@100"]


def test_evaluations_are_listed_in_pages_and_deleted(filled: Any, problem: Any) -> None:
    ids = [
        done(filled, filled("POST", URL, json=body(configs=[{"mode": "dense"}])))["id"]
        for _ in range(3)
    ]
    page = filled("GET", URL, params={"limit": 2}).json()
    assert [one["id"] for one in page["evaluations"]] == [ids[2], ids[1]]
    assert "result" not in page["evaluations"][0]
    rest = filled("GET", URL, params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert rest["evaluations"][0]["id"] == ids[0]
    for one in ids:
        assert filled("DELETE", f"{URL}/{one}").status_code == 204
        problem(filled("GET", f"{URL}/{one}"), 404, "evaluation_not_found", one)
        problem(filled("DELETE", f"{URL}/{one}"), 404, "evaluation_not_found")
        problem(filled("GET", f"{URL}/{one}/picture"), 404, "evaluation_not_found")


def test_an_evaluation_that_fails_says_why_and_has_no_picture(filled: Any, problem: Any) -> None:
    configs = [{"chunking": {"size": 100, "overlap": 100}}]
    found = done(filled, filled("POST", URL, json=body(configs=configs)))
    assert found["state"] == "failed"
    assert "chunking.overlap: 100" in found["error"]
    answer = filled("GET", f"{URL}/{found['id']}/picture")
    problem(answer, 409, "evaluation_not_done", "failed")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"metrics": ["ndgc@10"]}, ["'ndgc@10'", "did you mean 'ndcg@10'"]),
        ({"queries": []}, ["queries: the list is empty"]),
        ({"qrels": []}, ["qrels: the list is empty"]),
        ({"queries": None}, ["queries"]),
        ({"qrels": None}, ["qrels", "judgements"]),
        ({"judgements": True}, ["qrels", "judgements"]),
        ({"queries": [*QUERIES, QUERIES[0]]}, ["queries[2].id", "'1' comes twice"]),
        ({"qrels": [{**QRELS[0], "query_id": "x"}]}, ["qrels[0].query_id", "'x'"]),
        ({"qrels": [{**QRELS[0], "relevance": -1}]}, ["qrels[0].relevance"]),
        ({"qrels": [{**QRELS[0], "relevance": 0.5}]}, ["qrels[0].relevance"]),
        ({"configs": [{"name": "a"}, {"name": "a"}]}, ["configs[1].name", "'a'"]),
        ({"configs": [{"mode": "magic"}]}, ["configs[0].mode"]),
        ({"configs": [{"weights": 1}]}, ["weights"]),
        ({"configs": [{}, {"model": "echo"}]}, ["configs[1].model", "send answers"]),
        ({"configs": [{"max_tokens": 5}]}, ["configs[0].max_tokens", "send answers"]),
        ({"configs": [{"fusion": {"k": 0}}]}, ["fusion.k: 0"]),
        ({"configs": [{"diversity": 2}]}, ["configs[0].diversity"]),
        ({"configs": [{"embedding": "nope:x"}]}, ["nope"]),
        ({"configs": [{"dimensions": 0}]}, ["configs[0].dimensions"]),
        ({"limit": 0}, ["limit: 0"]),
        ({"seed": -1}, ["seed: -1"]),
        ({"unknwon": 1}, ["unknwon"]),
    ],
)
def test_a_bad_request_is_refused_in_words(
    filled: Any, problem: Any, changed: Any, words: list[str]
) -> None:
    problem(filled("POST", URL, json=body(**changed)), 400, None, *words)


def test_other_refusals_have_their_own_status(filled: Any, problem: Any) -> None:
    filters = [{"filter": {"year": {"$no": 1}}}]
    problem(filled("POST", URL, json=body(configs=filters)), 400, "invalid_filter", "$no")
    problem(filled("POST", URL, json=body(collection="nope")), 404, "collection_not_found")
    configs = [{"name": str(n)} for n in range(17)]
    problem(filled("POST", URL, json=body(configs=configs)), 413, "too_large", "17")
    problem(filled("GET", URL, params={"cursor": "x"}), 400, "invalid_request", "cursor")


# -- answers --------------------------------------------------------------------------------------

GOLDS = [
    {"query_id": "1", "answers": ["brown"], "document_ids": ["fox"]},
    {"query_id": "2", "answerable": False},
]


def of_answers(**changed: Any) -> dict[str, Any]:
    return {"collection": "c", "queries": QUERIES, "answers": GOLDS, **changed}


def test_models_are_compared_by_their_answers_and_drawn(filled: Any) -> None:
    configs = [
        {"model": "echo", "limit": 1, "mode": "lexical", "max_tokens": 100, "temperature": 0.5},
        {"model": "extractive", "grounding": "strict", "name": "sentences"},
        {"filter": {"year": 9}, "expansion": "none", "chunking": {"size": 4}},
    ]
    started = filled("POST", URL, json=of_answers(configs=configs, seed=4))
    begun = started.json()
    assert (begun["subject"], begun["state"], begun["seed"]) == ("answers", "queued", 4)
    assert (begun["queries"], begun["answerable"], begun["total"]) == (2, 1, 2 * 3 + 3)
    assert not {"limit", "qrels"} & begun.keys()
    assert [one["name"] for one in begun["configs"]] == [
        "echo, 1 source, lexical, temperature 0.5, 100 tokens",
        "sentences",
        "extractive, filtered, none, chunks of 4",
    ]
    assert begun["configs"][1] == {
        "name": "sentences",
        "model": "extractive",
        "grounding": "strict",
    }
    found = done(filled, started)
    assert (found["state"], found["done"]) == ("done", 9), found.get("error")
    result = found["result"]
    assert (result["queries"], result["answerable"], result["warnings"]) == (2, 1, [])
    echo, _, nothing = result["configs"]
    assert list(echo["metrics"]) == found["metrics"]
    assert echo["models"] == {"echo": 2}
    assert echo["usage"]["prompt_tokens"] > 0
    assert echo["queries"]["1"]["retrieved"] is True
    assert (nothing["no_answer"], nothing["answered"], nothing["failed"]) == (2, 0, 0)
    assert nothing["metrics"]["abstention_recall"]["value"] == 1
    assert nothing["metrics"]["abstention_precision"]["value"] == 0.5
    assert nothing["metrics"]["supported"] is None
    shown = nothing["queries"]["1"]
    assert (shown["state"], shown["answer"], shown["citations"]) == ("no_answer", "", [])
    assert (shown["retrieved"], shown["answerable"], shown["error"]) == (False, True, None)
    assert shown["metrics"]["em"] == 0
    assert [one["base"] for one in result["comparisons"]] == [echo["name"]] * 2
    picture = filled("GET", f"{URL}/{found['id']}/picture")
    assert ElementTree.fromstring(picture.text).tag.endswith("svg")
    page = filled("GET", URL, params={"limit": 1}).json()["evaluations"]
    assert (page[0]["id"], page[0]["subject"]) == (found["id"], "answers")


def test_evaluations_of_answers_are_kept_in_no_record(filled: Any) -> None:
    before = [filled("GET", f"/v1/{kind}").json() for kind in ("answers", "conversations")]
    found = done(filled, filled("POST", URL, json=of_answers(metrics=["F1", "exact_match"])))
    assert (found["state"], found["metrics"]) == ("done", ["f1", "em"])
    assert [one["name"] for one in found["configs"]] == ["extractive"]
    after = [filled("GET", f"/v1/{kind}").json() for kind in ("answers", "conversations")]
    assert before == after


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"qrels": QRELS}, ["answers", "exactly one of qrels"]),
        ({"judgements": True}, ["answers", "exactly one of qrels, judgements, answers"]),
        ({"queries": None}, ["queries: answers need them"]),
        ({"limit": 10}, ["limit: 10", "configs"]),
        ({"answers": []}, ["answers: the list is empty"]),
        ({"answers": [{"query_id": "x"}]}, ["answers[0].query_id", "'x'"]),
        ({"answers": [{"answers": ["x"]}]}, ["answers[0]", "query_id"]),
        ({"answers": [{"query_id": "1", "answer": "x"}]}, ["answers[0]", "answer"]),
        ({"answers": [{"query_id": "1", "answers": [""]}]}, ["answers[0].answers[0]: it is empty"]),
        ({"metrics": ["ndcg@10"]}, ["'ndcg@10' is not known of answers"]),
        ({"configs": [{"rerank": True}]}, ["configs[0].rerank", "send qrels"]),
        ({"configs": [{"fusion": {"k": 3}}]}, ["configs[0].fusion", "send qrels"]),
        ({"configs": [{"grounding": "loose"}]}, ["configs[0].grounding"]),
        ({"configs": [{"limit": 51}]}, ["configs[0].limit"]),
        ({"configs": [{"temperature": 9}]}, ["configs[0].temperature"]),
        ({"configs": [{"model": "nope:x"}]}, ["nope"]),
        ({"configs": [{"model": "extractive", "expansion": "hyde"}]}, ["configs[0].expansion"]),
    ],
)
def test_a_bad_request_for_answers_is_refused_in_words(
    filled: Any, problem: Any, changed: Any, words: list[str]
) -> None:
    problem(filled("POST", URL, json=of_answers(**changed)), 400, None, *words)


# -- judgements -----------------------------------------------------------------------------------


def judge(web: Any, query: str, document: str, relevance: int) -> Any:
    sent = {"query": query, "document_id": document, "relevance": relevance}
    return web("POST", JUDGEMENTS, json=sent)


def test_judgements_are_stored_listed_measured_by_and_deleted(filled: Any, problem: Any) -> None:
    assert judge(filled, "blue whale", "whale", 1).json()["relevance"] == 1
    made = judge(filled, " blue whale", "whale", 3)
    assert made.status_code == 200
    assert (made.json()["query"], made.json()["relevance"]) == ("blue whale", 3)
    judge(filled, "quick fox", "fox", 2)
    judge(filled, "quick fox", "bread", 0)
    listed, cursor = [], ""
    while cursor is not None:
        page = filled("GET", JUDGEMENTS, params={"limit": 1, "cursor": cursor}).json()
        listed += page["judgements"]
        cursor = page["next_cursor"]
    kept = {(one["query"], one["document_id"], one["relevance"]) for one in listed}
    assert kept == {("blue whale", "whale", 3), ("quick fox", "fox", 2), ("quick fox", "bread", 0)}
    found = done(filled, filled("POST", URL, json={"collection": "c", "judgements": True}))
    assert (found["queries"], found["qrels"]) == (2, 3)
    assert set(found["result"]["configs"][0]["queries"]) == {"blue whale", "quick fox"}
    for query, document, _ in kept:
        asked = {"query": query, "document_id": document}
        assert filled("DELETE", JUDGEMENTS, params=asked).status_code == 204
        problem(filled("DELETE", JUDGEMENTS, params=asked), 404, "judgement_not_found", document)
    problem(
        filled("POST", URL, json={"collection": "c", "judgements": True}),
        400,
        "invalid_request",
        "none are stored",
    )


def test_a_bad_judgement_is_refused_in_words(filled: Any, problem: Any) -> None:
    for relevance in (-1, 4):
        problem(judge(filled, "x", "fox", relevance), 400, None, "relevance", str(relevance))
    problem(judge(filled, "  ", "fox", 1), 400, None, "query")
    problem(judge(filled, "x", "nope", 1), 404, "document_not_found", "'nope'")
    elsewhere = "/v1/collections/nope/judgements"
    sent = {"query": "x", "document_id": "fox", "relevance": 1}
    problem(filled("POST", elsewhere, json=sent), 404, "collection_not_found")
    problem(filled("GET", elsewhere), 404, "collection_not_found")
    for cursor in ("zz", "00", "00" * 33 + "zz", "61" * 32):
        problem(filled("GET", JUDGEMENTS, params={"cursor": cursor}), 400, None, "cursor")
    problem(filled("DELETE", JUDGEMENTS), 400, None, "query")
