"""The answerer without a language model: quotes the sentences that answer, or says nothing.

A sentence's evidence joins its cosine to the question, the question's words it holds, and the
nearness of its chunk. Below `FLOOR` nothing is close enough to be called an answer.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from embedsvc.core.extraction import Candidate, candidates, cosines, rank
from embedsvc.core.spec import Spec
from embedsvc.ports import Delta, Embed, Quote, Source
from embedsvc.settings import Settings

FLOOR = 0.35
"""Least evidence of an answer; `benchmarks/answers.py` shows how it was chosen."""

SECOND = 0.8
"""A second sentence is quoted when it has at least this part of the first one's evidence."""

_MOST_EMBEDDED = 24


def destination(spec: Spec, settings: Settings) -> str | None:
    """Texts stay here."""
    del spec, settings
    return None


def create(model: str, settings: Settings) -> "Extractive":
    """There is only one; `model` is ignored."""
    del model, settings
    return Extractive()


class Extractive:
    """Answers with at most two sentences of the sources, word for word."""

    name = "extractive"

    async def answer(
        self, question: str, sources: Sequence[Source], embed: Embed
    ) -> AsyncIterator[Delta]:
        """Stream the sentences, best first; nothing when none is close enough."""
        texts = [source.chunk.text for source in sources]
        found = await asyncio.to_thread(candidates, question, texts, _MOST_EMBEDDED)
        if not found:
            return
        asked = (await embed([question], "query"))[0]
        vectors = await embed([candidate.text for candidate in found], "document")
        ranked = rank(found, cosines(vectors, asked), [s.score for s in sources])
        best = ranked[0][1]
        if best < FLOOR:
            return
        chosen = [i for i, evidence in ranked[:2] if evidence >= SECOND * best]
        for i in chosen:
            yield _delta(found[i])


def _delta(candidate: Candidate) -> Delta:
    return Delta(candidate.text, [Quote(candidate.source, candidate.text)])
