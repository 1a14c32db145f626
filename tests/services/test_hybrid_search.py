"""Hybrid search on both databases: what each mode finds, rerank, diversity, highlights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedsvc.core.filters import parse_filter
from embedsvc.core.fusion import Fusion
from embedsvc.core.lexical import Statistics, bag, bm25, terms
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import InvalidInput, ProviderBusy, UnknownProvider
from embedsvc.ports import Calls
from embedsvc.services.lexical import Lexical
from embedsvc.services.search import Query

Run = Callable[[Any], Any]
DIMENSIONS = 8
TEXTS = {
    "fox": "The quick brown fox jumps over the lazy dog.",
    "bear": "A brown bear sleeps all winter. It eats honey in summer.",
    "code": "Error ERR-4711 means that the fuse is blown; replace it.",
    "money": "Stock markets fell sharply on Monday after the bank failed.",
    "german": "Die Entscheidungen der Gerichte über Mietverträge sind öffentlich.",
    "spanish": "Las universidades españolas publican sus investigaciones.",
    "chinese": "东京大学的研究人员发表了论文。",
}


def axis(number: int) -> list[float]:
    return [1.0 if i == number else 0.0 for i in range(DIMENSIONS)]


async def fill(service: Any) -> None:
    drafts = [
        Draft(name, text=text, vectors=[axis(n)], metadata={"n": n})
        for n, (name, text) in enumerate(TEXTS.items())
    ]
    added = await service.ingest.add("c", drafts)
    assert [one.status for one in added.documents] == ["indexed"] * len(TEXTS)


async def find(service: Any, **asked: Any) -> list[str]:
    found = await service.search.search("c", [Query(**asked)])
    return [hit.chunk.document_id for hit in found.hits[0]]


@pytest.fixture
def two(opened: Any, either_settings: Any, scripted: Any) -> Any:
    """A service on each kind of database."""
    return lambda: opened(backend=scripted(dimensions=DIMENSIONS), of=either_settings)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("what is err-4711", "code"),
        ("ERR4711", "code"),
        ("Entscheidung des Gerichts", "german"),
        ("universidad espanola", "spanish"),
        ("东京大学", "chinese"),
        ("京", "chinese"),
        ("bears sleeping in winter", "bear"),
    ],
)
def test_words_find_names_codes_and_other_languages(
    run: Run, two: Any, query: str, document: str
) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            assert (await find(service, text=query, mode="lexical"))[0] == document

    run(work())


def test_a_lexical_search_holds_only_what_has_a_word_and_embeds_nothing(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        backend = scripted(dimensions=DIMENSIONS)
        async with opened(backend=backend) as service:
            await fill(service)
            assert set(await find(service, text="brown", mode="lexical")) == {"fox", "bear"}
            assert await find(service, text="zeppelin", mode="lexical") == []
            assert await find(service, text="…!?", mode="lexical") == []
            assert backend.embedded == []
            found = await service.search.search("c", [Query("brown", mode="lexical")])
            assert (found.plan.mode, found.plan.index) == ("lexical", "fts5")

    run(work())


def test_scores_are_those_of_bm25_on_either_database(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            found = await service.search.search(
                "c", [Query("the brown bear on Monday", mode="lexical")]
            )
            bags = {name: bag(text) for name, text in TEXTS.items()}
            asked = list(dict.fromkeys(terms("the brown bear on Monday")))
            holding = {t: sum(t in one.counts for one in bags.values()) for t in asked}
            mean = float(np.mean([one.words for one in bags.values()]))
            for hit in found.hits[0]:
                packed = bags[hit.chunk.document_id].packed()
                expected = bm25(asked, Statistics(len(bags), mean, holding), [packed])[0]
                assert hit.score == pytest.approx(float(expected), abs=1e-5)
                assert hit.scores.lexical == hit.score

    run(work())


def test_a_hybrid_search_scores_what_either_stage_found_by_both(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            query = Query("brown honey", limit=10)
            hits = (await service.search.search("c", [query])).hits[0]
            assert len(hits) == len(TEXTS)
            for hit in hits:
                assert hit.score == pytest.approx(
                    (hit.scores.dense + hit.scores.lexical) / 2, abs=1e-6
                )
            words_only = replace(query, fusion=Fusion(dense=0))
            hits = (await service.search.search("c", [words_only])).hits[0]
            assert [hit.chunk.document_id for hit in hits[:2]] == ["bear", "fox"]
            by_rank = replace(query, fusion=Fusion("rrf", k=1))
            hits = (await service.search.search("c", [by_rank])).hits[0]
            assert max(hit.score for hit in hits) <= 0.5

    run(work())


def test_words_follow_every_change_of_a_document(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            search = {"text": "zeppelin", "mode": "lexical"}
            await service.ingest.add("c", [Draft("new", text="A zeppelin.", vectors=[axis(7)])])
            assert await find(service, **search) == ["new"]
            await service.ingest.add("c", [Draft("new", text="A balloon.", vectors=[axis(7)])])
            assert await find(service, **search) == []
            await service.ingest.patch("c", "new", "Zeppelin", None)
            assert await find(service, **search) == ["new"]
            await service.ingest.patch("c", "new", "Airship", None)
            assert await find(service, **search) == []
            assert await find(service, text="airship", mode="lexical") == ["new"]
            await service.ingest.delete("c", "new")
            assert await find(service, text="airship", mode="lexical") == []
            after = await service.collections.get("c")
            bags = [bag(text) for text in TEXTS.values()]
            assert (after.chunks, after.words) == (len(bags), sum(one.words for one in bags))

    run(work())


def test_collections_do_not_see_the_words_of_each_other(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            await service.ingest.add("other", [Draft("x", text="A brown cow", vectors=[axis(0)])])
            assert set(await find(service, text="brown", mode="lexical")) == {"fox", "bear"}
            await service.collections.delete("c")
            while await service.store.sweep():
                pass
            found = await service.search.search("other", [Query("brown", mode="lexical")])
            assert [hit.chunk.document_id for hit in found.hits[0]] == ["x"]

    run(work())


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_filter_leaves_as_many_as_there_are(run: Run, two: Any, mode: Any) -> None:
    async def work() -> None:
        async with two() as service:
            drafts = [
                Draft(f"d{n}", text=f"common word{n}", vectors=[axis(n % 8)], metadata={"n": n})
                for n in range(300)
            ]
            await service.ingest.add("c", drafts)
            for least, count in ((299, 1), (290, 10), (150, 10), (0, 10), (300, 0)):
                where = parse_filter({"n": {"$gte": least}})
                hits = await find(service, text="common word7", mode=mode, where=where)
                assert len(hits) == count
                assert all(int(one[1:]) >= least for one in hits)

    run(work())


def test_words_are_looked_for_within_what_a_filter_allows(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            drafts = [
                Draft(f"d{n}", text="heart " * (1 + n % 3), vectors=[axis(n % 8)])
                for n in range(300)
            ]
            await service.ingest.add("c", drafts)
            collection = await service.collections.get("c")
            lexical = Lexical(service.store, all_within=0)
            words = await lexical.words(collection, "heart")
            everything, _ = await lexical.find(collection, words, 300, None)
            assert len(everything) == 300
            some = np.sort(everything.ids)[-40:]
            found, complete = await lexical.find(collection, words, 10, some)
            assert len(found) == 10
            assert not complete
            assert set(found.ids) <= set(some)
            inside = everything.only(np.isin(everything.ids, some))
            assert found.scores.tolist() == pytest.approx(inside.scores[:10].tolist())
            _, complete = await lexical.find(collection, words, 41, some)
            assert complete

    run(work())


def test_a_long_query_is_looked_up_in_one_go(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            long = " ".join(f"w{n}" for n in range(3000))
            assert await find(service, text=f"honey {long}", mode="lexical") == ["bear"]

    run(work())


def test_documents_like_another_are_found_by_its_words_too(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            for mode in ("lexical", "hybrid"):
                assert (await find(service, document_id="bear", mode=mode))[0] == "fox"

    run(work())


class Monday:
    """A reranker that likes texts about Mondays, or fails."""

    name = "monday"
    calls = Calls(texts=1000)

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble

    async def rerank(self, query: str, texts: Any) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return np.array([0.9 if "Monday" in text else 0.1 for text in texts])

    async def aclose(self) -> None:
        pass


def reranking(service: Any, reranker: Any) -> None:
    async def create(spec: Any) -> Any:
        if spec.provider != "monday":
            raise UnknownProvider(f"no reranker is called {spec.provider!r}")
        return reranker

    service.rerank._create = create


def test_a_reranker_has_the_last_word(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            reranking(service, Monday())
            query = Query("brown bear", rerank="monday")
            found = await service.search.search("c", [query])
            assert found.hits[0][0].chunk.document_id == "money"
            assert (await find(service, text="brown bear"))[0] == "bear"
            scores = [hit.score for hit in found.hits[0]]
            assert scores == sorted(scores, reverse=True)
            assert all(hit.score == hit.scores.rerank for hit in found.hits[0])
            assert not found.degraded
            with pytest.raises(UnknownProvider):
                await service.search.search("c", [replace(query, rerank="nobody")])

    run(work())


def test_a_reranker_reads_as_many_documents_as_the_page_wants(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            chunks = [DraftChunk(f"part {n}") for n in range(120)]
            long = Draft("long", chunks=chunks, vectors=[axis(0)] * len(chunks))
            others = [
                Draft(f"d{n}", text=f"text {n}", vectors=[[0.5, 1, 0, 0, 0, 0, 0, n / 100]])
                for n in range(20)
            ]
            await service.ingest.add("c", [long, *others])
            reranking(service, Monday())
            query = Query("part", rerank="monday", per_document=1, limit=10)
            hits = (await service.search.search("c", [query])).hits[0]
            assert len({hit.chunk.document_id for hit in hits}) == 10

    run(work())


def test_a_reranker_that_fails_leaves_the_order_and_says_so(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            reranking(service, Monday(ProviderBusy("monday is busy", retry_after=1)))
            query = Query("brown bear")
            expected = (await service.search.search("c", [query])).hits
            found = await service.search.search("c", [replace(query, rerank="monday")])
            assert found.hits == expected
            assert len(found.degraded) == 1
            assert found.degraded[0].startswith("rerank: monday is busy")

    run(work())


def test_diversity_puts_what_is_alike_further_down(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted(dimensions=DIMENSIONS)) as service:
            near = [1.0, 0.01, 0, 0, 0, 0, 0, 0]
            drafts = [
                Draft("a", text="one", vectors=[axis(0)]),
                Draft("twin", text="two", vectors=[near]),
                Draft("other", text="three", vectors=[[0.7, 0, 0.7, 0, 0, 0, 0, 0]]),
            ]
            await service.ingest.add("c", drafts)
            asked = {"vector": axis(0), "limit": 2}
            assert await find(service, **asked) == ["a", "twin"]
            assert await find(service, **asked, diversity=0.0) == ["a", "twin"]
            assert await find(service, **asked, diversity=0.8) == ["a", "other"]

    run(work())


def test_a_highlight_is_the_sentence_that_matches(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            for mode in ("dense", "hybrid", "lexical"):
                query = Query("honey in summer", mode=mode, highlight=True)
                hits = (await service.search.search("c", [query])).hits[0]
                bear = next(hit for hit in hits if hit.chunk.document_id == "bear")
                start, end = bear.highlight
                assert TEXTS["bear"][start:end] == "It eats honey in summer."

    run(work())


def test_several_queries_of_different_modes_are_answered_together(run: Run, two: Any) -> None:
    async def work() -> None:
        async with two() as service:
            await fill(service)
            queries = [
                Query("brown", mode="lexical"),
                Query("brown bear"),
                Query(vector=axis(2), limit=1),
                Query("bank", mode="dense", where=parse_filter({"n": 3})),
            ]
            together = await service.search.search("c", queries)
            assert together.plan.mode == "mixed"
            for query, hits in zip(queries, together.hits, strict=True):
                alone = await service.search.search("c", [query])
                assert [h.chunk.id for h in hits] == [h.chunk.id for h in alone.hits[0]]

    run(work())


def test_what_a_vector_cannot_do_is_refused(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted(dimensions=DIMENSIONS)) as service:
            await fill(service)
            for wrong in ({"mode": "hybrid"}, {"rerank": "default"}, {"diversity": 2.0}):
                with pytest.raises(InvalidInput):
                    await service.search.search("c", [Query(vector=axis(0), **wrong)])

    run(work())
