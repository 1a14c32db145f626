"""Examples to calibrate with: questions asked to short passages of which it is known who answers.

Pure: vectors come from outside. Each question is searched among all passages as a collection is, by
meaning and by words; questions that are answered are asked again with their passage taken away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.calibrating import Numbers, Outcome
from embedsvc.core.extraction import Asked, Passage, ask, candidates, choose, content_terms
from embedsvc.core.lexical import Statistics
from embedsvc.core.model import Matrix
from embedsvc.core.statements import Contents, read, stem

SOURCES = 8
"""Passages that are found for a question."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about the passage `about`, and whether it answers."""

    text: str
    about: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """Passages and the questions about them."""

    passages: Sequence[str]
    contents: Sequence[Contents]
    questions: Sequence[Question]

    def statements(self) -> list[str]:
        """The sentences of all passages, each once."""
        found = [s.text for contents in self.contents for s in contents.sentences if s.says]
        return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Examples:
    """What `calibrate` learns from: features of shape (examples, features); a group a passage."""

    features: Numbers
    outcomes: Sequence[Outcome]
    groups: Sequence[int]


def pool(passages: Sequence[str], questions: Sequence[Question]) -> Pool:
    """Read the passages."""
    return Pool(passages, [read(text) for text in passages], questions)


def rehearse(
    pool: Pool,
    passages: Matrix,
    statements: Mapping[str, NDArray[np.float32]],
    questions: Matrix,
    most: int,
) -> Examples:
    """Ask all questions, looking at up to `most` sentences each.

    `passages` and `questions` are the vectors of all of them, in their order; `statements` those of
    the sentences by their text.
    """
    asking = _Asking(pool, passages, statements, most)
    rows: list[Numbers] = []
    outcomes: list[Outcome] = []
    groups: list[int] = []
    taken_away: set[int] = set()
    for question, vector in zip(pool.questions, questions, strict=True):
        own = question.about
        tries: list[tuple[Outcome, bool]] = [("answered" if question.answered else "near", True)]
        if question.answered and own not in taken_away:  # once a passage is enough
            taken_away.add(own)
            tries.append(("elsewhere", False))
        for outcome, present in tries:
            if (features := asking.features(question, vector, present)) is not None:
                rows.append(features)
                outcomes.append(outcome)
                groups.append(own)
    return Examples(np.array(rows), outcomes, groups)


class _Asking:
    """Searches the pool."""

    def __init__(
        self,
        pool: Pool,
        passages: Matrix,
        statements: Mapping[str, NDArray[np.float32]],
        most: int,
    ) -> None:
        self._contents = pool.contents
        self._passages = passages
        self._statements = statements
        self._most = most
        self._holding: dict[str, list[int]] = {}
        for i, contents in enumerate(pool.contents):
            for term in contents.terms:
                self._holding.setdefault(term, []).append(i)

    def features(
        self, question: Question, vector: NDArray[np.float32], present: bool
    ) -> Numbers | None:
        """The evidence for a question, with its own passage or without it."""
        away = -1 if present else question.about
        asked = ask(question.text, self._statistics(question, away))
        cosines = self._passages @ vector
        found = self._found(asked, cosines, away)
        sources = [Passage(str(i), 0, self._contents[i], float(cosines[i])) for i in found]
        promising = candidates(asked, sources, self._most)
        if not promising:
            return None
        rows = np.stack([self._statements[one.sentence.text] for one in promising])
        return choose(asked, sources, promising, rows, vector).features

    def _statistics(self, question: Question, away: int) -> Statistics:
        holding = {}
        for term in content_terms(question.text):
            places = self._holding.get(stem(term), ())
            holding[term] = len(places) - (away in places)
        return Statistics(len(self._contents) - (away >= 0), 0.0, holding)

    def _found(self, asked: Asked, cosines: NDArray[np.float32], away: int) -> list[int]:
        """The passages that are nearest in meaning and hold most of the words, best first."""
        scores = cosines.astype(np.float64)
        for term, weight in asked.weights.items():
            scores[self._holding.get(term, [])] += weight
        if away >= 0:
            scores[away] = -np.inf
        found: list[int] = np.argsort(-scores, kind="stable")[:SOURCES].tolist()
        return [i for i in found if i != away]
