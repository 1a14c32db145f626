"""Choose the sentences of a few chunks that answer a question. Pure: vectors come from outside."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Matrix
from embedsvc.core.sentences import sentences
from embedsvc.core.stopwords import STOP_WORDS
from embedsvc.core.tokens import words

_MARK = re.compile(r"^(?:[-*•]|\d+[.)])\s+")

_STEM = 5
"""Words are compared by their first letters: plain, and the same for every language."""

_CONTEXT = 0.3
"""How much the chunk's own nearness counts beside the sentence's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of a source, and how much of the question's words it holds, 0 to 1."""

    source: int
    text: str
    overlap: float


def candidates(question: str, texts: Sequence[str], most: int) -> list[Candidate]:
    """The sentences of all texts that share most with the question, at most `most`, best first.

    A shared word counts by how rare it is among the sentences (its inverse document frequency).
    """
    found = [
        (source, sentence) for source, text in enumerate(texts) for sentence in _statements(text)
    ]
    stems = [_stems(sentence) for _, sentence in found]
    counts = Counter(stem for sentence in stems for stem in sentence)
    asked = {stem: _rarity(counts[stem], len(stems)) for stem in _stems(question)}
    total = sum(asked.values()) or 1.0
    scored = [
        Candidate(source, sentence, sum(asked[s] for s in own & asked.keys()) / total)
        for (source, sentence), own in zip(found, stems, strict=True)
    ]
    return sorted(scored, key=lambda c: (-c.overlap, c.source))[:most]


def rank(
    found: Sequence[Candidate], cosines: NDArray[np.float32], chunk_scores: Sequence[float]
) -> list[tuple[int, float]]:
    """Positions of the candidates with their evidence (0 to 1), best first.

    `cosines`, shape (len(found),): of each sentence to the question.
    """
    evidence = [
        (1 - _CONTEXT) * (0.5 * float(cosine) + 0.5 * candidate.overlap)
        + _CONTEXT * chunk_scores[candidate.source]
        for candidate, cosine in zip(found, cosines, strict=True)
    ]
    order = sorted(range(len(found)), key=lambda i: -evidence[i])
    return [(i, evidence[i]) for i in order]


def cosines(sentence_vectors: Matrix, question: Matrix) -> NDArray[np.float32]:
    """Shape (n,): of n sentences to one question."""
    return sentence_vectors @ question


def _statements(text: str) -> Iterator[str]:
    """The sentences that say something by themselves: no headings, no code, no list marks."""
    in_code = False
    for start, end in sentences(text):
        sentence = text[start:end]
        if sentence.startswith("```"):
            in_code = sentence.count("```") % 2 == 1 and not in_code
            continue
        if in_code or sentence.startswith("#"):
            continue
        yield _MARK.sub("", sentence, count=1)


def _stems(text: str) -> set[str]:
    """Content words by their first letters; all words where there is no other."""
    found = words(text)
    content = [word for word in found if word not in STOP_WORDS] or found
    return {word[:_STEM] for word in content}


def _rarity(count: int, total: int) -> float:
    return math.log(1 + (total - count + 0.5) / (count + 0.5))
