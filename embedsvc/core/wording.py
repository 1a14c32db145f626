"""What a text says, as far as words tell: content words, names, figures, and where it denies.

No model, and the same for every language as far as that goes: words are compared by simple stems,
scripts without spaces by pairs of characters. Short lists of function words, negations and pronouns
are for English, German, Spanish and French; a text in another language is compared by all of its
words.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Literal

from embedsvc.core.denials import NEGATIONS, Denial, denial
from embedsvc.core.lexical import fold, terms
from embedsvc.core.numerals import Figures, figures, is_month, is_number, names_month
from embedsvc.core.scripts import HANGUL, UNSPACED
from embedsvc.core.stopwords import STOP_WORDS


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STEM = 6
"""Letters of a word that count, once its ending is off; as in lexical search."""

_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070-\u2079]+")
_HTTP = re.compile(r"\bHTTP(?: status)?(?: code)? (?=[`\"'*]*[1-5]\d\d\b)")
_PARTICLE = re.compile(
    r"\b([Tt]im|[Ll]og|[Ss]ign|[Bb]ack)(?:ged|ging|ed|es|s|e|ing)?[ -](out|in|up)\b"
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_UNSPACED = re.compile(f"[{UNSPACED}{HANGUL}]")
_NOT = re.compile(r"n['’]t\Z")  # don't, isn't: the rest is a stop word
_PARTS = re.compile(r"['’]|\d+")
_SMALL_PAIR = re.compile(
    "[\u3040-\u309f是的了在和有为為也就都而及与與或被把从從到对對以之其这這那个個]"
)
"""Kana for endings and particles, and the commonest function characters of Chinese."""

_FEWEST = 3
_ENDINGS = (
    "ungen", "ments", "ement", "ings", "ment", "ione", "edly", "ung", "ing", "ely", "ed", "es",
    "er", "en", "em", "ly", "os", "as", "e", "s", "n", "o", "a",
)  # fmt: skip
_IRREGULAR = {
    word: base
    for base, words in (
        ("be", "been being"), ("become", "became"), ("begin", "began begun beginning"),
        ("bring", "brought"), ("build", "built"), ("buy", "bought"), ("choose", "chose chosen"),
        ("come", "came"), ("die", "died dies dying death dead"), ("draw", "drew drawn"),
        ("fall", "fell fallen"), ("fight", "fought"), ("find", "found"), ("fly", "flew flown"),
        ("give", "gave given"), ("go", "went gone goes"), ("grow", "grew grown growth"),
        ("hold", "held"), ("keep", "kept"), ("know", "knew known"), ("lead", "led"),
        ("leave", "left"), ("lose", "lost loss"), ("make", "made"), ("mean", "meant"),
        ("meet", "met"), ("pay", "paid"), ("rise", "rose risen"), ("run", "ran"),
        ("say", "said"), ("sell", "sold"), ("send", "sent"), ("speak", "spoke spoken"),
        ("spend", "spent"), ("stand", "stood"), ("take", "took taken"), ("teach", "taught"),
        ("tell", "told"), ("think", "thought"), ("win", "won"), ("write", "wrote written"),
        ("child", "children"), ("person", "people persons"), ("man", "men"), ("woman", "women"),
        ("foot", "feet"), ("bear", "born"), ("inhabit", "inhabitants"),
    )
    for word in words.split()
}  # fmt: skip

_CLAUSE = re.compile(
    r"[,;:]\s|[—–()。，；：、]|\s(?:and|but|while|whereas|although|though|because|und|aber|sondern|"
    r"obwohl|y|pero|sino|aunque|et|mais)\s"
)
_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")  # soft hyphens, as texts of PDFs have
_PRONOUN = re.compile(
    r"\b(?:it|its|he|his|she|her|they|their|this|these|that|those|er|sie|es|sein|seine|ihr|ihre|"
    r"dies|diese|dieser|dieses|él|ella|ellos|ellas|su|sus|este|esta|esto|il|elle|ils|elles|son|sa|"
    r"ses|leur|ce|cette|ces)\b",
    re.IGNORECASE,
)
_GERMAN = _set(
    """
    der die das und ist ein eine von den dem mit wurde nicht im auf für zu hat sind wird des zur zum
    am waren war es gab
    """
)
_ENGLISH = _set(
    """
    the and is was of to in a are by with for has were it that an as on
    """
)
_OTHERS = _set(
    """
    el la los las que es un una del en por se de le les est une des et y
    """
)
_STARTERS = _set(
    """
    add call click delete enter go install log open press remove run select set type use
    according additionally also although another based because both consequently despite during each
    either every finally first firstly further furthermore hence however instead later likewise
    meanwhile moreover most nevertheless next note once one only overall please second secondly
    several similarly since some sometimes still such then therefore third though thus today two
    unlike unless until usually various when whenever while within yes yet
    """
)
_DETERMINERS = _set(
    """
    der die das den dem des ein eine einen einem einer eines kein keine keinen viele mehrere alle im
    am zum zur beim vom ins diese dieser dieses diesen mehr seine ihre jede jeder jedes millionen
    milliarden
    """
)
_COMMON_ENDINGS = (
    "tion", "tions", "ing", "ings", "ment", "ments", "ness", "ity", "ities", "ism", "ed", "ance",
    "ence", "ly", "ship", "age", "ure", "ers", "ies", "ung", "heit", "keit", "schaft",
)  # fmt: skip
_BEHIND_NAME = _set(
    """
    is was has had are were will can does did ist war hat wurde es fue era tiene est a fut and und y
    et
    """
)
_NAMES_TOO = _set("will al ella")
"""Stop words that are names of people too."""

_BEHIND_MAY = _set("i we you he she it they this that the be")
"""What follows "may" where it opens a wish or a question."""

_HEDGES = _set(
    """
    around roughly approximately approx circa etwa ungefahr rund aproximadamente environ
    approximativement
    """
)
"""Words before a figure that change nothing about what it counts."""

_OPENS = tuple('.:!?•*-#|"“„«>(')


Language = Literal["english", "german", "other"]


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a sentence: its content words and figures, and how it denies something."""

    text: str
    terms: frozenset[str]
    denial: Denial
    figures: frozenset[str]

    @property
    def held(self) -> frozenset[str]:
        """Its content words and figures."""
        return self.terms | self.figures


@dataclass(frozen=True)
class Wording:
    """A text, taken apart for comparison. What is costly is made when it is first asked for."""

    text: str

    @cached_property
    def plain(self) -> str:
        """The text as it is compared: composed characters, and "times out" as one word."""
        text = self.text
        if not text.isascii():
            text = unicodedata.normalize("NFKC", _RAISED.sub(r"^\g<0>", _UNSEEN.sub("", text)))
        return _PARTICLE.sub(_joined, _HTTP.sub("", text))

    @cached_property
    def terms(self) -> frozenset[str]:
        """Content words by their stems; pairs of characters in scripts without spaces.

        Figures, number words and months are none: they are compared by their value.
        """
        return frozenset(iter_terms(self.plain))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words, folded and as stems, to look names up."""
        folded = {fold(word) for word in _WORD.findall(self.plain)}
        parts = {part for word in folded for part in _PARTS.split(word)}
        return frozenset(folded | parts)

    @cached_property
    def words_in_order(self) -> tuple[str, ...]:
        """All words, folded, as they stand."""
        return tuple(fold(word) for word in _WORD.findall(self.plain))

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Content words that stand side by side."""
        each = [_known_parts(word) for word in self.words_in_order]
        return frozenset((a[-1], b[0]) for a, b in itertools.pairwise(each) if a and b)

    @cached_property
    def figures(self) -> Figures:
        """Numbers, months and codes."""
        return figures(self.plain)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Words that are written as names, folded; a German noun behind an article is none."""
        return tuple(_names(self.plain, self.language))

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """Its parts, between commas and conjunctions, that have content or deny."""
        found = (
            Clause(part, frozenset(iter_terms(part)), denial(part), figures(part).terms)
            for part in _CLAUSE.split(self.plain)
            if part
        )
        return tuple(clause for clause in found if clause.terms or clause.denial)

    @cached_property
    def unspaced(self) -> bool:
        """Whether it is written mostly without spaces between words."""
        return 3 * len(_UNSPACED.findall(self.plain)) > len(self.plain)

    @cached_property
    def language(self) -> Language:
        """What it looks like by its commonest words; German nouns have capitals."""
        words = [word.lower() for word in _WORD.findall(self.plain)]
        german = sum(word in _GERMAN for word in words)
        english = sum(word in _ENGLISH for word in words)
        others = sum(word in _OTHERS for word in words)
        if german > english:
            return "german"
        return "english" if english >= others else "other"

    def complete(self) -> None:
        """Make all of it now."""
        _ = self.terms, self.words, self.figures, self.names, self.clauses, self.unspaced
        _ = self.refers_back

    @cached_property
    def refers_back(self) -> bool:
        """Whether a pronoun stands in it, whose name may stand before."""
        return bool(_PRONOUN.search(self.plain))


def _joined(match: re.Match[str]) -> str:
    base = "time" if match[1].lower() == "tim" else match[1]
    return (base + match[2]).lower()


def stem(word: str) -> str:
    """A folded word without its ending, by at most six letters; figures whole."""
    if any(map(str.isdigit, word)):
        return word
    word = _IRREGULAR.get(word, word)
    if len(word) <= _FEWEST:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    ends = (e for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= _FEWEST)
    word = word[: len(word) - len(next(ends, ""))]
    if len(word) > _FEWEST and word[-1] == word[-2]:
        word = word[:-1]
    return word[:STEM]


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(STOP_WORDS | {fold(word) for word in STOP_WORDS} | NEGATIONS)


def iter_terms(text: str) -> Iterator[str]:
    """The content words of a text by their stems, in their order."""
    for word in _WORD.findall(text):
        yield from _known_parts(word) if len(word) <= _LONGEST_KNOWN else _parts(word)


def _parts(word: str) -> tuple[str, ...]:
    """The terms of a word: its stem or those of its parts, or pairs of characters."""
    if _UNSPACED.search(word):
        return tuple(t for t in terms(word) if len(t) > 1 and not _SMALL_PAIR.search(t))
    parts = _PARTS.split(_NOT.sub("", fold(word)))
    return tuple(stem(p) for p in parts if len(p) > 1 and _has_content(p))


def _has_content(part: str) -> bool:
    return part not in _stop_words() and part not in _HEDGES and not is_number(part)


_LONGEST_KNOWN = 32
_known_parts = lru_cache(maxsize=20_000)(_parts)  # words come again and again


# -- names --------------------------------------------------------------------------------------


def _names(text: str, language: Language) -> Iterator[str]:
    words = list(_WORD.finditer(text))
    german = language == "german"
    for place, match in enumerate(words):
        word = match.group()
        if not word[0].isupper() or names_month(text, match.start(), match.end()):
            continue
        before = text[max(0, match.start() - 2) : match.start()].strip()
        initial = place == 0 or before[-1:] in _OPENS
        following = words[place + 1].group() if place + 1 < len(words) else ""
        if fold(word) in _stop_words() and not _also_name(word, following, initial):
            continue
        if initial and not _initial_name(word, following, language):
            continue
        if german and not initial and _common_noun(words[place - 1].group()):
            continue
        yield fold(word)


def _also_name(word: str, following: str, initial: bool) -> bool:
    """Whether a stop word with a capital is a name: "Will Smith", "the poet Will"."""
    if fold(word) not in _NAMES_TOO or word.isupper():
        return False
    return not initial or following[:1].isupper() or following.lower() in _BEHIND_NAME


def _initial_name(word: str, following: str, language: Language) -> bool:
    """Whether the first word of a sentence, which has a capital anyway, looks like a name."""
    if len(word) > 1 and word.isupper():
        return True
    lower = word.lower()
    if is_month(fold(_PARTS.split(word)[0])):
        return lower != "may" or following.lower() not in _BEHIND_MAY
    if lower.endswith(_COMMON_ENDINGS) or lower in _STARTERS:
        return False
    if following.lower() in _BEHIND_NAME or (following[:1].isupper() and language != "german"):
        return True
    return language == "english" and bool(following) and not lower.endswith("s")


def _common_noun(before: str) -> bool:
    """Whether a German word with a capital is a noun like any: an article or adjective precedes."""
    lower = before.lower()
    if before[0].isdigit() or lower in _DETERMINERS:
        return True
    adjective = before[0].islower() and fold(lower) not in _stop_words()
    return adjective and lower.endswith(("e", "en", "er", "es", "em"))
