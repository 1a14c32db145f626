"""Answers without a language model: which sentences of the sources answer, and whether any does.

A language model's answers under strict grounding are let through by the same evidence.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.extraction import Candidate, Passage, ask, candidates, choose
from embedsvc.core.model import Chunk, Collection, Matrix
from embedsvc.core.statements import read
from embedsvc.services.backends import Backend
from embedsvc.services.calibration import MOST_SENTENCES, Calibrations, sentence_role
from embedsvc.services.embedding import Embedders
from embedsvc.services.lexical import Lexical
from embedsvc.services.retrying import all_or_none
from embedsvc.services.search import Hit
from embedsvc.store.store import Store

MOST_KEPT = 32_000_000
"""Bytes of vectors of sentences that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """A sentence of a source: `text == document.text[start:end]`; `source` is a place in hits."""

    source: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """How likely it is that the sources answer (0 to 1), and the sentences that do, best first.

    `enough` means: at least the threshold of the collection's embedding space. There are at most
    two quotes; they are there even when it is not enough.
    """

    probability: float
    enough: bool
    quotes: Sequence[Quoted]


NOTHING = Evidence(0.0, False, ())


class Extractive:
    """Looks for the sentences that answer a question."""

    def __init__(
        self,
        store: Store,
        embedders: Embedders,
        calibrations: Calibrations,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._embedders = embedders
        self._calibrations = calibrations
        self._lexical = Lexical(store)
        self._vectors = SentenceVectors(most_kept)

    async def look(self, question: str, hits: Sequence[Hit], collection: Collection) -> Evidence:
        """The evidence of these sources for the question. Raises ProviderError."""
        if not hits:
            return NOTHING
        words = await self._lexical.words(collection, question)
        asked = ask(question, words.statistics)
        passages = await asyncio.to_thread(_passages, hits)
        found = await asyncio.to_thread(candidates, asked, passages, MOST_SENTENCES)
        if not found:
            return NOTHING
        backend = await self._embedders.of(collection)
        calibration = await self._calibrations.of(collection, backend)
        vectors, vector = await all_or_none(
            [
                self._sentences(backend, [one.sentence.text for one in found], collection),
                self._embedders.embed_beginnings(backend, [question], "query", collection),
            ]
        )
        choice = choose(asked, passages, found, vectors, vector[0])
        probability = calibration.probability(choice.features)
        quotes = [_quoted(one, hits[one.source].chunk) for one in choice.quoted]
        return Evidence(probability, probability >= calibration.threshold, quotes)

    async def aclose(self) -> None:
        """Stop what is being calibrated."""
        await self._calibrations.aclose()

    async def _sentences(
        self, backend: Backend, texts: Sequence[str], collection: Collection
    ) -> Matrix:
        """Vectors of sentences; those that were looked at lately are remembered."""
        space_id = collection.space_id
        known = self._vectors.find(space_id, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            role = sentence_role(backend)
            rows = await self._embedders.embed_beginnings(backend, missing, role, collection)
            fresh = dict(zip(missing, rows, strict=True))
            self._vectors.keep(space_id, fresh)
            known |= fresh
        return np.stack([known[text] for text in texts])


class SentenceVectors:
    """Vectors by space and text; the longest unused go when there are too many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, str], NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, space_id: int, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Those that are there."""
        found = {}
        for text in texts:
            if (key := (space_id, text)) in self._kept:
                self._kept.move_to_end(key)
                found[text] = self._kept[key]
        return found

    def keep(self, space_id: int, vectors: dict[str, NDArray[np.float32]]) -> None:
        """Add some."""
        for text, row in vectors.items():
            if (space_id, text) not in self._kept:
                self._kept[space_id, text] = row.copy()  # not a view that keeps all the others
                self._bytes += _size(text, row)
        while self._bytes > self._most:
            (_, text), row = self._kept.popitem(last=False)
            self._bytes -= _size(text, row)


def _size(text: str, row: NDArray[np.float32]) -> int:
    return row.nbytes + 2 * len(text) + 200


def _passages(hits: Sequence[Hit]) -> list[Passage]:
    return [
        Passage(
            hit.chunk.document_id,
            hit.chunk.start,
            read(hit.chunk.text, hit.chunk.title),
            hit.scores.dense,
        )
        for hit in hits
    ]


def _quoted(one: Candidate, chunk: Chunk) -> Quoted:
    start, end = chunk.start + one.sentence.start, chunk.start + one.sentence.end
    return Quoted(one.source, start, end, one.sentence.text)
