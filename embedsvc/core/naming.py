"""Names for groups of texts: the words that stand in one group and not in the others. Pure.

Words are weighed by class-based TF-IDF (Grootendorst, BERTopic, 2022): how often a word comes in a
group, times how rare it is in all of them. They are shown as they are mostly written.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log, sqrt

from embedsvc.core.lexical import fold
from embedsvc.core.scripts import UNSPACED
from embedsvc.core.stopwords import STOP_WORDS

_SHORTEST = 3
_MOST_SHARE = 0.5
_FEW = 4  # texts: of so few, none is told apart by how many hold a word
_WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+(?:-[^\W_{UNSPACED}]+)*")
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a name; the most telling of a group has weight 1."""

    term: str
    weight: float


@dataclass(frozen=True, slots=True)
class _Text:
    """How often each word comes, folded, and how often it is written in each way."""

    counts: Counter[str]
    forms: Mapping[str, Counter[str]]


def name_groups(groups: Sequence[Sequence[str]], most: int) -> list[list[Term]]:
    """At most so many words for each group of texts, the most telling first.

    Left out are stop words, numbers, and words in more than half of all texts (but where a group
    has no other); a plural is counted with its singular.
    """
    read = [[_read(text) for text in texts] for texts in groups]
    every = [text for texts in read for text in texts]
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for text in every:
        for key, written in text.forms.items():
            forms[key].update(written)
    base = {key: _singular(key, forms) for key in forms}
    shown = _shown(forms, base)
    common = _common(every, base)
    holding = [_holding(texts, base) for texts in read]
    weights = [_weights(texts, base) for texts in read]
    totals: Counter[str] = Counter()
    for own in weights:
        totals.update(own)
    mean = sum(totals.values()) / max(1, len(groups))
    return [
        [
            Term(shown[key], weight)
            for key, weight in _best(own, counts, len(texts), totals, mean, common, most)
        ]
        for own, counts, texts in zip(weights, holding, read, strict=True)
    ]


def _read(text: str) -> _Text:
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for word in _words(text):
        key = fold(word)
        if key not in _stop_words():
            forms[key][word] += 1
    return _Text(Counter({key: own.total() for key, own in forms.items()}), forms)


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match.group()
        if _IS_UNSPACED.match(word):
            yield from (word[i : i + 2] for i in range(len(word) - 1))
        elif len(word) >= _SHORTEST and sum(map(str.isalpha, word)) > 1:
            yield word


def _singular(key: str, known: Mapping[str, object]) -> str:
    """The word of which this one is a plural, if that comes too."""
    for ending, instead in (("ies", "y"), ("es", ""), ("s", ""), ("en", "e")):
        if key.endswith(ending) and len(key) - len(ending) >= _SHORTEST:
            single = key.removesuffix(ending) + instead
            if single in known:
                return single
    return key


def _shown(forms: Mapping[str, Counter[str]], base: Mapping[str, str]) -> dict[str, str]:
    """How each word is mostly written, all its variants together."""
    together: dict[str, Counter[str]] = defaultdict(Counter)
    for key, written in forms.items():
        together[base[key]].update(written)
    return {
        key: min(written, key=lambda form: (-written[form], not form.islower(), form))
        for key, written in together.items()
    }


def _common(texts: Sequence[_Text], base: Mapping[str, str]) -> set[str]:
    """Words in more than half of all texts."""
    if len(texts) < _FEW:
        return set()
    held = _holding(texts, base)
    return {key for key, count in held.items() if count > _MOST_SHARE * len(texts)}


def _holding(texts: Sequence[_Text], base: Mapping[str, str]) -> Counter[str]:
    """In how many texts each word comes."""
    return Counter(key for text in texts for key in {base[key] for key in text.counts})


def _weights(texts: Sequence[_Text], base: Mapping[str, str]) -> dict[str, float]:
    """How often each word comes; of a single text, often counts little more than once."""
    found: dict[str, float] = defaultdict(float)
    for text in texts:
        counts: Counter[str] = Counter()
        for key, count in text.counts.items():
            counts[base[key]] += count
        for key, count in counts.items():
            found[key] += 1 + log(count)
    return found


def _best(
    own: Mapping[str, float],
    holding: Mapping[str, int],
    texts: int,
    totals: Mapping[str, float],
    mean: float,
    common: set[str],
    most: int,
) -> list[tuple[str, float]]:
    """The words of one group; those that only few of its texts have stand back."""
    scores = {
        key: count * log(1 + mean / totals[key]) * sqrt(holding[key] / texts)
        for key, count in own.items()
        if key not in common or own.keys() <= common
    }
    best = sorted(scores, key=lambda key: (-scores[key], key))[:most]
    return [(key, scores[key] / scores[best[0]]) for key in best]


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(map(fold, STOP_WORDS))
