"""What kind of thing a question asks for, and whether a sentence has such a thing to offer.

Words and shapes alone, in English, German, Spanish and French; in other languages nothing is
expected, which costs a little precision and nothing else.
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from embedsvc.core.tokens import words

Kind = Literal["number", "time", "name", "reason"]

_WORD = re.compile(r"\w+")


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


_ASKED: dict[Kind, re.Pattern[str]] = {
    "number": _any_of(
        r"how (?:many|much|long|old|far|high|tall|deep|fast|large|big|wide|often|heavy|soon)",
        r"(?:what|which) (?:percentage|percent|number|amount|distance|age|price|size|population)",
        r"wie ?(?:viele?n?|lange|alt|hoch|weit|tief|groß|schnell|oft|schwer|breit)",
        r"welche[rsmn]? (?:anzahl|prozentsatz|menge|höhe|größe)",
        r"cu[aá]nt[oa]s?",
        r"qu[eé] (?:porcentaje|cantidad|número|altura|edad|tamaño)",
        r"combien",
        r"quel(?:le)? (?:pourcentage|nombre|âge|hauteur|altitude|taille|distance)",
    ),
    "time": _any_of(
        "when",
        "(?:what|which) (?:year|day|date|month|century|decade|time|season|period)",
        "wann",
        "welche[rsmn]? (?:jahr|tag|monat|jahrhundert|datum|jahrzehnt|zeit)",
        "cu[aá]ndo",
        r"qu[eé] (?:año|día|fecha|mes|siglo|década|época)",
        "quand",
        "quel(?:le)? (?:année|jour|date|mois|siècle|heure|époque)",
    ),
    "name": _any_of(
        "who|whom|whose|where",
        "(?:what|which) (?:person|company|team|president|king|author|group|player)",
        "(?:what|which) (?:city|country|place|state|region|river|town|island)",
        "wer|wem|wen|wessen|wo|woher|wohin",
        "welche[rsmn]? (?:stadt|land|ort|staat|region|fluss|insel)",
        r"qui[eé]n(?:es)?|d[oó]nde",
        r"qu[eé] (?:ciudad|país|lugar|estado|región|río|isla)",
        "qui|où",
        "quel(?:le)? (?:ville|pays|lieu|région|île)",
    ),
    "reason": _any_of("why|what causes?|warum|wieso|weshalb|por qué|pourquoi"),
}

_NUMBERS = frozenset(
    """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty
    thirty forty fifty sixty hundred thousand million billion half third quarter once twice dozen
    eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert tausend
    millionen milliarde milliarden hälfte drittel viertel
    dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cien ciento mil millón
    millones mitad tercio
    deux trois quatre cinq sept huit neuf dix onze douze vingt trente cent mille moitié tiers
    """.casefold().split()
)
_TIMES = frozenset(
    """
    january february march april june july august september october november december century
    monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter
    januar februar märz mai juni juli oktober dezember jahrhundert frühjahr sommer herbst
    montag dienstag mittwoch donnerstag freitag samstag sonntag
    enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre siglo
    lunes martes miércoles jueves viernes sábado domingo primavera verano otoño invierno
    janvier février mars avril juin juillet août septembre octobre novembre décembre siècle
    lundi mardi mercredi jeudi vendredi samedi dimanche printemps été automne hiver
    """.casefold().split()
)
_REASON = _any_of(
    "because|since|so that|due to|in order to|therefore|thus|as a result|caused?|reasons?",
    "weil|denn|damit|daher|deshalb|wegen|aufgrund|grund",
    "porque|ya que|debido|para que|por eso|a causa",
    "parce que|car|puisque|afin|à cause|grâce",
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The kind of thing, and the words that ask for it, such as "how many": no words of content."""

    kind: Kind
    words: frozenset[str]


def expected(question: str) -> Expectation | None:
    """What the first question word asks for; None where it is not one of these kinds."""
    found = [(match.start(), kind, match) for kind, match in _matches(question)]
    if not found:
        return None
    _, kind, match = min(found, key=lambda one: one[0])
    return Expectation(kind, frozenset(words(match.group())))


def _matches(question: str) -> Iterator[tuple[Kind, re.Match[str]]]:
    for kind, pattern in _ASKED.items():
        if (match := pattern.search(question)) is not None:
            yield kind, match


def offers(sentence: str, kind: Kind, known: Set[str]) -> bool:
    """Whether the sentence has a thing of that kind besides the `known` words of the question."""
    return not _things(sentence, kind) <= known


@lru_cache(maxsize=4096)
def _things(sentence: str, kind: Kind) -> frozenset[str]:
    """Words of the sentence that are of that kind, case folded."""
    if kind == "reason":
        return frozenset(match.group() for match in _REASON.finditer(sentence))
    found = [match.group() for match in _WORD.finditer(sentence)]
    if kind == "name":
        return frozenset(word.casefold() for word in found[1:] if word[0].isupper())
    named = _NUMBERS if kind == "number" else _TIMES
    return frozenset(
        folded
        for word in found
        if (folded := word.casefold()) in named or any(map(str.isdigit, word))
    )
