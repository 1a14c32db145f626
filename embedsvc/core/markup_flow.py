"""What has been read of a Markdown text: what goes out, and what open brackets hold back.

Markup (markup.py) and the constructs that it meets write to one Flow. A construct that begins
becomes `flow.inside` and reads on from there, until it puts another in its place, or None: text.
"""

from dataclasses import dataclass, field

from embedsvc.core.marks import Marker

MOST_HELD = 4_000
"""Characters that are held back until a bracket closes."""

MOST_NESTED = 32


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is no construct; in code it means nothing but itself."""

    text: str
    code: bool = False


Token = Words | Marker


@dataclass(slots=True)
class Bracket:
    """A bracket that was opened, and what has come in it."""

    image: bool
    tokens: list[Token] = field(default_factory=list)

    @property
    def opener(self) -> str:
        """How it was written."""
        return "![" if self.image else "["


class Raw:
    """The characters of a construct in the parts in which they came, until it is sure."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._size = 0

    def __str__(self) -> str:
        return "".join(self.parts)

    def hold(self, text: str) -> bool:
        """Keep a part of what is being read; whether there is room for more."""
        self.parts.append(text)
        self._size += len(text)
        return self._size <= MOST_HELD

    def tail(self, most: int) -> str:
        """The last characters so far."""
        tail = ""
        for part in reversed(self.parts):
            tail = part + tail if len(tail) + len(part) <= most else (part + tail)[-most:]
            if len(tail) >= most:
                break
        return tail


@dataclass(slots=True)
class Construct:
    """Something that has begun in the text and reads on until it ends.

    It ends by what it sets `flow.inside` to.
    """

    _flow: "Flow"

    def read(self, text: str, at: int) -> int:
        """Take characters from this place on; the first place that was not taken."""
        raise NotImplementedError

    def close(self) -> None:
        """The text has ended here: write what was held back."""


class Flow:
    """Where words and marks are written: into the innermost open bracket, or out."""

    def __init__(self) -> None:
        self.inside: Construct | None = None
        self.line_start = True
        """Whether nothing but blanks has come in this line."""
        self._out: list[Token] = []
        self._brackets: list[Bracket] = []
        self._size = 0

    @property
    def has_open(self) -> bool:
        """Whether a bracket is open."""
        return bool(self._brackets)

    def taken(self) -> list[Token]:
        """The tokens that have gone out since the last call."""
        out, self._out = self._out, []
        return out if len(out) < 2 else _joined(out)

    def words(self, text: str) -> None:
        """Write a part of a line."""
        self.line_start = self.line_start and not text.strip()
        self.put(text)

    def new_line(self) -> None:
        """Write the end of a line; a blank line ends all that is open."""
        if self.line_start and self._brackets:
            self.unwind()
        self.line_start = True
        self.put("\n")

    def put(self, text: str, code: bool = False) -> None:
        """Write characters, wherever in the line they stand."""
        if not text:
            return
        if not self._brackets:
            self._out.append(Words(text, code))
            return
        self._brackets[-1].tokens.append(Words(text, code))
        self._grow(len(text))

    def put_tokens(self, tokens: list[Token]) -> None:
        """Write what came in a bracket that has closed, and was counted there."""
        if self._brackets:
            self._brackets[-1].tokens += _joined(tokens)
        else:
            self._out += tokens

    def put_whole(self, item: Bracket | Marker) -> None:
        """Write a mark, or brackets that are just brackets."""
        if isinstance(item, Marker):
            self.put_tokens([item])
            return
        self.put_tokens([Words(item.opener), *item.tokens, Words("]")])
        if self._brackets:
            self._grow(1)

    def open(self, image: bool) -> bool:
        """Hold back what comes until a bracket closes; whether there is room for that."""
        bracket = Bracket(image)
        if len(self._brackets) >= MOST_NESTED:
            self.put(bracket.opener)
            return False
        if not self._brackets:
            self._size = 0
        self._brackets.append(bracket)
        self._grow(len(bracket.opener))
        return self.has_open

    def shut(self) -> Bracket:
        """The innermost bracket holds back nothing from now on; what has come in it."""
        return self._brackets.pop()

    def unwind(self) -> None:
        """Let go of all open brackets as they were written; what comes is text."""
        for bracket in self._brackets:
            self._out.append(Words(bracket.opener))
            self._out.extend(bracket.tokens)
        self._brackets = []
        self._size = 0
        self.inside = None

    def _grow(self, size: int) -> None:
        """Count what is held; too much of it is let go."""
        self._size += size
        if self._size > MOST_HELD:
            self.unwind()


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
