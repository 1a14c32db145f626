"""The unit that a figure counts, where it is a known one: 30 seconds are not 30 minutes."""

import re

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
    "percent": "% percent pct prozent porciento pourcent",
    "euro": "€ eur euro euros",
    "dollar": "$ usd dollar dollars dolares",
    "pound sterling": "£ gbp pound pounds",
    "yen": "¥ jpy yen",
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

_QUALIFIER = (
    r"(?:(?:more|further|additional|full|whole|consecutive|working|business|calendar|weitere|volle|"
    r"ganze)[\s-]+)?"
)
_AFTER = re.compile(
    rf"[\s-]?{_QUALIFIER}(square |cubic |quadrat|kubik)?([^\W\d_]+|[%€$£¥])(\^?[23])?"
)
_RANGE = re.compile(r"\s?(?:[-–—]|to|or|and|bis|oder|und|a|o|y|ou|et)\s?\d[\d.,]*")
_BEFORE = re.compile(r"(eur|usd|gbp|jpy|chf|[€$£¥])\s?\Z")


def unit_at(text: str, start: int, end: int) -> frozenset[str]:
    """The units that a figure at this place of a folded text may count; none if it is unknown."""
    before = _BEFORE.search(text[max(0, start - 4) : start])
    if before:
        return _UNITS[before[1]]
    after = text[end : end + 48]
    between = _RANGE.match(after)
    match = _AFTER.match(after, between.end() if between else 0)
    found = _UNITS.get(match[2], frozenset()) if match else frozenset()
    if match and (match[1] or match[3]):
        return frozenset(f"{name} squared or cubed" for name in found)
    return found
