"""Choose the sentences of a few passages that answer a question, and say what speaks for them.

Pure: vectors come from outside. A sentence is worth more the nearer its vector is to that of the
question, the more of the question's words it and its neighbours hold (each by its rarity), the
nearer its passage is, and when it offers the kind of thing that was asked for. The weights below
were chosen on half of the questions of XQuAD in English (benchmarks/README.md).
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.expectation import Kind, expected, offers
from embedsvc.core.lexical import Statistics, terms
from embedsvc.core.model import Matrix
from embedsvc.core.statements import Contents, Sentence, stem
from embedsvc.core.stopwords import STOP_WORDS
from embedsvc.core.tokens import words

COMPARED = 8
"""Passages whose words are compared with those of the best one."""

FEATURES = ("near", "apart")
"""What evidence is made of: how near the sentences are to the question, and how much more of its
words their passage holds than others."""

_COSINE, _HELD, _CONTEXT, _PASSAGE = 0.25, 0.3, 0.1, 0.3
_OFFERED: Mapping[Kind, float] = {"number": 0.1, "time": 0.1, "name": 0.03, "reason": 0.05}

_ADDED, _NEXT, _TOGETHER, _REPEATED = 0.1, 0.05, 0.05, 0.1
"""For a second sentence: words that the first has not, standing beside it, in the same passage; and
against it: saying the same."""

_SECOND = 0.65
"""The second is quoted when it is worth at least this part of the first."""

_USUAL = 0.1
"""The share of a question's words that a passage of the same collection holds by the way: the
others count as if they held so much at least, and so do those that are missing."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A source: what stands in a document from `start` on.

    `cosine` is how near all of it is to the question; None where that is not known.
    """

    document: str
    start: int
    contents: Contents
    cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: its content terms with their parts of the whole (they add up to 1)."""

    text: str
    weights: Mapping[str, float]
    kind: Kind | None
    words: frozenset[str]

    def share(self, held: Set[str]) -> float:
        """How much of the question these terms are, 0 to 1."""
        return sum(weight for term, weight in self.weights.items() if term in held)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The `ordinal`th sentence of the passage at `source`.

    `held` are the terms of the question in it; `worth` is what speaks for it before its vector is
    known.
    """

    source: int
    ordinal: int
    sentence: Sentence
    held: frozenset[str]
    worth: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The sentences that answer best, one or two, and the evidence that they do (FEATURES)."""

    quoted: Sequence[Candidate]
    features: NDArray[np.float64]


def content_terms(question: str) -> list[str]:
    """The terms of the words that carry content, each once; of all words where there is no such."""
    found = words(question)
    told = [word for word in found if word not in STOP_WORDS]
    asking = expected(question)
    content = [word for word in told if asking is None or word not in asking.words]
    chosen = content or told or found
    return list(dict.fromkeys(term for word in chosen for term in terms(word)))


def ask(question: str, statistics: Statistics) -> Asked:
    """The question with its terms weighed by their rarity in the collection.

    One that no chunk holds weighs as if one did: in a small collection it would outweigh the rest.
    """
    found = content_terms(question)
    held = {term: max(1, statistics.holding.get(term, 0)) for term in found}
    floored = replace(statistics, holding=held)
    weights: dict[str, float] = {}
    for term in found:
        short = stem(term)
        weights[short] = max(weights.get(short, 0.0), floored.rarity(term))
    total = sum(weights.values()) or 1.0
    shares = {term: weight / total for term, weight in weights.items()}
    asking = expected(question)
    kind = None if asking is None else asking.kind
    return Asked(question, shares, kind, frozenset(words(question)))


def candidates(asked: Asked, passages: Sequence[Passage], most: int) -> list[Candidate]:
    """The sentences of all passages that promise most, at most `most`, best first."""
    found = [one for i, passage in enumerate(passages) for one in _candidates(asked, i, passage)]
    return sorted(found, key=lambda one: (-one.worth, one.source, one.ordinal))[:most]


def choose(
    asked: Asked,
    passages: Sequence[Passage],
    found: Sequence[Candidate],
    vectors: Matrix,
    question: NDArray[np.float32],
) -> Choice:
    """The best sentences of at least one candidate.

    `vectors`, shape (len(found), dimensions), are theirs; `question`, shape (dimensions,).
    """
    cosines = vectors @ question
    worth = np.array([one.worth for one in found]) + _COSINE * cosines
    first = int(np.argmax(worth))
    second = _second(asked, passages, found, vectors, worth, first)
    pair = [first] if second is None else [first, second[0]]
    near = _nearness(vectors[pair], cosines[pair])
    features = np.array([near, _apartness(asked, passages, found[first].source)])
    quoted = [first] if second is None or second[1] < _SECOND * worth[first] else pair
    return Choice([found[i] for i in quoted], features)


def _second(
    asked: Asked,
    passages: Sequence[Passage],
    found: Sequence[Candidate],
    vectors: Matrix,
    worth: NDArray[np.float64],
    first: int,
) -> tuple[int, float] | None:
    """The sentence that goes best with the first, and its worth beside it."""
    chosen = found[first]
    best: tuple[int, float] | None = None
    for i, other in enumerate(found):
        if _same(passages, chosen, other):
            continue
        value = float(worth[i]) + _ADDED * asked.share(other.held - chosen.held)
        value -= _REPEATED * float(vectors[i] @ vectors[first])
        if other.source == chosen.source:
            value += _TOGETHER + _NEXT * (abs(other.ordinal - chosen.ordinal) == 1)
        if best is None or value > best[1]:
            best = i, value
    return best


def _same(passages: Sequence[Passage], one: Candidate, other: Candidate) -> bool:
    """Whether both say the same words, or stand at the same place of a document."""
    if one.sentence.text == other.sentence.text:
        return True
    here, there = passages[one.source], passages[other.source]
    if here.document != there.document:
        return False
    return (
        here.start + one.sentence.start < there.start + other.sentence.end
        and there.start + other.sentence.start < here.start + one.sentence.end
    )


def _nearness(vectors: Matrix, cosines: NDArray[np.float32]) -> float:
    """The cosine of the question to the nearest combination of the sentences, 0 to 1."""
    rows, near = vectors.astype(np.float64), cosines.astype(np.float64)
    gram = rows @ rows.T + 1e-3 * np.eye(len(rows))  # two alike would leave it without an inverse
    return float(np.sqrt(np.clip(near @ np.linalg.solve(gram, near), 0, 1)))


def _apartness(asked: Asked, passages: Sequence[Passage], chosen: int) -> float:
    """How much more of the question the chosen passage holds than the others, below 1.

    Of the others the poorer half counts, so that several that answer do not weaken each other.
    """
    others = [
        asked.share(passage.contents.terms)
        for source, passage in enumerate(passages[:COMPARED])
        if source != chosen
    ][: COMPARED - 1]
    others += [_USUAL] * (COMPARED - 1 - len(others))
    poorer = sorted(others)[: len(others) // 2]
    usual = max(_USUAL, sum(poorer) / len(poorer))
    return asked.share(passages[chosen].contents.terms) - usual


def _candidates(asked: Asked, source: int, passage: Passage) -> Iterator[Candidate]:
    contents = passage.contents
    whole = asked.share(contents.terms)
    near = whole if passage.cosine is None else (passage.cosine + whole) / 2
    wanted = asked.weights.keys()
    title = contents.title & wanted
    held = [sentence.terms & wanted for sentence in contents.sentences]
    for i, sentence in enumerate(contents.sentences):
        if not sentence.says:
            continue
        around = title.union(*held[max(0, i - 1) : i + 2])
        worth = _HELD * asked.share(held[i]) + _CONTEXT * asked.share(around) + _PASSAGE * near
        if asked.kind is not None and offers(sentence.text, asked.kind, asked.words):
            worth += _OFFERED[asked.kind]
        yield Candidate(source, i, sentence, held[i], worth)
