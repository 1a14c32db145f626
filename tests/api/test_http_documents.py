"""/v1/collections/{c}/documents and files, as the contract has them."""

import json
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

DOCUMENTS = "/v1/collections/c/documents"
OUTCOME = {"id", "status", "chunks", "embedded", "cached"}


def test_added_documents_are_answered_one_by_one(web: Any) -> None:
    answer = web.add(
        {"id": "a", "text": "red fox", "title": "T", "url": "u", "metadata": {"x": 1}},
        {"text": "blue whale"},
        {"id": "e", "text": ""},
    )
    assert set(answer) == {"version", "documents", "usage"}
    assert answer["version"] == 1
    assert answer["usage"] == {"tokens": 5, "cost_usd": 0.0}
    first, second, third = answer["documents"]
    assert first == {"id": "a", "status": "indexed", "chunks": 1, "embedded": 1, "cached": 0}
    assert set(second) == OUTCOME
    assert second["id"]
    assert set(third) == OUTCOME | {"error"}
    assert third["status"] == "failed"
    assert set(third["error"]) == {"code", "detail", "transient"}
    assert third["error"]["code"] == "invalid_request"
    assert "empty" in third["error"]["detail"]
    again = web.add({"id": "a", "text": "red fox", "title": "T", "url": "u", "metadata": {"x": 1}})
    assert [d["status"] for d in again["documents"]] == ["unchanged"]
    assert again["version"] == 1


@pytest.mark.parametrize(
    ("document", "code", "word"),
    [
        ({"text": " "}, "invalid_request", "empty"),
        ({}, "invalid_request", "text"),
        ({"text": "a", "chunks": [{"text": "b"}]}, "invalid_request", "text"),
        ({"text": "x" * 1_001}, "too_large", "1000"),
        ({"text": "a\0"}, "invalid_request", "NUL"),
        ({"text": "a", "vectors": [[1.0, 2.0]]}, "invalid_request", "dimensions"),
        ({"text": "a", "vectors": [[0.0] * 256]}, "invalid_request", "zeros"),
        ({"text": "a", "vectors": []}, "invalid_request", "0 vectors"),
        ({"id": "", "text": "a"}, "invalid_request", "id"),
        ({"id": "x" * 513, "text": "a"}, "invalid_request", "513"),
        ({"id": "x\0", "text": "a"}, "invalid_request", "id"),
        ({"text": "a", "title": "x" * 5_000}, "too_large", "title"),
        ({"text": "a", "metadata": {"x": "y" * 70_000}}, "too_large", "metadata"),
        ({"text": "a", "metadata": {"x": "\0"}}, "invalid_request", "metadata"),
    ],
)
def test_a_bad_document_fails_alone_with_its_reason(
    serve: Any, settings: Any, document: Any, code: str, word: str
) -> None:
    from dataclasses import replace

    web = serve(replace(settings, max_document_chars=1_000))
    answer = web.add({"id": "good", "text": "fine"}, document)
    good, bad = answer["documents"]
    assert good["status"] == "indexed"
    assert bad["status"] == "failed"
    assert bad["error"]["code"] == code
    assert word in bad["error"]["detail"]
    assert bad["error"]["transient"] is False
    found = web("GET", DOCUMENTS).json()["documents"]
    assert [d["id"] for d in found] == ["good"]


def test_wait_none_is_accepted_and_done_later(web: Any) -> None:
    import time

    answer = web("POST", f"{DOCUMENTS}?wait=none", json={"documents": [{"id": "a", "text": "x"}]})
    assert answer.status_code == 202
    assert answer.json()["documents"][0]["status"] == "pending"
    for _ in range(200):
        found = web("GET", f"{DOCUMENTS}/a").json()
        if found["status"] == "indexed":
            break
        time.sleep(0.02)
    assert found["status"] == "indexed"
    stored = web("POST", f"{DOCUMENTS}?wait=stored", json={"documents": [{"id": "b", "text": "y"}]})
    assert stored.status_code == 200


def test_a_document_is_read_with_what_was_asked_for(web: Any) -> None:
    text = "One here.\n\nTwo there."
    web.add({"id": "a", "text": text, "title": "T", "url": "u", "metadata": {"x": [1, None]}})
    bare = web("GET", f"{DOCUMENTS}/a").json()
    assert set(bare) == {
        *("id", "status", "title", "url", "metadata", "sha256", "chunk_count"),
        *("created_at", "updated_at"),
    }
    assert bare["sha256"] == sha256(text.encode()).hexdigest()
    assert bare["created_at"].endswith("Z")
    whole = web("GET", f"{DOCUMENTS}/a?include=chunks,text").json()
    assert whole["text"] == text
    assert whole["chunks"]
    for chunk in whole["chunks"]:
        assert set(chunk) == {"chunk_id", "ordinal", "start", "end", "page", "text", "metadata"}
        assert text[chunk["start"] : chunk["end"]] == chunk["text"]


IDS = [
    "a/b/c",
    "a b",
    "100%",
    "%2F",
    "%",
    "é/東京 😀",
    "/leading/slash",
    "//double",
    "a//b",
    "trailing/",
    "a?b=c&d",
    "a#b",
    "a+b",
    "a;b",
    "..",
    "../up",
    "a/../b",
    ".",
    "documents/documents/x",
    "\\back\\slash",
    "tab\there",
    "new\nline",
    '"quoted"',
    "<b>",
    "x" * 512,
    "ключ",
    "\u202e",
]


@pytest.mark.parametrize("collection", ["c", "documents"])
@pytest.mark.parametrize("document_id", IDS)
def test_any_id_goes_there_and_back(
    shared: Any, problem: Any, document_id: str, collection: str
) -> None:
    web = shared
    web.add({"id": document_id, "text": "hello"}, to=collection)
    escaped = quote(document_id, safe="").replace(".", "%2E")
    path = f"/v1/collections/{collection}/documents/{escaped}"
    found = web("GET", path)
    assert found.status_code == 200, found.text
    assert found.json()["id"] == document_id
    patched = web("PATCH", path, json={"title": "new"})
    assert (patched.status_code, patched.json()["title"]) == (200, "new")
    hits = web.search(collection, query="hello")["results"]
    assert [hit["document_id"] for hit in hits] == [document_id]
    assert web("DELETE", path).status_code == 204
    problem(web("GET", path), 404, "document_not_found")


def test_slashes_need_not_be_escaped(web: Any) -> None:
    web.add({"id": "a/b//c", "text": "hello"})
    assert web("GET", f"{DOCUMENTS}/a/b//c").json()["id"] == "a/b//c"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("tail", ["nope", "a/b", "%00", "a%00b"])
def test_an_unknown_document_is_404_on_both_databases(
    either: Any, problem: Any, method: str, tail: str
) -> None:
    either.add({"id": "kept", "text": "hello"})
    body = {"json": {"title": "x"}} if method == "PATCH" else {}
    answer = either(method, f"{DOCUMENTS}/{tail}", **body)
    if answer.status_code == 400:  # an id that no document can have may be called invalid
        problem(answer, 400)
    else:
        problem(answer, 404, "document_not_found")


def test_an_id_that_is_not_utf_8_is_refused(web: Any, problem: Any) -> None:
    web.add({"id": "a", "text": "hello"})
    problem(web("GET", f"{DOCUMENTS}/%ff"), 400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_document_of_an_unknown_collection_is_404(web: Any, problem: Any, method: str) -> None:
    body = {"json": {"title": "x"}} if method == "PATCH" else {}
    path = "/v1/collections/nope/documents/a"
    problem(web(method, path, **body), 404, "collection_not_found", "nope")


def test_a_patch_changes_labels_and_nothing_else(web: Any, problem: Any) -> None:
    web.add({"id": "a", "text": "hello", "title": "T", "metadata": {"x": 1}})
    found = web("PATCH", f"{DOCUMENTS}/a", json={"metadata": {"y": 2}})
    assert found.status_code == 200
    assert (found.json()["title"], found.json()["metadata"]) == ("T", {"y": 2})
    problem(web("PATCH", f"{DOCUMENTS}/a", json={}), 400, "invalid_request")
    problem(web("PATCH", f"{DOCUMENTS}/a", json={"text": "x"}), 400, "invalid_request", "text")
    problem(web("PATCH", f"{DOCUMENTS}/a", json={"title": 3}), 400, "invalid_request", "title", "3")
    problem(web("PATCH", f"{DOCUMENTS}/a", json={"title": "x" * 5_000}), 413, "too_large")
    problem(web("PATCH", f"{DOCUMENTS}/a", json={"metadata": {"k": "\0"}}), 400)


def test_documents_are_listed_in_pages(web: Any, problem: Any) -> None:
    web.add(*({"id": f"d{n}", "text": f"x{n}", "metadata": {"n": n}} for n in range(5)))
    ids: list[str] = []
    cursor = ""
    while True:
        page = web("GET", f"{DOCUMENTS}?limit=2{cursor}").json()
        assert set(page) == {"documents", "next_cursor"}
        ids += [d["id"] for d in page["documents"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert ids == [f"d{n}" for n in range(5)]
    where = quote(json.dumps({"n": {"$gte": 3}}))
    some = web("GET", f"{DOCUMENTS}?filter={where}").json()["documents"]
    assert [d["id"] for d in some] == ["d3", "d4"]


@pytest.mark.parametrize(
    ("query", "code", "word"),
    [
        ("limit=0", "invalid_request", "limit"),
        ("limit=10001", "invalid_request", "limit"),
        ("limit=ten", "invalid_request", "limit"),
        ("cursor=x", "invalid_request", "cursor"),
        ("cursor=-1", "invalid_request", "cursor"),
        ("cursor=99999999999999999999", "invalid_request", "cursor"),
        ("filter=%7B", "invalid_filter", "filter"),
        ("filter=%5B%5D", "invalid_filter", "filter"),
        ("filter=" + quote('{"a":{"$x":1}}'), "invalid_filter", "filter.a.$x"),
        ("filter=" + quote("[" * 5_000), "invalid_filter", "filter"),
        ("limt=3", "invalid_request", "limt"),
    ],
)
def test_a_bad_query_parameter_is_400(
    shared: Any, problem: Any, query: str, code: str, word: str
) -> None:
    shared("PUT", "/v1/collections/c", json={})
    problem(shared("GET", f"{DOCUMENTS}?{query}"), 400, code, word)


def test_documents_are_deleted_by_ids_or_filter(web: Any, problem: Any) -> None:
    web.add(*({"id": f"d{n}", "text": f"x{n}", "metadata": {"n": n}} for n in range(6)))
    path = "/v1/collections/c/delete"
    assert web("POST", path, json={"ids": ["d0", "d1", "nope"]}).json() == {
        "deleted": 2,
        "version": 2,
    }
    answer = web("POST", path, json={"filter": {"n": {"$lt": 4}}})
    assert answer.status_code == 200
    assert answer.json() == {"deleted": 2, "version": 3}
    left = {hit["document_id"] for hit in web.search(query="x", limit=10)["results"]}
    assert left == {"d4", "d5"}
    problem(web("POST", path, json={}), 400, "invalid_request")
    problem(web("POST", path, json={"ids": ["a"], "filter": {"n": 1}}), 400, "invalid_request")
    problem(web("POST", path, json={"filter": {"n": {"$x": 1}}}), 400, "invalid_filter", "$x")
    problem(web("POST", path, json={"filter": {}}), 400, "invalid_filter")
    problem(web("POST", "/v1/collections/nope/delete", json={"ids": []}), 404)
    assert web("POST", path, json={"ids": []}).json()["deleted"] == 0


def test_a_diff_tells_what_is_due(web: Any, problem: Any) -> None:
    web.add({"id": "same", "text": "same"}, {"id": "old", "text": "old"}, {"id": "x", "text": "x"})

    def theirs(document_id: str, text: str) -> dict[str, str]:
        return {"id": document_id, "sha256": sha256(text.encode()).hexdigest().upper()}

    sent = [theirs("same", "same"), theirs("old", "new"), theirs("fresh", "fresh")]
    answer = web("POST", "/v1/collections/c/diff", json={"documents": sent})
    assert answer.json() == {
        "new": ["fresh"],
        "changed": ["old"],
        "unchanged": ["same"],
        "pending": [],
        "failed": [],
        "missing": ["x"],
    }
    problem(web("POST", "/v1/collections/c/diff", json={"documents": [{"id": "a"}]}), 400)
    problem(web("POST", "/v1/collections/nope/diff", json={"documents": []}), 404)


# -- repeated requests ----------------------------------------------------------------------------


def test_an_idempotency_key_is_honoured(web: Any, problem: Any) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"documents": [{"text": "no id of its own"}]}
    first = web("POST", DOCUMENTS, json=body, headers=headers)
    second = web("POST", DOCUMENTS, json=body, headers=headers)
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert web("GET", "/v1/collections/c").json()["documents"] == 1
    other = {"documents": [{"text": "something else"}]}
    problem(web("POST", DOCUMENTS, json=other, headers=headers), 409, "idempotency_key_reused")
    for key in ("", "x" * 256):
        problem(web("POST", DOCUMENTS, json=body, headers={"Idempotency-Key": key}), 400)


# -- files ----------------------------------------------------------------------------------------

FILES = "/v1/collections/c/files"


def test_files_become_documents_with_their_names(web: Any) -> None:
    answer = web(
        "POST",
        FILES,
        files=[
            ("files", ("bad.md", b"\xff\xfe\xff", "text/markdown")),
            ("files", ("notes/a b.md", "# Heading\n\nŽluť text".encode(), "text/markdown")),
            ("files", ("plain.TXT", b"plain", "application/octet-stream")),
            ("files", ("picture.png", b"\x89PNG", "image/png")),
        ],
        data={"metadata": '{"project":"x"}'},
    )
    assert answer.status_code == 200, answer.text
    outcomes = answer.json()["documents"]
    assert [(d["id"], d["status"]) for d in outcomes] == [
        ("bad.md", "failed"),
        ("notes/a b.md", "indexed"),
        ("plain.TXT", "indexed"),
        ("picture.png", "failed"),
    ]
    assert outcomes[3]["error"]["code"] == "unsupported_media_type"
    assert ".md" in outcomes[3]["error"]["detail"]
    found = web("GET", f"{DOCUMENTS}/notes%2Fa%20b.md?include=text").json()
    assert found["title"] == "Heading"
    assert found["text"] == "# Heading\n\nŽluť text"
    assert found["metadata"] == {"filename": "notes/a b.md", "project": "x"}


@pytest.mark.parametrize("metadata", ["{", "5", '"x"', "[]", '[["a", 1]]', "null,", "{'a': 1}"])
def test_metadata_of_files_must_be_an_object(shared: Any, problem: Any, metadata: str) -> None:
    answer = shared("POST", FILES, files={"files": ("a.txt", b"x")}, data={"metadata": metadata})
    problem(answer, 400, "invalid_request", "metadata")


def test_a_form_without_a_file_is_400(web: Any, problem: Any) -> None:
    problem(web("POST", FILES, files={"x": (None, "text")}), 400, "invalid_request", "file")


def test_an_unknown_field_of_a_form_is_400(web: Any, problem: Any) -> None:
    answer = web("POST", FILES, files={"files": ("a.txt", b"x")}, data={"metdata": "{}"})
    problem(answer, 400, "invalid_request", "metdata")


def test_what_is_no_form_is_refused(web: Any, problem: Any) -> None:
    answer = web("POST", FILES, json={"files": []})
    assert answer.status_code in (400, 415)
    problem(answer, answer.status_code)
    broken = web(
        "POST", FILES, content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data"}
    )
    problem(broken, 400)


def test_a_file_twice_in_one_request_is_400(web: Any, problem: Any) -> None:
    answer = web("POST", FILES, files=[("files", ("a.txt", b"x")), ("files", ("a.txt", b"y"))])
    problem(answer, 400, "duplicate_id")
