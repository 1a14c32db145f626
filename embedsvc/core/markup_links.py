"""What follows a closed bracket: the destination of a link, or the label of an image.

Words stay, images become theirs, and of the destination nothing stays but an address that may.
"""

import re
from collections.abc import Container
from dataclasses import dataclass, field

from embedsvc.core.marks import Marker
from embedsvc.core.markup_flow import MOST_HELD, Bracket, Construct, Raw, Words
from embedsvc.core.markup_signs import Backslash

_IN_PARENTHESES = re.compile(r"[()<>\"'\\\n]")


@dataclass(slots=True)
class Behind(Construct):
    """Behind a closed bracket or a mark: does it lead somewhere?

    Addresses are those that stay with the words of a link; of one behind a mark nothing stays.
    """

    _item: Bracket | Marker
    _addresses: Container[str] = ()

    def read(self, text: str, at: int) -> int:
        """Take the sign that opens a destination or a label, if one comes."""
        if text[at] == "(":
            self._flow.inside = _Parentheses(self._flow, self._item, self._addresses)
            return at + 1
        if text[at] == "[" and isinstance(self._item, Bracket) and self._item.image:
            self._flow.inside = _Label(self._flow, self._item)
            return at + 1
        self._flow.inside = None
        self._flow.put_whole(self._item)
        return at

    def close(self) -> None:
        """It leads nowhere."""
        self._flow.put_whole(self._item)


@dataclass(slots=True)
class _Parentheses(Construct):
    """In the destination of a link, until its parenthesis closes."""

    _item: Bracket | Marker
    _addresses: Container[str]
    _raw: Raw = field(default_factory=Raw)
    _depth: int = 1
    _closer: str = ""  # of a title, or of a destination in angle brackets
    _escaped: bool = False
    _blank: bool = False  # the line, so far

    def read(self, text: str, at: int) -> int:
        match = _IN_PARENTHESES.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._escaped = False
            self._blank = self._blank and not text[at:end].strip()
            if not self._raw.hold(text[at:end]):
                self._give_up()
                return end
        return self._sign(text[end], end) if match else end

    def _sign(self, character: str, at: int) -> int:
        if character == "\n" and self._blank:
            self._give_up()
            return at
        self._blank = character == "\n"
        if self._escaped or character == "\\":
            self._escaped = not self._escaped
        elif character == self._closer:
            self._closer = ""
        elif not self._closer:
            self._depth += {"(": 1, ")": -1}.get(character, 0)
            self._begin_title(character)
        if self._depth == 0:
            self._finish()
        elif not self._raw.hold(character):
            self._give_up()
        return at + 1

    def _begin_title(self, character: str) -> None:
        if character in "\"'" and self._raw.tail(1).isspace():
            self._closer = character
        elif character == "<" and not "".join(self._raw.parts[:8]).strip():
            self._closer = ">"

    def _finish(self) -> None:
        self._flow.inside = None
        raw = str(self._raw)
        destination = _destination(raw)
        if destination is None:
            self._flow.put_whole(self._item)
            self._flow.put(f"({raw})")
        elif isinstance(self._item, Marker):
            self._flow.put_whole(self._item)
        else:
            self._put_link(self._item, destination)

    def _put_link(self, closed: Bracket, destination: str) -> None:
        words = "".join(token.text for token in closed.tokens if isinstance(token, Words))
        self._flow.put_tokens(closed.tokens)
        shown = destination in self._addresses and destination not in words
        if shown and not closed.image:
            self._flow.put(f" ({destination})")

    def _give_up(self) -> None:
        self._flow.put_whole(self._item)
        self._flow.put(f"({self._raw}")
        self._flow.inside = Backslash(self._flow) if self._escaped else None

    def close(self) -> None:
        """The answer ends within a link: its words stay."""
        if _destination(str(self._raw)) is None:
            self._give_up()
        elif isinstance(self._item, Marker):
            self._flow.put_whole(self._item)
        else:
            self._flow.put_tokens(self._item.tokens)


@dataclass(slots=True)
class _Label(Construct):
    """In the label behind an image: nothing of it stays."""

    _image: Bracket
    _size: int = 0

    def read(self, text: str, at: int) -> int:
        end = text.find("]", at)
        self._size += (end if end >= 0 else len(text)) - at
        if end < 0 and self._size <= MOST_HELD:
            return len(text)
        self._flow.inside = None
        self._flow.put_tokens(self._image.tokens)
        return len(text) if end < 0 else end + 1

    def close(self) -> None:
        self._flow.put_tokens(self._image.tokens)


def _destination(raw: str) -> str | None:
    """Where a link leads to, by what stands in its parentheses; None if that is no link."""
    inner = raw.strip()
    if inner.startswith("<") and ">" in inner:
        return inner[1 : inner.index(">")]
    destination, _, title = inner.partition(" ") if " " in inner else inner.partition("\n")
    if title.strip() and title.strip()[0] not in "\"'(":
        return None
    return destination
