"""Sentences of a text that is still coming, with the marks of citations that belong to them.

A sentence ends as core/sentences says. A mark belongs to the sentence before it as long as nothing
but white space stands between, so an end is known only when the next sentence begins: white space
is held back until then, and no more. In a table the bar that ends a row counts as white space, so
what is added to a row lands in its last cell; a block of code is one sentence.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from embedsvc.core.marks import Marker
from embedsvc.core.sentences import sentences

LONGEST = 2_000
"""Characters of a sentence: a longer one ends at white space, and at twice that anywhere."""

MOST_SPACE = 200
"""White space that is kept of one gap."""

_TOKEN = re.compile(r"\s+|\||[。！？]|[^\s。！？|]+")
_ENDS = re.compile(r"[.!?…][\"'”’»)\]]*\Z")
_FAR_ENDS = re.compile(r"[。！？][\"”’」』）]*\Z")
_CLOSERS = re.compile(r"[\"”’」』）。！？]+")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LINE_BEGINNERS = frozenset("-*•#|`")
_LIST_NUMBER = re.compile(r"[0-9]{1,9}[.)]?")
_TAIL = 40
_BAR = "|"
_FENCE = re.compile(r"(`{3,})[^`]*")
_MOST_LINE = 120


@dataclass(frozen=True, slots=True)
class Space:
    """White space between words, or between sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """A sentence is complete."""


Event = str | Space | Marker | End


class SentenceFlow:
    """Takes text and marks as they come, and says where sentences end."""

    def __init__(self) -> None:
        self._out: list[Event] = []
        self._space = ""
        self._number = ""
        self._marked = False
        self._begin()

    def _begin(self) -> None:
        self._tail = ""
        self._size = 0
        self._marks = 0
        self._row = self._heading = False
        self._fence = 0
        self._lines = 0
        self._line = ""

    def feed(self, pieces: Iterable[str | Marker]) -> list[Event]:
        """The words, gaps, marks and ends that are sure now."""
        for piece in pieces:
            if isinstance(piece, Marker):
                self._mark(piece)
            else:
                for token in _TOKEN.findall(piece):
                    self._token(token)
        return self._taken()

    def close(self) -> list[Event]:
        """The end of the last sentence."""
        self._decide(followed_by="")
        if self._size or self._marks:
            self._out.append(End())
            if rest := self._space.rstrip():
                self._out.append(Space(rest))
        return self._taken()

    def _taken(self) -> list[Event]:
        out, self._out = self._out, []
        return out

    # -- tokens -----------------------------------------------------------------------------

    def _token(self, token: str) -> None:
        if token.isspace():
            self._decide(followed_by=token[0])
            self._hold(token)
        elif token == _BAR and self._row and "\n" not in self._space:
            self._hold(token)
        elif self._number or self._may_be_list_number(token):
            self._number += token
            if not _LIST_NUMBER.fullmatch(self._number):
                self._decide(followed_by="")
        else:
            self._word(token, self._ends_before(token))

    def _hold(self, space: str) -> None:
        self._space += space[: max(0, MOST_SPACE - len(self._space))]

    def _may_be_list_number(self, token: str) -> bool:
        return "\n" in self._space and token[0].isdigit() and self._size > 0 and not self._fence

    def _decide(self, followed_by: str) -> None:
        """A number at the beginning of a line is that of a list item, or it is not."""
        if not self._number:
            return
        token, self._number = self._number, ""
        listed = token[-1] in ".)" and followed_by in (" ", "\t") and followed_by != ""
        self._word(token, listed or self._ends_before(token))

    def _mark(self, marker: Marker) -> None:
        self._decide(followed_by="")
        if self._size and _BLANK_LINE.search(self._space):
            self._end()
        if self._size == 0:
            self._flush_space()
        elif "|" not in self._space:  # the bar of a row stays behind the mark
            self._space = ""
        self._out.append(marker)
        self._marks += 1
        self._marked = True

    def _flush_space(self) -> None:
        if self._space:
            self._out.append(Space(self._space))
            self._tail = (self._tail + self._space)[-_TAIL:] if self._size else ""
            self._space = ""

    def _end(self) -> None:
        self._out.append(End())
        self._begin()

    # -- words ------------------------------------------------------------------------------

    def _word(self, token: str, ends: bool) -> None:
        if not ends and self._closes(token):
            closers = _CLOSERS.match(token)
            assert closers is not None
            self._write(closers.group())
            token = token[closers.end() :]
            if not token:
                return
            ends = True
        if ends:
            if self._marked and not self._space and not _FAR_ENDS.search(self._tail):
                self._space = " "  # the mark stood for it
            self._end()
        if "\n" in self._space:
            self._lines, self._line = self._lines + 1, ""
        elif self._space:
            self._line += " "
        self._flush_space()
        while not self._fence and self._size + len(token) > 2 * LONGEST:
            room = 2 * LONGEST - self._size
            self._write(token[:room])
            token = token[room:]
            self._end()
        self._write(token)

    def _closes(self, token: str) -> bool:
        """Whether marks that belong to a sentence just ended come first."""
        touches = not (self._space or self._marked or self._fence)
        return touches and bool(_FAR_ENDS.search(self._tail)) and bool(_CLOSERS.match(token))

    def _write(self, token: str) -> None:
        if not token:
            return
        if self._size == 0:
            self._row, self._heading = token[0] == "|", token[0] == "#"
            self._lines, self._line = 0, ""
        self._out.append(token)
        self._size += len(token)
        self._tail = (self._tail + token)[-_TAIL:]
        self._marked = False
        self._line = (self._line + token)[:_MOST_LINE]
        if self._lines == 0:
            fence = _FENCE.fullmatch(self._line)
            self._fence = len(fence[1]) if fence else 0

    def _fenced(self) -> bool:
        """Whether a block of code is complete: a line of nothing but as many ticks."""
        closing = self._line.rstrip()
        return self._lines > 0 and len(closing) >= self._fence and not closing.strip("`")

    # -- ends -------------------------------------------------------------------------------

    def _ends_before(self, token: str) -> bool:
        """Whether the sentence so far ends before this token."""
        new_line = "\n" in self._space
        if self._size == 0:
            return self._marks > 0 and bool(_BLANK_LINE.search(self._space))
        if self._fence:
            return new_line and self._fenced()
        if new_line and (self._row or self._heading or token[0] in _LINE_BEGINNERS):
            return True
        if _BLANK_LINE.search(self._space) or (self._size > LONGEST and self._space != ""):
            return True
        if self._closes(token):
            return False
        return self._ends_by_mark(token)

    def _ends_by_mark(self, token: str) -> bool:
        if _FAR_ENDS.search(self._tail):
            return True
        gap = self._space or (" " if self._marked else "")
        if not gap or not _ENDS.search(self._tail):
            return False
        start = len(self._tail) + len(gap)
        return any(at == start for at, _ in sentences(f"{self._tail}{gap}{token[0]}"))
