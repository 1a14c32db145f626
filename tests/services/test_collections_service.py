"""Collections: named, described, never silently changed."""

from collections.abc import Callable
from typing import Any

import pytest

from embedsvc.core.model import Chunking
from embedsvc.core.preparing import Draft
from embedsvc.errors import Conflict, InvalidInput, NotFound, UnknownProvider
from embedsvc.services.search import Query

Run = Callable[[Any], Any]


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "x" * 63, "documents", "search"])
def test_a_good_name_is_taken(run: Run, opened: Any, name: str) -> None:
    async def work() -> None:
        async with opened() as service:
            assert (await service.collections.put(name))[1] is True
            assert (await service.collections.get(name)).name == name

    run(work())


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "_a", "x" * 64, "a b", "a/b", "é", "#1", "a\n", "a\0", "..", "٣"]
)
def test_a_bad_name_is_refused(run: Run, opened: Any, name: str) -> None:
    async def work() -> None:
        async with opened() as service:
            for call in (
                service.collections.put(name),
                service.collections.get(name),
                service.collections.delete(name),
                service.ingest.add(name, [Draft("a", text="x")]),
            ):
                with pytest.raises(InvalidInput, match="not a name"):
                    await call

    run(work())


def test_creating_is_said_once(run: Run, opened: Any, either_settings: Any) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            first, created = await service.collections.put("c", description="mine")
            again, created_again = await service.collections.put("c")
            assert (created, created_again) == (True, False)
            assert again.id == first.id
            assert again.description == "mine"

    run(work())


def test_the_same_settings_again_are_no_conflict(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            chunking = Chunking(64, 8, "tokens")
            await service.collections.put("c", "hash:64", None, chunking, "d", {"year": "integer"})
            for again in (
                {"embedding": "hash:64"},
                {"dimensions": 64},
                {"embedding": "hash", "dimensions": 64},
                {"chunking": chunking},
                {"description": "other"},
                {"fields": {"year": "number"}},
            ):
                assert (await service.collections.put("c", **again))[1] is False
            found = await service.collections.get("c")
            assert (found.description, found.fields) == ("other", {"year": "number"})

    run(work())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"embedding": "hash:32"}, "embedding_differs"),
        ({"dimensions": 32}, "embedding_differs"),
        ({"chunking": Chunking(65, 8, "tokens")}, "chunking_differs"),
        ({"chunking": Chunking(64, 7, "tokens")}, "chunking_differs"),
        ({"chunking": Chunking(64, 8, "sentences")}, "chunking_differs"),
    ],
)
def test_another_embedding_or_chunking_is_a_conflict(
    run: Run, opened: Any, change: dict[str, Any], code: str
) -> None:
    async def work() -> None:
        async with opened() as service:
            before, _ = await service.collections.put(
                "c", "hash:64", None, Chunking(64, 8, "tokens")
            )
            with pytest.raises(Conflict) as caught:
                await service.collections.put("c", **change)
            assert caught.value.code == code
            assert await service.collections.get("c") == before

    run(work())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"embedding": "nope"}, UnknownProvider),
        ({"embedding": "nope:model"}, UnknownProvider),
        ({"embedding": "local:../../etc"}, UnknownProvider),
        ({"embedding": "local:" + "x" * 300}, UnknownProvider),
        ({"embedding": "hash:0"}, InvalidInput),
        ({"embedding": "hash:8", "dimensions": 9}, InvalidInput),
        ({"chunking": Chunking(0)}, InvalidInput),
        ({"chunking": Chunking(100_001)}, InvalidInput),
        ({"chunking": Chunking(10, 10)}, InvalidInput),
        ({"chunking": Chunking(10, -1)}, InvalidInput),
    ],
)
def test_settings_that_make_no_sense_create_nothing(
    run: Run, opened: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(error):
                await service.collections.put("c", **options)
            with pytest.raises(NotFound):
                await service.collections.get("c")

    run(work())


def test_chunks_are_never_larger_than_the_model_reads(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted(max_tokens=40)) as service:
            made, _ = await service.collections.put("c")
            assert made.chunking.size == 40
            other, _ = await service.collections.put("d", chunking=Chunking(100, 90))
            assert other.chunking.size == 40
            assert other.chunking.overlap < 40
            assert (await service.collections.put("d", chunking=Chunking(100, 90)))[1] is False

    run(work())


@pytest.mark.parametrize("field", ["description", "fields"])
@pytest.mark.parametrize("text", ["a\0b", "half \ud800"])
def test_labels_that_cannot_be_stored_are_refused_on_both_databases(
    run: Run, opened: Any, either_settings: Any, field: str, text: str
) -> None:
    value: Any = text if field == "description" else {text: "integer"}

    async def work() -> None:
        async with opened(of=either_settings) as service:
            with pytest.raises(InvalidInput, match=field):
                await service.collections.put("c", **{field: value})
            await service.collections.put("d")
            with pytest.raises(InvalidInput, match=field):
                await service.collections.put("d", **{field: value})

    run(work())


def test_a_collection_is_described_with_what_is_in_it(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one"), Draft("b", text="two")])
            await service.search.search("c", [Query("one")])
            found = await service.collections.describe("c")
            assert (found.documents, found.chunks) == (2, 2)
            assert (found.index.engine, found.index.vectors, found.index.version) == ("faiss", 2, 1)

    run(work())


def test_a_list_is_cut_into_pages(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            for name in ("b", "a", "d", "c"):
                await service.collections.put(name)
            first, cursor = await service.collections.list("", 3)
            assert [one.collection.name for one in first] == ["a", "b", "c"]
            last, end = await service.collections.list(str(cursor), 3)
            assert ([one.collection.name for one in last], end) == (["d"], None)

    run(work())


def test_a_deleted_collection_leaves_no_file_and_its_name_is_free(
    run: Run, opened: Any, settings: Any
) -> None:
    async def work() -> None:
        async with opened() as service:
            await service.ingest.add("c", [Draft("a", text="one")])
            await (await service.replicas.fresh(await service.collections.get("c"))).save()
            folder = settings.home / "index"
            assert list(folder.rglob("*.manifest"))
            await service.collections.delete("c")
            assert not [f for f in folder.rglob("*") if f.suffix in (".manifest", ".segment")]
            for call in (service.collections.delete("c"), service.collections.describe("c")):
                with pytest.raises(NotFound):
                    await call
            await service.ingest.add("c", [Draft("b", text="two")])
            found = await service.search.search("c", [Query("one", limit=9)])
            assert [hit.chunk.document_id for hit in found.hits[0]] == ["b"]

    run(work())
