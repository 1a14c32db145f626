"""What of a chunk to show: its best sentence for a query, and the words that match. Pure.

Offsets are characters of the text as it is stored, whatever folding does to its length.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from embedsvc.core.lexical import Placed, fold, placed
from embedsvc.core.sentences import Span, sentences, strip

LONGEST = 400
"""Characters of a highlight: of a longer sentence only the part around the matches is shown."""

MOST_READ = 50_000
"""Characters of a chunk that are looked at, from its first that is not white space."""

_SHORT = 40
_LONG = 200
_MILD = 0.2
"""What a sentence loses that is as short as a heading, or as long as can be shown."""

_WORD = re.compile(r"\S+")


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
    rarities = {term: rarity(term) for term in query}
    total = sum(rarities.values())
    begin, end = _read(text)
    cut = _sentences(text, begin, end)
    if not cut:
        return Highlight(0, 0, 0.0)
    places = [place for place in _placed(text, begin, end) if rarities.get(place.term, 0.0) > 0]
    best = Highlight(*next(_pieces(text, *cut[0])), 0.0)
    for span, held in _candidates(text, cut, places, rarities):
        score = min(1.0, held / total) * _fitness(span)
        if score > best.score:
            best = Highlight(*span, score)
    return best


def matched_spans(query: Sequence[str], text: str) -> list[Span]:
    """Where the words of a text stand that match a term of the query: ascending, never touching."""
    wanted = frozenset(query)
    spans: list[Span] = []
    for place in sorted(_placed(text, *_read(text)), key=lambda place: place.start):
        if place.term not in wanted:
            continue
        if spans and place.start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(place.end, spans[-1][1])
        else:
            spans.append((place.start, place.end))
    return spans


def sentence_spans(text: str) -> list[Span]:
    """The sentences of what is read of a text; longer ones are cut to at most LONGEST."""
    begin, end = _read(text)
    return [part for span in _sentences(text, begin, end) for part in _pieces(text, *span)]


def spotted(text: str) -> Iterator[Placed]:
    """The terms of a text as `core.lexical.terms` has them, with their words' places in it."""
    return _placed(text, 0, len(text))


def _read(text: str) -> Span:
    begin = len(text) - len(text.lstrip())
    return begin, min(len(text), begin + MOST_READ)


def _placed(text: str, begin: int, end: int) -> Iterator[Placed]:
    if text.isascii():
        for term, start, stop in placed(text[begin:end].lower()):
            yield Placed(term, begin + start, begin + stop)
        return
    for word in _WORD.finditer(text, begin, end):
        at, raw = word.start(), word.group()
        if raw.isascii():
            for term, start, stop in placed(raw.lower()):
                yield Placed(term, at + start, at + stop)
        else:
            yield from _unfolded(raw, at)


def _unfolded(raw: str, at: int) -> Iterator[Placed]:
    """Fold letter by letter, so that each folded character knows which one it came from."""
    folded: list[str] = []
    spans: list[Span] = []
    for start, end in _clusters(raw):
        bare = _folded(raw[start:end])
        folded.append(bare)
        spans += [(at + start, at + end)] * len(bare)
    for term, first, last in placed("".join(folded)):
        yield Placed(term, spans[first][0], spans[last - 1][1])


def _clusters(raw: str) -> Iterator[Span]:
    """Letters with the marks (and the parts of a Hangul syllable) that follow them."""
    start = 0
    for at in range(1, len(raw)):
        if unicodedata.category(raw[at])[0] != "M" and not "\u1160" <= raw[at] <= "\u11ff":
            yield start, at
            start = at
    yield start, len(raw)


@lru_cache(maxsize=8192)
def _folded(cluster: str) -> str:
    return fold(cluster)


def _sentences(text: str, begin: int, end: int) -> list[Span]:
    return [(begin + s, begin + e) for s, e in sentences(text[begin:end])]


def _pieces(text: str, start: int, end: int) -> Iterator[Span]:
    """A sentence, cut where it is too long: at the end of a line, else of a word, else anywhere."""
    while end - start > LONGEST:
        stop = _cut(text, start + LONGEST // 2, start + LONGEST)
        if (span := strip(text, start, stop)) is not None:
            yield span
        start = stop
    if (span := strip(text, start, end)) is not None:
        yield span


def _candidates(
    text: str, cut: Sequence[Span], places: Sequence[Placed], rarities: Mapping[str, float]
) -> Iterator[tuple[Span, float]]:
    """Sentences with a match, or the best parts of long ones, and the rarity they hold."""
    first = 0
    ordered = sorted(places, key=lambda place: place.start)
    for span in cut if places else ():
        last = first
        while last < len(ordered) and ordered[last].start < span[1]:
            last += 1
        inside = ordered[first:last]
        first = last
        if not inside:
            continue
        if span[1] - span[0] <= LONGEST:
            yield span, sum(rarities[term] for term in {place.term for place in inside})
        else:
            chosen, held = _densest(inside, rarities)
            yield _around(text, span, chosen), held


def _densest(
    places: Sequence[Placed], rarities: Mapping[str, float]
) -> tuple[Sequence[Placed], float]:
    """The neighbours within LONGEST characters that hold most, and what they hold."""
    best, most = places[:1], 0.0
    held = 0.0
    counts: Counter[str] = Counter()
    first = 0
    for last, place in enumerate(places):
        held += rarities[place.term] if not counts[place.term] else 0.0
        counts[place.term] += 1
        while first < last and place.end - places[first].start > LONGEST:
            gone = places[first].term
            counts[gone] -= 1
            held -= rarities[gone] if not counts[gone] else 0.0
            first += 1
        if held > most + 1e-9:
            best, most = places[first : last + 1], held
    return best, most


def _around(text: str, sentence: Span, places: Sequence[Placed]) -> Span:
    """What is shown around those places: whole lines, else whole words, as far as they fit."""
    low = places[0].start
    high = min(max(place.end for place in places), low + LONGEST)
    room = LONGEST - (high - low)
    start = max(sentence[0], low - room // 2)
    end = min(sentence[1], start + LONGEST)
    start = max(sentence[0], min(start, end - LONGEST))
    if start > sentence[0]:
        start = _begin(text, start, low)
    if end < sentence[1]:
        end = _cut(text, high, end)
    span = strip(text, start, end)
    assert span is not None  # a word is in it
    return span


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
