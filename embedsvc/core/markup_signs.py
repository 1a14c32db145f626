"""Signs whose meaning the characters behind them tell: a backslash, `!` and `<`."""

import re
from dataclasses import dataclass, field

from embedsvc.core.markup_flow import Construct, Raw

_SCHEME_SO_FAR = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,31})?")


@dataclass(slots=True)
class Backslash(Construct):
    """Behind a backslash: a character that means nothing but itself."""

    def read(self, text: str, at: int) -> int:
        """Take one character; the end of a line stays one."""
        self._flow.inside = None
        if text[at] == "\n":
            return at
        self._flow.put(text[at])
        return at + 1


@dataclass(slots=True)
class Exclamation(Construct):
    """Behind `!`: does an image begin?"""

    def read(self, text: str, at: int) -> int:
        """Take the bracket of an image, if that comes."""
        self._flow.inside = None
        if text[at] != "[":
            self._flow.put("!")
            return at
        self._flow.open(image=True)
        return at + 1

    def close(self) -> None:
        """No image came."""
        self._flow.put("!")


@dataclass(slots=True)
class Angle(Construct):
    """Behind `<`: is it an address in angle brackets? Of such the address alone stays."""

    _raw: Raw = field(default_factory=Raw)
    _scheme: str | None = ""  # as far as it has come; None behind its colon

    def read(self, text: str, at: int) -> int:
        """Take a character of the address."""
        character = text[at]
        if character == ">" and self._scheme is None:
            self._flow.inside = None
            self._flow.put(str(self._raw))
            return at + 1
        fits = self._fits(character)
        if fits and self._raw.hold(character):
            return at + 1
        self._flow.inside = None
        self._flow.put(f"<{self._raw}")
        return at + 1 if fits else at

    def _fits(self, character: str) -> bool:
        if self._scheme and character == ":":
            self._scheme = None
        if self._scheme is None:
            return not (character.isspace() or character in '<>[]`"\\!')
        self._scheme += character
        return _SCHEME_SO_FAR.fullmatch(self._scheme) is not None

    def close(self) -> None:
        """The answer ends within an address."""
        self._flow.put(f"<{self._raw}")
