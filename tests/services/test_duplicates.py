"""Near duplicates: copies that were planted are found, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedsvc.core.filters import parse_filter
from embedsvc.core.preparing import Draft
from embedsvc.errors import InvalidInput, NotFound, TooLarge
from embedsvc.services.duplicates import MOST_SHOWN, DuplicateFinder, Duplicates, Limits
from embedsvc.store.reading import Reading

Run = Callable[[Any], Any]


def text(seed: int, count: int = 90) -> str:
    return " ".join(f"w{n}" for n in np.random.default_rng(seed).integers(3_000, size=count))


def edited(whole: str, *places: int) -> str:
    words = whole.split()
    for at in places:
        words[at] = f"edit{at}"
    return " ".join(words)


def groups(found: Duplicates) -> list[list[str]]:
    return [[document.id for document in group.documents] for group in found.groups]


async def fill(service: Any, *drafts: Draft, name: str = "c") -> None:
    for draft in drafts:  # one write each: the first is the oldest
        await service.ingest.add(name, [draft])


@pytest.fixture
def find(run: Run, opened: Any, either_settings: Any) -> Callable[..., Duplicates]:
    """`find(drafts, **asked)`: what is found among them, on both kinds of database."""

    def work(drafts: list[Draft], **asked: Any) -> Duplicates:
        async def inside() -> Duplicates:
            async with opened(of=either_settings) as service:
                await service.collections.put("c")
                await fill(service, *drafts)
                return await service.duplicates.find("c", **asked)

        found: Duplicates = run(inside())
        return found

    return work


def test_exact_copies_and_edited_copies_are_told_apart(find: Any) -> None:
    drafts = [Draft(f"d{n}", text=text(n), title=f"Title {n}") for n in range(8)]
    drafts += [
        Draft("copy", text=text(3), title="Title 3"),
        Draft("edited", text=edited(text(5), 10, 60), title="Title 5"),
    ]
    found = find(drafts)
    assert sorted(groups(found)) == [["d3", "copy"], ["d5", "edited"]]
    assert (found.total, found.redundant, found.documents, found.complete) == (2, 2, 10, True)
    exact, near = sorted(found.groups, key=lambda group: group.kind)
    assert (exact.kind, exact.keep, exact.documents[0].title) == ("exact", "d3", "Title 3")
    assert [(p.ids, p.kind, p.overlap) for p in exact.pairs] == [(("d3", "copy"), "exact", 1.0)]
    assert exact.pairs[0].cosine == pytest.approx(1.0)
    (pair,) = near.pairs
    assert (near.kind, pair.kind, pair.ids) == ("near", "near", ("d5", "edited"))
    assert pair.overlap == pytest.approx(82 / 94)  # 88 runs each, six of them edited
    assert 0.9 < pair.cosine < 1.0


def test_copies_of_copies_are_one_group_and_the_oldest_is_kept(find: Any) -> None:
    one = text(1)
    two = edited(one, 5, 50)
    three = edited(two, 20, 70)
    drafts = [Draft("z", text=one), Draft("a", text=two), Draft("b", text=three)]
    drafts += [Draft("same", text=two), Draft("else", text=text(2))]
    found = find(drafts)
    (group,) = found.groups
    assert (group.keep, group.size, found.redundant) == ("z", 4, 3)
    assert [document.id for document in group.documents] == ["z", "a", "b", "same"]
    assert len(group.pairs) == 3
    assert {pair.kind for pair in group.pairs} == {"exact", "near"}


def test_the_threshold_is_the_overlap_of_the_texts(find: Any) -> None:
    drafts = [Draft("a", text=text(1)), Draft("b", text=edited(text(1), 10, 60))]
    assert groups(find(drafts, threshold=0.88)) == []
    drafts = [Draft("c", text=text(1)), Draft("d", text=edited(text(1), 10, 60))]
    assert groups(find(drafts, threshold=0.87)) == [["a", "b", "c", "d"]]


def test_the_same_meaning_in_other_words_is_no_duplicate(find: Any) -> None:
    vector = np.ones(256).tolist()
    drafts = [Draft(f"d{n}", text=text(n), vectors=[vector]) for n in range(3)]
    assert find(drafts).total == 0


def test_long_documents_are_compared_whole(find: Any) -> None:
    long = ". ".join(text(n, 60) for n in range(20))
    moved = "A new first sentence that moves all chunks. " + long
    other = (
        ". ".join(text(n, 60) for n in range(10))
        + ". "
        + ". ".join(text(n, 60) for n in range(50, 60))
    )
    found = find([Draft("a", text=long), Draft("b", text=moved), Draft("half", text=other)])
    assert groups(found) == [["a", "b"]]
    assert found.groups[0].pairs[0].overlap > 0.98


def test_a_filter_narrows_what_is_compared(find: Any) -> None:
    drafts = [
        Draft(f"{lang}{n}", text=text(7), metadata={"lang": lang})
        for lang in ("de", "en")
        for n in range(2)
    ]
    where = parse_filter({"lang": "de"})
    found = find(drafts, where=where)
    assert (groups(found), found.documents) == ([["de0", "de1"]], 2)


def test_the_largest_groups_come_first_and_only_so_many(find: Any) -> None:
    drafts = [Draft(f"{n}-{i}", text=text(n)) for n in range(4) for i in range(n + 1)]
    found = find(drafts, limit=2)
    assert [group.size for group in found.groups] == [4, 3]
    assert (found.total, found.redundant) == (3, 6)


def test_of_a_large_group_only_a_part_is_listed(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            drafts = [Draft(f"d{n:03}", text="the very same words") for n in range(MOST_SHOWN + 20)]
            await service.ingest.add("c", drafts)
            (group,) = (await service.duplicates.find("c")).groups
            assert (group.size, len(group.documents)) == (MOST_SHOWN + 20, MOST_SHOWN)
            assert len(group.pairs) == MOST_SHOWN - 1

    run(work())


def test_texts_without_words_are_only_compared_exactly(find: Any) -> None:
    drafts = [Draft("a", text="!!!"), Draft("b", text="???"), Draft("c", text="!!!")]
    assert groups(find(drafts)) == [["a", "c"]]


def test_an_empty_collection_has_no_duplicates(find: Any) -> None:
    found = find([])
    assert (found.groups, found.total, found.documents) == ([], 0, 0)


def test_documents_that_are_not_embedded_yet_are_left_out(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            await fill(service, Draft("a", text=text(1)))
            await service.ingest.add("c", [Draft("b", text=text(1))], wait="none")
            found = await service.duplicates.find("c")
            assert (found.total, found.documents) == (0, 1)

    run(work())


def test_what_is_too_much_to_compare_is_said(run: Run, opened: Any) -> None:
    def limited(service: Any, limits: Limits) -> DuplicateFinder:
        return DuplicateFinder(Reading(service.database), service.collections, limits)

    async def work() -> None:
        async with opened() as service:
            for n in range(2):
                await fill(service, Draft(f"a{n}", text=text(n)))
                await fill(service, Draft(f"b{n}", text=edited(text(n), 10, 60 + n)))
            assert (await service.duplicates.find("c")).complete
            found = await limited(service, Limits(compared=1)).find("c")
            assert (found.complete, found.total) == (False, 1)
            assert (await limited(service, Limits(compared=2)).find("c")).complete
            assert (await limited(service, Limits(documents=4)).find("c")).documents == 4
            with pytest.raises(TooLarge, match="filter"):
                await limited(service, Limits(documents=3)).find("c")

    run(work())


def test_an_unknown_collection_and_a_misfit_filter_are_refused(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(NotFound):
                await service.duplicates.find("nothing")
            await service.collections.put("typed", fields={"year": "integer"})
            with pytest.raises(InvalidInput, match="year"):
                await service.duplicates.find("typed", where=parse_filter({"year": "old"}))

    run(work())


def test_a_declared_datetime_is_compared_as_a_time(
    run: Run, opened: Any, either_settings: Any
) -> None:
    async def work() -> None:
        async with opened(of=either_settings) as service:
            await service.collections.put("c", fields={"at": "datetime"})
            for n, at in enumerate(["2024-05-31T23:30:00-02:00", "2024-06-01T02:00:00Z"]):
                await fill(service, Draft(f"d{n}", text="the same", metadata={"at": at}))
            where = parse_filter({"at": {"$gte": "2024-06-01"}})
            assert (await service.duplicates.find("c", where=where)).documents == 2
            assert (await service.topics.find("c", where=where)).documents == 2

    run(work())
