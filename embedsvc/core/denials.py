"""Where a text denies, forbids, restricts or makes an exception."""

import re
from dataclasses import dataclass

from embedsvc.core.lexical import fold


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NEGATIONS = _set(
    """
    not no never none nobody nothing neither nor without cannot unable lack lacks lacked lacking
    hardly scarcely nicht kein keine keinen keinem keiner keines keinerlei keinesfalls keineswegs
    kaum nie niemals niemand nichts ohne weder nein nunca jamas ningun ninguno ninguna nadie nada
    tampoco ne pas jamais aucun aucune rien sans non ni ikke inte geen niet нет не никогда nao nem
    mai
    """
)
_WITHOUT = _set("without ohne sans")
_FORBIDS = _set(
    """
    forbid forbids forbade forbidden prohibit prohibits prohibited banned bans disallow disallows
    disallowed avoid avoids avoided avoiding refuse refuses refused refusing denied reject rejects
    rejected verboten verbietet untersagt unzulassig vermeiden vermeidet vermieden verweigert
    abgelehnt prohibido prohibida prohibidos prohibidas prohibe evitar evite evitarse rechaza
    rechazado interdit interdite interdits interdites defendu eviter evitez refuse refusee
    """
)
_UNTRUE = (
    r"(?:false|untrue|wrong|incorrect|inaccurate|an? (?:\w+ )?(?:myth|lie|error|mistake|rumou?r|"
    r"misconception|fallacy)|falsch|unwahr|unrichtig|ein irrtum|ein mythos|falso|incorrecto|"
    r"un mito|mentira|faux|inexact|un mythe)"
)
_SAYS_UNTRUE = re.compile(
    rf"\b{_UNTRUE},? (?:that|to (?:say|claim|state|think|believe)|dass|que|qu['’])|"
    rf"\b(?:that|dass|que)\b.{{1,300}}\b(?:is|was|ist|war|es|est) {_UNTRUE}\s*[.!]*\s*\Z|"
    r"\b(?:claim|statement|assertion|sentence|aussage|behauptung|afirmacion|affirmation)\b"
    rf".{{1,300}}\b(?:is|was|ist|war|es|est) {_UNTRUE}\s*[.!]*\s*\Z|"
    rf"\b(?:it|this|that|es|das) (?:is|was|ist|war) {_UNTRUE}\s*[.!:]*\s*\Z|"
    rf"\A\W*{_UNTRUE}\W*\Z"
)
"""Says that what follows, or precedes, is untrue, and so denies it like a word that forbids."""

_ENDS_SUPPORT = re.compile(
    r"\b(?:drop|remov|end|ceas|discontinu|withdr)\w* (?:the )?support\b|"
    r"\bsupport\b.{0,40}\b(?:dropped|removed|ended|ceased|discontinued|withdrawn)\b"
)
_SIN = re.compile(r"\b(?:el|la|los|las|que|es|una?|del|con|por|se|esta|puede)\b")
_NOT_DENIED = re.compile(
    r"\b(?:not only|nicht nur|no solo|no solamente|non seulement|no less than|no more than|"
    r"no fewer than|not more than|not less than|no later than|nothing but|no\.(?=\s?\d))"
)
_SHORT_DENIAL = re.compile(r"\bfail(?:s|ed|ing)? to\b|\w+n['’]t\b|\bn['’](?=[aeiouhy])")
_FAR_DENIAL = re.compile(
    "ない|ません|なかった|没有|沒有|不是|不能|不会|不會|从未|從未|并非|並非|无法|無法|禁止"
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")

_ONLY = re.compile(
    r"(?<!\bthe )(?<!\bits )(?<!\bhis )(?<!\bher )(?<!\ban )"
    r"\b(?:only|solely|exclusively|nur|ausschliesslich|sólo|solamente|unicamente|uniquement|"
    r"seulement)\b",
)
_EXCEPT = re.compile(
    r"\b(?:unless|except|excluding|apart from|other than|ausser|ausgenommen|es sei denn|salvo|"
    r"excepto|a menos que|sauf|excepte|a moins que)\b"
)
_ALL = re.compile(
    r"\b(?:all|every|everyone|any|anyone|always|alle|jede[rsmn]?|immer|todos|todas|siempre|tous|"
    r"toutes|toujours)\b"
)


@dataclass(frozen=True, slots=True)
class Denial:
    """How a clause denies: by a negation, by "without", by a word that forbids or says "untrue"."""

    negates: bool = False
    without: bool = False
    forbids: bool = False

    def __bool__(self) -> bool:
        return self.negates or self.without or self.forbids

    def same(self, other: "Denial") -> bool:
        """Whether both say the same: "not allowed" is "forbidden", "no roof" is "without a roof".

        "Not forbidden" is neither of them, and "without a badge" does not forbid.
        """
        count = self.negates + self.without + self.forbids
        theirs = other.negates + other.without + other.forbids
        swapped = self.negates == other.negates and self.without != other.without
        return count == theirs and not swapped


def denial(text: str) -> Denial:
    """How the text denies."""
    bare = _NOT_DENIED.sub(" ", fold(text))
    words = frozenset(_WORD.findall(bare))
    sin = "sin" in words and bool(_SIN.search(bare))
    negates = bool(
        _SHORT_DENIAL.search(bare)
        or _FAR_DENIAL.search(text)
        or not words.isdisjoint(NEGATIONS - _WITHOUT)
    )
    forbids = not words.isdisjoint(_FORBIDS) or bool(
        _ENDS_SUPPORT.search(bare) or _SAYS_UNTRUE.search(bare)
    )
    return Denial(negates, sin or not words.isdisjoint(_WITHOUT), forbids)


def denies(text: str) -> bool:
    """Whether a negation stands in the text."""
    found = denial(text)
    return found.negates or found.without


def restricted(text: str) -> str:
    """What follows "only" in a clause, folded; empty where nothing is restricted."""
    return _behind(_ONLY, text)


def excepted(text: str) -> str:
    """What follows "unless" or "except" in a clause, folded; empty where there is no exception."""
    return _behind(_EXCEPT, text)


def universal(text: str) -> bool:
    """Whether it speaks of all, always or any."""
    return bool(_ALL.search(fold(text)))


def _behind(pattern: re.Pattern[str], text: str) -> str:
    bare = _NOT_DENIED.sub(
        " ", fold(text.replace("sólo", "solamente").replace("Sólo", "solamente"))
    )
    match = pattern.search(bare)
    return bare[match.end() :] if match else ""
