"""Work that waits: claimed by one at a time, given back, and never lost."""

import asyncio
from collections.abc import Callable
from typing import Any

from embedsvc.core.model import Collection, Prepared
from embedsvc.store.database import Database
from embedsvc.store.store import Store

Run = Callable[[Any], Any]
Make = Callable[..., Prepared]


def status(run: Run, store: Store, document_id: str = "d") -> tuple[str, str | None]:
    document = run(store.document("books", document_id, text=False, chunks=False))[0]
    return document.status, document.error


def test_a_pending_document_is_there_and_not_indexed(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b'{"id":"d"}')]))
    assert status(run, store) == ("pending", None)
    assert run(store.counts(collection.id)) == (1, 0)
    claimed = run(store.claim(10, 60))
    assert [(c.collection, c.id, c.attempts, c.body) for c in claimed] == [
        ("books", "d", 1, b'{"id":"d"}')
    ]


def test_what_was_indexed_stays_until_the_new_one_is(
    run: Run, store: Store, collection: Collection, put: Any, prepared: Make
) -> None:
    put(collection, prepared("d", "old"))
    run(store.enqueue(collection, [(prepared("d", "new"), b"{}")]))
    document, chunks = run(store.document("books", "d", text=True, chunks=True))
    assert (document.status, document.text) == ("pending", "old")
    assert [c.text for c in chunks] == ["old"]


def test_two_claimers_never_get_the_same(
    run: Run, store: Store, collection: Collection, prepared: Make, url: str
) -> None:
    run(store.enqueue(collection, [(prepared(f"d{n}"), b"{}") for n in range(30)]))
    second = Database(url)
    other = Store(second)

    async def work() -> list[list[Any]]:
        return await asyncio.gather(*(one.claim(4, 60) for _ in range(5) for one in (store, other)))

    claimed = [one.id for part in run(work()) for one in part]
    assert sorted(claimed) == sorted(f"d{n}" for n in range(30))
    second.close()


def test_the_oldest_is_claimed_first(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    for n in (3, 1, 2):
        run(store.enqueue(collection, [(prepared(f"d{n}"), b"{}")]))
    assert [one.id for one in run(store.claim(2, 60))] == ["d3", "d1"]


def test_a_lease_that_ran_out_is_claimed_again(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    assert len(run(store.claim(1, 60))) == 1
    assert run(store.claim(1, 60)) == []
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    assert run(store.claim(1, -1))[0].attempts == 1
    assert run(store.claim(1, 60))[0].attempts == 2


def test_a_document_given_back_without_an_error_is_tried_again_later(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    claimed = run(store.claim(1, 60))[0]
    run(store.release(collection, claimed, None, 60))
    assert run(store.claim(1, 60)) == []
    assert status(run, store) == ("pending", None)
    run(store.release(collection, claimed, None, -1))
    assert run(store.claim(1, 60))[0].attempts == 2


def test_a_document_given_back_with_an_error_has_failed(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    claimed = run(store.claim(1, -1))[0]
    run(store.release(collection, claimed, "the model said no", 0))
    assert status(run, store) == ("failed", "the model said no")
    assert run(store.claim(1, 60)) == []


def test_a_newer_request_is_not_touched_by_an_older_claim(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"old")]))
    old = run(store.claim(1, 60))[0]
    run(store.enqueue(collection, [(prepared("d"), b"new")]))
    run(store.release(collection, old, "too late", 0))
    assert status(run, store) == ("pending", None)
    before = run(store.counts(collection.id))
    run(store.replace(collection, [prepared("d", "old text")], {"d": old.revision}))
    assert run(store.counts(collection.id)) == before
    new = run(store.claim(1, 60))[0]
    assert new.body == b"new"
    run(store.replace(collection, [prepared("d", "new text")], {"d": new.revision}))
    assert status(run, store) == ("indexed", None)
    assert run(store.claim(1, 60)) == []


def test_a_claim_of_a_document_that_was_deleted_brings_it_not_back(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    claimed = run(store.claim(1, 60))[0]
    run(store.delete_documents("books", ["d"], None))
    run(store.replace(collection, [prepared("d", "x")], {"d": claimed.revision}))
    run(store.release(collection, claimed, "error", 0))
    assert run(store.counts(collection.id)) == (0, 0)


def test_a_direct_write_ends_what_was_pending(
    run: Run, store: Store, collection: Collection, put: Any, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    put(collection, prepared("d", "now"))
    assert status(run, store) == ("indexed", None)
    assert run(store.claim(1, 60)) == []


def test_nothing_of_a_deleted_collection_is_claimed(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    run(store.delete_collection("books"))
    assert run(store.claim(10, 60)) == []


def test_a_pending_document_that_failed_once_can_be_sent_again(
    run: Run, store: Store, collection: Collection, prepared: Make
) -> None:
    run(store.enqueue(collection, [(prepared("d"), b"{}")]))
    run(store.release(collection, run(store.claim(1, 60))[0], "no", 0))
    run(store.enqueue(collection, [(prepared("d"), b"again")]))
    assert status(run, store) == ("pending", None)
    assert run(store.claim(1, 60))[0].body == b"again"
