"""Documents in: whatever the embedding does, nothing wrong is stored and nothing embedded twice."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    TooLarge,
)
from embedsvc.ports import Calls
from embedsvc.services.ingest import Outcome
from embedsvc.services.search import Query

Run = Callable[[Any], Any]


def statuses(added: Any) -> dict[str, str]:
    return {outcome.id: outcome.status for outcome in added.documents}


def test_documents_are_indexed_and_found(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            added = await service.ingest.add(
                "c", [Draft("a", text="red fox"), Draft("b", text="blue whale")]
            )
            assert added.version == 1
            assert added.documents == [
                Outcome("a", "indexed", chunks=1, embedded=1),
                Outcome("b", "indexed", chunks=1, embedded=1),
            ]
            assert added.tokens == 4
            found = await service.search.search("c", [Query("red fox", limit=1)])
            assert found.hits[0][0].chunk.document_id == "a"

    run(work())


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts: np.ones((len(texts) - 1, 64)),
        lambda texts: np.ones((len(texts) + 1, 64)),
        lambda texts: np.ones((len(texts), 63)),
        lambda texts: np.full((len(texts), 64), np.nan),
        lambda texts: np.full((len(texts), 64), np.inf),
        lambda texts: np.zeros((len(texts), 64)),
        lambda texts: [],
        lambda texts: [["x"] * 64] * len(texts),
        lambda texts: [None] * len(texts),
        lambda texts: np.ones(64),
    ],
    ids=["short", "long", "dims", "nan", "inf", "zero", "empty", "strings", "none", "flat"],
)
def test_a_wrong_answer_of_a_provider_is_never_stored(
    run: Run, opened: Any, scripted: Any, answer: Any
) -> None:
    backend = scripted(trouble=answer)

    async def work() -> None:
        async with opened(backend=backend) as service:
            added = await service.ingest.add("c", [Draft("a", text="one"), Draft("b", text="two")])
            assert statuses(added) == {"a": "failed", "b": "failed"}
            assert all(o.error.code == "provider_failed" for o in added.documents)
            assert all(o.error.transient for o in added.documents)
            described = await service.collections.describe("c")
            assert (described.documents, described.chunks) == (0, 0)
            backend.trouble = lambda _texts: None
            again = await service.ingest.add("c", [Draft("a", text="one"), Draft("b", text="two")])
            assert statuses(again) == {"a": "indexed", "b": "indexed"}
            assert (await service.verify.verify("c")).ok

    run(work())


def test_a_server_that_answers_in_other_dimensions_has_another_model_and_is_refused(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        async with opened(backend=scripted(calls=Calls(remote=True))) as service:
            await service.ingest.add("c", [Draft("a", text="one")])
        backend = scripted(calls=Calls(remote=True), trouble=lambda t: np.ones((len(t), 63)))
        async with opened(backend=backend) as service:
            with pytest.raises(Conflict, match="63 dimensions") as caught:
                await service.ingest.add("c", [Draft("b", text="two")])
            assert caught.value.code == "embedding_space_changed"
            assert (await service.collections.describe("c")).documents == 1
            backend.trouble = lambda _texts: None
            again = await service.ingest.add("c", [Draft("b", text="two")])
            assert statuses(again) == {"b": "indexed"}

    run(work())


def test_what_has_its_vectors_is_stored_while_the_provider_is_away(
    run: Run, opened: Any, scripted: Any
) -> None:
    def away(_texts: Any) -> None:
        raise ProviderDenied("the key is wrong")

    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.ingest.add("c", [Draft("a", text="one")])
        async with opened(backend=scripted(trouble=away)) as service:
            added = await service.ingest.add("c", [Draft("b", text="one"), Draft("d", text="two")])
            assert statuses(added) == {"b": "indexed", "d": "failed"}
            assert added.documents[1].error.code == "provider_denied"

    run(work())


def test_a_failure_costs_only_the_documents_it_is_about(
    run: Run, opened: Any, scripted: Any
) -> None:
    def trouble(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise ProviderRejected("the text is refused")

    backend = scripted(trouble=trouble)
    drafts = [Draft(f"d{n}", text=f"text {n}") for n in range(3 * Calls().texts)]
    drafts[Calls().texts + 3] = Draft("bad", text="poison")

    async def work() -> None:
        async with opened(backend=backend) as service:
            added = await service.ingest.add("c", drafts)
            failed = [o for o in added.documents if o.status == "failed"]
            assert "bad" in {o.id for o in failed}
            assert len(failed) <= Calls().texts
            assert all(o.error.detail == "the text is refused" for o in failed)
            assert not any(o.error.transient for o in failed)
            described = await service.collections.describe("c")
            assert described.documents == len(drafts) - len(failed) >= 2 * Calls().texts
            assert (await service.verify.verify("c")).ok

    run(work())


def test_a_rejected_text_costs_its_own_document_alone(run: Run, opened: Any, scripted: Any) -> None:
    """A rejected batch is bisected to the item at fault."""

    def trouble(texts: Sequence[str]) -> None:
        if "poison" in texts:
            raise ProviderRejected("the text is refused")

    async def work() -> None:
        async with opened(backend=scripted(trouble=trouble)) as service:
            drafts = [Draft("bad", text="poison"), Draft("good", text="fine")]
            added = await service.ingest.add("c", drafts)
            assert statuses(added) == {"bad": "failed", "good": "indexed"}

    run(work())


def test_what_was_embedded_before_a_failure_is_not_embedded_again(
    run: Run, opened: Any, scripted: Any
) -> None:
    failing = [True]

    def trouble(texts: Sequence[str]) -> None:
        if failing[0] and "text 40" in texts:
            raise ProviderBusy("later")

    backend = scripted(trouble=trouble)
    chunks = [DraftChunk(f"text {n}") for n in range(2 * Calls().texts)]

    async def work() -> None:
        async with opened(backend=backend) as service:
            added = await service.ingest.add("c", [Draft("d", chunks=chunks)])
            assert statuses(added) == {"d": "failed"}
            assert added.documents[0].error.code == "provider_busy"
            failing[0] = False
            backend.made.clear()
            added = await service.ingest.add("c", [Draft("d", chunks=chunks)])
            assert statuses(added) == {"d": "indexed"}
            assert added.documents[0].embedded == Calls().texts
            assert added.documents[0].cached == Calls().texts
            assert len(backend.embedded) == Calls().texts

    run(work())


def test_the_same_again_is_unchanged_and_writes_nothing(
    run: Run, opened: Any, scripted: Any
) -> None:
    backend = scripted()
    draft = Draft("a", text="one", title="T", url="u", metadata={"x": 1, "y": [2]})
    same = Draft("a", text="one", title="T", url="u", metadata={"y": [2], "x": 1})

    async def work() -> None:
        async with opened(backend=backend) as service:
            first = await service.ingest.add("c", [draft])
            backend.made.clear()
            second = await service.ingest.add("c", [same])
            assert statuses(second) == {"a": "unchanged"}
            assert second.documents[0].chunks == 1
            assert second.version == first.version
            assert second.tokens == 0
            assert backend.made == []
            assert (await service.collections.get("c")).version == 1

    run(work())


@pytest.mark.parametrize(
    "change",
    [{"metadata": {"x": 2}}, {"metadata": None}, {"url": "other"}, {"url": None}],
)
def test_new_labels_are_written_without_embedding(
    run: Run, opened: Any, scripted: Any, change: dict[str, Any]
) -> None:
    backend = scripted()
    base: dict[str, Any] = {"text": "one", "url": "u", "metadata": {"x": 1}}

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", **base)])
            backend.made.clear()
            added = await service.ingest.add("c", [Draft("a", **(base | change))])
            assert statuses(added) == {"a": "indexed"}
            assert (added.documents[0].embedded, added.documents[0].cached) == (0, 1)
            assert backend.made == []
            document, _ = await service.store.document("c", "a", text=False, chunks=False)
            assert document.metadata == ((base | change)["metadata"] or {})
            assert document.url == (base | change)["url"]

    run(work())


def test_a_text_is_embedded_once_in_all_collections(run: Run, opened: Any, scripted: Any) -> None:
    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="shared")])
            added = await service.ingest.add("d", [Draft("b", text="shared")])
            assert (added.documents[0].embedded, added.documents[0].cached) == (0, 1)
            assert backend.embedded == ["shared"]
            await service.collections.delete("c")
            while await service.store.sweep():
                pass
            found = await service.search.search("d", [Query("shared")])
            assert found.hits[0][0].score == pytest.approx(1, abs=1e-5)

    run(work())


def test_a_text_that_comes_often_in_one_request_is_embedded_once(
    run: Run, opened: Any, scripted: Any
) -> None:
    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend) as service:
            drafts = [Draft(f"d{n}", text="same") for n in range(5)]
            added = await service.ingest.add("c", drafts)
            assert set(statuses(added).values()) == {"indexed"}
            assert backend.embedded == ["same"]

    run(work())


def test_a_bad_document_fails_alone(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            drafts = [
                Draft("empty", text=" "),
                Draft("good", text="fine"),
                Draft("nul", text="a\0"),
                Draft("half", text="\ud800"),
                Draft("long", text="x" * 5_000_001),
                Draft("vector", text="a", vectors=[[1.0, 2.0]]),
                Draft("nan", text="a", vectors=[[float("nan")] * 256]),
                Draft("", text="no id"),
                Draft("also", text="fine too"),
            ]
            added = await service.ingest.add("c", drafts)
            assert [o.id for o in added.documents] == [draft.id for draft in drafts]
            good = [o.id for o in added.documents if o.status == "indexed"]
            assert good == ["good", "also"]
            for outcome in added.documents:
                if outcome.id not in good:
                    assert outcome.error is not None
                    assert not outcome.error.transient
            assert (await service.verify.verify("c")).ok

    run(work())


def test_a_request_that_is_bad_as_a_whole_writes_nothing(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(InvalidInput, match="empty"):
                await service.ingest.add("c", [])
            with pytest.raises(InvalidInput, match="twice") as caught:
                await service.ingest.add("c", [Draft("a", text="1"), Draft("a", text="2")])
            assert caught.value.code == "duplicate_id"
            with pytest.raises(TooLarge, match="1001"):
                await service.ingest.add("c", [Draft(str(n), text="x") for n in range(1_001)])
            with pytest.raises(InvalidInput, match="not a name"):
                await service.ingest.add("No Name", [Draft("a", text="1")])
            assert await service.store.collections("", 10) == []

    run(work())


def test_replacing_takes_effect_as_a_whole(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add(
                "c", [Draft("a", chunks=[DraftChunk("one"), DraftChunk("two")])]
            )
            await service.ingest.add("c", [Draft("a", text="three")])
            found = await service.search.search("c", [Query("one two three", limit=10)])
            assert [hit.chunk.text for hit in found.hits[0]] == ["three"]
            assert (await service.verify.verify("c")).ok

    run(work())


def test_ready_vectors_are_used_as_they_are(run: Run, opened: Any, scripted: Any) -> None:
    backend = scripted()
    axes = np.eye(64)

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="x", vectors=[(axes[3] * 5).tolist()])])
            assert backend.made == []
            found = await service.search.search("c", [Query(vector=axes[3].tolist())])
            assert found.hits[0][0].score == pytest.approx(1)

    run(work())


def test_writes_at_the_same_time_to_one_document_leave_one_of_them(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await asyncio.gather(
                *(service.ingest.add("c", [Draft("a", text=f"text {n}")]) for n in range(12)),
                return_exceptions=True,
            )
            described = await service.collections.describe("c")
            assert (described.documents, described.chunks) == (1, 1)
            assert (await service.verify.verify("c")).ok

    run(work())


def test_writes_at_the_same_time_to_one_new_document_all_succeed(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            outcomes = await asyncio.gather(
                *(service.ingest.add("c", [Draft("a", text=f"text {n}")]) for n in range(12))
            )
            assert {o.documents[0].status for o in outcomes} == {"indexed"}

    run(work())


# -- repeated requests ----------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_answer_and_writes_once(
    run: Run, opened: Any, scripted: Any
) -> None:
    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend) as service:
            drafts = [Draft("a", text="one"), Draft("b", text=" ")]
            first = await service.ingest.add("c", drafts, idempotency_key="k")
            second = await service.ingest.add("c", drafts, idempotency_key="k")
            assert second == first
            assert (await service.collections.get("c")).version == 1
            await service.ingest.delete("c", "a")
            assert await service.ingest.add("c", drafts, idempotency_key="k") == first
            with pytest.raises(NotFound):
                await service.store.document("c", "a", text=False, chunks=False)

    run(work())


@pytest.mark.parametrize(
    "other",
    [
        ([Draft("a", text="two")], "searchable"),
        ([Draft("a", text="one", metadata={"x": 1})], "searchable"),
        ([Draft("a", text="one")], "none"),
    ],
)
def test_the_key_of_another_request_is_a_conflict(run: Run, opened: Any, other: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one")], idempotency_key="k")
            with pytest.raises(Conflict) as caught:
                await service.ingest.add("c", other[0], other[1], idempotency_key="k")
            assert caught.value.code == "idempotency_key_reused"

    run(work())


def test_the_same_key_in_another_collection_is_another_request(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            for name in ("c", "d"):
                added = await service.ingest.add(name, [Draft("a", text=name)], idempotency_key="k")
                assert statuses(added) == {"a": "indexed"}

    run(work())


def test_the_same_request_twice_at_once_writes_once(
    run: Run, opened: Any, either_settings: Any
) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            await service.collections.put("c")
            outcomes = await asyncio.gather(
                *(
                    service.ingest.add("c", [Draft("a", text="one")], idempotency_key="k")
                    for _ in range(4)
                ),
                return_exceptions=True,
            )
            done = [o for o in outcomes if not isinstance(o, BaseException)]
            lost = [o for o in outcomes if isinstance(o, BaseException)]
            assert done
            assert all(o == done[0] for o in done)
            assert all(isinstance(o, Conflict) for o in lost)
            assert (await service.collections.get("c")).version == 1

    run(work())


def test_a_request_that_failed_for_now_can_be_repeated_with_its_key(
    run: Run, opened: Any, scripted: Any
) -> None:
    def trouble(_texts: Sequence[str]) -> None:
        raise ProviderError("for a moment")

    backend = scripted(trouble=trouble)

    async def work() -> None:
        async with opened(backend=backend) as service:
            draft = [Draft("a", text="one")]
            assert statuses(await service.ingest.add("c", draft, idempotency_key="k")) == {
                "a": "failed"
            }
            backend.trouble = lambda _texts: None
            again = await service.ingest.add("c", draft, idempotency_key="k")
            assert statuses(again) == {"a": "indexed"}

    run(work())


# -- delete, patch, diff --------------------------------------------------------------------------


def test_a_deleted_document_is_never_found_again(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one"), Draft("b", text="two")])
            await service.ingest.delete("c", "a")
            found = await service.search.search("c", [Query("one", limit=10)])
            assert [hit.chunk.document_id for hit in found.hits[0]] == ["b"]
            with pytest.raises(NotFound):
                await service.ingest.delete("c", "a")
            assert (await service.verify.verify("c")).ok

    run(work())


def test_deleting_many_needs_ids_or_a_filter_and_not_both(run: Run, opened: Any) -> None:
    from embedsvc.core.filters import parse_filter

    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one", metadata={"x": 1})])
            where = parse_filter({"x": 1})
            with pytest.raises(InvalidInput):
                await service.ingest.delete_many("c", None, None)
            with pytest.raises(InvalidInput):
                await service.ingest.delete_many("c", ["a"], where)
            with pytest.raises(InvalidInput, match="every document"):
                await service.ingest.delete_many("c", None, parse_filter({}))
            with pytest.raises(NotFound):
                await service.ingest.delete_many("nope", ["a"], None)
            assert await service.ingest.delete_many("c", None, where) == (1, 2)

    run(work())


def test_a_patch_changes_labels_without_embedding(run: Run, opened: Any, scripted: Any) -> None:
    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft("a", text="one", title="T", metadata={"x": 1})])
            backend.made.clear()
            patched = await service.ingest.patch("c", "a", None, {"y": 2})
            assert (patched.title, patched.metadata) == ("T", {"y": 2})
            assert backend.made == []
            found = await service.search.search("c", [Query(vector=[1.0] * 64)])
            assert found.hits[0][0].chunk.metadata == {"y": 2}
            with pytest.raises(InvalidInput):
                await service.ingest.patch("c", "a", None, None)
            with pytest.raises(InvalidInput):
                await service.ingest.patch("c", "a", "t\0", None)
            with pytest.raises(NotFound):
                await service.ingest.patch("c", "nope", "t", None)

    run(work())


def test_a_diff_sorts_ids_by_what_is_due(run: Run, opened: Any, scripted: Any) -> None:
    from hashlib import sha256

    def digest(text: str) -> str:
        return sha256(text.encode()).hexdigest()

    backend = scripted()

    async def work() -> None:
        async with opened(backend=backend) as service:
            await service.ingest.add("c", [Draft(i, text=i) for i in ("same", "old", "extra")])
            await service.ingest.add("c", [Draft("wait", text="wait")], "none")
            theirs = {i: digest(i) for i in ("same", "fresh", "wait")} | {"old": digest("new")}
            assert await service.ingest.diff("c", theirs) == {
                "new": ["fresh"],
                "changed": ["old"],
                "unchanged": ["same"],
                "pending": ["wait"],
                "failed": [],
                "missing": ["extra"],
            }

    run(work())
