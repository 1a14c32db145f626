"""Answers: retrieve, let an answerer speak, and check every quote before it is passed on."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from embedsvc.core.citations import Citation, check
from embedsvc.core.filters import Filter
from embedsvc.core.model import Matrix, Role
from embedsvc.errors import InvalidInput
from embedsvc.ports import Answerer, Source
from embedsvc.services.candidates import Mode
from embedsvc.services.collections import Collections
from embedsvc.services.embedding import Embedders
from embedsvc.services.search import Found, Hit, Query, Search

MOST_SOURCES = 50
MOST_QUESTION = 4_000
NO_ANSWER = "The documents do not answer this question."

CreateAnswerer = Callable[[str], Answerer]
"""`provider:model` → answerer. Raises UnknownProvider."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `text` carries markers such as [1], one a citation."""

    text: str
    state: Literal["answered", "no_answer"]
    citations: Sequence[Citation]
    sources: Sequence[Hit]
    model: str
    question: str
    version: int
    took_ms: float


Event = Found | str | Citation | Answer
"""What a stream of an answer is made of: sources, text, citations, and the whole at the end."""


class Ask:
    """Answers questions from a collection."""

    def __init__(
        self,
        collections: Collections,
        embedders: Embedders,
        search: Search,
        create: CreateAnswerer,
        default_model: str,
    ) -> None:
        self._collections = collections
        self._embedders = embedders
        self._search = search
        self._create = create
        self._default = default_model

    async def ask(
        self,
        name: str,
        question: str,
        *,
        model: str | None = None,
        limit: int = 8,
        where: Filter | None = None,
        mode: Mode | None = None,
    ) -> Answer:
        """The whole answer at once."""
        last: Event | None = None
        events = self.stream(name, question, model=model, limit=limit, where=where, mode=mode)
        async for event in events:
            last = event
        assert isinstance(last, Answer)
        return last

    async def stream(
        self,
        name: str,
        question: str,
        *,
        model: str | None = None,
        limit: int = 8,
        where: Filter | None = None,
        mode: Mode | None = None,
    ) -> AsyncIterator[Event]:
        """First the sources, then text and citations as they come, then the whole answer."""
        started = time.perf_counter()
        _check(question, limit)
        answerer = self._create(model or self._default)
        query = Query(question, limit=limit, where=where, mode=mode)
        found = await self._search.search(name, [query])
        yield found
        hits = found.hits[0]
        collection = await self._collections.get(name)
        backend = await self._embedders.of(collection)
        sources = [Source(hit.chunk, _nearness(hit)) for hit in hits]
        texts: list[str] = []
        citations: list[Citation] = []

        async def embed(texts: Sequence[str], role: Role) -> Matrix:
            return await self._embedders.embed_beginnings(backend, texts, role, collection)

        async for delta in answerer.answer(question, sources, embed):
            checked = [
                check(len(citations) + n, quote.text, sources[quote.source].chunk)
                for n, quote in enumerate(delta.quotes, start=1)
            ]
            marks = "".join(f" [{citation.marker}]" for citation in checked)
            texts.append((" " if texts else "") + delta.text + marks)
            yield texts[-1]
            for citation in checked:
                citations.append(citation)
                yield citation
        yield Answer(
            text="".join(texts) or NO_ANSWER,
            state="answered" if texts else "no_answer",
            citations=citations,
            sources=hits,
            model=answerer.name,
            question=question,
            version=found.version,
            took_ms=(time.perf_counter() - started) * 1000,
        )


def _nearness(hit: Hit) -> float:
    """The cosine to the question; of a lexical search the share of its words."""
    return hit.score if hit.scores.dense is None else hit.scores.dense


def _check(question: str, limit: int) -> None:
    if not question.strip():
        raise InvalidInput("question: it is empty")
    if len(question) > MOST_QUESTION:
        raise InvalidInput(f"question: {len(question)} characters; at most {MOST_QUESTION}")
    if not 1 <= limit <= MOST_SOURCES:
        raise InvalidInput(f"limit: {limit}; use 1 to {MOST_SOURCES}")
