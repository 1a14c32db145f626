"""Topics: clusters that were planted are found, named by their words, and the same each time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedsvc.core.filters import parse_filter
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import InvalidInput, NotFound, TooLarge
from embedsvc.services.topics import Limits, TopicFinder, Topics
from embedsvc.store.reading import Reading

Run = Callable[[Any], Any]
DIMENSIONS = 64
USUAL = Limits()
SUBJECTS = {
    "whales": "whale krill ocean dive sea",
    "bread": "bread flour oven yeast salt",
    "stars": "star galaxy telescope orbit moon",
}


def near(centre: int, seed: int, spread: float = 0.4) -> list[float]:
    middle = np.random.default_rng(centre).standard_normal(DIMENSIONS)
    noise = np.random.default_rng(1_000 + seed).standard_normal(DIMENSIONS)
    found: list[float] = (middle + spread * noise).tolist()
    return found


def planted(each: int = 12) -> list[Draft]:
    """Documents of three subjects, turn by turn, with vectors around three centres."""
    drafts = []
    for n in range(each):
        for centre, (subject, words) in enumerate(SUBJECTS.items()):
            chosen = np.random.default_rng(n).permutation(words.split())[:4]
            text = f"This is about the {' and '.join(chosen)}, number {n}."
            drafts.append(
                Draft(
                    f"{subject}-{n}",
                    text=text,
                    title=f"On {subject}",
                    vectors=[near(centre, 100 * centre + n)],
                    metadata={"subject": subject},
                )
            )
    return drafts


@pytest.fixture
def find(run: Run, opened: Any, either_settings: Any, scripted: Any) -> Callable[..., Topics]:
    def work(drafts: list[Draft], limits: Limits = USUAL, **asked: Any) -> Topics:
        async def inside() -> Topics:
            async with opened(of=either_settings, backend=scripted()) as service:
                await service.collections.put("c")
                if drafts:
                    await service.ingest.add("c", drafts)
                finder = TopicFinder(Reading(service.database), service.collections, limits)
                return await finder.find("c", **asked)

        found: Topics = run(inside())
        return found

    return work


def subjects(found: Topics) -> list[set[str]]:
    return [{one.document.id.split("-")[0] for one in topic.documents} for topic in found.topics]


def test_planted_clusters_are_found_and_named(find: Any) -> None:
    found = find(planted(), examples=12, terms=4)
    assert sorted(map(sorted, subjects(found))) == [["bread"], ["stars"], ["whales"]]
    assert [topic.size for topic in found.topics] == [12, 12, 12]
    assert sum(topic.share for topic in found.topics) == pytest.approx(1)
    assert (found.documents, found.unassigned, found.sampled) == (36, 0, 36)
    assert found.separation > 0.5
    for topic in found.topics:
        subject = topic.documents[0].document.id.split("-")[0]
        assert {term.term for term in topic.terms} <= set(SUBJECTS[subject].split()) | {subject}
        assert topic.label == ", ".join(term.term for term in topic.terms[:3])
        scores = [one.score for one in topic.documents]
        assert scores == sorted(scores, reverse=True)
        assert topic.documents[0].document.title == f"On {subject}"


def test_topics_are_the_same_each_time(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.ingest.add("c", planted())
            first = await service.topics.find("c")
            again = await service.topics.find("c")
            assert replace(first, took_ms=0) == replace(again, took_ms=0)

    run(work())


def test_as_many_clusters_as_asked_for(find: Any) -> None:
    assert len(find(planted(4), clusters=1).topics) == 1
    assert len(find([], clusters=2).topics) == 2
    assert len(find([], clusters=12).topics) == 12


def test_more_clusters_than_documents_are_refused(find: Any) -> None:
    with pytest.raises(InvalidInput, match="clusters: 13; there are 12 documents"):
        find(planted(4), clusters=13)


def test_few_documents_are_one_topic_and_none_have_none(find: Any) -> None:
    assert find([]).topics == []
    found = find(planted(1))
    assert (len(found.topics), found.separation) == (1, None)


def test_copies_of_one_text_are_one_topic(find: Any) -> None:
    drafts = [Draft(f"d{n}", text="the very same words") for n in range(9)]
    assert [topic.size for topic in find(drafts).topics] == [9]
    assert [topic.size for topic in find([], clusters=4).topics] == [9]


def test_a_document_without_company_is_in_no_topic(find: Any) -> None:
    lonely = Draft("lonely", text="tax law", vectors=[near(99, 1)])
    found = find([*planted(), lonely])
    assert found.unassigned == 1
    assert sum(topic.size for topic in found.topics) == 36


def test_a_document_of_many_chunks_goes_by_their_mean(find: Any) -> None:
    parts = [DraftChunk(f"whale and krill, part {n}") for n in range(5)]
    vectors = [near(0, 500 + n, spread=1.5) for n in range(5)]
    found = find([*planted(), Draft("whales-long", chunks=parts, vectors=vectors)], examples=20)
    (whales,) = [topic for topic in found.topics if topic.size == 13]
    assert {one.document.id.split("-")[0] for one in whales.documents} == {"whales"}


def test_a_filter_narrows_what_is_grouped(find: Any) -> None:
    where = parse_filter({"subject": {"$in": ["whales", "bread"]}})
    found = find(planted(), where=where)
    assert found.documents == 24
    assert sorted(map(sorted, subjects(found))) == [["bread"], ["whales"]]


def test_a_large_collection_is_sampled_and_the_rest_assigned(find: Any) -> None:
    found = find(planted(), limits=Limits(sampled=15, compared=10), examples=12)
    assert (found.sampled, found.documents, found.unassigned) == (15, 36, 0)
    assert [topic.size for topic in found.topics] == [12, 12, 12]
    assert sorted(map(sorted, subjects(found))) == [["bread"], ["stars"], ["whales"]]


def test_more_documents_than_can_be_grouped_are_refused(find: Any) -> None:
    with pytest.raises(TooLarge, match="more than 35 documents of 'c' would be compared; narrow"):
        find(planted(), limits=Limits(documents=35))


def test_texts_without_telling_words_are_named_by_their_document(find: Any) -> None:
    drafts = [Draft(f"d{n}", text=f"{n}", title=None) for n in range(5)]
    (topic,) = find(drafts, clusters=1).topics
    assert topic.terms == []
    assert topic.label == topic.documents[0].document.id


def test_an_unknown_collection_is_refused(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            with pytest.raises(NotFound):
                await service.topics.find("nothing")

    run(work())
