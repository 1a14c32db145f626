"""Does a quote support a claim? By words, numbers, names and negation; no model is asked.

A claim is supported by a quote in its context (the sentence around it, the title of its document,
the sentences before where a pronoun points back, and the question, from which a claim may take its
subject) when

1. every number, ordinal, date and code of the claim stands in the quote or its sentence, with the
   same unit where both units are known;
2. every name of the claim stands in the quote, its context or the question, and the question or
   the title gives no name where the source has another one, nor the question another kind ("the
   free plan" for "the Pro plan");
3. at least COVERED of the claim's content words and figures that the question does not hold stand
   in the quote or its context, COVERED of all of them there or in the question, and OWN_COVERED of
   all of them in the quote or its context;
4. no clause of the claim with content of its own is mostly new: at least CLAUSE_COVERED of it
   stands there;
5. claim and quote agree on whether something is denied or forbidden, clause by clause; the claim
   keeps what follows "only", makes no claim of what is excepted, and has no word whose opposite
   alone stands in the sentence of the quote;
6. the quote itself shares a content word, a name or a number with the claim.

So an invented number, name or addition and a turned negation are caught. A claim that rearranges
the words of its source is not, nor is one wrong synonym in a long sentence; and a true claim in
quite other words counts as unsupported. Compare docs/answers.md.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.claims import states, talk
from embedsvc.core.denials import excepted, restricted, universal
from embedsvc.core.model import Chunk
from embedsvc.core.numerals import Figures
from embedsvc.core.opposites import flips
from embedsvc.core.sentences import Span, sentences
from embedsvc.core.wording import Clause, Wording, iter_terms, stem

COVERED = 0.6
"""Three new words in five: one of two new words may not be invented, one of three may be a synonym.
At half, "Paris is beautiful" would pass for "Paris is the capital"."""

OWN_COVERED = 0.4
"""What the quote and its context must hold themselves, whatever the question holds: two in five."""

UNSPACED_COVERED = 0.7
"""Of pairs of characters: they are met by chance more often than words."""

CLAUSE_COVERED = 0.5
"""Of a clause with two or more content words; fewer make no share."""

FEWEST_IN_CLAUSE = 2

SENTENCES_BEFORE = 2
"""How far back the name of a pronoun is looked for."""

MOST_TRIED = 6
"""Passages that are compared with a claim in full, those that share most words with it."""

LONGEST_PAIR = 2_000
"""Characters of two sentences that are read as one; a longer sentence needs no neighbour."""

MOST_TO_FIND = 100
"""Names and figures of a claim that is compared; one with more, which is a list of them, has no
support. So is one with more pairs of its clauses and those of its evidence than MOST_PAIRS."""

MOST_PAIRS = 5_000

MOST_ALIKE = 200
"""Words with the same beginning among which another form of a name is looked for."""

MOST_MENTIONS = 100
"""Sentences that hold the words of a title, of which one that does not deny them is looked for."""

FEWEST_FOR_TWO = 5
"""Content words and figures of a claim that may rest on two sentences at once; a shorter one would
only mix them up."""

_ENDINGS_OF_NAMES = """
y s n an ans ian ians ish ese er en es e i isch ische ischen
"""
_NAME_ENDINGS = frozenset({"", *_ENDINGS_OF_NAMES.split()})
_SHORT_ENDINGS = frozenset(("", "y", "e", "a"))
_ALIKE = 4
_GERMAN_ALIKE = 5


@dataclass(frozen=True)
class Passage:
    """A quote at `chunk.text[start:end]` in its context: its sentences, the title, those before."""

    chunk: Chunk
    start: int
    end: int
    around: Wording
    title: Wording
    before: Sequence[Wording]

    @cached_property
    def quote(self) -> Wording:
        """The quote alone."""
        text = self.chunk.text[self.start : self.end]
        return self.around if text == self.around.text else Wording(text)

    @cached_property
    def terms(self) -> frozenset[str]:
        """Content words of the quote and its context."""
        return frozenset[str]().union(*(one.terms for one in self._context))

    @cached_property
    def words(self) -> frozenset[str]:
        """Words among which names are looked up."""
        return frozenset[str]().union(*(one.words for one in self._context))

    @property
    def _context(self) -> Sequence[Wording]:
        return [self.around, self.title, *(self.before if self.around.refers_back else ())]


def score(claim: Wording, evidence: Sequence[Passage], question: Wording) -> float:
    """How well the evidence, taken together, supports the claim: 0 for not at all, up to 1."""
    if not evidence or not (claim.terms or claim.figures.count) or _lists(claim):
        return 0.0
    held = frozenset[str]().union(*(one.terms for one in evidence))
    share = _covered(claim, held, question)  # first, as most passages fail here
    if share < (UNSPACED_COVERED if claim.unspaced else COVERED):
        return 0.0
    if not (_figures_stand(claim, evidence) and _names_stand(claim, evidence, question)):
        return 0.0
    if not any(_touches(claim, one.quote) for one in evidence):
        return 0.0
    if not _clauses_stand(claim, held | question.terms):
        return 0.0
    if _own_subject(claim, evidence, question):
        return 0.0
    return share if _agree(claim, evidence) else 0.0


def supports(claim: str, quote: str, *, sentence: str = "", title: str = "", question: str = "",
             before: str = "") -> bool:  # fmt: skip
    """Whether a quote, in its context, supports a claim."""
    chunk = Chunk(0, "", 0, 0, len(quote), None, quote, title or None, None, {})
    around = Wording(sentence or quote)
    passage = Passage(chunk, 0, len(quote), around, Wording(title), [Wording(before)])
    return score(Wording(claim), [passage], Wording(question)) > 0


class Ground:
    """The sources of an answer, cut into passages that claims can be looked up in.

    What takes time in proportion to the sources is done when it is made.
    """

    def __init__(self, sources: Sequence[Chunk], question: str) -> None:
        self.sources = sources
        self.question = Wording(question)
        self._titles = [Wording(source.title or "") for source in sources]
        self._cut = [sentences(source.text) for source in sources]
        self._sentences = [
            [_ready(source.text[start:end]) for start, end in cut]
            for source, cut in zip(sources, self._cut, strict=True)
        ]
        self._first = [0, *accumulate(map(len, self._cut))]
        self._holding = _index(self._sentences)
        self._made: dict[tuple[int, Span], Passage] = {}
        self._around: dict[tuple[int, Span], Wording] = {}
        self._best: dict[tuple[str, int | None], tuple[int, Passage] | None] = {}

    def passage(self, source: int, span: Span) -> Passage:
        """A quote of a source (by position) at a place in its text, in its context."""
        if (source, span) not in self._made:
            self._made[source, span] = self._passage(source, span)
        return self._made[source, span]

    def _passage(self, source: int, span: Span) -> Passage:
        chunk, cut, known = self.sources[source], self._cut[source], self._sentences[source]
        first = bisect_right(cut, span[0], key=itemgetter(1))
        last = bisect_left(cut, span[1], key=itemgetter(0)) - 1
        begin, end = span
        if first <= last:
            begin, end = min(cut[first][0], begin), max(cut[last][1], end)
        whole = first == last and (begin, end) == cut[first]
        around = known[first] if whole else self._wording(source, (begin, end))
        before = known[max(0, first - SENTENCES_BEFORE) : first]
        return Passage(chunk, *span, around, self._titles[source], before)

    def _wording(self, source: int, span: Span) -> Wording:
        if (source, span) not in self._around:
            self._around[source, span] = Wording(self.sources[source].text[slice(*span)])
        return self._around[source, span]

    def best(self, claim: Wording, source: int | None = None) -> tuple[int, Passage] | None:
        """The passage that supports the claim best: its source and it; None if none does.

        Of one source, or of all. One sentence goes before two, the first before later ones.
        """
        if (claim.text, source) not in self._best:
            self._best[claim.text, source] = self._found(claim, source)
        return self._best[claim.text, source]

    def _found(self, claim: Wording, source: int | None) -> tuple[int, Passage] | None:
        found: tuple[float, int, Passage] | None = None
        for position, passage in self._likely(claim, source):
            share = score(claim, [passage], self.question)
            if share and (found is None or share > found[0]):
                found = share, position, passage
        return (found[1], found[2]) if found else None

    def holds_figures(self, claim: Wording) -> bool:
        """Whether its numbers and codes stand in the sources."""
        return all(term in self._holding for term in _figure_terms(claim.figures))

    def mentions(self, title: Wording, words: Set[str]) -> bool | None:
        """Whether one sentence of a source, with the title of its document, holds these words.

        If the title that they are of has several, a sentence that denies them does not count:
        False if only such hold them. None if no sentence holds them.
        """
        if any(words <= one.terms for one in self._titles):
            return True
        places = self._places(words)
        for place in places[:MOST_MENTIONS]:
            source, at = self._at(place)
            if len(title.terms) == 1 or _agrees_in(title, self._sentences[source][at]):
                return True
        return False if places else None

    def _places(self, words: Set[str]) -> list[int]:
        """The sentences that hold all of the words, each with the title of its document."""
        holding = np.ones(self._first[-1], dtype=np.bool_)
        for term in words:
            here = np.zeros_like(holding)
            here[self._holding.get(term, [])] = True
            for source, title in enumerate(self._titles):
                if term in title.terms:
                    here[self._first[source] : self._first[source + 1]] = True
            holding &= here
        places: list[int] = np.flatnonzero(holding).tolist()
        return places

    def _at(self, place: int) -> tuple[int, int]:
        """Source and position in it of a sentence by its place among all."""
        source = bisect_right(self._first, place) - 1
        return source, place - self._first[source]

    def _likely(self, claim: Wording, only: int | None) -> Iterator[tuple[int, Passage]]:
        """The passages that share most words with the claim, singles before pairs of sentences."""
        if _lists(claim):
            return
        order = self._sharing_most(claim.terms or _figure_terms(claim.figures), only)
        for source, position in order:
            yield source, self.passage(source, self._cut[source][position])
        if len(claim.terms) + claim.figures.count < FEWEST_FOR_TWO:
            return
        for source, position in order[: MOST_TRIED // 2]:
            yield from ((source, pair) for pair in self._pairs(claim, source, position))

    def _sharing_most(self, terms: Set[str], only: int | None) -> list[tuple[int, int]]:
        """Sentences that hold most of the terms, the first before later ones that hold as many."""
        low = 0 if only is None else self._first[only]
        high = self._first[-1] if only is None else self._first[only + 1]
        held = [self._holding[term] for term in terms if term in self._holding]
        if only is not None:
            held = [one[slice(*np.searchsorted(one, (low, high)))] for one in held]
        if not held:
            return []
        shared = np.bincount(np.concatenate(held) - low, minlength=high - low)
        some = np.flatnonzero(shared)
        rank = shared[some] * (high - low) - some
        if len(some) > MOST_TRIED:
            top = np.argpartition(rank, -MOST_TRIED)[-MOST_TRIED:]
            some, rank = some[top], rank[top]
        return [self._at(place) for place in (some[np.argsort(-rank)] + low).tolist()]

    def _pairs(self, claim: Wording, source: int, position: int) -> Iterator[Passage]:
        """The sentence together with the one before it, and the one behind it."""
        cut, known = self._cut[source], self._sentences[source]
        for first in (position - 1, position):
            if first < 0 or first + 1 >= len(cut):
                continue
            start, end = cut[first][0], cut[first + 1][1]
            if end - start <= LONGEST_PAIR and _figures_belong(claim, known[first : first + 2]):
                yield self.passage(source, (start, end))


def _ready(text: str) -> Wording:
    """A sentence of a source; of a long one all is made now, as it takes long."""
    made = Wording(text)
    if len(text) > LONGEST_PAIR:
        made.complete()
    return made


def _index(sources: Sequence[Sequence[Wording]]) -> dict[str, NDArray[np.intp]]:
    """Where the words and figures stand: the places of sentences among those of all sources."""
    holding: dict[str, list[int]] = {}
    for place, wording in enumerate(one for wordings in sources for one in wordings):
        for term in wording.terms | _figure_terms(wording.figures):
            holding.setdefault(term, []).append(place)
    return {term: np.array(places, dtype=np.intp) for term, places in holding.items()}


# -- the rules ----------------------------------------------------------------------------------


def _figures_stand(claim: Wording, evidence: Sequence[Passage]) -> bool:
    wanted = claim.figures
    if not wanted.count:
        return True
    if len(evidence) == 1:
        return wanted.stand_in(evidence[0].around.figures)
    return wanted.stand_in(_joint_figures("\n".join(one.around.text for one in evidence)))


def _figures_belong(claim: Wording, pair: Sequence[Wording]) -> bool:
    """Whether each figure of the claim stands in a sentence that says half of what it does.

    Else "sold in 2016" would be made of a sentence about a sale and the year of the next one.
    Names aside: they are what both sentences are about.
    """
    said = claim.terms - _name_terms(claim)
    beside = [one for one in pair if 2 * len(said & one.terms) >= len(said)]
    held = frozenset[str]().union(*(_figure_terms(one.figures) for one in beside))
    anywhere = frozenset[str]().union(*(_figure_terms(one.figures) for one in pair))
    return _figure_terms(claim.figures) & anywhere <= held


@lru_cache(maxsize=16)  # the parts of a statement are compared with the same quotes
def _joint_figures(text: str) -> Figures:
    return Wording(text).figures


def _lists(claim: Wording) -> bool:
    return claim.figures.count + len(claim.names) > MOST_TO_FIND


def _names_stand(claim: Wording, evidence: Sequence[Passage], question: Wording) -> bool:
    if not claim.names:
        return True
    known = _Known(question.words.union(*(one.words for one in evidence)))
    return all(known.names(name, claim.language == "german") for name in claim.names)


@dataclass(frozen=True)
class _Known:
    """Words among which names are looked up."""

    words: frozenset[str]

    def names(self, name: str, german: bool) -> bool:
        """Whether the name is among them, maybe in another form: German; Parisian."""
        if name in self.words:
            return True
        if "'" in name or "’" in name:
            return self.names(name.replace("’", "'").split("'")[0], german)
        alike = self._by_beginning.get(name[:3], ())
        return any(_alike(name, word, german) for word in alike[:MOST_ALIKE])

    @cached_property
    def _by_beginning(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in sorted(self.words):
            found.setdefault(word[:3], []).append(word)
        return found


def _alike(one: str, other: str, german: bool) -> bool:
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    if german and common >= _GERMAN_ALIKE and common >= min(len(one), len(other)) - 2:
        return True
    short, long = sorted((one[common:], other[common:]), key=len)
    return common >= _ALIKE and short in _SHORT_ENDINGS and long in _NAME_ENDINGS


def _touches(claim: Wording, quote: Wording) -> bool:
    if not claim.terms.isdisjoint(quote.terms):
        return True
    mine = _figure_terms(claim.figures)
    return not mine.isdisjoint(_figure_terms(quote.figures))


def _figure_terms(found: Figures) -> frozenset[str]:
    return found.terms


def _covered(claim: Wording, held: Set[str], question: Wording) -> float:
    """The share of the claim's words that stand there, of the new ones and of all the smaller.

    Figures count as words, with their units, and are known to stand there. 0 when too little is
    the quote's own.
    """
    units = {stem(unit) for number in claim.figures.numbers for unit in number.units}
    needed = claim.terms - (talk() - held) - units
    sure = claim.figures.count
    of_all = _share(needed, held | question.terms, sure)
    own = _share(needed, held, sure)
    new = needed - question.terms
    if own < OWN_COVERED:
        return 0.0
    return min(of_all, _share(new, held, sure) if new or sure else own)


def _share(needed: Set[str], held: Set[str], sure: int) -> float:
    """How much of the words stands there, with so many more that are sure to."""
    return (len(needed & held) + sure) / (len(needed) + sure) if needed or sure else 1.0


def _clauses_stand(claim: Wording, held: Set[str]) -> bool:
    """Whether enough of each clause stands there; of what "is bankrupt" says, half of the words."""
    idle = talk() - held
    names = _name_terms(claim)
    for clause in claim.clauses:
        needed = clause.terms - idle
        if len(needed) >= FEWEST_IN_CLAUSE and len(needed & held) < CLAUSE_COVERED * len(needed):
            return False
        said = needed - names
        if said and said.isdisjoint(held) and states(Wording(clause.text)):
            return False
    return True


def _name_terms(claim: Wording) -> frozenset[str]:
    return Wording(" ".join(claim.names)).terms


def _agree(claim: Wording, evidence: Sequence[Passage]) -> bool:
    """Whether claim and source deny, restrict and except the same, and nothing is turned round."""
    around = " \n".join(one.around.plain for one in evidence)
    if flips(claim.plain, around):
        return False
    theirs = [clause for one in evidence for clause in one.around.clauses]
    if not _restrictions_stand(claim, theirs):
        return False
    if not any(clause.denial for clause in (*claim.clauses, *theirs)):
        return True
    return _all_agree(claim, theirs)


def _agrees_in(title: Wording, sentence: Wording) -> bool:
    return _all_agree(title, sentence.clauses)


def _all_agree(claim: Wording, theirs: Sequence[Clause]) -> bool:
    if len(claim.clauses) * len(theirs) > MOST_PAIRS:
        return False
    spread = Counter(term for other in theirs for term in other.held)
    return all(_agrees(clause, theirs, spread) for clause in claim.clauses if clause.terms)


def _agrees(clause: Clause, theirs: Sequence[Clause], spread: Mapping[str, int]) -> bool:
    """Whether a clause denies as those do that it is most like, rare words before common ones.

    Where two are as like, both must; and where only clauses that deny hold a figure of it, these.
    """
    shared = [(sum(1 / spread[t] for t in clause.held & other.held), other) for other in theirs]
    most = max((weight for weight, _ in shared), default=0.0)
    same = [other.denial.same(clause.denial) for weight, other in shared if weight > most - 0.01]
    if not (all(same) if most else any(same)):
        return False
    holding = [other for other in theirs if clause.figures & other.figures]
    return not holding or any(other.denial.same(clause.denial) for other in holding)


def _restrictions_stand(claim: Wording, theirs: Sequence[Clause]) -> bool:
    """Whether the claim keeps what follows "only", adds no "only" and claims no exception."""
    if restricted(claim.plain):
        return any(_limits(clause.text)[0].text for clause in theirs)
    if excepted(claim.plain):
        return True
    for clause in theirs:
        limit, exception = _limits(clause.text)
        if limit.terms and not clause.terms.isdisjoint(claim.terms):
            first = next(iter_terms(limit.text), "")
            if first not in claim.terms or 2 * len(limit.terms & claim.terms) < len(limit.terms):
                return False
        if exception.terms and (exception.terms & claim.terms or universal(claim.plain)):
            return False
    return True


@lru_cache(maxsize=4_000)  # the same sentences are compared with many claims
def _limits(clause: str) -> tuple[Wording, Wording]:
    """What follows "only" in a clause, and what is excepted."""
    return Wording(restricted(clause)), Wording(excepted(clause))


# -- what a question may supply -----------------------------------------------------------------


def _own_subject(claim: Wording, evidence: Sequence[Passage], question: Wording) -> bool:
    """Whether a source names something else where the claim takes its subject from elsewhere.

    A name of the claim that only the question or a title holds stands for no other name; nor does
    "the free plan" of the question for "the Pro plan" of the source.
    """
    return any(_other_name(claim, one) for one in evidence) or any(
        _other_kind(claim, one.around, question) for one in evidence
    )


def _other_name(claim: Wording, passage: Passage) -> bool:
    here = [passage.around, *(passage.before if passage.around.refers_back else ())]
    words = _Known(frozenset[str]().union(*(one.words for one in here)))
    german = claim.language == "german"
    borrowed = [name for name in claim.names if not words.names(name, german)]
    if not borrowed:
        return False
    titled = all(name in passage.title.words for name in borrowed)
    first = next(iter(passage.around.words_in_order), "")
    names = [name for one in here for name in one.names if not titled or name == first]
    own = _Known(claim.words)
    return not all(own.names(name, german) for name in names)


def _other_kind(claim: Wording, around: Wording, question: Wording) -> bool:
    kinds: dict[str, set[str]] = {}
    for kind, noun in around.pairs:
        kinds.setdefault(noun, set()).add(kind)
    borrowed = question.terms - around.terms
    return any(
        kind in borrowed and noun in kinds and kinds[noun].isdisjoint(claim.terms | question.terms)
        for kind, noun in claim.pairs
    )
