"""Marks of citations where they stand in a text: where one begins, and where its quote ends.

How one is written is told in marks.py. A mark is in a bracket that is open in the flow, so that
what proves to be none leaves as text.
"""

import re
from dataclasses import dataclass, field

from embedsvc.core import marks
from embedsvc.core.marks import BEHIND_QUOTE, LONGEST_HEAD, LONGEST_NESTED, QUOTES
from embedsvc.core.markup_flow import Construct, Raw
from embedsvc.core.markup_links import Behind

MOST_DROPPED = 16_000
"""Characters that are dropped of a quote that was too long, until it closes."""

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LAST_WORD = re.compile(r"\s+\S*\Z")
_IN_QUOTE = re.compile(rf"[\[\]{QUOTES}]")


@dataclass(slots=True)
class Head(Construct):
    """Behind a bracket: is it the beginning of a mark?"""

    _raw: str = ""

    def read(self, text: str, at: int) -> int:
        """Take what stands before the words of a mark, or its end."""
        for place in range(at, len(text)):
            character = text[place]
            if character == "]" and (marker := marks.bare(self._raw)):
                self._flow.shut()
                self._flow.inside = Behind(self._flow, marker)
                return place + 1
            if character in QUOTES and marks.is_head(self._raw):
                self._flow.inside = _Quote(self._flow, self._raw, character)
                return place + 1
            if not self._fits(character):
                self._no_mark()
                return place
            self._raw += character
        return len(text)

    def _fits(self, character: str) -> bool:
        blank = character == "\n" and "\n" in self._raw
        return len(self._raw) < LONGEST_HEAD and not blank and marks.may_be_head(character)

    def _no_mark(self) -> None:
        """Its characters are words, and at most one end of a line: none begins a construct."""
        self._flow.inside = None
        first, line_end, second = self._raw.partition("\n")
        self._flow.words(first)
        if line_end:
            self._flow.new_line()
            self._flow.words(second)

    def close(self) -> None:
        """A mark that is cut before its words is none."""
        if marks.is_cut(self._raw):
            self._flow.shut()
        else:
            self._no_mark()


@dataclass(slots=True)
class _Quote(Construct):
    """In the words of a mark, until they end and its bracket closes."""

    _head: str
    _opener: str
    _raw: Raw = field(default_factory=Raw)
    _strings: int = 0  # that are open in brackets: x["a"]

    def read(self, text: str, at: int) -> int:
        match = _IN_QUOTE.search(text, at)
        end = match.start() if match else len(text)
        if not self._raw.hold(text[at:end]):
            self._give_up()
            return end
        if match is None:
            return end
        character = match.group()
        if character == "]" and self._ends():
            self._finish()
        elif character not in QUOTES or not self._nests(character):
            self._raw.hold(character)
        return end + 1

    def _ends(self) -> bool:
        """Whether a closing bracket here ends the mark: a quotation mark stands before it."""
        tail = self._raw.tail(BEHIND_QUOTE + 3)
        last = self._last_closer(tail)
        if last < 0 or any(character in "[]\n" for character in tail[last + 1 :]):
            return False
        if tail[:last].endswith("\\") and not tail[:last].endswith("\\\\"):
            return False
        if self._strings > 0 and last == len(tail) - 1:
            self._strings -= 1
            return False
        return True

    def _last_closer(self, text: str) -> int:
        return max(text.rfind(closer) for closer in marks.closers(self._opener))

    def _finish(self) -> None:
        raw = str(self._raw)
        words = raw[: self._last_closer(raw)]
        written = f"[{self._head}{self._opener}{raw}]"
        self._flow.shut()
        self._flow.inside = Behind(self._flow, marks.quoting(self._head, words, written))

    def _nests(self, character: str) -> bool:
        """Whether a quotation mark in a quote begins another mark: then the first was none."""
        behind = self._raw.tail(LONGEST_NESTED)
        if head := marks.nested_head(behind):
            self._leave_as_text(str(self._raw).removesuffix(head))
            self._flow.open(image=False)
            self._flow.inside = _Quote(self._flow, head[1:], character)
            return True
        self._strings += behind.endswith("[")
        return False

    def _leave_as_text(self, raw: str) -> None:
        self._flow.unwind()
        self._flow.put(f"{self._head}{self._opener}{raw}")

    def _give_up(self) -> None:
        """Too long for a quote: the mark loses its words; behind a blank line they are text."""
        raw = str(self._raw)
        if _BLANK_LINE.search(raw):
            self._leave_as_text(raw)
            return
        self._flow.shut()
        self._flow.unwind()
        self._flow.put_whole(marks.quoting(self._head, "", ""))
        self._flow.inside = _Dropped(self._flow, marks.closers(self._opener), raw[-BEHIND_QUOTE:])

    def close(self) -> None:
        """The answer ends within a quote: what is whole of it is still a quote."""
        self._flow.shut()
        raw = str(self._raw)
        whole = _LAST_WORD.sub("", raw)
        if whole != raw and whole:
            self._flow.put_whole(marks.quoting(self._head, whole, ""))


@dataclass(slots=True)
class _Dropped(Construct):
    """In the words of a mark that lost them, until it closes or a blank line comes."""

    _closers: str
    _behind: str
    _size: int = 0

    def read(self, text: str, at: int) -> int:
        for place in range(at, len(text)):
            if self._ends(text[place]):
                self._flow.inside = None
                return place + 1
        return len(text)

    def _ends(self, character: str) -> bool:
        before, self._behind = self._behind, (self._behind + character)[-BEHIND_QUOTE:]
        if character == "]" and before.strip() and before.rstrip()[-1] in self._closers:
            return True
        if character == "\n" and _BLANK_LINE.search(self._behind):
            self._flow.line_start = True
            self._flow.put("\n\n")
            return True
        self._size += 1
        return self._size > MOST_DROPPED
