"""What stands beside a figure and changes its value: a minus sign, "more than", "at most"."""

import re
from dataclasses import dataclass
from functools import cached_property

_COIN = r"(?:(?:eur|usd|gbp|chf|inr|[€$£¥₹])\s?)?"
_SIGN = re.compile(rf"(?:\A|(?<=[\s(\[{{=<>~≈:;,|/+*„“«\"'`_]))(?:[-−–‐‑]|−\s){_COIN}(?=\.?\d)")
_MINUS = re.compile(
    rf"(?<!\bal )(?<!\blo )(?<!\bau )(?<!\ble )(?<!\bdu )\b(?:minus|negative|moins|menos) {_COIN}"
)
_AFTER_FIGURE = re.compile(r"[\d%°]\s(?:[-−–‐‑]|− |minus |moins |menos )[€$£¥]?\Z")
_CLOSING_DASH = re.compile(r"\S–(?:[\s,.;)]|\Z)")
_BELOW_ZERO = re.compile(
    r"\s?(?:°|degrees?|grad|grados?|degres?)?\s?(?:c|f|celsius|fahrenheit|centigrados?)?\s?"
    r"(?:below|unter|bajo|sous|au-dessous de) (?:zero|null|cero)\b"
)
_EITHER = re.compile(
    r"\b(?:f[ea]lls?|fallen|drop(?:s|ped)?|decreas\w*|declin\w*|shr[aiu]nk\w*|s[aiu]nk\w*|"
    rf"reduc\w*|down|lost|gesunken|gefallen|cayo|baisse) (?:by|um|un|de) {_COIN}"
)
"""What makes a positive figure and its negative the same: "fell by 5", "-5"."""

_ABOUT = (
    r"(?:(?:about|around|roughly|approximately|some|circa|etwa|rund|ungefahr|unos|unas|environ|"
    r"only|the|one|an?|eine[rmns]?|einer|une?|una|of)\s)?"
)
_LOW = r"(?:few|low|small|short|young|cheap|slow|light|narrow|near|close)er|less|fewer|nearer"
_LOW_GERMAN = "weniger|kleiner|kurzer|junger|niedriger|langsamer|leichter|geringer|billiger"
_PLAIN = r"(?<!\bno )(?<!\bnot )(?<!\bnicht )"
_AT_MOST = (
    rf"\b(?:(?:no|not|nicht) (?!(?:{_LOW}|{_LOW_GERMAN})\b)(?:more|mehr|\w+er) (?:than|als)|"
    rf"(?:no|pas) (?:mas|plus) d(?:e|')|{_PLAIN}(?:{_LOW}) than|{_PLAIN}(?:{_LOW_GERMAN}) als|"
    r"under|below|unter|unterhalb von|up to|at most|at the most|bis zu|hochstens|maximal|menos de|"
    r"moins de|como maximo|a lo sumo|hasta|au plus|au maximum|jusqu'a|nearly|almost|barely|beinahe|"
    r"knapp|casi|presque|(?:maximum|max\.?|maximo)(?: of| von| de)?|not exceeding)|[<≤]=?"
)
_AT_LEAST = (
    rf"\b(?:(?:no|not|nicht) (?:(?:{_LOW}) than|(?:{_LOW_GERMAN}) als)|no menos de|pas moins de|"
    rf"{_PLAIN}(?!(?:other|rather|later|earlier|either)\b)(?:more|\w+er) than|"
    rf"{_PLAIN}(?!(?:anders|spater|fruher)\b)(?:mehr|\w+er) als|over|above|uber|at least|"
    r"at the least|mindestens|wenigstens|mas de|al menos|por lo menos|como minimo|plus d(?:e|')|"
    r"au moins|au minimum|upwards? of|exceed(?:s|ed|ing)?|surpass(?:es|ed|ing)?|"
    r"(?:minimum|min\.?|minimal|minimo)(?: of| von| de)?)|(?<![-=])[>≥]=?"
)
_TAIL = rf"\s?{_ABOUT}{_COIN}"
_MOST_BEFORE = re.compile(f"(?:{_AT_MOST}){_TAIL}")
_LEAST_BEFORE = re.compile(f"(?:{_AT_LEAST}){_TAIL}")
_OVER = re.compile(rf"\b(?:over|uber){_TAIL}")
_SPANS = frozenset(
    {"second", "minute", "hour", "day", "night", "week", "month", "year", "decade", "century"}
)

_NOT_NEXT = r"(?!,? (?:than|als|que|de|d|[€$£]?\d))"
_OR_MORE = re.compile(
    r"[^\d.,;]{0,24}?(?:\b(?:or|and|oder|und|o|y|ou|et) (?:more|above|over|older|longer|higher|"
    r"larger|greater|up|upwards?|mehr|alter|langer|mas|mayores|plus)\b"
    rf"{_NOT_NEXT})|\+"
)
_OR_LESS = re.compile(
    r"[^\d.,;]{0,24}?\b(?:or|and|oder|und|o|y|ou|et) (?:less|fewer|below|under|younger|shorter|"
    r"lower|smaller|weniger|junger|kurzer|menos|menores|moins)\b"
    rf"{_NOT_NEXT}"
)
_AT_THE_END = re.compile(
    r"[^\d.,;]{0,24}?\b(?:at (?:the )?(most|least)|(max|min)(?:imum)?)\b(?! (?:of )?[€$£]?\d)"
)
_TO = r"\s?(?:[-–—]|to|and|bis|und|a|y|et)\s?"
_FROM = re.compile(
    rf"\b(?:from|since|starting (?:at|from)|ab|von|seit|desde|a partir de|des|after|nach){_TAIL}"
)
_UNTIL = re.compile(
    rf"\b(?:until|till|within|by|before|bis|innerhalb von|binnen|vor|antes de|avant|dentro de)"
    rf"{_TAIL}|\d\S{{0,3}}{_TO}{_COIN}(?=\d)"
)
_TO_FIGURE = re.compile(rf"[^\s\w]?{_TO}{_COIN}\d")
_LOOSE = (
    ("least", re.compile(r"\b(?:minimum|min|mindest\w*|minimal\w*|minim[oa]|exceed\w*|"
                         r"ubersteig\w*|uberschreit\w*|excede\w*|depass\w*)\b")),
    ("most", re.compile(r"\b(?:maximum|max|hochst\w*|maximal\w*|maxim[oa]|limit\w*|cap|capped|"
                        r"grenz\w*)\b")),
)  # fmt: skip
_FIGURE_NEXT = re.compile(r"\.?:?\s?(?:of|von|de)?\s?[€$£¥]?\d")


@dataclass(frozen=True)
class Beside:
    """What stands beside the figures of a folded text; each kind is looked for once."""

    text: str

    def signs(self, start: int, end: int) -> tuple[str, ...]:
        """The signs that the figure at this place can have: "-", "" for none, or both."""
        if start in self._negative:
            dash = self.text[start - 1] == "–" and _CLOSING_DASH.search(self.text, end, end + 200)
            between = _AFTER_FIGURE.search(self.text[max(0, start - 16) : start])
            return ("-", "") if dash or between else ("-",)
        if _BELOW_ZERO.match(self.text, end):
            return ("-",)
        return ("-", "") if start in self._either else ("",)

    def bound(self, start: int, end: int, units: frozenset[str]) -> str:
        """Whether the figure is said to be at "most", at "least" or neither.

        "Over five years" is a time, no bound.
        """
        behind = self._bounds_behind(end)
        if start in self._most or behind == "most":
            return "most"
        during = not units.isdisjoint(_SPANS) and start in self._over
        return "least" if behind or (start in self._least and not during) else ""

    def within(self, start: int, end: int) -> frozenset[str]:
        """The bounds that the figure may be repeated with: "from 5" is at least 5."""
        behind = self._bounds_behind(end)
        most = behind == "most" or start in self._until
        least = behind == "least" or start in self._from or start in self._over
        least = least or _TO_FIGURE.match(self.text, end) is not None
        return frozenset(name for name, is_so in (("most", most), ("least", least)) if is_so)

    def _bounds_behind(self, end: int) -> str:
        last = _AT_THE_END.match(self.text, end)
        named = (last[1] or last[2])[:3] if last else ""
        if named in ("mos", "max") or _OR_LESS.match(self.text, end):
            return "most"
        return "least" if named or _OR_MORE.match(self.text, end) else ""

    def _ends(self, *patterns: re.Pattern[str]) -> frozenset[int]:
        return frozenset(m.end() for pattern in patterns for m in pattern.finditer(self.text))

    @cached_property
    def _negative(self) -> frozenset[int]:
        return self._ends(_SIGN, _MINUS)

    @cached_property
    def _either(self) -> frozenset[int]:
        return self._ends(_EITHER)

    @cached_property
    def _most(self) -> frozenset[int]:
        return self._ends(_MOST_BEFORE)

    @cached_property
    def _least(self) -> frozenset[int]:
        return self._ends(_LEAST_BEFORE)

    @cached_property
    def _over(self) -> frozenset[int]:
        return self._ends(_OVER)

    @cached_property
    def _from(self) -> frozenset[int]:
        return self._ends(_FROM)

    @cached_property
    def _until(self) -> frozenset[int]:
        return self._ends(_UNTIL)


def loose_bounds(text: str) -> frozenset[str]:
    """The bounds that a folded text speaks of without a figure beside: "the minimum age"."""
    return frozenset(
        name
        for name, pattern in _LOOSE
        if any(not _FIGURE_NEXT.match(text, match.end()) for match in pattern.finditer(text))
    )
