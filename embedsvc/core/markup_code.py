"""Code in Markdown: spans in a line and blocks of lines, with their ticks."""

from dataclasses import dataclass

from embedsvc.core.markup_flow import MOST_HELD, Construct


@dataclass(slots=True)
class Ticks(Construct):
    """A run of ticks or tildes: how many?"""

    _tick: str
    _count: int = 0

    def read(self, text: str, at: int) -> int:
        """Take the run; behind it is code, or text."""
        end = at
        while end < len(text) and text[end] == self._tick:
            end += 1
        self._count += end - at
        self._flow.put(text[at:end], code=True)
        if end < len(text):
            self._finish()
        return end

    def _finish(self) -> None:
        fence = self._flow.line_start and self._count >= 3
        self._flow.line_start = False
        if fence:
            self._flow.unwind()
            self._flow.inside = _Info(self._flow, self._tick, self._count)
        else:
            self._flow.inside = _Span(self._flow, self._count) if self._tick == "`" else None


@dataclass(slots=True)
class _Span(Construct):
    """Code within a line, until as many ticks come again or the line ends."""

    _ticks: int
    _run: int = 0

    def read(self, text: str, at: int) -> int:
        end = at
        while end < len(text) and text[end] not in "`\n" and self._run != self._ticks:
            end += 1
            self._run = 0
        self._flow.put(text[at:end], code=True)
        if end == len(text):
            return end
        if text[end] == "`":
            self._run += 1
            self._flow.put("`", code=True)
            return end + 1
        self._flow.inside = None
        return end


@dataclass(slots=True)
class _Info(Construct):
    """The rest of the line that opens a block of code."""

    _tick: str
    _ticks: int

    def read(self, text: str, at: int) -> int:
        for end in range(at, len(text)):
            if text[end] == "\n":
                self._flow.put(text[at : end + 1], code=True)
                self._flow.inside = _Block(self._flow, self._tick, self._ticks)
                return end + 1
            if text[end] == "`" == self._tick:
                self._flow.put(text[at:end], code=True)
                self._flow.inside = _Span(self._flow, self._ticks)
                return end
        self._flow.put(text[at:], code=True)
        return len(text)


@dataclass(slots=True)
class _Block(Construct):
    """A block of code, until a line that holds nothing but as many ticks."""

    _tick: str
    _ticks: int
    _line: str = ""

    def read(self, text: str, at: int) -> int:
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        self._line = (self._line + line)[:MOST_HELD]
        self._flow.put(line if end < 0 else line + "\n", code=True)
        if end < 0:
            return len(text)
        stripped = self._line.strip()
        self._line = ""
        if len(stripped) >= self._ticks and not stripped.strip(self._tick):
            self._flow.inside, self._flow.line_start = None, True
        return end + 1
