"""The unit that a figure counts, where it is a known one: 30 seconds are not 30 minutes."""

import re
from collections.abc import Callable

_LISTS = {
    "second": "s sec secs second seconds sekunde sekunden segundo segundos seconde secondes",
    "millisecond": "ms msec millisecond milliseconds millisekunde millisekunden milisegundos",
    "minute": "m min mins minute minutes minuten minuto minutos",
    "hour": "h hr hrs hour hours stunde stunden hora horas heure heures",
    "day": "d day days tag tage tagen werktag werktage werktagen dia dias jour jours",
    "night": "night nights nacht nachte nachten noche noches nuit nuits",
    "week": "week weeks woche wochen semana semanas semaine semaines",
    "month": "month months monat monate monaten mes meses mois",
    "year": "year years yr yrs jahr jahre jahren ano anos an ans annee annees",
    "decade": "decade decades jahrzehnt jahrzehnte decada decadas",
    "century": "century centuries jahrhundert jahrhunderte siglo siglos siecle siecles",
    "times": "time times mal fois vez veces",
    "percent": "% percent pct prozent porciento pourcent percentage prozentsatz porcentaje",
    "euro": "€ eur euro euros",
    "dollar": "$ usd dollar dollars dolares",
    "pound sterling": "£ gbp pound pounds",
    "yen": "¥ jpy yen",
    "rupee": "₹ inr rupee rupees",
    "per mille": "‰ promille",
    "franc": "chf franc francs franken",
    "cent": "cent cents",
    "millimetre": "mm millimetre millimetres millimeter millimeters",
    "centimetre": "cm centimetre centimetres centimeter centimeters centimetros",
    "metre": "m metre metres meter meters metern metro metros",
    "kilometre": "km kilometre kilometres kilometer kilometers kilometern kilometros",
    "inch": "inch inches zoll",
    "foot": "ft foot feet",
    "mile": "mi mile miles meilen milla millas",
    "yard": "yd yard yards",
    "milligram": "mg milligram milligrams milligramm",
    "gram": "g gram grams gramm gramos grammes",
    "kilogram": "kg kilo kilos kilogram kilograms kilogramm kilogramos kilogrammes",
    "tonne": "t ton tons tonne tonnes tonnen tonelada toneladas",
    "pound": "lb lbs pound pounds pfund",
    "ounce": "oz ounce ounces",
    "litre": "l litre litres liter liters litern litro litros",
    "millilitre": "ml millilitre millilitres milliliter milliliters",
    "hectare": "ha hectare hectares hektar",
    "bit": "bit bits",
    "byte": "byte bytes",
    "kilobyte": "kb kib kilobyte kilobytes",
    "megabyte": "mb mib megabyte megabytes",
    "gigabyte": "gb gib gigabyte gigabytes",
    "terabyte": "tb tib terabyte terabytes",
    "watt": "w watt watts",
    "kilowatt": "kw kilowatt kilowatts",
    "megawatt": "mw megawatt megawatts",
    "volt": "v volt volts",
}
_UNITS: dict[str, frozenset[str]] = {}
for _name, _words in _LISTS.items():
    for _word in _words.split():
        _UNITS[_word] = _UNITS.get(_word, frozenset()) | {_name}

for _word in ("per cent", "por ciento", "pour cent"):
    _UNITS[_word] = _UNITS["percent"]

STRICT = frozenset(
    ("percent", "euro", "dollar", "pound sterling", "yen", "rupee", "franc", "per mille")
)
"""Units that a figure has only where its source gives them: nobody leaves out a percent sign."""

_QUALIFIER = (
    r"(?:(?:us|u\.s\.|american|canadian|australian|de)\s|(?:d['’]|['’])|(?:more|further|additional|full|whole|consecutive|working|business|calendar|weitere|volle|"
    r"ganze)[\s-]+)?"
)
_AFTER = re.compile(
    rf"[\s-]?{_QUALIFIER}(square |cubic |quadrat|kubik)?"
    r"(p(?:er|or|our) c(?:ent|iento)\b|[^\W\d_]+|[%‰€$£¥₹])(\^?[23])?"
)
_TO = r"\s?(?:[-–—]|to|or|and|bis|oder|und|a|o|y|ou|et)\s?"
_RANGE = re.compile(rf"(?:,\s?\d[\d.]*){{0,8}},?{_TO}[-−]?\d[\d.,]*")
_COIN = r"(eur|usd|gbp|jpy|chf|inr|[€$£¥₹])"
_BEFORE = re.compile(rf"{_COIN}\s?(?:\d[\d.,]*{_TO})?[-−–]?\Z")
_MENTION = re.compile(
    r"[%‰€$£¥₹]|\b(?:p(?:er|or|our) c(?:ent|iento)|"
    + "|".join(word for word in _UNITS if _UNITS[word] <= STRICT and word.isalpha())
    + r")\b"
)
_TWO_WORDS_BEFORE = re.compile(r"[^\s]+\s?(?:[^\s]+\s)?\Z")
_CELLS = re.compile(r"\|[^|]*\||\t")


def unit_at(text: str, start: int, end: int) -> frozenset[str]:
    """The units that a figure at this place of a folded text may count; none if it is unknown."""
    before = _BEFORE.search(text[max(0, start - 24) : start])
    if before:
        return _UNITS[before[1]]
    after = text[end : end + 48]
    between = _RANGE.match(after)
    match = _AFTER.match(after, between.end() if between else 0)
    found = _UNITS.get(match[2], frozenset()) if match else frozenset()
    if match and (match[1] or match[3]):
        return frozenset(f"{name} squared or cubed" for name in found)
    return found


def loose_units(text: str, is_number: Callable[[str], bool]) -> frozenset[str]:
    """The strict units that a folded text names apart from a figure; all in a row of a table."""
    if _CELLS.search(text):
        return STRICT
    found = frozenset[str]()
    for match in _MENTION.finditer(text):
        before = _TWO_WORDS_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
        words = re.findall(r"[^\W_]+", before.group()) if before else []
        counted = any(word[-1].isdigit() or is_number(word) for word in words)
        if not counted and not text[match.end() : match.end() + 2].strip()[:1].isdigit():
            found |= _UNITS[match.group()]
    return found
