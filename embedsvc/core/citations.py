"""Check a citation: do the words stand in the source, where, and do they support the claim?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedsvc.core.inert import inert
from embedsvc.core.model import Chunk
from embedsvc.core.quotes import folded, locate
from embedsvc.core.support import Ground, Passage, score
from embedsvc.core.wording import Wording

CitationStatus = Literal["verified", "unsupported", "not_found"]

_MARKS = re.compile(r"(?<!\s)\s*\[(?:[0-9]+|unverified)\]")  # looked for once in a run of blanks


def without_marks(text: str) -> str:
    """A text of an answer without marks such as [1] and [unverified], and the blanks before."""
    return _MARKS.sub("", text)


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote and what the check found: `document.text[start:end] == quote` where it has offsets.

    verified: the words stand in the chunk, and the claim agrees with them. unsupported: they stand
    there and the claim says something else, or nothing was quoted and no sentence supports the
    claim; then it has no offsets. not_found: the chunk does not hold the words, which are the
    writer's then, or there is no such source, and `chunk` is None.
    """

    marker: int
    chunk: Chunk | None
    quote: str
    start: int | None
    end: int | None
    status: CitationStatus


class Checker:
    """Checks citations of claims against sources, which are named by their positions.

    What takes time in proportion to the sources is done when it is made.
    """

    def __init__(self, sources: Sequence[Chunk], question: str) -> None:
        self.ground = Ground(sources, question)
        self._folded = [folded(source.text) for source in sources]
        self._known: dict[tuple[int, str], Passage | None] = {}

    def checked(
        self, marker: int, references: Sequence[tuple[int, str]], claim: Wording
    ) -> list[Citation]:
        """The citations that stand together behind a claim, numbered from `marker` on.

        Quotes that support the claim only together are verified, each if it adds to that.
        """
        quoted = [self._quoted(source, quote) for source, quote in references]
        together = [evidence for evidence in quoted if evidence is not None]
        jointly = len(together) > 1 and self._score(claim, together) > 0
        made: list[Citation] = []
        for number, ((source, quote), evidence) in enumerate(
            zip(references, quoted, strict=True), start=marker
        ):
            if quote:
                supported = evidence is not None and (
                    self._score(claim, [evidence]) > 0 or (jointly and _adds(evidence, claim))
                )
                made.append(self._judged(number, source, quote, evidence, supported))
            else:
                made.append(self._bare(number, source, claim))
        return made

    def found(self, marker: int, source: int, quote: str) -> Citation | None:
        """A verified citation of words that stand in a source; None if they do not."""
        evidence = self._quoted(source, quote)
        return None if evidence is None else cited(marker, evidence, "verified")

    def looked_up(self, marker: int, claim: Wording) -> Citation | None:
        """The passage of any source that supports the claim best, as a verified citation."""
        best = self.ground.best(claim)
        return None if best is None else cited(marker, best[1], "verified")

    def evidence(self, citation: Citation) -> Passage | None:
        """The quote of a verified citation in its context."""
        for source, chunk in enumerate(self.ground.sources):
            if chunk is citation.chunk and citation.start is not None and citation.end is not None:
                span = citation.start - chunk.start, citation.end - chunk.start
                return self.ground.passage(source, span)
        return None

    def _score(self, claim: Wording, evidence: Sequence[Passage]) -> float:
        return score(claim, evidence, self.ground.question)

    def _quoted(self, source: int, quote: str) -> Passage | None:
        if not quote or not 0 <= source < len(self.ground.sources):
            return None
        if (source, quote) not in self._known:
            self._known[source, quote] = self._located(source, quote)
        return self._known[source, quote]

    def _located(self, source: int, quote: str) -> Passage | None:
        text = self.ground.sources[source].text
        span = locate(quote, text, self._folded[source])
        return None if span is None else self.ground.passage(source, span)

    def _judged(
        self, marker: int, source: int, quote: str, evidence: Passage | None, supported: bool
    ) -> Citation:
        if evidence is not None:
            return cited(marker, evidence, "verified" if supported else "unsupported")
        return Citation(marker, self._chunk(source), inert(quote), None, None, "not_found")

    def _bare(self, marker: int, source: int, claim: Wording) -> Citation:
        chunk = self._chunk(source)
        if chunk is None:
            return Citation(marker, None, "", None, None, "not_found")
        best = self.ground.best(claim, source)
        if best is None:
            return Citation(marker, chunk, "", None, None, "unsupported")
        return cited(marker, best[1], "verified")

    def _chunk(self, source: int) -> Chunk | None:
        sources = self.ground.sources
        return sources[source] if 0 <= source < len(sources) else None


def cited(marker: int, evidence: Passage, status: CitationStatus) -> Citation:
    """The citation of a quote that stands in its chunk."""
    chunk = evidence.chunk
    start, end = chunk.start + evidence.start, chunk.start + evidence.end
    return Citation(marker, chunk, evidence.quote.text, start, end, status)


def _adds(evidence: Passage, claim: Wording) -> bool:
    return not claim.terms.isdisjoint(evidence.quote.terms)
