"""Judge the sentences of an answer: which need a source, and which have one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from embedsvc.core.citations import Checker, Citation
from embedsvc.core.claims import (
    has_word,
    is_claim,
    is_heading,
    is_introduction,
    is_table_head,
    is_verdict,
    neutral,
    states,
    talk,
)
from embedsvc.core.model import Chunk
from embedsvc.core.support import Passage, score
from embedsvc.core.wording import Wording

FEWEST_TERMS = 2
"""Content words of a part of a sentence that is judged by itself."""

LONGEST_CODE = 8_000
"""Characters of a block of code that is looked up, or that marks stand behind; a longer one has no
support. Other sentences are shorter."""

_FENCE = "```"
_FENCE_PARTS = 3  # three ticks may come one by one
_TABLE_RULE = re.compile(r"\|[\s|:+-]*\Z")


@dataclass(slots=True)
class Group:
    """Marks that stand together: sources by position with the quoted words, and the verdicts."""

    references: list[tuple[int, str]]
    citations: list[Citation] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """Words of a sentence, and the marks behind them."""

    parts: list[str] = field(default_factory=list)
    group: Group | None = None

    @property
    def words(self) -> str:
        """The words as they are shown."""
        return "".join(self.parts)


@dataclass(slots=True)
class Sentence:
    """A sentence in the making: its words, and marks in their places.

    `lead` is the white space before it, `start` where its words begin in the text that went out.
    One that is `held` goes out when it is complete. `header` is the first row of a table.
    """

    lead: str
    held: bool
    start: int = -1
    runs: list[Run] = field(default_factory=lambda: [Run()])
    verified: list[Passage] = field(default_factory=list)
    header: bool = False

    @property
    def begun(self) -> bool:
        """Whether it has words or marks."""
        return bool(self.runs[0].parts or self.runs[0].group)

    @property
    def claim(self) -> str:
        """Its words as they were meant, without marks."""
        return _meant("".join(part for run in self.runs for part in run.parts))

    @property
    def references(self) -> int:
        """How many its marks name."""
        return sum(len(run.group.references) for run in self.runs if run.group)

    @property
    def cites(self) -> bool:
        """Whether it has marks."""
        return any(run.group for run in self.runs)

    @property
    def cites_by_parts(self) -> bool:
        """Whether marks stand behind more than one part of it."""
        return sum(run.group is not None for run in self.runs) > 1

    @property
    def fenced(self) -> bool:
        """Whether it is a block of code."""
        parts = self.runs[0].parts
        return bool(parts) and "".join(parts[:_FENCE_PARTS]).startswith(_FENCE)


class Judge:
    """Knows the sources of an answer and its question."""

    def __init__(self, sources: Sequence[Chunk], question: str) -> None:
        self._checker = Checker(sources, question)
        self._question = self._checker.ground.question
        self._looked_up: dict[str, Citation | None] = {}
        self._last = Wording("")

    def check(self, sentence: Sentence, run: Run, otherwise: str) -> None:
        """Check the marks behind some words; of too few words, as marks of `otherwise`."""
        assert run.group is not None
        claim = self._claim(sentence, run, otherwise)
        references = dict.fromkeys(self._righted(*one) for one in run.group.references)
        run.group.citations = self._checker.checked(1, list(references), claim)
        for citation in run.group.citations:
            evidence = self._checker.evidence(citation)
            if citation.status == "verified" and evidence is not None:
                sentence.verified.append(evidence)

    def _claim(self, sentence: Sentence, run: Run, otherwise: str) -> Wording:
        words = _meant(run.words)
        if len(words) > LONGEST_CODE:
            return Wording("")
        own = Wording(words)
        return own if self._is_enough(own) else self._wording(sentence.claim or otherwise)

    def _righted(self, source: int, quote: str) -> tuple[int, str]:
        """A quote that stands, letter for letter, in one other source alone belongs to that."""
        if not quote or self._checker.found(1, source, quote):
            return source, quote
        holding = [at for at, one in enumerate(self._checker.ground.sources) if quote in one.text]
        if len(holding) == 1 and self._checker.found(1, holding[0], quote):
            return holding[0], quote
        return source, quote

    def has_content(self, sentence: Sentence) -> bool:
        """Whether a claim has begun."""
        wording = self._wording(sentence.claim)
        return bool(wording.terms - talk()) or wording.figures.count > 0

    def needs_source(self, sentence: Sentence) -> bool:
        """Whether it claims something."""
        if sentence.fenced:
            return bool(_code(sentence.claim).strip())
        claim = self._wording(sentence.claim)
        return is_claim(claim, self._question) and not self.is_structure(sentence)

    def is_verdict(self, sentence: Sentence) -> bool:
        """Whether it is a bare "Yes." or "No."."""
        return is_verdict(self._wording(sentence.claim))

    def is_structure(self, sentence: Sentence) -> bool:
        """Whether it says nothing itself but orders what follows: a heading, the top of a table."""
        claim = self._wording(sentence.claim)
        if sentence.header and is_table_head(claim):
            return all(self._names_topic(Wording(cell)) for cell in claim.text.split("|"))
        if is_heading(claim) or is_introduction(claim, self._question):
            return self._names_topic(claim)
        return self.is_table_rule(sentence)

    def _names_topic(self, title: Wording) -> bool:
        """Whether a title says nothing of its own, as far as its words tell.

        It has neutral words alone; or it has no verb such as "is" and no negation, all its words
        stand in one sentence of a source with its title, or in the question, and of several words
        some sentence that holds them does not deny them.
        """
        if is_verdict(title):
            return False
        words = title.terms - neutral()
        if not words and not title.figures.count:
            return True
        if states(title) or not self._checker.ground.holds_figures(title):
            return False
        ground = self._checker.ground
        if words <= self._question.terms:
            return ground.mentions(title, words) is not False
        return ground.mentions(title, words - self._question.terms) is True

    def is_table_rule(self, sentence: Sentence) -> bool:
        """Whether it is the row of dashes below the head of a table."""
        return _TABLE_RULE.match(sentence.claim) is not None

    def stands(self, sentence: Sentence, *, throughout: bool) -> bool:
        """Whether verified citations carry it, and what follows its last mark.

        With `throughout` every part of it must be carried, also one whose own marks failed.
        """
        if not sentence.verified:
            return False
        runs = sentence.runs if throughout else sentence.runs[-1:]
        return all(self._carried(sentence, run) for run in runs if throughout or not run.group)

    def look_up(self, sentence: Sentence) -> Citation | None:
        """A verified citation of the passage that supports it best, from any source."""
        claim = sentence.claim
        if not has_word(self._wording(claim)):
            return None
        if claim not in self._looked_up:
            code = _code(claim) if sentence.fenced else None
            self._looked_up[claim] = (
                self._checker.looked_up(1, self._wording(claim))
                if code is None
                else self._find(code)
            )
        found = self._looked_up[claim]
        return found if found is None or self._carries_rest(sentence, found) else None

    def _carries_rest(self, sentence: Sentence, citation: Citation) -> bool:
        """Whether a citation holds the words that those which were verified before do not.

        As a whole a sentence may be supported though what follows its last mark is not.
        """
        evidence = self._checker.evidence(citation)
        if sentence.fenced or not sentence.verified or evidence is None:
            return True
        held = evidence.terms.union(*(one.terms for one in sentence.verified))
        rest = (run for run in sentence.runs if not self._carried(sentence, run))
        return all(self._new(Wording(_meant(run.words))) <= held for run in rest)

    def _new(self, part: Wording) -> frozenset[str]:
        """The words that neither talk nor the question accounts for."""
        return part.terms - talk() - self._question.terms

    def _find(self, code: str) -> Citation | None:
        """The first source in which a block of code stands."""
        if len(code) > LONGEST_CODE:
            return None
        sources = range(len(self._checker.ground.sources))
        cited = (self._checker.found(1, source, code) for source in sources)
        return next((citation for citation in cited if citation is not None), None)

    def _carried(self, sentence: Sentence, run: Run) -> bool:
        if run.group and any(c.status == "verified" for c in run.group.citations):
            return True
        part = Wording(_meant(run.words))
        if run.group and (part.terms or part.figures.count):
            return score(part, sentence.verified, self._question) > 0
        if not self._is_enough(part):
            held = frozenset[str]().union(*(one.terms for one in sentence.verified))
            return self._new(part) <= held
        whole = self._wording(sentence.claim)
        return any(score(one, sentence.verified, self._question) > 0 for one in (part, whole))

    def _is_enough(self, wording: Wording) -> bool:
        return len(wording.terms - talk()) >= FEWEST_TERMS or wording.figures.count > 0

    def _wording(self, text: str) -> Wording:
        if text != self._last.text:
            self._last = Wording(text)
        return self._last


def _meant(text: str) -> str:
    """Text that was made inert, as it reads."""
    return text.replace("&lt;", "<").replace("&amp;", "&").strip()


def _code(block: str) -> str:
    """What stands between the fences."""
    lines = block.splitlines()[1:]
    if lines and lines[-1].strip().startswith(_FENCE):
        lines.pop()
    return "\n".join(lines)
