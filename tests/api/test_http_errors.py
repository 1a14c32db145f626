"""Everything that a client can get wrong is answered in words, in one shape."""

import json
from dataclasses import replace
from typing import Any

import pytest

DOCUMENTS = "/v1/collections/c/documents"
SEARCH = "/v1/collections/c/search"
JSON = {"Content-Type": "application/json"}
BODIES = [
    ("PUT", "/v1/collections/x"),
    ("POST", DOCUMENTS),
    ("POST", SEARCH),
    ("POST", "/v1/collections/c/ask"),
    ("POST", "/v1/collections/c/delete"),
    ("POST", "/v1/collections/c/diff"),
    ("PATCH", f"{DOCUMENTS}/a"),
    ("POST", "/v1/similarity"),
]


@pytest.fixture(scope="module")
def filled(shared: Any) -> Any:
    """An application with one document, which no test here changes."""
    shared.add({"id": "a", "text": "hello"})
    return shared


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not json", b'{"a":', b"[1,2", b"\xff\xfe", b'{"query":"\xff"}', b"nul", b"{}}"],
)
def test_a_body_that_is_not_json_is_400(
    filled: Any, problem: Any, method: str, path: str, content: bytes
) -> None:
    problem(filled(method, path, content=content, headers=JSON), 400, "invalid_request")


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("content", [b"null", b"[]", b"3", b'"x"', b"true"])
def test_a_body_that_is_no_object_is_400(
    filled: Any, problem: Any, method: str, path: str, content: bytes
) -> None:
    problem(filled(method, path, content=content, headers=JSON), 400, "invalid_request")


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_an_unknown_field_is_400_and_named(
    filled: Any, problem: Any, method: str, path: str
) -> None:
    problem(filled(method, path, json={"unknwon": 1}), 400, "invalid_request", "unknwon")


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", None, "multipart/form-data"]
)
def test_another_content_type_is_415(
    filled: Any, problem: Any, method: str, path: str, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = filled(method, path, content=b"{}", headers=headers)
    problem(answer, 415, "unsupported_media_type", "application/json")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "application/merge-patch+json"]
)
def test_json_under_its_other_names_is_read(filled: Any, media_type: str) -> None:
    answer = filled("POST", SEARCH, content=b'{"query":"x"}', headers={"Content-Type": media_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "opening", ["", '{"a":', '{"filter":{"$not":', '{"documents":[{"metadata":']
)
def test_json_that_is_nested_without_end_is_400(
    filled: Any, problem: Any, method: str, path: str, opening: str
) -> None:
    content = opening + "[" * 10_000
    found = problem(filled(method, path, content=content.encode(), headers=JSON), 400)
    assert found["code"] in ("invalid_request", "invalid_filter" if "filter" in opening else "")


@pytest.mark.parametrize("depth", [100, 300, 500, 800, 900, 950, 980, 990, 995])
def test_nested_metadata_is_stored_whole_or_refused_in_words(either: Any, depth: int) -> None:
    """Nothing between: what was stored is listed, filtered and searched afterwards."""
    web, documents = either, f"/v1/collections/depth{depth}/documents"
    deep = "[" * depth + "]" * depth
    content = f'{{"documents":[{{"id":"a","text":"x","metadata":{{"k":{deep},"n":1}}}}]}}'
    answer = web("POST", documents, content=content.encode(), headers=JSON)
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code != 200 or answer.json()["documents"][0]["status"] != "indexed":
        return
    assert web("GET", f"{documents}/a").status_code == 200
    assert web("GET", documents).status_code == 200
    found = web(
        "POST", f"/v1/collections/depth{depth}/search", json={"query": "x", "filter": {"n": 1}}
    )
    assert found.status_code == 200, found.text
    assert found.text.count('"document_id":"a"') == 1  # the depth may be too much for a reader here


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (DOCUMENTS, '{"documents":[{"id":"s","text":"half \\ud800 pair"}]}'),
        (DOCUMENTS, '{"documents":[{"id":"half \\udc00","text":"x"}]}'),
        (DOCUMENTS, '{"documents":[{"id":"s","text":"x","metadata":{"\\ud83d":"\\ude00"}}]}'),
        (SEARCH, '{"query":"half \\ud800"}'),
        (SEARCH, '{"query":"x","filter":{"a":"\\ud800"}}'),
        ("/v1/collections/c/ask", '{"question":"half \\ud800"}'),
        ("/v1/collections/c/delete", '{"ids":["\\ud800"]}'),
        ("/v1/similarity", '{"texts":["\\ud800"]}'),
    ],
)
def test_half_of_a_surrogate_pair_never_breaks_anything(
    filled: Any, path: str, content: str
) -> None:
    answer = filled("POST", path, content=content.encode(), headers=JSON)
    assert answer.status_code in (200, 400)
    if answer.status_code == 200 and path == DOCUMENTS:
        assert answer.json()["documents"][0]["status"] == "failed"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": 3}, ["query", "3"]),
        ({"query": "x", "limit": "ten"}, ["limit", '"ten"']),
        ({"query": "x", "limit": 1.5}, ["limit", "1.5"]),
        ({"query": "x", "limit": None}, ["limit", "null"]),
        ({"query": "x", "limit": True}, ["limit", "true"]),
        ({"query": "x", "limit": 0}, ["limit", "0"]),
        ({"query": "x", "limit": 10_001}, ["limit", "10001"]),
        ({"query": "x", "limit": 10**30}, ["limit"]),
        ({"query": "x", "offset": -1}, ["offset", "-1"]),
        ({"query": "x", "offset": 9_995}, ["offset", "9995"]),
        ({"query": "x", "mode": "fuzzy"}, ["mode", "fuzzy"]),
        ({"query": "x", "include": ["txt"]}, ["include[0]", "txt"]),
        ({"query": "x", "filter": "year"}, ["filter", "year"]),
        ({"query": "x", "per_document": 0}, ["per_document", "0"]),
        ({"query": "x", "min_score": "high"}, ["min_score", "high"]),
        ({"query": ""}, ["query", "empty"]),
        ({}, ["query"]),
        ({"query": "x", "vector": [1.0]}, ["query"]),
        ({"vector": [1.0, 2.0]}, ["vector", "2", "256"]),
        ({"vector": [0.0] * 256}, ["vector", "zeros"]),
        ({"vector": ["a"] * 256}, ["vector[0]", "a"]),
        ({"vector": []}, ["vector"]),
        ({"queries": []}, ["queries"]),
        ({"queries": [{"query": "x"}] * 101}, ["queries", "101"]),
        ({"queries": [{"query": "x"}], "limit": 3}, ["queries"]),
        ({"queries": [{"query": "x"}, {"query": ""}]}, ["queries[1]", "empty"]),
        ({"queries": [{"query": "x"}, {"limit": "a"}]}, ["queries[1].limit", "a"]),
    ],
)
def test_a_bad_search_is_400_naming_field_and_value(
    filled: Any, problem: Any, body: Any, words: list[str]
) -> None:
    problem(filled("POST", SEARCH, json=body), 400, None, *words)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_400(filled: Any, problem: Any, number: str) -> None:
    content = f'{{"vector":[{number}]}}'
    problem(filled("POST", SEARCH, content=content.encode(), headers=JSON), 400, "invalid_request")
    content = f'{{"documents":[{{"id":"n","text":"x","metadata":{{"x":{number}}}}}]}}'
    problem(filled("POST", DOCUMENTS, content=content.encode(), headers=JSON), 400)


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_a_number_without_end_is_refused_or_kept(filled: Any, number: int) -> None:
    content = f'{{"documents":[{{"id":"n","text":"x","metadata":{{"x":{number}}}}}]}}'
    answer = filled("POST", DOCUMENTS, content=content.encode(), headers=JSON)
    assert answer.status_code in (200, 400)
    assert filled("GET", DOCUMENTS).status_code == 200
    assert (
        filled("POST", SEARCH, json={"query": "x", "filter": {"x": {"$gt": 1}}}).status_code == 200
    )


@pytest.mark.parametrize(
    "filter_",
    [
        {"a": {"$foo": 1}},
        {"$xor": []},
        {"a": [1]},
        {"$and": {}},
        {"a": {"$in": 3}},
        {"a": {"$exists": "yes"}},
        {"a": 2**70},
        {"a": {"$contains": {}}},
        {"": 1},
    ],
)
@pytest.mark.parametrize("door", ["search", "ask", "delete"])
def test_a_malformed_filter_is_400_and_its_place_is_named(
    filled: Any, problem: Any, filter_: Any, door: str
) -> None:
    body = {"filter": filter_} | {"search": {"query": "x"}, "ask": {"question": "x"}}.get(door, {})
    answer = filled("POST", f"/v1/collections/c/{door}", json=body)
    problem(answer, 400, "invalid_filter", "filter")


def test_the_same_id_twice_in_a_request_is_400(filled: Any, problem: Any) -> None:
    body = {"documents": [{"id": "a", "text": "1"}, {"id": "a", "text": "2"}]}
    problem(filled("POST", DOCUMENTS, json=body), 400, "duplicate_id", "'a'")
    assert filled("GET", f"{DOCUMENTS}/a?include=text").json()["text"] == "hello"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"documents": []}, ["documents", "empty"]),
        ({"documents": {}}, ["documents"]),
        ({"documents": [3]}, ["documents[0]"]),
        ({"documents": [{"text": 3}]}, ["documents[0].text", "3"]),
        ({"documents": [{"text": "x", "id": 7}]}, ["documents[0].id", "7"]),
        ({"documents": [{"text": "x", "metadata": []}]}, ["documents[0].metadata"]),
        ({"documents": [{"text": "x", "vectors": [["a"]]}]}, ["documents[0].vectors[0][0]", "a"]),
        ({"documents": [{"txt": "x"}]}, ["documents[0]", "txt"]),
        ({"documents": [{"chunks": [{"txt": "x"}]}]}, ["documents[0].chunks[0]", "txt"]),
        ({}, ["documents"]),
    ],
)
def test_a_request_with_wrong_types_is_400_naming_field_and_value(
    filled: Any, problem: Any, body: Any, words: list[str]
) -> None:
    problem(filled("POST", DOCUMENTS, json=body), 400, "invalid_request", *words)


def test_too_many_documents_are_413(serve: Any, settings: Any, problem: Any) -> None:
    web = serve(replace(settings, max_documents=3))
    body = {"documents": [{"id": str(n), "text": "x"} for n in range(4)]}
    problem(web("POST", DOCUMENTS, json=body), 413, "too_large", "4", "3")


def test_a_body_over_the_limit_is_413(serve: Any, settings: Any, problem: Any) -> None:
    web = serve(replace(settings, max_body_mb=1))
    content = json.dumps({"documents": [{"id": "a", "text": "x" * 1_100_000}]}).encode()
    problem(web("POST", DOCUMENTS, content=content, headers=JSON), 413, "too_large")

    async def pieces() -> Any:
        for start in range(0, len(content), 50_000):
            yield content[start : start + 50_000]

    problem(web("POST", DOCUMENTS, content=pieces(), headers=JSON), 413, "too_large")
    upload = {"files": ("a.txt", b"x" * 1_100_000)}
    problem(web("POST", "/v1/collections/c/files", files=upload), 413, "too_large")
    fits = json.dumps({"documents": [{"id": "a", "text": "x" * 900_000}]}).encode()
    assert web("POST", DOCUMENTS, content=fits, headers=JSON).status_code == 200


@pytest.mark.parametrize("name", ["A", "a b", "-a", "x" * 64, "é", "%00", "a.b", "a%2Fb", "#"])
@pytest.mark.parametrize(
    ("method", "tail"), [("PUT", ""), ("GET", ""), ("DELETE", ""), ("POST", "/search")]
)
def test_a_bad_collection_name_is_400(
    shared: Any, problem: Any, name: str, method: str, tail: str
) -> None:
    web = shared
    body = {"PUT": {"json": {}}, "POST": {"json": {"query": "x"}}}.get(method, {})
    answer = web(method, f"/v1/collections/{name.replace('#', '%23')}{tail}", **body)
    if "%2F" in name:  # a slash may also be read as a path that is not there
        assert answer.status_code in (400, 404, 405)
        problem(answer, answer.status_code)
    else:
        problem(answer, 400, "invalid_request", "name")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/collections/nope", None),
        ("DELETE", "/v1/collections/nope", None),
        ("GET", "/v1/collections/nope/documents", None),
        ("POST", "/v1/collections/nope/search", {"query": "x"}),
        ("POST", "/v1/collections/nope/ask", {"question": "x"}),
        ("POST", "/v1/collections/nope/ask", {"question": "x", "stream": True}),
        ("POST", "/v1/collections/nope/verify", None),
        ("POST", "/v1/collections/nope/repair", None),
    ],
)
def test_an_unknown_collection_is_404(
    shared: Any, problem: Any, method: str, path: str, body: Any
) -> None:
    web = shared
    options = {} if body is None else {"json": body}
    problem(web(method, path, **options), 404, "collection_not_found", "nope")


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/collections/c/nope", "/v2/collections", "/v1/keys"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(shared: Any, problem: Any, path: str, method: str) -> None:
    problem(shared(method, path), 404, "not_found", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/collections"),
        ("PATCH", "/v1/collections/c"),
        ("GET", "/v1/collections/c/search"),
        ("DELETE", "/healthz"),
        ("PUT", "/v1/similarity"),
        ("PUT", f"{DOCUMENTS}/a"),
    ],
)
def test_another_method_is_405_naming_those_allowed(
    shared: Any, problem: Any, method: str, path: str
) -> None:
    answer = shared(method, path)
    problem(answer, 405, "method_not_allowed", method)
    allowed = answer.headers["allow"]
    assert method not in allowed.split(", ")
    assert any(word in answer.json()["detail"] for word in allowed.split(", "))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/collections?limt=3"),
        ("GET", "/v1/collections/c?x=1"),
        ("GET", "/healthz?x=1"),
        ("POST", f"{DOCUMENTS}?wiat=none"),
        ("DELETE", f"{DOCUMENTS}/a?force=1"),
    ],
)
def test_an_unknown_query_parameter_is_400(
    filled: Any, problem: Any, method: str, path: str
) -> None:
    name = path.partition("?")[2].partition("=")[0]
    options = {"json": {"documents": [{"text": "x"}]}} if method == "POST" else {}
    problem(filled(method, path, **options), 400, "invalid_request", name)


def test_a_word_that_wait_does_not_know_is_400(filled: Any, problem: Any) -> None:
    answer = filled("POST", f"{DOCUMENTS}?wait=soon", json={"documents": [{"text": "x"}]})
    problem(answer, 400, "invalid_request", "wait", "soon")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "127.0.0.1.nip.io", "[::2]", ""],
)
@pytest.mark.parametrize(
    "path", ["/v1/collections", "/healthz", "/schema/openapi.json", "/metrics", "/v1/info"]
)
def test_a_foreign_host_is_refused(shared: Any, problem: Any, host: str, path: str) -> None:
    problem(shared("GET", path, headers={"Host": host}), 403, "host_not_allowed")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1:8000", "[::1]:8000", "[::1]", "LOCALHOST"]
)
def test_this_machine_is_answered_under_all_its_names(shared: Any, host: str) -> None:
    assert shared("GET", "/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "embedding",
    ["nope", "nope:x", "local:../x", "local:" + "y" * 300, "hash:0", ":", "os:path", "_batching"],
)
def test_an_embedding_that_is_none_is_400(shared: Any, problem: Any, embedding: str) -> None:
    problem(shared("PUT", "/v1/collections/x", json={"embedding": embedding}), 400)


@pytest.mark.parametrize(
    "body",
    [
        {"chunking": {"size": 0}},
        {"chunking": {"size": "big"}},
        {"chunking": {"overlap": 256}},
        {"chunking": {"strategy": "magic"}},
        {"chunking": {"sise": 3}},
        {"dimensions": 0},
        {"fields": {"year": "date"}},
        {"fields": ["year"]},
        {"description": "x" * 10_001},
        {"embedding": ""},
        {"description": "a\0"},
        {"fields": {"a\0": "string"}},
    ],
)
def test_a_bad_setting_of_a_collection_is_400_on_both_databases(
    either: Any, problem: Any, body: Any
) -> None:
    problem(either("PUT", "/v1/collections/x", json=body), 400)


def test_a_cursor_with_a_nul_is_no_server_error_on_either_database(either: Any) -> None:
    answer = either("GET", "/v1/collections?cursor=%00")
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("delete", {"ids": ["a\0"]}),
        ("search", {"document_id": "a\0"}),
        ("search", {"query": "a\0b"}),
        ("diff", {"documents": [{"id": "a\0", "sha256": "\0"}]}),
        ("ask", {"question": "a\0b?"}),
    ],
)
def test_a_nul_character_is_no_server_error_on_either_database(
    either: Any, path: str, body: Any
) -> None:
    either.add({"id": "a", "text": "hello"})
    answer = either("POST", f"/v1/collections/c/{path}", json=body)
    assert answer.status_code in (200, 400, 404), answer.text


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"vector": [1.0] * 256, "mode": "lexical"}, "mode"),
        ({"vector": [1.0] * 256, "rerank": True}, "rerank"),
        ({"query": "x", "rerank": ""}, "rerank"),
        ({"query": "x", "rerank": "nobody:model"}, "nobody"),
        ({"query": "x", "rerank": True, "limit": 600, "offset": 500}, "rerank"),
        ({"query": "x", "diversity": 1.5}, "diversity"),
        ({"query": "x", "diversity": 0.5, "mode": "lexical"}, "diversity"),
        ({"query": "x", "fusion": {"method": "sum"}}, "fusion"),
        ({"query": "x", "fusion": {"dense": -1}}, "fusion.dense"),
        ({"query": "x", "fusion": {"dense": 0, "lexical": 0}}, "fusion"),
        ({"query": "x", "fusion": {"k": 0}}, "fusion.k"),
        ({"query": "x", "fusion": {"weight": 1}}, "weight"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_naming_the_field(
    filled: Any, problem: Any, body: Any, named: str
) -> None:
    problem(filled("POST", SEARCH, json=body), 400, None, named)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"question": "x", "history": [{"role": "system", "content": "y"}]}, 400),
        ({"question": "x", "system": "be brief"}, 400),
        ({"question": "x", "mode": "magic"}, 400),
        ({"question": "x", "conversation_id": "y"}, 404),
        ({"question": "x", "model": "openai:gpt-4o"}, 400),
        ({"question": "x", "model": "../x"}, 400),
        ({"question": "x", "limit": 0}, 400),
        ({"question": "x", "limit": 51}, 400),
        ({"question": "x", "grounding": "loose"}, 400),
        ({"question": " "}, 400),
        ({}, 400),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_question_is_a_problem_even_as_a_stream(
    filled: Any, problem: Any, body: Any, status: int, stream: bool
) -> None:
    answer = filled("POST", "/v1/collections/c/ask", json=body | {"stream": stream})
    problem(answer, status)
