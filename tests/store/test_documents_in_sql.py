"""Documents, chunks, vectors and versions, on both databases."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Chunking, Collection, Prepared, Space
from embedsvc.core.vectors import from_blobs
from embedsvc.errors import Conflict, NotFound
from embedsvc.store import store as module
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.store import Reply, Store, now

Run = Callable[[Any], Any]
Put = Callable[..., int]
Make = Callable[..., Prepared]


def count(run: Run, database: Database, table: Any) -> int:
    found: int = run(
        database.read(lambda tx: tx.execute(select(func.count()).select_from(table)).scalar_one())
    )
    return found


# -- collections --------------------------------------------------------------------------------


def test_a_collection_is_created_once(run: Run, store: Store, space: Space) -> None:
    first, created = run(store.create_collection("c", "test", space, Chunking(10, 2, "tokens")))
    again, created_again = run(store.create_collection("c", "other", space, Chunking()))
    assert (created, created_again) == (True, False)
    assert again == first
    assert first.chunking == Chunking(10, 2, "tokens")
    assert first.version == 0


def test_an_unknown_collection_is_not_found_by_name(run: Run, store: Store) -> None:
    with pytest.raises(NotFound, match="'nope'") as caught:
        run(store.collection("nope"))
    assert caught.value.code == "collection_not_found"


def test_two_at_once_create_one_collection(run: Run, store: Store, space: Space) -> None:
    async def work() -> list[Any]:
        return await asyncio.gather(
            *(store.create_collection("c", "test", space, Chunking()) for _ in range(8))
        )

    found = run(work())
    assert sorted(created for _, created in found) == [False] * 7 + [True]
    assert len({collection.id for collection, _ in found}) == 1


def test_collections_are_listed_by_name_in_pages(run: Run, store: Store, space: Space) -> None:
    for name in ("b", "a", "c", "0", "a-b", "a_b"):
        run(store.create_collection(name, "test", space, Chunking()))
    names, after = [], ""
    while page := run(store.collections(after, 2)):
        names += [one.name for one in page]
        after = page[-1].name
    assert sorted(names) == sorted(["0", "a", "a-b", "a_b", "b", "c"])
    assert len(names) == 6


def test_description_and_fields_change_and_the_rest_stays(
    run: Run, store: Store, collection: Collection
) -> None:
    changed = run(store.update_collection("books", "mine", {"year": "integer"}))
    assert (changed.description, changed.fields) == ("mine", {"year": "integer"})
    same = run(store.update_collection("books", None, None))
    assert same == changed
    assert changed.version > collection.version
    with pytest.raises(NotFound):
        run(store.update_collection("nope", "x", None))


def test_a_deleted_collection_is_gone_at_once_and_its_name_is_free(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make, space: Space
) -> None:
    put(collection, prepared("d", "one"))
    run(store.delete_collection("books"))
    with pytest.raises(NotFound):
        run(store.collection("books"))
    with pytest.raises(NotFound):
        run(store.delete_collection("books"))
    with pytest.raises(NotFound):
        run(store.replace(collection, [prepared("e", "two")]))
    assert run(store.collections("", 10)) == []
    new, created = run(store.create_collection("books", "test", space, Chunking()))
    assert created
    assert new.id != collection.id
    assert run(store.counts(new.id)) == (0, 0)


def test_sweeping_frees_every_row_of_a_deleted_collection(
    run: Run, store: Store, database: Database, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, *(prepared(f"d{n}", f"one {n}", f"two {n}") for n in range(12)))
    put(collection, prepared("d0", "changed"))
    run(store.enqueue(collection, [(prepared("p"), b"{}")]))
    run(store.remember(collection, Reply("k", b"h" * 32, b"{}")))
    run(store.delete_collection("books"))
    steps = 0
    while run(store.sweep(5)):
        steps += 1
    assert steps > 5
    for table in (t.chunk, t.document, t.pending, t.removal, t.idempotency, t.collection):
        assert count(run, database, table) == 0


def test_sweeping_leaves_living_collections_alone(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make, space: Space
) -> None:
    other = run(store.create_collection("other", "test", space, Chunking()))[0]
    put(other, prepared("d", "one"))
    put(collection, prepared("d", "one"))
    run(store.delete_collection("books"))
    while run(store.sweep()):
        pass
    assert run(store.counts(other.id)) == (1, 1)
    assert not run(store.sweep())


def test_the_store_is_empty_until_a_collection_was_created(
    run: Run, store: Store, space: Space
) -> None:
    assert run(store.empty())
    run(store.create_collection("c", "test", space, Chunking()))
    assert not run(store.empty())


# -- versions -----------------------------------------------------------------------------------


def test_every_write_takes_the_next_version(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    assert [put(collection, prepared(f"d{n}", "x")) for n in range(3)] == [1, 2, 3]
    run(store.patch("books", "d0", "title", None))
    assert run(store.delete_documents("books", ["d1"], None)) == (1, 5)
    assert run(store.enqueue(collection, [(prepared("p"), b"{}")])) == 6
    assert run(store.collection("books")).version == 6


def test_versions_of_writes_at_the_same_time_are_all_different(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, prepared("d", "x"))

    async def work() -> list[int]:
        return await asyncio.gather(
            *(store.replace(collection, [prepared(f"d{n}", "x")]) for n in range(20))
        )

    assert sorted(run(work())) == list(range(2, 22))


def test_chunk_ids_ascend_with_versions(
    run: Run, store: Store, database: Database, collection: Collection, prepared: Make
) -> None:
    async def work() -> None:
        await asyncio.gather(
            *(store.replace(collection, [prepared(f"d{n % 5}", "a", "b")]) for n in range(20))
        )

    run(work())
    rows = run(
        database.read(
            lambda tx: [
                tuple(row)
                for row in tx.execute(
                    select(t.chunk.c.version, t.chunk.c.id).order_by(t.chunk.c.id)
                )
            ]
        )
    )
    assert rows == sorted(rows)


# -- documents ----------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_was_stored(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    metadata = {"ключ": ["😀", 1, 1.5, True, None, {"a": {"b": "c"}}], "big": 2**60}
    put(collection, prepared("a/b c", "Žluť", "kůň", title="τίτλος", metadata=metadata))
    document, chunks = run(store.document("books", "a/b c", text=True, chunks=True))
    assert document.text == "Žluť\n\nkůň"
    assert (document.title, document.metadata) == ("τίτλος", metadata)
    assert [c.text for c in chunks] == ["Žluť", "kůň"]
    assert all(document.text[c.start : c.end] == c.text for c in chunks)
    bare, none = run(store.document("books", "a/b c", text=False, chunks=False))
    assert (bare.text, none) == ("", [])


def test_an_unknown_document_is_not_found(run: Run, store: Store, collection: Collection) -> None:
    for call in (
        store.document("books", "nope", text=False, chunks=False),
        store.patch("books", "nope", "t", None),
        store.document_vectors(collection, "nope"),
    ):
        with pytest.raises(NotFound, match="nope") as caught:
            run(call)
        assert caught.value.code == "document_not_found"


def test_a_refused_patch_takes_no_version(run: Run, store: Store, collection: Collection) -> None:
    with pytest.raises(NotFound):
        run(store.patch("books", "nope", "t", None))
    assert run(store.collection("books")).version == collection.version


def test_replacing_keeps_one_row_and_remembers_the_removed_chunks(
    run: Run, store: Store, database: Database, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, prepared("d", "one", "two", "three"))
    before = run(store.chunk_ids(collection.id, 0, 10)).tolist()
    created = run(store.document("books", "d", text=False, chunks=False))[0].created_at
    put(collection, prepared("d", "one", "four"))
    assert run(store.counts(collection.id)) == (1, 2)
    after = run(store.chunk_ids(collection.id, 0, 10)).tolist()
    assert min(after) > max(before)
    assert run(store.removed(collection.id, 1, 2)).tolist() == before
    document = run(store.document("books", "d", text=True, chunks=False))[0]
    assert (document.text, document.chunks) == ("one\n\nfour", 2)
    assert document.created_at == created <= document.updated_at
    assert count(run, database, t.document) == 1


def test_known_says_what_is_stored_of_those_asked_for(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    document = prepared("d", "one")
    put(collection, document)
    found = run(store.known(collection.id, ["d", "nope"]))
    assert set(found) == {"d"}
    assert found["d"].content_hash == document.content_hash
    assert (found["d"].status, found["d"].chunks) == ("indexed", 1)


def test_digests_are_those_of_the_texts(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    document = prepared("d", "one")
    put(collection, document)
    assert run(store.digests(collection.id)) == {"d": ("indexed", document.text_hash.hex())}


def test_documents_are_listed_in_pages_in_the_order_they_came(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    for n in (3, 1, 2, 0, 4):
        put(collection, prepared(f"d{n}", "x", metadata={"n": n}))
    ids: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = run(store.documents("books", cursor, 2, None))
        ids += [one.id for one in page]
    assert ids == ["d3", "d1", "d2", "d0", "d4"]
    page, cursor = run(store.documents("books", 0, 5, None))
    assert (len(page), cursor) == (5, None)
    some, _ = run(store.documents("books", 0, 5, parse_filter({"n": {"$gte": 3}})))
    assert [one.id for one in some] == ["d3", "d4"]


def test_a_patch_changes_labels_and_leaves_chunks(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, prepared("d", "one", title="old", metadata={"a": 1}))
    before = run(store.chunk_ids(collection.id, 0, 10)).tolist()
    patched = run(store.patch("books", "d", "new", None))
    assert (patched.title, patched.metadata) == ("new", {"a": 1})
    patched = run(store.patch("books", "d", None, {"b": 2}))
    assert (patched.title, patched.metadata) == ("new", {"b": 2})
    assert run(store.chunk_ids(collection.id, 0, 10)).tolist() == before
    same = prepared("d", "one", title="new", metadata={"b": 2})
    assert run(store.known(collection.id, ["d"]))["d"].content_hash == same.content_hash


def test_documents_are_deleted_by_ids(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, *(prepared(f"d{n}", f"x{n}") for n in range(4)))
    gone = run(store.chunk_ids(collection.id, 0, 10)).tolist()[1:3]
    assert run(store.delete_documents("books", ["d1", "d2", "nope"], None)) == (2, 2)
    assert run(store.counts(collection.id)) == (2, 2)
    assert run(store.removed(collection.id, 1, 2)).tolist() == gone
    assert run(store.delete_documents("books", [], None))[0] == 0


def test_documents_are_deleted_by_a_filter(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, *(prepared(f"d{n}", "x", metadata={"n": n}) for n in range(5)))
    where = parse_filter({"n": {"$lt": 3}})
    assert run(store.delete_documents("books", None, where))[0] == 3
    assert {d.id for d in run(store.documents("books", 0, 9, None))[0]} == {"d3", "d4"}


def test_deleting_touches_one_collection_only(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make, space: Space
) -> None:
    other = run(store.create_collection("other", "test", space, Chunking()))[0]
    put(collection, prepared("d", "x"))
    put(other, prepared("d", "x"))
    run(store.delete_documents("books", None, parse_filter({})))
    assert run(store.counts(other.id)) == (1, 1)
    assert run(store.counts(collection.id)) == (0, 0)


@pytest.mark.parametrize("size", [5_001, 12_000])
def test_many_ids_fit_into_statements(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make, size: int
) -> None:
    put(collection, prepared("d1", "x"))
    assert set(run(store.known(collection.id, [f"d{n}" for n in range(size)]))) == {"d1"}
    ids = run(store.chunk_ids(collection.id, 0, 5)).tolist()
    assert list(run(store.chunks(collection.id, range(size)))) == ids
    assert run(store.delete_documents("books", [f"d{n}" for n in range(size)], None))[0] == 1


@pytest.mark.parametrize("value", ["\0", "a\0b"])
def test_an_id_that_cannot_exist_is_simply_not_there(
    run: Run, store: Store, collection: Collection, value: str
) -> None:
    """PostgreSQL refuses a NUL character inside a string, and a search for it too."""
    assert run(store.known(collection.id, [value])) == {}
    with pytest.raises(NotFound):
        run(store.document("books", value, text=False, chunks=False))
    assert run(store.delete_documents("books", [value], None))[0] == 0


# -- what search and indexes read -------------------------------------------------------------


def test_matching_finds_chunks_by_the_metadata_of_document_and_chunk(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, prepared("d", "a", "b", metadata={"lang": "en"}, own=[{"lang": "de"}, None]))
    ids = run(store.chunk_ids(collection.id, 0, 9)).tolist()
    assert run(store.matching(collection, parse_filter({"lang": "de"}))).tolist() == ids[:1]
    assert run(store.matching(collection, parse_filter({"lang": "en"}))).tolist() == ids[1:]
    found = run(store.chunks(collection.id, ids))
    assert [found[i].metadata for i in ids] == [{"lang": "de"}, {"lang": "en"}]


def test_chunks_of_another_collection_are_not_given_out(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make, space: Space
) -> None:
    other = run(store.create_collection("other", "test", space, Chunking()))[0]
    put(collection, prepared("d", "x"))
    ids = run(store.chunk_ids(collection.id, 0, 9)).tolist()
    assert run(store.chunks(other.id, ids)) == {}
    assert set(run(store.chunks(collection.id, [*ids, 10**9]))) == set(ids)


def stored_vectors(database: Database, space_id: int, keys: Sequence[bytes]) -> np.ndarray:
    """The vectors under these keys, in their order."""
    query = select(t.vector).where(t.vector.c.space_id == space_id)
    rows = database.alone(lambda tx: {row.key: row.data for row in tx.execute(query)})
    return from_blobs([rows[key] for key in keys], 2)


def test_vectors_are_addressed_by_content_and_the_first_stays(
    run: Run, store: Store, collection: Collection, database: Database
) -> None:
    keys = [b"a" * 32, b"b" * 32]
    run(store.add_vectors(collection.space_id, keys, np.eye(2, dtype=np.float32)))
    run(store.add_vectors(collection.space_id, keys[:1], np.array([[0, 1]], dtype=np.float32)))
    found = stored_vectors(database, collection.space_id, [keys[1], keys[0], keys[1]])
    np.testing.assert_array_equal(found, [[0, 1], [1, 0], [0, 1]])
    assert run(store.stored_keys(collection.space_id, [*keys, b"c" * 32])) == set(keys)


def test_vectors_of_two_spaces_do_not_mix(run: Run, store: Store, collection: Collection) -> None:
    other = run(store.space_id(Space("test", "two", 2, revision="next")))
    assert other != collection.space_id
    run(store.add_vectors(collection.space_id, [b"a" * 32], np.eye(2, dtype=np.float32)[:1]))
    assert run(store.stored_keys(other, [b"a" * 32])) == set()
    assert run(store.space_id(Space("test", "two", 2, revision="next"))) == other


def test_the_same_vector_stored_by_many_at_once_is_stored_once(
    run: Run, store: Store, database: Database, collection: Collection
) -> None:
    async def work() -> None:
        rows = np.eye(2, dtype=np.float32)
        keys = [b"a" * 32, b"b" * 32]
        await asyncio.gather(
            *(store.add_vectors(collection.space_id, keys, rows) for _ in range(10))
        )

    run(work())
    assert count(run, database, t.vector) == 2


def test_added_pages_in_order_and_ends(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    for n in range(5):
        put(collection, prepared(f"d{n}", f"a{n}", f"b{n}"))
    current = run(store.collection("books"))
    ids: list[int] = []
    at: Any = (0, 2**62)
    pages = 0
    while at is not None:
        page, vectors, at = run(store.added(current, at, 4, 3))
        assert vectors.shape == (len(page), 2)
        ids += page.tolist()
        pages += 1
    expected = run(store.chunk_ids(collection.id, 0, 99)).tolist()[:8]
    assert ids == expected
    assert pages == 3
    later, _, more = run(store.added(current, (3, 2**62), 5, 99))
    assert (later.tolist(), more) == (run(store.chunk_ids(collection.id, 0, 99)).tolist()[6:], None)


def test_an_exactly_full_page_is_followed_by_an_empty_one(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    put(collection, prepared("d", "a", "b"))
    current = run(store.collection("books"))
    _, _, more = run(store.added(current, (0, 2**62), 1, 2))
    assert more is not None
    last, _, end = run(store.added(current, more, 1, 2))
    assert (len(last), end) == (0, None)


def test_a_chunk_without_a_vector_is_left_out_of_what_an_index_reads(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.replace(collection, [prepared("d", "never embedded")]))
    current = run(store.collection("books"))
    ids, vectors, _ = run(store.added(current, (0, 2**62), 1, 9))
    assert (len(ids), vectors.shape) == (0, (0, 2))
    assert len(run(store.chunk_ids(collection.id, 0, 9))) == 1


def test_removals_that_were_forgotten_are_not_pretended(
    run: Run,
    store: Store,
    collection: Collection,
    put: Put,
    prepared: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT_VERSIONS", 6)
    monkeypatch.setattr(module, "_PRUNE_EVERY", 5)
    for n in range(10):
        put(collection, prepared("d", f"text {n}"))
    assert run(store.collection("books")).pruned_to == 4
    assert run(store.removed(collection.id, 3, 10)) is None
    assert len(run(store.removed(collection.id, 4, 10))) == 6
    assert run(store.removed(collection.id, 0, 10)).tolist() == []


def test_removals_of_a_collection_that_is_gone_are_not_known(
    run: Run, store: Store, collection: Collection
) -> None:
    assert run(store.removed(collection.id + 100, 3, 4)) is None


def test_the_vectors_of_a_document_come_in_its_order(
    run: Run,
    store: Store,
    collection: Collection,
    put: Put,
    prepared: Make,
    database: Database,
) -> None:
    document = prepared("d", "one", "two", "one")
    put(collection, document)
    found = run(store.document_vectors(collection, "d"))
    expected = stored_vectors(database, collection.space_id, [p.key for p in document.pieces])
    np.testing.assert_array_equal(found, expected)


# -- replies to repeated requests -------------------------------------------------------------


def test_a_reply_is_kept_with_its_write_or_not_at_all(
    run: Run, store: Store, collection: Collection, put: Put, prepared: Make
) -> None:
    def reply(version: int) -> Reply:
        return Reply("key", b"h" * 32, str(version).encode())

    put(collection, prepared("d", "x"))
    assert run(store.replace(collection, [prepared("d", "y")], reply=reply)) == 2
    assert run(store.reply(collection.id, "key")) == Reply("key", b"h" * 32, b"2")
    with pytest.raises(Conflict) as caught:
        run(store.replace(collection, [prepared("d", "z")], reply=reply))
    assert caught.value.code == "idempotency_key_in_use"
    document = run(store.document("books", "d", text=True, chunks=False))[0]
    assert document.text == "y"
    assert run(store.collection("books")).version == 2


def test_replies_belong_to_a_collection_and_are_forgotten_in_time(
    run: Run, store: Store, collection: Collection, space: Space
) -> None:
    other = run(store.create_collection("other", "test", space, Chunking()))[0]
    run(store.remember(collection, Reply("key", b"1" * 32, b"one")))
    run(store.remember(other, Reply("key", b"2" * 32, b"two")))
    assert run(store.reply(other.id, "key")).body == b"two"
    run(store.forget_replies(now() - 60_000_000))
    assert run(store.reply(other.id, "key")) is not None
    run(store.forget_replies(now() + 1))
    assert run(store.reply(other.id, "key")) is None
