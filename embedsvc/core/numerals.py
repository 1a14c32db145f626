"""Numbers, dates and codes in a text, so that two texts can be asked whether they name the same.

`1,000`, `1.000`, `1 000`, `1000` and `one thousand` are one number; `1.5 million` is `1,500,000`. A
number that can be read in two ways has two readings, and agrees with either; but `5,000` is never
5, and `1,250` is no `1.25`. Ordinals and "twice" are numbers too. Where both figures count known
units, these must be the same; a minus sign, "more than", and that it is a percentage or an amount
of money, must be found beside the other figure too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from embedsvc.core.bounds import Beside, loose_bounds
from embedsvc.core.lexical import fold
from embedsvc.core.units import STRICT, loose_units, unit_at


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    r"(?<![^\s$€£(\-−–])\.\d+(?![\d.,]*\d)|"
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
_LIST_MARK = re.compile(r"^\s*(?:[*•>#]+\s*|-+(?=[\s\-*•>#])\s*)*(?:\d{1,3}[.)]\s+)?")


@dataclass(frozen=True, slots=True)
class Number:
    """A number by all its readings, as canonical decimals."""

    readings: frozenset[str]
    parts: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    """What it may count; empty where that is no known unit."""
    doubtful: frozenset[str] = frozenset()
    """The readings by which its separator is a decimal mark and not one of thousands."""
    mark: str = ""
    """Its decimal mark, where its sure readings show which one that is."""
    bound: str = ""
    """Whether it is said to be at "least" or at "most" so much."""
    within: frozenset[str] = frozenset()
    """The bounds that it may be repeated with."""

    def is_in(
        self,
        others: "Iterable[Number]",
        units: frozenset[str] = frozenset(),
        bounds: frozenset[str] = frozenset(),
    ) -> bool:
        """Whether one of the others has the same value and bound, and no other unit.

        Their text may name units and bounds apart from a figure.
        """
        return any(
            self._equals(other) and self._counts_like(other, units) and self._binds(other, bounds)
            for other in others
        )

    def _equals(self, other: "Number") -> bool:
        same = self.readings & (other.readings | other.parts)
        if self.mark and self.mark == other.mark:  # then a doubtful one reads it the other way
            same -= self.doubtful ^ other.doubtful
        return bool(same)

    def _counts_like(self, other: "Number", units: frozenset[str]) -> bool:
        if not self.units:
            return True
        if not other.units:
            return not self.units <= STRICT or not self.units.isdisjoint(units)
        return not self.units.isdisjoint(other.units)

    def _binds(self, other: "Number", bounds: frozenset[str]) -> bool:
        return not self.bound or self.bound == other.bound or self.bound in other.within | bounds


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
    named: frozenset[int] = frozenset()
    """Words that may be names of months, which is too unsure to be asked for."""
    units: frozenset[str] = frozenset()
    """Units that stand apart from a number, as in the head of a column."""
    bounds: frozenset[str] = frozenset()
    """Bounds that stand apart from a number, as in "the minimum age"."""

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
            all(
                number.is_in(others, other.units, other.bounds) or _parts_in(number, known)
                for number in self.numbers
            )
            and all(number.is_in(others) for number in self.ranks)
            and self.months <= other.months | other.named
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
    beside = Beside(bare)
    numbers = [*_digits(bare, beside)] if has_digits else []
    numbers += _spelled(bare, beside)
    named = frozenset(_MONTH_OF[word] for word in _MONTH.findall(bare))
    months = _months(text, bare) if named or has_digits else frozenset()
    return Figures(tuple(numbers), months, codes, _JOINTS.sub("", bare), (*_ranks(bare),),
                   (*_ones(bare),), named, loose_units(bare, is_number),
                   loose_bounds(bare))  # fmt: skip


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


def _digits(text: str, beside: Beside) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        written, start = match.group(), match.start()
        sure, doubtful, mark = _readings(written)
        scale, end = _scales(text, start, match.end())
        units, signs = unit_at(text, start, end), beside.signs(start, end)
        if scale:
            sure, doubtful = _all_scaled(sure, scale), _all_scaled(doubtful, scale)
        parts = frozenset[str]() if scale else _parts(written, text, end)
        sure, doubtful = _signed(sure, signs), _signed(doubtful, signs)
        yield Number(sure | doubtful, parts, units, doubtful, mark, beside.bound(start, end, units),
                     beside.within(start, end))  # fmt: skip


def _readings(written: str) -> tuple[frozenset[str], frozenset[str], str]:
    """All values that the figures can stand for: sure and doubtful ones, and the decimal mark.

    `1,250` is 1250, and may be 1.25; nobody writes 5 as `5,000`.
    """
    bare = re.sub(rf"[{_SPACES}'’]", "", written)
    groups, marks = re.split(r"[.,]", bare), re.findall(r"[.,]", bare)
    if not marks:
        return frozenset({_canonical(bare)}), frozenset(), ""
    whole = frozenset({_canonical("".join(groups))})
    by_three = all(len(group) == 3 for group in groups[1:]) and len(set(marks)) == 1
    decimal = frozenset({_canonical("".join(groups[:-1]) + "." + groups[-1])})
    if by_three and groups[0].strip("0"):
        if len(marks) > 1:
            decimal = frozenset()
        doubtful = frozenset[str]() if groups[-1] == "000" else decimal
        return whole, doubtful, _OTHER_MARK[marks[0]]
    if len(marks) == 1 or marks[-1] not in marks[:-1]:
        return decimal, frozenset(), marks[-1]
    if len(set(marks)) == 1:  # a version, a date
        return frozenset({".".join(group.lstrip("0") or "0" for group in groups)}), frozenset(), ""
    return frozenset(), frozenset(), ""


_OTHER_MARK = {".": ",", ",": "."}
_CLOCK = re.compile(r"\s?(?:uhr|h|am|pm|a\.m|p\.m)\b")


def _parts(written: str, text: str, end: int) -> frozenset[str]:
    """The numbers that a date, a version, a time or a list without blanks is made of."""
    groups = re.findall(r"\d+", written)
    marks = re.findall(r"[.,]", written)
    version = len(marks) > 1 and len(marks) == len(groups) - 1 and len(set(marks)) == 1
    if len(groups) == 2 and marks == [","]:
        version = len(groups[1]) == 4 and len(groups[0]) <= 2  # July 4,1776
    clock = len(groups) == 2 and len(groups[1]) == 2 and _CLOCK.match(text, end)
    if not clock and (not version or all(len(group) == 3 for group in groups[1:])):
        return frozenset()
    parts = {group.lstrip("0") or "0" for group in groups}
    return frozenset(parts | ({_canonical(f"{groups[0]}.{groups[1]}")} if version else set()))


def _signed(values: frozenset[str], signs: tuple[str, ...]) -> frozenset[str]:
    return frozenset(sign + value if value != "0" else value for value in values for sign in signs)


def _all_scaled(values: frozenset[str], scale: tuple[int, ...]) -> frozenset[str]:
    return frozenset(_scaled(value, by) for value in values for by in scale)


def _canonical(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return _plain(number)


def _plain(number: Decimal) -> str:
    written = f"{number:f}"
    return (written.rstrip("0").rstrip(".") if "." in written else written) or "0"


def _scales(text: str, start: int, end: int) -> tuple[tuple[int, ...], int]:
    """What the next word multiplies by, and where the figure ends then."""
    short = _SHORT_SCALE.match(text, end)
    if short and (short.group() == "k" or text[max(0, start - 1) : start] in {"$", "€", "£"}):
        return (10**3 if short.group() == "k" else 10**6,), short.end()
    match = _NEXT_WORD.match(text, end)
    scale = _scale_of(match[1]) if match and match[1] != "cents" else ()
    if not match or not scale:
        return (), end
    second = _NEXT_WORD.match(text, match.end()) if scale == (10**3,) else None
    if second and second[1] in _MILLIONS:
        return (10**9,), second.end()
    return scale, match.end()


_SHORT_SCALE = re.compile(r"[km](?![^\W_])")
_NEXT_WORD = re.compile(r"[\s-]?([^\W\d_]{1,15})(?![^\W\d_])")
_MILLIONS = frozenset(("million", "millions", "millones"))


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


def _months(text: str, bare: str) -> frozenset[int]:
    """Months, and those of dates in figures, which may be read in two ways.

    A word is surely one beside a number, and with a capital behind "in" or beside another month.
    """
    found: set[int] = set()
    for match in _MONTH.finditer(bare):
        if _beside_number(bare, match.start(), match.end()):
            found.add(_MONTH_OF[match.group()])
    for match in _MONTH_WORD.finditer(text):
        if fold(match.group()) in _MONTH_OF and _in_month(text, match.start(), match.end()):
            found.add(_MONTH_OF[fold(match.group())])
    for match in _DATE.finditer(bare):
        first, second, third = int(match[1]), int(match[3]), int(match[4])
        found |= {n for n in (first, second, third) if 1 <= n <= 12}
    return frozenset(found)


_NAMES_OF_MONTHS = "|".join(sorted(_MONTH_OF, key=len, reverse=True))
_MONTH = re.compile(rf"\b(?:{_NAMES_OF_MONTHS})\b")
_MONTH_WORD = re.compile(r"\b[A-ZÀ-Þ][^\W\d_]{2,10}\b")
_NUMBER_BEFORE = re.compile(r"\d(?:st|nd|rd|th|er|\.|º)?\s*(?:de |of )?(?:the )?\Z")
_NUMBER_AFTER = re.compile(r"\.?,?\s*(?:de |of |del )?\d")
_IN_BEFORE = re.compile(
    r"\b(?:in|since|until|till|by|during|early|late|mid|from|of|each|every|last|next|this|through|end|im|seit|bis|"
    r"ab|ende|mitte|anfang|von|en|de|desde|hasta|depuis|dès|fin|début)[\s-]\Z",
    re.IGNORECASE,
)
_BETWEEN_MONTHS = r"(?:,\s?|\s?(?:[-–/]|and|or|to|through|until|und|oder|bis|y|o|a|et|ou|à)\s?)"
_MONTH_BEFORE = re.compile(rf"\b(?:{_NAMES_OF_MONTHS}){_BETWEEN_MONTHS}\Z")
_MONTH_AFTER = re.compile(rf"{_BETWEEN_MONTHS}(?:{_NAMES_OF_MONTHS})\b")


def _beside_number(text: str, start: int, end: int) -> bool:
    return bool(
        _NUMBER_BEFORE.search(text[max(0, start - 12) : start]) or _NUMBER_AFTER.match(text, end)
    )


def _in_month(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 24) : start], text[end : end + 24]
    beside = _MONTH_BEFORE.search(fold(before)) or _MONTH_AFTER.match(fold(after))
    return bool(beside or _IN_BEFORE.search(before))


def names_month(text: str, start: int, end: int) -> bool:
    """Whether the word at this place is the name of a month, and used as one.

    So "in March", "3 March" and "March 2020", and not "March" alone, which may be a person.
    """
    if fold(text[start:end]) not in _MONTH_OF:
        return False
    return _beside_number(text, start, end) or _in_month(text, start, end)


# -- number words -------------------------------------------------------------------------------


def _spelled(text: str, beside: Beside) -> Iterator[Number]:
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
                yield from _made(total + current, beside, start, end)
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
            yield from _made(total + current, beside, start, end) if open_ else ()
            total, current, start = 0, 0, -1
    if start >= 0:
        yield from _made(total + current, beside, start, end)


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
    return bool(re.search(r"\d\s?(?:(?:mil|thousand) )?\Z", text[max(0, start - 12) : start]))


def _value(word: str) -> int:
    found = _UNITS.get(word) or _TENS.get(word)
    if found:
        return found
    match = _GERMAN.fullmatch(word) if "und" in word else None
    return (_UNITS.get(match[1], 1) + _TENS.get(match[2], 0)) if match else 0


def _made(value: int, beside: Beside, start: int, end: int) -> Iterator[Number]:
    if value > 1:
        units, signs = unit_at(beside.text, start, end), beside.signs(start, end)
        readings = _signed(frozenset({str(value)}), signs)
        yield Number(readings, units=units, bound=beside.bound(start, end, units),
                     within=beside.within(start, end))  # fmt: skip
