"""Collections, search, answers and the service itself, with the exact fields of the contract."""

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest

DOCUMENTS = "/v1/collections/c/documents"
HIT = {"document_id", "chunk_id", "score", "title", "url", "start", "end", "page"}
COLLECTION = {
    *("name", "embedding", "dimensions", "description", "chunking", "fields", "documents"),
    *("chunks", "version", "index", "created_at"),
}


# -- collections ----------------------------------------------------------------------------------


def test_a_collection_is_created_described_changed_and_deleted(
    serve: Any, either_settings: Any, problem: Any
) -> None:
    web = serve(either_settings)
    path = "/v1/collections/c"
    body = {"embedding": "hash:64", "description": "mine", "fields": {"year": "integer"}}
    created = web("PUT", path, json=body)
    assert created.status_code == 201
    assert set(created.json()) == COLLECTION
    found = created.json()
    assert (found["name"], found["embedding"], found["dimensions"]) == ("c", "hash:64", 64)
    assert (found["documents"], found["chunks"], found["version"]) == (0, 0, 0)
    assert found["chunking"] == {
        "size": 256,
        "overlap": 0,
        "strategy": "sentences",
        "too_long": "truncate",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["created_at"])
    assert web("PUT", path, json=body).status_code == 200
    changed = web("PUT", path, json={"description": "other"})
    assert (changed.status_code, changed.json()["description"]) == (200, "other")
    problem(web("PUT", path, json={"embedding": "hash:32"}), 409, "embedding_differs")
    problem(web("PUT", path, json={"chunking": {"size": 9}}), 409, "chunking_differs")
    web.add({"id": "a", "text": "hello"})
    got = web("GET", path).json()
    assert (got["documents"], got["chunks"], got["version"]) == (1, 1, 1)
    deleted = web("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    problem(web("GET", path), 404, "collection_not_found")
    problem(web("DELETE", path), 404, "collection_not_found")
    assert web("PUT", path, json={}).status_code == 201
    assert web("GET", path).json()["documents"] == 0


def test_collections_are_listed_in_pages(web: Any, problem: Any) -> None:
    for name in ("b", "a", "c"):
        web("PUT", f"/v1/collections/{name}", json={})
    page = web("GET", "/v1/collections?limit=2").json()
    assert set(page) == {"collections", "next_cursor"}
    assert [one["name"] for one in page["collections"]] == ["a", "b"]
    rest = web("GET", f"/v1/collections?limit=2&cursor={page['next_cursor']}").json()
    assert [one["name"] for one in rest["collections"]] == ["c"]
    assert rest["next_cursor"] is None
    for limit in ("0", "10001", "x"):
        problem(
            web("GET", f"/v1/collections?limit={limit}"), 400, "invalid_request", "limit", limit
        )


def test_verify_and_repair_answer_with_what_differs(web: Any) -> None:
    web.add({"id": "a", "text": "hello"})
    for verb in ("verify", "repair"):
        answer = web("POST", f"/v1/collections/c/{verb}")
        assert answer.status_code == 200
        assert answer.json() == {
            "ok": True,
            "collection": "c",
            "version": 1,
            "index_version": 1,
            "chunks": 1,
            "missing": [],
            "orphaned": [],
            "mismatched": [],
            "vectorless": [],
        }


# -- search ---------------------------------------------------------------------------------------


def test_a_search_has_the_fields_of_the_contract(web: Any) -> None:
    web.add({"id": "a", "text": "red fox", "title": "T", "url": "u", "metadata": {"x": 1}})
    found = web.search(query="red fox")
    assert set(found) == {"results", "plan", "degraded", "version", "took_ms", "usage"}
    assert found["plan"] | {} == {
        "mode": "hybrid",
        "index": "faiss",
        "strategy": "exact",
        "matched": 1,
    }
    assert (found["degraded"], found["version"]) == ([], 1)
    assert found["usage"] == {"tokens": 2, "cost_usd": 0.0}
    hit = found["results"][0]
    assert set(hit) == HIT | {"text", "metadata"}
    assert (hit["document_id"], hit["title"], hit["url"]) == ("a", "T", "u")
    assert (hit["text"], hit["start"], hit["end"]) == ("red fox", 0, 7)
    assert hit["metadata"] == {"x": 1}
    assert isinstance(hit["chunk_id"], str)


@pytest.mark.parametrize(
    ("include", "more"),
    [
        ([], set()),
        (["text"], {"text"}),
        (["metadata"], {"metadata"}),
        (["scores"], {"scores"}),
        (["vector"], {"vector"}),
        (["highlight"], {"highlight"}),
        (["vector", "scores", "text", "metadata"], {"vector", "scores", "text", "metadata"}),
    ],
)
def test_include_says_what_comes_with_a_result(
    web: Any, include: list[str], more: set[str]
) -> None:
    web.add({"id": "a", "text": "red fox"})
    hit = web.search(query="red fox", include=include)["results"][0]
    assert set(hit) == HIT | more
    if "vector" in more:
        assert len(hit["vector"]) == 256
        again = web.search(vector=hit["vector"])["results"][0]
        assert again["score"] == pytest.approx(1, abs=1e-5)
    if "scores" in more:
        assert hit["scores"] == {"dense": 1.0, "lexical": pytest.approx(1, abs=1e-5)}


def test_several_queries_have_a_list_of_results_each(web: Any) -> None:
    web.add({"id": "a", "text": "red fox"}, {"id": "b", "text": "blue whale"})
    found = web.search(queries=[{"query": "red fox", "limit": 1}, {"document_id": "a"}])
    assert [[hit["document_id"] for hit in hits] for hits in found["results"]] == [["a"], ["b"]]


def test_a_search_is_filtered_paged_and_narrowed(web: Any) -> None:
    web.add(*({"id": f"d{n}", "text": f"word {n}", "metadata": {"n": n}} for n in range(20)))
    found = web.search(query="word", filter={"n": {"$gte": 17}}, limit=10)
    assert {hit["metadata"]["n"] for hit in found["results"]} == {17, 18, 19}
    assert found["plan"]["matched"] == 3
    everything = web.search(query="word", limit=20)["results"]
    page = web.search(query="word", limit=5, offset=5)["results"]
    assert [h["document_id"] for h in page] == [h["document_id"] for h in everything[5:10]]
    least = everything[3]["score"]
    assert all(h["score"] >= least for h in web.search(query="word", min_score=least)["results"])


def test_a_search_shows_what_was_written_just_before(web: Any) -> None:
    for n in range(10):
        web.add({"id": "a", "text": f"version {n}"})
        assert web.search(query="version")["results"][0]["text"] == f"version {n}"


def test_similarity_has_scores_with_a_query_and_else_a_matrix(web: Any, problem: Any) -> None:
    answer = web("POST", "/v1/similarity", json={"texts": ["a b", "c"], "query": "a b"}).json()
    assert set(answer) == {"scores"}
    assert answer["scores"][0] == pytest.approx(1, abs=1e-5)
    answer = web("POST", "/v1/similarity", json={"texts": ["a b", "c"]}).json()
    assert set(answer) == {"matrix"}
    assert len(answer["matrix"]) == len(answer["matrix"][0]) == 2
    problem(web("POST", "/v1/similarity", json={"texts": []}), 400, "invalid_request", "texts")
    problem(web("POST", "/v1/similarity", json={"texts": ["a"] * 257}), 413, "too_large")
    problem(web("POST", "/v1/similarity", json={"texts": ["a", ""]}), 400, None, "texts[1]")


# -- answers --------------------------------------------------------------------------------------

ANSWER = {
    *("answer", "state", "citations", "sources", "model", "usage", "conversation_id", "query"),
    *("version", "took_ms", "id", "queries", "grounding", "evidence", "unsupported"),
    *("first_token_ms", "warnings", "degraded"),
}
TEXT = "Foxes are red. The quick brown fox jumps over the lazy dog. Whales are blue."


def test_an_answer_has_the_fields_of_the_contract(web: Any) -> None:
    web.add({"id": "a", "text": TEXT, "title": "T"})
    body = {"question": "The quick brown fox jumps over the lazy dog"}
    answer = web("POST", "/v1/collections/c/ask", json=body).json()
    assert set(answer) == ANSWER
    assert answer["state"] == "answered"
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0, "estimated": False}
    assert answer["usage"] == nothing
    citation = answer["citations"][0]
    assert set(citation) == {
        *("marker", "document_id", "chunk_id", "title", "url", "page", "start", "end"),
        *("quote", "status"),
    }
    assert citation["status"] == "verified"
    assert TEXT[citation["start"] : citation["end"]] == citation["quote"]
    assert set(answer["sources"][0]) == HIT | {"text", "metadata"}


def events(text: str) -> list[tuple[str, Any]]:
    """A stream of server-sent events, read strictly."""
    assert text.endswith("\n\n")
    found = []
    for block in text[:-2].split("\n\n"):
        first, second = block.split("\n")
        assert first.startswith("event: ")
        assert second.startswith("data: ")
        found.append((first[7:], json.loads(second[6:])))
    return found


def test_a_streamed_answer_is_well_formed_and_the_same(web: Any) -> None:
    web.add({"id": "a", "text": TEXT + "\n\nline\u2028separators\r\nand\rreturns"})
    body = {"question": "The quick brown fox jumps over the lazy dog"}
    answer = web("POST", "/v1/collections/c/ask", json=body | {"stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    names = [name for name, _ in found]
    assert (names[0], names[-1]) == ("sources", "done")
    assert set(names[1:-1]) == {"delta", "citation"}
    done = found[-1][1]
    assert set(done) == ANSWER
    assert "".join(data["text"] for name, data in found if name == "delta") == done["answer"]
    assert [data for name, data in found if name == "citation"] == done["citations"]
    assert found[0][1]["sources"] == done["sources"]
    plain = web("POST", "/v1/collections/c/ask", json=body).json()
    assert plain["answer"] == done["answer"]


# -- the service ----------------------------------------------------------------------------------


def test_the_service_is_alive_whatever_its_database_does(web: Any, settings: Any) -> None:
    (settings.home / "embedsvc.db").unlink()
    answer = web("GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_service_is_not_ready_until_everything_is_loaded(
    serve: Any, settings: Any, problem: Any
) -> None:
    warming = serve(settings, warm=True)
    first = warming("GET", "/readyz")
    assert first.status_code in (200, 503)
    if first.status_code == 503:
        assert problem(first, 503, "not_ready")["missing"]
    for _ in range(200):
        answer = warming("GET", "/readyz")
        if answer.status_code == 200:
            break
        time.sleep(0.02)
    assert answer.json() == {"status": "ready", "degraded": []}


def test_while_the_model_loads_the_service_says_so(serve: Any, settings: Any, problem: Any) -> None:
    web = serve(settings)
    made = web.service
    made.readiness.missing["model"] = "hash is being loaded"
    found = problem(web("GET", "/readyz"), 503, "not_ready", "hash is being loaded")
    assert found["missing"] == ["hash is being loaded"]
    made.readiness.missing.clear()
    made.readiness.failed["model"] = "model: broken"
    assert web("GET", "/readyz").json() == {"status": "degraded", "degraded": ["model: broken"]}


def test_a_model_that_cannot_be_loaded_leaves_the_service_degraded(
    serve: Any, settings: Any
) -> None:
    web = serve(replace(settings, embedding="local:nope"), warm=True)
    for _ in range(200):
        answer = web("GET", "/readyz")
        if answer.status_code == 200:
            break
        time.sleep(0.02)
    assert answer.json()["status"] == "degraded"
    assert "nope" in answer.json()["degraded"][0]


def test_metrics_count_requests_by_route_and_never_by_what_was_asked(web: Any) -> None:
    web.add({"id": "secret-id", "text": "hello"})
    web("GET", f"{DOCUMENTS}/secret-id")
    web("GET", "/no/such/path-of-mine")
    web("BREW", "/healthz")
    answer = web("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "embedsvc_requests_total" in answer.text
    assert 'status="200"' in answer.text
    for word in ("secret-id", "path-of-mine", "BREW"):
        assert word not in answer.text


def test_info_says_what_the_service_is_and_allows(web: Any) -> None:
    answer = web("GET", "/v1/info").json()
    assert set(answer) == {"version", "embedding", "chat", "index", "limits"}
    assert answer["embedding"] == {
        "default": "hash",
        "dimensions": 256,
        "max_tokens": None,
        "options": "",
    }
    assert answer["limits"]["results"] == 1_000
    assert all(isinstance(value, int) for value in answer["limits"].values())


def test_the_samples_are_loaded_once_into_an_empty_service(
    serve: Any, settings: Any, tmp_path: Any
) -> None:
    with_samples = replace(settings, samples=True)
    if not list(with_samples.samples_folder.glob("*.md")):
        pytest.skip("no samples in this checkout")
    web = serve(with_samples, warm=True)
    for _ in range(500):
        if web("GET", "/readyz").status_code == 200:
            break
        time.sleep(0.02)
    found = web("GET", "/v1/collections").json()["collections"]
    assert [one["name"] for one in found] == ["manual"]
    assert found[0]["documents"] > 0


# -- the description ------------------------------------------------------------------------------

ERRORS = {"400", "500", "503"}


def test_the_description_is_openapi_3_1_and_every_reference_leads_somewhere(web: Any) -> None:
    answer = web("GET", "/schema/openapi.json")
    assert answer.status_code == 200
    found = answer.json()
    assert found["openapi"].startswith("3.1")
    assert found["info"]["title"] == "embedsvc"
    references = re.findall(r'"\$ref":\s*"#([^"]+)"', answer.text)
    assert references
    for reference in set(references):
        node = found
        for part in reference.strip("/").split("/"):
            node = node[part]
    operations = [
        operation["operationId"] for path in found["paths"].values() for operation in path.values()
    ]
    assert len(operations) == len(set(operations)) >= 20


def test_every_route_documents_its_errors(web: Any) -> None:
    found = web("GET", "/schema/openapi.json").json()
    for path, methods in found["paths"].items():
        if path in ("/healthz", "/metrics"):
            continue
        for method, operation in methods.items():
            responses = operation["responses"]
            expected = set(ERRORS)
            if (
                "{collection}" in path
                and method != "put"
                and operation["operationId"]
                not in (
                    "add_documents",
                    "add_files",
                )
            ):
                expected.add("404")
            if "requestBody" in operation:
                expected |= {"413", "415"}
            assert expected <= set(responses), f"{method} {path}: {expected - set(responses)}"
            theirs = "openai" in operation["tags"]  # its clients read errors of their own form
            form = "application/json" if theirs else "application/problem+json"
            for status, response in responses.items():
                if status.startswith(("4", "5")):
                    assert list(response["content"]) == [form], f"{method} {path}: {status}"


def test_every_route_of_the_description_is_answered_and_every_body_is_described(web: Any) -> None:
    found = web("GET", "/schema/openapi.json").json()
    for path, methods in found["paths"].items():
        for method in methods:
            concrete = path.replace("{collection}", "zzz").replace("{document_id}", "x")
            assert web(method.upper(), concrete).status_code != 405
    bodies = [
        operation["requestBody"]
        for methods in found["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert all(body["content"] for body in bodies)


def test_the_documentation_page_needs_no_network(web: Any) -> None:
    page = web("GET", "/schema")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert addresses
    for address in addresses:
        assert not re.match(r"(?:https?:)?//", address), address
        if address.startswith("/"):
            assert web("GET", address).status_code == 200
    assert not re.search(r"@import|url\(\s*['\"]?https?://", page.text)


def test_an_unexpected_error_says_nothing_of_its_inside(
    serve: Any, settings: Any, problem: Any
) -> None:
    from sqlalchemy import text

    web = serve(settings)
    web.add({"id": "a", "text": "hello"})
    web.service.database.alone(
        lambda tx: tx.execute(text("UPDATE document SET metadata = '{broken'"))
    )
    problem(web("GET", f"{DOCUMENTS}/a"), 500, "internal_error")
