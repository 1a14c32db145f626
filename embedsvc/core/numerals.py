"""Numbers, dates and codes in a text, so that two texts can be asked whether they name the same.

`1,000`, `1.000`, `1 000`, `1000` and `one thousand` are one number; `1.5 million` is `1,500,000`. A
number that can be read in two ways has two readings, and agrees with either.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from embedsvc.core.lexical import fold

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
    "bn": 10**9,
}  # fmt: skip
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


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers, months and codes of a text."""

    numbers: tuple[Number, ...]
    months: frozenset[int]
    codes: frozenset[str]
    squashed: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numbers) + len(self.months) + len(self.codes)

    def stand_in(self, other: "Figures") -> bool:
        """Whether the other text names all of these."""
        if not (self.numbers or self.months or self.codes):
            return True
        known = frozenset(r for number in other.numbers for r in number.readings | number.parts)
        return (
            all(number.readings & known or _parts_in(number, known) for number in self.numbers)
            and self.months <= other.months
            and all(_stands(code, other.squashed) for code in self.codes)
        )


def is_number(word: str) -> bool:
    """Whether a folded word is a number, or multiplies one."""
    return word in _UNITS or word in _TENS or bool(_scale_of(word) or _value(word))


def is_month(word: str) -> bool:
    """Whether a folded word is the name of a month."""
    return word in _MONTH_OF


def figures(text: str) -> Figures:
    """What a text names in figures or number words; the number of a list item is none."""
    text = _LIST_MARK.sub("", text)
    bare = fold(text)
    has_digits = any(map(str.isdigit, bare))
    codes = _codes(text) if has_digits else frozenset()
    numbers = [*_digits(bare)] if has_digits else []
    numbers += _spelled(bare)
    return Figures(tuple(numbers), _months(bare), codes, _JOINTS.sub("", bare))


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
        scale = _scales(text[match.end() : match.end() + 16])
        scaled = {_scaled(value, by) for value in readings for by in scale}
        parts = frozenset(part.lstrip("0") or "0" for part in re.findall(r"\d+", written))
        if scaled:
            yield Number(frozenset(scaled))
        else:
            yield Number(frozenset(readings), parts if len(parts) > 1 else frozenset())


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


def _scales(after: str) -> tuple[int, ...]:
    """What the next word multiplies by."""
    match = re.match(r"[\s-]?([^\W\d_]+)", after)
    return _scale_of(match[1]) if match else ()


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
    total, current, open_ = 0, 0, False
    for match in _WORD.finditer(text):
        word = match.group()
        value = _value(word)
        scale = _scale_of(word)
        if value:
            if open_ and current and (value >= 10 or current % 10):
                yield from _made(total + current)
                total, current = 0, 0
            current, open_ = current + value, True
        elif scale and (open_ or word in ("hundred", "thousand", "tausend", "hundert", "mil")):
            if scale[0] == 100:
                current = (current or 1) * 100
            else:
                total, current = total + (current or 1) * scale[0], 0
            open_ = not _after_digits(text, match.start())
        elif word not in _BETWEEN and word not in _ONES:
            yield from _made(total + current) if open_ else ()
            total, current, open_ = 0, 0, False
    if open_:
        yield from _made(total + current)


def _after_digits(text: str, start: int) -> bool:
    return bool(re.search(r"\d\s?\Z", text[max(0, start - 3) : start]))


def _value(word: str) -> int:
    found = _UNITS.get(word) or _TENS.get(word)
    if found:
        return found
    match = _GERMAN.fullmatch(word) if "und" in word else None
    return (_UNITS.get(match[1], 1) + _TENS.get(match[2], 0)) if match else 0


def _made(value: int) -> Iterator[Number]:
    if value > 1:
        yield Number(frozenset({str(value)}))
