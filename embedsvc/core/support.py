"""Does a quote support a claim? By words, numbers, names and negation; no model is asked.

A claim is supported by a quote in its context (the sentence around it, the title of its document,
the sentences before where a pronoun points back, and the question, from which a claim may take its
subject) when

1. every number, date and code of the claim stands in the quote or its sentence;
2. every name of the claim stands in the quote, its context or the question;
3. at least COVERED of the claim's content words and figures that the question does not hold stand
   in the quote or its context, COVERED of all of them there or in the question, and OWN_COVERED of
   all of them in the quote or its context;
4. no clause of the claim with content of its own is mostly new: at least CLAUSE_COVERED of it
   stands there;
5. claim and quote agree on whether something is denied, clause by clause;
6. the quote itself shares a content word, a name or a number with the claim.

So an invented number, name or addition and a turned negation are caught. A claim that rearranges
the words of its source is not, nor is one wrong synonym in a long sentence; and a true claim in
quite other words counts as unsupported. Compare docs/answers.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from embedsvc.core.claims import talk
from embedsvc.core.model import Chunk
from embedsvc.core.numerals import Figures
from embedsvc.core.sentences import Span, sentences
from embedsvc.core.wording import Clause, Wording

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
class Evidence:
    """A quote at `chunk.text[start:end]` in its context."""

    chunk: Chunk
    start: int
    end: int
    sentence: str
    before: str

    @cached_property
    def quote(self) -> Wording:
        """The quote alone."""
        return Wording(self.chunk.text[self.start : self.end])

    @cached_property
    def around(self) -> Wording:
        """The quote with its sentence."""
        return Wording(self.sentence)

    @cached_property
    def terms(self) -> frozenset[str]:
        """Content words of the quote and its context."""
        return self._context.terms | self.around.terms

    @cached_property
    def words(self) -> frozenset[str]:
        """Words among which names are looked up."""
        return self._context.words | self.around.words

    @cached_property
    def _context(self) -> Wording:
        before = self.before if self.around.refers_back else ""
        return Wording(f"{self.chunk.title or ''}\n{before}")


def score(claim: Wording, evidence: Sequence[Evidence], question: Wording) -> float:
    """How well the evidence, taken together, supports the claim: 0 for not at all, up to 1."""
    if not evidence or not (claim.terms or claim.figures.numbers or claim.figures.codes):
        return 0.0
    if not (_figures_stand(claim, evidence) and _names_stand(claim, evidence, question)):
        return 0.0
    if not any(_touches(claim, one.quote) for one in evidence):
        return 0.0
    held = frozenset[str]().union(*(one.terms for one in evidence))
    share = _covered(claim, held, question)
    least = UNSPACED_COVERED if claim.unspaced else COVERED
    if share < least or not _clauses_stand(claim, held | question.terms):
        return 0.0
    return share if _agree(claim, evidence) else 0.0


def supports(claim: str, quote: str, *, sentence: str = "", title: str = "", question: str = "",
             before: str = "") -> bool:  # fmt: skip
    """Whether a quote, in its context, supports a claim."""
    chunk = Chunk(0, "", 0, 0, len(quote), None, quote, title or None, None, {})
    evidence = Evidence(chunk, 0, len(quote), sentence or quote, before)
    return score(Wording(claim), [evidence], Wording(question)) > 0


class Ground:
    """The sources of an answer, cut into passages that claims can be looked up in."""

    def __init__(self, sources: Sequence[Chunk], question: str) -> None:
        self.sources = sources
        self.question = Wording(question)
        self._spans: dict[int, list[Span]] = {}
        self._made: dict[tuple[int, Span], Evidence] = {}
        self._passages: list[list[Evidence]] | None = None
        self._holding: dict[str, list[tuple[int, int]]] = {}

    def evidence(self, source: int, span: Span) -> Evidence:
        """A quote of a source (by position) at a place in its text, in its context."""
        if (source, span) not in self._made:
            self._made[source, span] = self._evidence(source, span)
        return self._made[source, span]

    def _evidence(self, source: int, span: Span) -> Evidence:
        chunk = self.sources[source]
        cut = self._sentences(source)
        inside = [i for i, (start, end) in enumerate(cut) if start < span[1] and span[0] < end]
        if not inside:
            return Evidence(chunk, *span, chunk.text[slice(*span)], "")
        first, last = inside[0], inside[-1]
        around = chunk.text[min(cut[first][0], span[0]) : max(cut[last][1], span[1])]
        begin = cut[max(0, first - SENTENCES_BEFORE)][0]
        return Evidence(chunk, *span, around, chunk.text[begin : cut[first][0]])

    def best(self, claim: Wording, source: int | None = None) -> tuple[int, Evidence] | None:
        """The passage that supports the claim best: its source and it; None if none does.

        Of one source, or of all. One sentence goes before two, the first before later ones.
        """
        found: tuple[float, int, Evidence] | None = None
        for position, evidence in self._likely(claim, source):
            share = score(claim, [evidence], self.question)
            if share and (found is None or share > found[0]):
                found = share, position, evidence
        return (found[1], found[2]) if found else None

    def _sentences(self, source: int) -> list[Span]:
        if source not in self._spans:
            self._spans[source] = sentences(self.sources[source].text)
        return self._spans[source]

    def _likely(self, claim: Wording, only: int | None) -> Iterator[tuple[int, Evidence]]:
        """The passages that share most words with the claim, singles before pairs of sentences."""
        passages = self._cut()
        shared: Counter[tuple[int, int]] = Counter()
        for term in sorted(claim.terms or _figure_terms(claim.figures)):
            for place in self._holding.get(term, ()):
                if only is None or place[0] == only:
                    shared[place] += 1
        order = sorted(shared, key=lambda place: (-shared[place], place))
        for source, position in order[:MOST_TRIED]:
            yield source, passages[source][position]
        if len(claim.terms) + claim.figures.count < FEWEST_FOR_TWO:
            return
        for source, position in order[: MOST_TRIED // 2]:
            yield from ((source, pair) for pair in self._pairs(source, position))

    def _pairs(self, source: int, position: int) -> Iterator[Evidence]:
        """The sentence together with the one before it, and the one behind it."""
        cut = self._sentences(source)
        if position > 0:
            yield self.evidence(source, (cut[position - 1][0], cut[position][1]))
        if position + 1 < len(cut):
            yield self.evidence(source, (cut[position][0], cut[position + 1][1]))

    def _cut(self) -> list[list[Evidence]]:
        """Every sentence of every source, and an index of their words."""
        if self._passages is None:
            self._passages = [
                [self.evidence(source, span) for span in self._sentences(source)]
                for source in range(len(self.sources))
            ]
            for source, passages in enumerate(self._passages):
                for position, evidence in enumerate(passages):
                    here = evidence.around.terms | _figure_terms(evidence.around.figures)
                    for term in here:
                        self._holding.setdefault(term, []).append((source, position))
        return self._passages


# -- the rules ----------------------------------------------------------------------------------


def _figures_stand(claim: Wording, evidence: Sequence[Evidence]) -> bool:
    wanted = claim.figures
    if not (wanted.numbers or wanted.months or wanted.codes):
        return True
    if len(evidence) == 1:
        return wanted.stand_in(evidence[0].around.figures)
    return wanted.stand_in(Wording("\n".join(one.sentence for one in evidence)).figures)


def _names_stand(claim: Wording, evidence: Sequence[Evidence], question: Wording) -> bool:
    if not claim.names:
        return True
    known = question.words.union(*(one.words for one in evidence))
    return all(
        name in known or _like_one(name, known, claim.language == "german") for name in claim.names
    )


def _like_one(name: str, known: Set[str], german: bool) -> bool:
    """Whether a word is the name in another form: Germany, German; Paris, Parisian."""
    if "'" in name or "’" in name:
        head = name.replace("’", "'").split("'")[0]
        return head in known or _like_one(head, known, german)
    return any(_alike(name, word, german) for word in known if word[:3] == name[:3])


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
    readings = {reading for number in found.numbers for reading in number.readings}
    return frozenset(f"#{value}" for value in readings | found.codes)


def _covered(claim: Wording, held: Set[str], question: Wording) -> float:
    """The share of the claim's words that stand there, of the new ones and of all the smaller.

    Figures count as words, and are known to stand there. 0 when too little is the quote's own.
    """
    needed = claim.terms - (talk() - held)
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
    return all(
        len(needed & held) >= CLAUSE_COVERED * len(needed)
        for clause in claim.clauses
        if len(needed := clause.terms - (talk() - held)) >= FEWEST_IN_CLAUSE
    )


def _agree(claim: Wording, evidence: Sequence[Evidence]) -> bool:
    """Whether each clause denies exactly where the clause that it is most like denies."""
    theirs = [clause for one in evidence for clause in one.around.clauses]
    if not any(clause.negated for clause in (*claim.clauses, *theirs)):
        return True
    return all(_agrees(clause, theirs) for clause in claim.clauses if clause.terms)


def _agrees(clause: Clause, theirs: Iterable[Clause]) -> bool:
    shared = [(len(clause.terms & other.terms), other.negated) for other in theirs]
    most = max((count for count, _ in shared), default=0)
    alike = {negated for count, negated in shared if count == most}
    return clause.negated in alike
