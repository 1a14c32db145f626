"""What of a chunk to show: its best sentence for a query. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from embedsvc.core.lexical import terms
from embedsvc.core.sentences import Span, sentences, strip

LONGEST = 400
"""Characters of a highlight: of a longer sentence only the part around the matches is shown."""

MOST_READ = 50_000
"""Characters of a chunk that are looked at, from its first that is not white space."""

_SHORT = 40
_LONG = 200
_MILD = 0.2
"""What a sentence loses that is as short as a heading, or as long as can be shown."""

_STEP = LONGEST // 4
_MIDDLE = 1  # of the parts that hold as much, the one with the words neither first nor last
_HELD = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Highlight:
    """The best sentence, `text[start:end]`, and how much of the query it holds, 0 to 1."""

    start: int
    end: int
    score: float


def highlight(query: Sequence[str], rarity: Callable[[str], float], text: str) -> Highlight:
    """The sentence that holds most of the query's terms, each weighed by its rarity.

    Of equals the first. Without a match, the first sentence with score 0; of a text of white space
    the empty span. It is at most LONGEST characters long, without white space around it.
    """
    rarities = {term: weight for term in query if (weight := rarity(term)) > 0}
    total = sum(rarities.values())
    cut = _sentences(text)
    if not cut:
        return Highlight(0, 0, 0.0)
    best = Highlight(*next(_windows(text, *cut[0])), 0.0)
    for sentence in cut:
        span, held = _shown(text, sentence, rarities)
        if held and (score := min(1.0, held / total) * _fitness(span)) > best.score:
            best = Highlight(*span, score)
    return best


def _sentences(text: str) -> list[Span]:
    """The sentences of what is read of a text."""
    begin = len(text) - len(text.lstrip())
    return [(begin + s, begin + e) for s, e in sentences(text[begin : begin + MOST_READ])]


def _shown(text: str, sentence: Span, rarities: Mapping[str, float]) -> tuple[Span, float]:
    """The sentence, or the part of a long one that holds most; and the rarity it holds."""
    wanted = rarities.keys() & terms(text[slice(*sentence)])
    if not wanted or sentence[1] - sentence[0] <= LONGEST:
        return sentence, _sum(rarities, wanted)
    windows = _windows(text, *sentence)
    found = [(_sum(rarities, wanted & set(terms(text[slice(*span)]))), span) for span in windows]
    alike = max((list(run) for _, run in groupby(found, _HELD)), key=lambda run: run[0][0])
    held, span = alike[min(len(alike) - 1, _MIDDLE)]
    return span, held


def _sum(rarities: Mapping[str, float], chosen: Set[str]) -> float:
    """The rarities of those terms, added in one order, so that equals are equal."""
    return sum(rarities[term] for term in sorted(chosen))


def _windows(text: str, start: int, end: int) -> Iterator[Span]:
    """Parts of a sentence that overlap, of whole lines or else words as far as they have some.

    A word is in the first half of one at least, or in the last, so that none is cut everywhere.
    """
    last = max(start, end - LONGEST)
    for at in [*range(start, last, _STEP), last]:
        first = at if at == start else _begin(text, at, min(at + _STEP, end))
        stop = first + LONGEST
        span = strip(text, first, end if stop >= end else _cut(text, first + LONGEST // 2, stop))
        if span is not None:
            yield span


def _begin(text: str, start: int, low: int) -> int:
    """The first line or else word that begins between the two."""
    for blank in ("\n", " ", "\t"):
        at = text.find(blank, start - 1, low)
        if at >= 0:
            return at + 1
    return start


def _cut(text: str, high: int, end: int) -> int:
    """Where the last line or else word ends between the two."""
    for blank in ("\n", " ", "\t"):
        at = text.rfind(blank, high, end + 1)
        if at >= 0:
            return at
    return end


def _fitness(span: Span) -> float:
    """1 for a sentence of usual length; a little less for a heading or a whole page."""
    length = span[1] - span[0]
    if length < _SHORT:
        return 1 - _MILD * (_SHORT - length) / _SHORT
    return 1 - _MILD * max(0, length - _LONG) / (LONGEST - _LONG)
