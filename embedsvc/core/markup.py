"""Markdown as it comes: links and images become their words, marks of citations are taken out.

One pass over the characters with a stack of open brackets. Nothing here is needed for safety: what
is not understood, or grows too long, leaves as it is, and the gate behind (links.py) makes it
inert. So a construct is held back for at most MOST_HELD characters, and never past a blank line.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from embedsvc.core import marks
from embedsvc.core.marks import BEHIND_QUOTE, LONGEST_HEAD, LONGEST_NESTED, QUOTES, Marker

MOST_HELD = 4_000
"""Characters that are held back until a bracket closes."""

MOST_DROPPED = 16_000
"""Characters that are dropped of a quote that was too long, until it closes."""

MOST_NESTED = 32

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LAST_WORD = re.compile(r"\s+\S*\Z")
_NEXT = re.compile(r"[\\!\[\]<`~\n]")
_IN_QUOTE = re.compile(rf"[\[\]{QUOTES}]")
_IN_PARENTHESES = re.compile(r"[()<>\"'\\\n]")
_AUTOLINK_SO_FAR = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,31})?")


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is no construct; in code it means nothing but itself."""

    text: str
    code: bool = False


Token = Words | Marker


@dataclass(slots=True)
class _Bracket:
    """An open bracket, and what has come in it."""

    image: bool
    tokens: list[Token] = field(default_factory=list)

    @property
    def opener(self) -> str:
        return "![" if self.image else "["


_State = Callable[[str, int], int]


class Markup:
    """Takes a text in pieces and gives words and marks of citations, as soon as they are sure."""

    def __init__(self, addresses: Container[str]) -> None:
        self._addresses = addresses
        self._out: list[Token] = []
        self._brackets: list[_Bracket] = []
        self._size = 0
        self._state: _State = self._text
        self._escaped = False
        self._line_start = True
        self._raw: list[str] = []
        self._raw_size = 0
        self._head = ""
        self._quote = ""
        self._inner = 0
        self._marker: Marker | None = None
        self._closed: _Bracket | None = None
        self._depth = 0
        self._title = ""
        self._tick = ""
        self._ticks = 0
        self._run = 0
        self._line = ""

    def feed(self, text: str) -> list[Token]:
        """The tokens that are sure now."""
        at = 0
        while at < len(text):
            at = self._state(text, at)
        return self._taken()

    def close(self) -> list[Token]:
        """The text has ended: what was held back. A mark that is cut keeps its whole words."""
        state = self._state
        if state == self._bang:
            self._put("!")
        elif state == self._heading:
            self._close_head()
        elif state == self._quoting:
            self._close_quote()
        elif state == self._after_marker:
            self._put_marker()
        elif state == self._after_bracket:
            self._put_bracket()
        elif state == self._parentheses:
            self._close_parentheses()
        elif state == self._reference:
            self._put_tokens(self._bracket_closed().tokens)
        elif state == self._angle:
            self._put("<" + self._raw_taken())
        self._unwind()
        return self._taken()

    def _taken(self) -> list[Token]:
        out, self._out = self._out, []
        return out if len(out) < 2 else _joined(out)

    # -- writing ----------------------------------------------------------------------------

    def _put(self, text: str, code: bool = False) -> None:
        if not text:
            return
        self._put_token(Words(text, code))
        if self._brackets:
            self._grow(len(text))

    def _put_token(self, token: Token) -> None:
        (self._brackets[-1].tokens if self._brackets else self._out).append(token)

    def _put_tokens(self, tokens: list[Token]) -> None:
        into = self._brackets[-1].tokens if self._brackets else self._out
        into += _joined(tokens) if self._brackets else tokens

    def _grow(self, size: int) -> None:
        """Count what is held; too much of it is let go."""
        self._size += size
        if self._size > MOST_HELD:
            self._unwind()

    def _unwind(self) -> None:
        """Let go of all open brackets as they were written."""
        for bracket in self._brackets:
            self._out.append(Words(bracket.opener))
            self._out.extend(bracket.tokens)
        self._brackets = []
        self._size = 0
        self._state = self._text

    def _raw_taken(self) -> str:
        raw = "".join(self._raw)
        self._raw, self._raw_size = [], 0
        return raw

    def _hold(self, text: str) -> bool:
        """Keep a part of what is being read; whether there is room for more."""
        self._raw.append(text)
        self._raw_size += len(text)
        return self._raw_size <= MOST_HELD

    # -- text -------------------------------------------------------------------------------

    def _text(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            if text[at] != "\n":
                self._line_start = False
                self._put(text[at])
                return at + 1
        match = _NEXT.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._line_start = self._line_start and not text[at:end].strip()
            self._put(text[at:end])
        return self._special(text[end], end) if match else end

    def _special(self, character: str, at: int) -> int:
        if character == "\n":
            return self._new_line(at)
        if character in "`~":
            self._tick, self._ticks, self._state = character, 0, self._counting
            return at
        self._line_start = False
        if character == "\\":
            self._escaped = True
            self._put(character)
        elif character == "!":
            self._state = self._bang
        elif character == "[":
            self._open(image=False)
        elif character == "]" and self._brackets:
            self._closed = self._brackets.pop()
            self._state = self._after_bracket
        elif character == "<":
            self._state = self._angle
        else:
            self._put(character)
        return at + 1

    def _new_line(self, at: int) -> int:
        if self._line_start and self._brackets:
            self._unwind()  # a blank line ends all that is open
        self._line_start = True
        self._put("\n")
        return at + 1

    def _bang(self, text: str, at: int) -> int:
        self._state = self._text
        if text[at] != "[":
            self._put("!")
            return at
        self._open(image=True)
        return at + 1

    def _open(self, image: bool) -> None:
        if len(self._brackets) >= MOST_NESTED:
            self._put("![" if image else "[")
            return
        if not self._brackets:
            self._size = 0
        self._brackets.append(_Bracket(image))
        if not image:
            self._state = self._heading
        self._grow(1 + image)

    # -- marks of citations -----------------------------------------------------------------

    def _heading(self, text: str, at: int) -> int:
        """Behind a bracket: is it the beginning of a mark?"""
        character = text[at]
        raw = "".join(self._raw)
        if character == "]" and (marker := marks.bare(raw)):
            self._brackets.pop()
            self._raw_taken()
            self._marker = marker
            self._state = self._after_marker
            return at + 1
        if character in QUOTES and marks.is_head(raw):
            self._head, self._quote, self._inner = self._raw_taken(), character, 0
            self._state = self._quoting
            return at + 1
        blank = character == "\n" and "\n" in raw
        if len(raw) < LONGEST_HEAD and not blank and marks.may_be_head(character):
            self._raw.append(character)
            return at + 1
        self._no_mark()
        return at

    def _no_mark(self) -> None:
        self._state = self._text
        raw = self._raw_taken()
        at = 0
        while at < len(raw):
            at = self._text(raw, at)

    def _quoting(self, text: str, at: int) -> int:
        """In the words of a mark, until they end and its bracket closes."""
        match = _IN_QUOTE.search(text, at)
        end = match.start() if match else len(text)
        room = self._hold(text[at:end])
        if not room:
            self._give_up_quote()
            return end
        if match is None:
            return end
        character = match.group()
        if character == "]" and self._quote_ends():
            self._finish_quote(self._raw_taken())
            return end + 1
        if character not in QUOTES or not self._nests(character):
            self._hold(character)
        return end + 1

    def _behind(self, most: int) -> str:
        """The last characters of the quote so far."""
        tail = ""
        for part in reversed(self._raw):
            tail = part + tail if len(tail) + len(part) <= most else (part + tail)[-most:]
            if len(tail) >= most:
                break
        return tail

    def _nests(self, character: str) -> bool:
        """Whether a quotation mark in a quote begins another mark: then the first was none."""
        behind = self._behind(LONGEST_NESTED)
        if head := marks.nested_head(behind):
            raw = self._raw_taken()
            self._unwind_head(raw[: len(raw) - len(head)])
            self._brackets.append(_Bracket(image=False))
            self._head, self._quote, self._inner = head[1:], character, 0
            self._state = self._quoting
            return True
        self._inner += behind.endswith("[")  # a string in brackets: x["a"]
        return False

    def _unwind_head(self, raw: str) -> None:
        """What was taken for a mark leaves as text."""
        self._brackets[-1].tokens.append(Words(f"{self._head}{self._quote}{raw}"))
        self._unwind()

    def _give_up_quote(self) -> None:
        """Too long for a quote: the mark loses its words; behind a blank line they are text."""
        raw = self._raw_taken()
        if _BLANK_LINE.search(raw):
            self._unwind_head(raw)
            return
        self._brackets.pop()
        self._unwind()
        self._put_token(marks.quoting(self._head, "", ""))
        self._line, self._inner, self._state = raw[-BEHIND_QUOTE:], 0, self._dropping

    def _dropping(self, text: str, at: int) -> int:
        """In the words of a mark that lost them, until it closes or a blank line comes."""
        for place in range(at, len(text)):
            character = text[place]
            behind, self._line = self._line, (self._line + character)[-BEHIND_QUOTE:]
            closed = character == "]" and behind.rstrip()[-1:] in marks.closers(self._quote)
            if closed and behind.strip():
                self._state = self._text
                return place + 1
            if character == "\n" and _BLANK_LINE.search(self._line):
                self._state, self._line_start = self._text, True
                self._put("\n\n")
                return place + 1
            self._inner += 1
            if self._inner > MOST_DROPPED:
                self._state = self._text
                return place + 1
        return len(text)

    def _quote_ends(self) -> bool:
        """Whether a closing bracket here ends the mark: a quotation mark stands before it."""
        tail = self._behind(BEHIND_QUOTE + 3)
        last = max(tail.rfind(closer) for closer in marks.closers(self._quote))
        if last < 0 or any(character in "[]\n" for character in tail[last + 1 :]):
            return False
        if tail[:last].endswith("\\") and not tail[:last].endswith("\\\\"):
            return False
        if self._inner > 0 and last == len(tail) - 1:
            self._inner -= 1
            return False
        return True

    def _finish_quote(self, raw: str) -> None:
        end = max(raw.rfind(closer) for closer in marks.closers(self._quote))
        self._brackets.pop()
        self._marker = marks.quoting(self._head, raw[:end], f"[{self._head}{self._quote}{raw}]")
        self._state = self._after_marker

    def _close_head(self) -> None:
        if marks.is_cut("".join(self._raw)):
            self._raw_taken()
            self._brackets.pop()
            self._state = self._text
        else:
            self._no_mark()

    def _close_quote(self) -> None:
        """The answer ends within a quote: what is whole of it is still a quote."""
        raw = self._raw_taken()
        self._brackets.pop()
        whole = _LAST_WORD.sub("", raw)
        if whole != raw and whole:
            self._put_token(marks.quoting(self._head, whole, ""))

    def _after_marker(self, text: str, at: int) -> int:
        """A mark that is written as a link keeps nothing of the link."""
        if text[at] == "(":
            self._begin_parentheses()
            return at + 1
        self._put_marker()
        return at

    def _put_marker(self) -> None:
        assert self._marker is not None
        self._state = self._text
        self._put_token(self._marker)
        self._marker = None

    # -- links and images -------------------------------------------------------------------

    def _after_bracket(self, text: str, at: int) -> int:
        assert self._closed is not None
        if text[at] == "(":
            self._begin_parentheses()
            return at + 1
        if text[at] == "[" and self._closed.image:
            self._state = self._reference
            return at + 1
        self._put_bracket()
        return at

    def _bracket_closed(self) -> _Bracket:
        closed, self._closed = self._closed, None
        assert closed is not None
        self._state = self._text
        return closed

    def _put_bracket(self) -> None:
        """Brackets that are just brackets."""
        closed = self._bracket_closed()
        self._put_tokens([Words(closed.opener), *closed.tokens, Words("]")])
        if self._brackets:
            self._grow(1)

    def _begin_parentheses(self) -> None:
        self._depth, self._title, self._escaped, self._line = 1, "", False, "x"
        self._state = self._parentheses

    def _parentheses(self, text: str, at: int) -> int:
        """In the destination of a link, until its parenthesis closes."""
        match = _IN_PARENTHESES.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._escaped = False
            self._line += text[at:end].strip()[:1]
            if not self._hold(text[at:end]):
                self._give_up_parentheses()
                return end
        return self._in_parentheses(text[end], end) if match else end

    def _in_parentheses(self, character: str, at: int) -> int:
        if character == "\n":
            if not self._line:
                self._give_up_parentheses()
                return at
            self._line = ""
        else:
            self._line = "x"
        if self._escaped or character == "\\":
            self._escaped = not self._escaped
        elif character == self._title:
            self._title = ""
        elif not self._title:
            self._depth += {"(": 1, ")": -1}.get(character, 0)
            self._begin_title(character)
        if self._depth == 0:
            self._finish_parentheses(self._raw_taken())
        elif not self._hold(character):
            self._give_up_parentheses()
        return at + 1

    def _begin_title(self, character: str) -> None:
        before = self._raw[-1][-1:] if self._raw else ""
        if character in "\"'" and before.isspace():
            self._title = character
        elif character == "<" and not "".join(self._raw[:8]).strip():
            self._title = ">"

    def _finish_parentheses(self, raw: str) -> None:
        if self._marker is not None:
            self._put_marker()
            if _destination(raw) is None:
                self._put(f"({raw})")
            return
        destination = _destination(raw)
        if destination is None:
            self._put_bracket()
            self._put(f"({raw})")
            return
        closed = self._bracket_closed()
        words = "".join(token.text for token in closed.tokens if isinstance(token, Words))
        self._put_tokens(closed.tokens)
        shown = destination in self._addresses and destination not in words
        if shown and not closed.image:
            self._put(f" ({destination})")

    def _give_up_parentheses(self) -> None:
        raw = self._raw_taken()
        if self._marker is not None:
            self._put_marker()
        else:
            self._put_bracket()
        self._put(f"({raw}")

    def _close_parentheses(self) -> None:
        """The answer ends within a link: its words stay."""
        raw = self._raw_taken()
        if _destination(raw) is None:
            self._raw = [raw]
            self._give_up_parentheses()
        elif self._marker is not None:
            self._put_marker()
        else:
            self._put_tokens(self._bracket_closed().tokens)

    def _reference(self, text: str, at: int) -> int:
        """In the label behind an image: nothing of it stays."""
        end = text.find("]", at)
        self._raw_size += (end if end >= 0 else len(text)) - at
        if end < 0 and self._raw_size <= MOST_HELD:
            return len(text)
        self._raw_taken()
        self._put_tokens(self._bracket_closed().tokens)
        return len(text) if end < 0 else end + 1

    def _angle(self, text: str, at: int) -> int:
        """Behind `<`: is it an address in angle brackets?"""
        character = text[at]
        raw = "".join(self._raw) if self._raw_size <= 34 else ":"
        if character == ">" and ":" in raw:
            self._state = self._text
            self._put(self._raw_taken())
            return at + 1
        within = ":" in raw or bool(raw and character == ":")
        fits = (
            not (character.isspace() or character in '<>[]`"\\!')
            if within
            else bool(_AUTOLINK_SO_FAR.fullmatch(raw + character))
        )
        if fits and self._hold(character):
            return at + 1
        self._state = self._text
        held = "<" + self._raw_taken()
        self._put(held)
        return at + 1 if fits else at

    # -- code -------------------------------------------------------------------------------

    def _counting(self, text: str, at: int) -> int:
        """A run of ticks: how many?"""
        end = at
        while end < len(text) and text[end] == self._tick:
            end += 1
        self._ticks += end - at
        self._put(text[at:end], code=True)
        if end == len(text):
            return end
        fence = self._line_start and self._ticks >= 3
        self._line_start = False
        self._run, self._line = 0, ""
        if fence:
            self._unwind()
            self._state = self._info
        else:
            self._state = self._span if self._tick == "`" else self._text
        return end

    def _span(self, text: str, at: int) -> int:
        """Code within a line, until as many ticks come again or the line ends."""
        end = at
        while end < len(text) and text[end] not in "`\n" and self._run != self._ticks:
            end += 1
            self._run = 0
        self._put(text[at:end], code=True)
        if end == len(text):
            return end
        if text[end] == "`":
            self._run += 1
            self._put("`", code=True)
            return end + 1
        self._state = self._text
        return end

    def _info(self, text: str, at: int) -> int:
        """The rest of the line that opens a block of code."""
        for end in range(at, len(text)):
            if text[end] == "\n":
                self._put(text[at : end + 1], code=True)
                self._state = self._block
                return end + 1
            if text[end] == "`" == self._tick:
                self._put(text[at:end], code=True)
                self._state = self._span
                return end
        self._put(text[at:], code=True)
        return len(text)

    def _block(self, text: str, at: int) -> int:
        """A block of code, until a line that holds nothing but as many ticks."""
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        self._line = (self._line + line)[:MOST_HELD]
        self._put(line if end < 0 else line + "\n", code=True)
        if end < 0:
            return len(text)
        stripped = self._line.strip()
        self._line = ""
        if len(stripped) >= self._ticks and not stripped.strip(self._tick):
            self._state, self._line_start = self._text, True
        return end + 1


def _destination(raw: str) -> str | None:
    """Where a link leads to, by what stands in its parentheses; None if that is no link."""
    inner = raw.strip()
    if inner.startswith("<") and ">" in inner:
        return inner[1 : inner.index(">")]
    destination, _, title = inner.partition(" ") if " " in inner else inner.partition("\n")
    if title.strip() and title.strip()[0] not in "\"'(":
        return None
    return destination


def _joined(tokens: list[Token]) -> list[Token]:
    """The tokens with neighbouring words of one kind in one, so that deep nests stay short."""
    joined: list[Token] = []
    parts: list[str] = []
    code = False
    for token in [*tokens, None]:
        if parts and not (isinstance(token, Words) and token.code == code):
            joined.append(Words("".join(parts), code))
            parts = []
        if isinstance(token, Words):
            code = token.code
            parts.append(token.text)
        elif token is not None:
            joined.append(token)
    return joined
