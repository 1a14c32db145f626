"""Numbers, dates and codes in a text, so that two texts can be asked whether they name the same.

`1,000`, `1.000`, `1 000`, `1000` and `one thousand` are one number; `1.5 million` is `1,500,000`. A
number that can be read in two ways has two readings, and agrees with either; ordinals and "twice"
are numbers too. Where both figures count known units, these must be the same.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from embedsvc.core.lexical import fold
from embedsvc.core.units import unit_at


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"(?<![\d.,])\d{{1,3}}(?:[{_SPACES}'’]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,'’]\d+)*"
)
_WORD = re.compile(r"[^\W\d_]+")
_SCALES = {
    "hundred": 10**2, "hundert": 10**2, "ciento": 10**2, "cientos": 10**2, "cents": 10**2,
    "thousand": 10**3, "tausend": 10**3, "mil": 10**3, "mille": 10**3, "tsd": 10**3,
    "million": 10**6, "millions": 10**6, "millionen": 10**6, "millon": 10**6, "millones": 10**6,
    "mio": 10**6, "mn": 10**6,
    "milliard": 10**9, "milliarde": 10**9, "milliarden": 10**9, "milliards": 10**9, "mrd": 10**9,
    "bn": 10**9, "dozen": 12, "dutzend": 12, "docena": 12, "douzaine": 12,
}  # fmt: skip
_ALONE = _set(
    """
    hundred thousand tausend hundert mil million millon milliard milliarde billion trillion dozen
    dutzend docena douzaine
    """
)
"""Scales that are a number by themselves: "a million times"."""
_VAGUE = _set(
    """
    dozens hundreds thousands millions billions trillions dutzende hunderte tausende millionen
    docenas millones douzaines centaines milliers
    """
)
_HALF_DOZEN = re.compile(
    r"\b(?:half a|ein halbes|media|une demi) (?:dozen|dutzend|docena|douzaine)\b"
)
_BILLIONS = {
    "billion": (10**9, 10**12),
    "billions": (10**9,),
    "billones": (10**12,),
    "billionen": (10**12,),
    "trillion": (10**12, 10**18),
    "trillions": (10**12,),
}
"""What the same word means in different languages."""

_LISTS = (
    (2, "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen"),
    (2, "zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn funfzehn "
        "sechzehn siebzehn achtzehn neunzehn"),
    (2, "dos tres cuatro cinco seis siete ocho nueve diez - doce trece catorce quince dieciseis "
        "diecisiete dieciocho diecinueve"),
    (2, "deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"),
)  # fmt: skip
_TENS_LISTS = (
    "twenty thirty forty fifty sixty seventy eighty ninety",
    "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
    "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "vingt trente quarante cinquante soixante - - -",
)
_UNITS = {
    word: first + n
    for first, words in _LISTS
    for n, word in enumerate(words.split())
    if word != "-"
}
_TENS = {
    word: 10 * (n + 2)
    for words in _TENS_LISTS
    for n, word in enumerate(words.split())
    if word != "-"
}
_GERMAN = re.compile(
    rf"(ein|{'|'.join(w for w in _UNITS if w[-1] in 'iernsfht')})und(\w+zig|dreissig)"
)
_ORDINAL_LISTS = (
    (1, "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"),
    (1, "erste zweite dritte vierte funfte sechste siebte achte neunte zehnte elfte zwolfte"),
    (1, "primero segundo tercero - quinto sexto septimo octavo noveno decimo"),
    (1, "premier deuxieme troisieme quatrieme cinquieme sixieme septieme huitieme neuvieme "
        "dixieme"),
)  # fmt: skip
_ORDINALS = {
    word: first + n
    for first, words in _ORDINAL_LISTS
    for n, word in enumerate(words.split())
    if word != "-"
} | {"thirtieth": 30, "fortieth": 40, "fiftieth": 50, "hundredth": 100, "primer": 1, "tercer": 3,
     "premiere": 1}  # fmt: skip
_ORDINAL_FORM = re.compile(r"(\w+?e)[nrsm]|(\w+?)(?:a|os|as)|(\w+?e)s")
_THE = re.compile(r"(?:\b(?:the|el|la|los|las|del|al|its|their|his|her|every|this)|-)\s?\Z")
_OFTEN = {"once": 1, "einmal": 1, "twice": 2, "thrice": 3} | {
    f"{word}mal": n for word, n in _UNITS.items()
}
_ONCE = re.compile(
    r"\s*(?:[.,;:!?)]|\Z|(?:per|every|each|daily|weekly|monthly|yearly|before|after|or|and|only|pro|"
    r"am|im|in der)\b|an? (?:second|minute|hour|day|week|month|year)\b)"
)
_NOT_COUNTED = re.compile(r"\b(?:noch|auf|nicht|erst|schon|at)\s\Z")
_ONE = re.compile(r"\b(?:one|single|una vez|une fois)\b")
_ONES = frozenset(("one", "a", "ein", "eine", "un", "una", "une"))
_BETWEEN = frozenset(("and", "und", "y", "et"))

_MONTHS = (
    "january januar enero janvier jan ene", "february februar febrero fevrier feb",
    "march marz marzo mars mar", "april abril avril apr abr", "may mai mayo",
    "june juni junio juin jun", "july juli julio juillet jul",
    "august agosto aout aug ago", "september septiembre septembre sep sept",
    "october oktober octubre octobre oct okt", "november noviembre novembre nov",
    "december dezember diciembre decembre dec dez dic",
)  # fmt: skip
_MONTH_OF = {word: n for n, words in enumerate(_MONTHS, start=1) for word in words.split()}
_DATE = re.compile(r"(?<!\d)(\d{1,4})([-./])(\d{1,2})\2(\d{1,4})(?!\d)")
_CODE = re.compile(r"[^\W_]+(?:[-_/.][^\W_]+)*")
_UNIT = re.compile(r"\d[\d.,'’]*(?:st|nd|rd|th|er|ers|º|ª|°?[^\W\d_]{1,2}|[a-z]{1,3})")
_JOINTS = re.compile(r"[\s\-_/.‐‑–]+")
_LIST_MARK = re.compile(r"^\s*(?:[-*•>#]+\s*)*(?:\d{1,3}[.)]\s+)?")


@dataclass(frozen=True, slots=True)
class Number:
    """A number by all its readings, as canonical decimals."""

    readings: frozenset[str]
    parts: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    """What it may count; empty where that is no known unit."""

    def is_in(self, others: "Iterable[Number]") -> bool:
        """Whether one of the others has the same value, and no other unit."""
        return any(
            self.readings & (other.readings | other.parts)
            and not (self.units and other.units and self.units.isdisjoint(other.units))
            for other in others
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers, months and codes of a text."""

    numbers: tuple[Number, ...]
    months: frozenset[int]
    codes: frozenset[str]
    squashed: str
    ranks: tuple[Number, ...] = ()
    """Ordinals in words, and once, twice and so on."""
    ones: tuple[Number, ...] = ()
    """Where "one" stands, which is too often no number to be asked for."""

    @property
    def terms(self) -> frozenset[str]:
        """Its values and codes as terms, told from words by a mark."""
        numbers = (*self.numbers, *self.ranks)
        return frozenset(f"#{v}" for n in numbers for v in n.readings) | frozenset(
            f"#{code}" for code in self.codes
        )

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numbers) + len(self.months) + len(self.codes) + len(self.ranks)

    def stand_in(self, other: "Figures") -> bool:
        """Whether the other text names all of these."""
        others = (*other.numbers, *other.ranks, *other.ones)
        known = frozenset(r for number in others for r in number.readings | number.parts)
        return (
            all(number.is_in(others) or _parts_in(number, known) for number in self.numbers)
            and all(number.is_in(others) for number in self.ranks)
            and self.months <= other.months
            and all(_stands(code, other.squashed) for code in self.codes)
        )


def is_number(word: str) -> bool:
    """Whether a folded word is a number, or multiplies one."""
    if word in _UNITS or word in _TENS or word in _VAGUE or word in _OFTEN:
        return True
    return bool(_scale_of(word) or _value(word) or (word != "second" and _ordinal(word)))


def is_month(word: str) -> bool:
    """Whether a folded word is the name of a month."""
    return word in _MONTH_OF


def figures(text: str) -> Figures:
    """What a text names in figures or number words; the number of a list item is none."""
    text = _LIST_MARK.sub("", text)
    bare = _HALF_DOZEN.sub("six", fold(text))
    has_digits = any(map(str.isdigit, bare))
    codes = _codes(text) if has_digits else frozenset()
    numbers = [*_digits(bare)] if has_digits else []
    numbers += _spelled(bare)
    months = _months(bare) if has_digits else frozenset()
    return Figures(tuple(numbers), months, codes, _JOINTS.sub("", bare), (*_ranks(bare),),
                   (*_ones(bare),))  # fmt: skip


def _parts_in(number: Number, known: frozenset[str]) -> bool:
    return bool(number.parts) and number.parts <= known


def _stands(code: str, squashed: str) -> bool:
    at = squashed.find(code)
    while at >= 0:
        before, after = squashed[at - 1 : at] if at else "", squashed[at + len(code) :][:1]
        if not (code[0].isdigit() and before.isdigit()) and not (
            code[-1].isdigit() and after.isdigit()
        ):
            return True
        at = squashed.find(code, at + 1)
    return False


# -- figures ------------------------------------------------------------------------------------


def _digits(text: str) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        written = match.group()
        readings = set(_readings(written))
        scale, end = _scales(text, match.end())
        units = unit_at(text, match.start(), end)
        scaled = {_scaled(value, by) for value in readings for by in scale}
        parts = frozenset(part.lstrip("0") or "0" for part in re.findall(r"\d+", written))
        if scaled:
            yield Number(frozenset(scaled), units=units)
        else:
            yield Number(frozenset(readings), parts if len(parts) > 1 else frozenset(), units)


def _readings(written: str) -> Iterator[str]:
    """All values that the figures can stand for."""
    bare = re.sub(rf"[{_SPACES}'’]", "", written)
    groups = re.split(r"[.,]", bare)
    if len(groups) == 1:
        yield _canonical(bare)
        return
    marks = re.findall(r"[.,]", bare)
    if all(len(group) == 3 for group in groups[1:]) and len(set(marks)) == 1 and groups[0] != "0":
        yield _canonical("".join(groups))
    if len(marks) == 1 or marks[-1] not in marks[:-1]:
        yield _canonical("".join(groups[:-1]) + "." + groups[-1])
    elif len(set(marks)) == 1 and not all(len(group) == 3 for group in groups[1:]):
        yield ".".join(group.lstrip("0") or "0" for group in groups)  # a version, a date


def _canonical(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return _plain(number)


def _plain(number: Decimal) -> str:
    written = f"{number:f}"
    return (written.rstrip("0").rstrip(".") if "." in written else written) or "0"


def _scales(text: str, end: int) -> tuple[tuple[int, ...], int]:
    """What the next word multiplies by, and where the figure ends then."""
    match = re.match(r"[\s-]?([^\W\d_]+)", text[end : end + 16])
    scale = _scale_of(match[1]) if match and match[1] != "cents" else ()
    return scale, end + match.end() if match and scale else end


def _scale_of(word: str) -> tuple[int, ...]:
    if word in _BILLIONS:
        return _BILLIONS[word]
    return (_SCALES[word],) if word in _SCALES else ()


def _scaled(value: str, by: int) -> str:
    try:
        return _plain(Decimal(value) * by)
    except InvalidOperation:
        return value


def _codes(text: str) -> frozenset[str]:
    """Words that hold letters and digits: `A380`, `COVID-19`; no `5km`, no `20-year-old`."""
    found: set[str] = set()
    for match in _CODE.finditer(text):
        word = match.group()
        if word.isalpha() or word.isdigit() or not any(map(str.isdigit, word)):
            continue
        if not any(map(str.isalpha, word)) or _UNIT.fullmatch(word):
            continue
        mixed = any(not p.isdigit() and not p.isalpha() for p in re.split(r"[-_/.]", word))
        if mixed or any(map(str.isupper, word)):
            found.add(_JOINTS.sub("", fold(word)))
    return frozenset(found)


def _months(text: str) -> frozenset[int]:
    """Months beside a number, and those of dates in figures, which may be read in two ways."""
    found: set[int] = set()
    for match in _WORD.finditer(text):
        month = _MONTH_OF.get(match.group())
        if month and _beside_number(text, match.start(), match.end()):
            found.add(month)
    for match in _DATE.finditer(text):
        first, second, third = int(match[1]), int(match[3]), int(match[4])
        found |= {n for n in (first, second, third) if 1 <= n <= 12}
    return frozenset(found)


_NUMBER_BEFORE = re.compile(r"\d(?:st|nd|rd|th|er|\.|º)?\s*(?:de |of )?(?:the )?\Z")
_NUMBER_AFTER = re.compile(r"\.?,?\s*(?:de |of |del )?\d")


def _beside_number(text: str, start: int, end: int) -> bool:
    return bool(
        _NUMBER_BEFORE.search(text[max(0, start - 12) : start]) or _NUMBER_AFTER.match(text, end)
    )


# -- number words -------------------------------------------------------------------------------


def _spelled(text: str) -> Iterator[Number]:
    """Numbers in words, from two on; "one" is too often no number."""
    total, current, start, end = 0, 0, -1, 0
    for match in _WORD.finditer(text):
        word = match.group()
        value, scale = _value(word), _scale_of(word)
        open_ = start >= 0
        if open_ and word in _ONES and current >= 20 and current % 10 == 0 and word in _LAST_ONES:
            value = 1
        if value:
            if open_ and current and (value >= 10 or current % 10):
                yield from _made(total + current, text, start, end)
                total, current, start = 0, 0, match.start()
            start = start if start >= 0 else match.start()
            current, end = current + value, match.end()
        elif scale and (open_ or word in _ALONE):
            if _after_digits(text, match.start()):
                total, current, start = 0, 0, -1
                continue
            start, end = (start if open_ else match.start()), match.end()
            if scale[0] <= 100:
                current = (current or 1) * scale[0]
            else:
                total, current = total + (current or 1) * scale[0], 0
        elif word in _VAGUE and not _after_digits(text, match.start()):
            yield Number(frozenset({word}))
        elif word not in _BETWEEN and word not in _ONES:
            yield from _made(total + current, text, start, end) if open_ else ()
            total, current, start = 0, 0, -1
    if start >= 0:
        yield from _made(total + current, text, start, end)


_LAST_ONES = frozenset(("one", "un"))


def _ranks(text: str) -> Iterator[Number]:
    """Ordinals in words, and how often something is."""
    for match in _WORD.finditer(text):
        word, start, end = match.group(), match.start(), match.end()
        before = text[max(0, start - 8) : start]
        value = _ordinal(word)
        if value and (word == "first" and (text[end : end + 1] in {",", ":"} or before == "at ")):
            continue
        if value and (word not in ("second", "segundo") or _THE.search(before)):
            yield Number(frozenset({str(value)}), units=unit_at(text, start, end))
        often = _OFTEN.get(word, 0)
        if often > 1 or (often and _ONCE.match(text, end) and not _NOT_COUNTED.search(before)):
            yield Number(frozenset({str(often)}), units=frozenset({"times"}))


def _ordinal(word: str) -> int:
    if word in _ORDINALS:
        return _ORDINALS[word]
    form = _ORDINAL_FORM.fullmatch(word)
    if not form:
        return 0
    base = form[1] or form[2] or form[3]
    return _ORDINALS.get(base, 0) or (_ORDINALS.get(base + "o", 0) if form[2] else 0)


def _ones(text: str) -> Iterator[Number]:
    for match in _ONE.finditer(text):
        yield Number(frozenset({"1"}), units=unit_at(text, match.start(), match.end()))


def _after_digits(text: str, start: int) -> bool:
    return bool(re.search(r"\d\s?\Z", text[max(0, start - 3) : start]))


def _value(word: str) -> int:
    found = _UNITS.get(word) or _TENS.get(word)
    if found:
        return found
    match = _GERMAN.fullmatch(word) if "und" in word else None
    return (_UNITS.get(match[1], 1) + _TENS.get(match[2], 0)) if match else 0


def _made(value: int, text: str, start: int, end: int) -> Iterator[Number]:
    if value > 1:
        yield Number(frozenset({str(value)}), units=unit_at(text, start, end))
