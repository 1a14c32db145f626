"""Judge the sentences of an answer: which need a source, and which have one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from embedsvc.core.citations import Checker, Citation
from embedsvc.core.claims import is_claim, is_heading, is_introduction, talk
from embedsvc.core.model import Chunk
from embedsvc.core.support import Evidence, score
from embedsvc.core.wording import Wording

FEWEST_TERMS = 2
"""Content words of a part of a sentence that is judged by itself."""

_FENCED = re.compile(r"`{3,}[^\n]*\n(.*?)\s*(?:`{3,})?\s*\Z", re.DOTALL)
_TABLE_RULE = re.compile(r"\|[\s|:+-]*\Z")


@dataclass(slots=True)
class Group:
    """Marks that stand together: sources by position with the quoted words, and the verdicts."""

    references: list[tuple[int, str]]
    citations: list[Citation] | None = None


@dataclass(slots=True)
class Sentence:
    """A sentence in the making: its words, and marks in their places.

    `lead` is the white space before it, `start` where its words begin in the text that went out.
    One that is `held` goes out when it is complete. `header` is the first row of a table.
    """

    lead: str
    held: bool
    start: int = -1
    parts: list[str | Group] = field(default_factory=list)
    verified: list[Evidence] = field(default_factory=list)
    header: bool = False

    @property
    def claim(self) -> str:
        """Its words as they were meant, without marks."""
        return _meant("".join(part for part in self.parts if isinstance(part, str)))

    @property
    def runs(self) -> list[tuple[str, Group | None]]:
        """Its words cut at its marks, each with the marks behind them."""
        found: list[tuple[str, Group | None]] = []
        words: list[str] = []
        for part in self.parts:
            if isinstance(part, str):
                words.append(part)
            else:
                found.append(("".join(words), part))
                words = []
        return [*found, ("".join(words), None)] if words else found

    @property
    def segments(self) -> list[tuple[str, Group | None]]:
        """The runs, as they were meant."""
        return [(_meant(words), group) for words, group in self.runs]

    @property
    def groups(self) -> list[Group]:
        """Its marks."""
        return [part for part in self.parts if isinstance(part, Group)]

    @property
    def fenced(self) -> bool:
        """Whether it is a block of code."""
        return _FENCED.match(self.claim) is not None


class Judge:
    """Knows the sources of an answer and its question."""

    def __init__(self, sources: Sequence[Chunk], question: str) -> None:
        self._checker = Checker(sources, question)
        self._question = self._checker.ground.question
        self._looked_up: dict[str, Citation | None] = {}

    def check(self, sentence: Sentence, group: Group, before: str, otherwise: str) -> None:
        """Check marks behind some words; of too few words, as marks of `otherwise`."""
        own = Wording(before)
        claim = own if self._is_enough(own) else Wording(otherwise)
        group.citations = self._checker.checked(1, group.references, claim)
        for citation in group.citations:
            evidence = self._checker.evidence(citation)
            if citation.status == "verified" and evidence is not None:
                sentence.verified.append(evidence)

    def has_content(self, text: str) -> bool:
        """Whether a claim has begun."""
        wording = Wording(text)
        return bool(wording.terms - talk()) or wording.figures.count > 0

    def needs_source(self, sentence: Sentence) -> bool:
        """Whether it claims something."""
        if sentence.fenced:
            return True
        return not sentence.header and is_claim(sentence.claim, self._question)

    def is_structure(self, sentence: Sentence) -> bool:
        """Whether it says nothing itself but orders what follows: a heading, the top of a table."""
        claim = sentence.claim
        return (
            sentence.header
            or is_heading(claim)
            or is_introduction(claim, self._question)
            or _TABLE_RULE.match(claim) is not None
        )

    def stands(self, sentence: Sentence, throughout: bool) -> bool:
        """Whether verified citations carry it, and what follows its last mark.

        With `throughout` every part of it must be carried, also one whose own marks failed.
        """
        if not sentence.verified:
            return False
        segments = sentence.segments
        if not throughout:
            segments = [segment for segment in segments if segment[1] is None]
        return all(self._carried(sentence, words, group) for words, group in segments)

    def look_up(self, sentence: Sentence) -> Citation | None:
        """A verified citation of the passage that supports it best, from any source."""
        claim = sentence.claim
        if claim not in self._looked_up:
            self._looked_up[claim] = self._look_up(claim)
        return self._looked_up[claim]

    def _look_up(self, claim: str) -> Citation | None:
        code = _FENCED.match(claim)
        if code is None:
            return self._checker.looked_up(1, Wording(claim))
        for source in range(len(self._checker.ground.sources)):
            citation = self._checker.found(1, source, code[1])
            if citation.status == "verified":
                return citation
        return None

    def _carried(self, sentence: Sentence, words: str, group: Group | None) -> bool:
        if group and any(c.status == "verified" for c in group.citations or ()):
            return True
        part = Wording(words)
        if not self._is_enough(part):
            return True
        whole = Wording(sentence.claim)
        return any(score(one, sentence.verified, self._question) > 0 for one in (part, whole))

    def _is_enough(self, wording: Wording) -> bool:
        return len(wording.terms - talk()) >= FEWEST_TERMS or wording.figures.count > 0


def _meant(text: str) -> str:
    """Text that was made inert, as it reads."""
    return text.replace("&lt;", "<").replace("&amp;", "&").strip()
