"""Text as a reader sees it: no characters that hide, none that are spelled as entities.

Hidden characters carry instructions past people (Unicode tags, variation selectors, zero widths),
turn text round (bidirectional overrides) and split words that a check looks for. Entities spell a
link so that no check sees it and every browser does. Both classes take a text in pieces and never
hold back more than one character or one entity.
"""

import re
import unicodedata
from html import unescape
from html.entities import html5

_HIDDEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff])"
)
"""All controls, format characters, halves of surrogate pairs and blanks that pass for letters,
except the visible signs of Arabic and the like that Unicode counts as format characters."""

_LINE_ENDS = "\r\x0b\x0c\x85\u2028\u2029"
_JOINERS = "\u200c\u200d"
_PRESENTATION = "\ufe0e\ufe0f"  # text or emoji: the two selectors with a use in plain text
_KEYCAPS = "0123456789#*"
_JOINING = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefe]"
)
"""Scripts in which a joiner between two letters changes how they are read."""

_ENTITY = re.compile(r"&(?:#[xX][0-9a-fA-F]{1,6};?|#[0-9]{1,7};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_ENTITY_BEGUN = re.compile(
    r"&(?:#(?:[xX][0-9a-fA-F]{0,6}|[0-9]{0,7})|[A-Za-z][A-Za-z0-9]{0,31})?\Z"
)
_LONGEST_ENTITY = 34


class Visible:
    """Takes out of a text, piece by piece, what cannot be seen."""

    def __init__(self) -> None:
        self._last = ""
        self._joiner = ""
        self._after_return = False

    def feed(self, text: str) -> str:
        """The visible characters of the next piece."""
        if not self._joiner and not self._after_return and not _HIDDEN.search(text):
            self._last = text[-1:] or self._last
            return text
        parts: list[str] = []
        for part in filter(None, _HIDDEN.split(text)):
            parts.append(self._hidden(part) if _HIDDEN.match(part) else self._plain(part))
        return "".join(parts)

    def _plain(self, text: str) -> str:
        if self._after_return and text[0] == "\n":
            text = text[1:]
        self._after_return = False
        joiner, self._joiner = self._joiner, ""
        if joiner and text and _joins(self._last, joiner, text[0]):
            text = joiner + text
        self._last = text[-1:] or self._last
        return text

    def _hidden(self, character: str) -> str:
        self._joiner = ""
        shown = ""
        if character in _JOINERS:
            self._joiner = character
        elif character in _LINE_ENDS:
            shown = "\n"
        elif character in _PRESENTATION and self._takes_presentation():
            shown = character
        elif "\ud800" <= character <= "\udfff":
            shown = "\ufffd"
        self._after_return = character == "\r"
        self._last = shown or self._last
        return shown

    def _takes_presentation(self) -> bool:
        return self._last != "" and (
            self._last in _KEYCAPS or unicodedata.category(self._last) in ("So", "Sm", "Po")
        )


class Spelled:
    """Replaces entities by the characters that they spell, piece by piece; `&amp;` stays one."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The next piece, up to what may be the beginning of an entity."""
        if not self._held and "&" not in text:
            return text
        text = self._held + text
        begun = _ENTITY_BEGUN.search(text, max(0, len(text) - _LONGEST_ENTITY))
        at = begun.start() if begun else len(text)
        self._held = text[at:]
        return _ENTITY.sub(_spelled, text[:at])

    def close(self) -> str:
        """What was held back."""
        text, self._held = self._held, ""
        return _ENTITY.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    entity = match.group()
    name = entity[1:]
    if name.startswith("#"):
        character = unescape(entity if entity.endswith(";") else entity + ";")
    else:
        character = html5.get(name, entity)
    return "&amp;" if character == "&" else character


def _joins(before: str, joiner: str, after: str) -> bool:
    """Whether a joiner between these two is writing, not hiding."""
    if _JOINING.match(before) and _JOINING.match(after):
        return True
    emoji = before == "\ufe0f" or (before != "" and unicodedata.category(before) in ("So", "Sk"))
    return joiner == "\u200d" and emoji and unicodedata.category(after) == "So"
