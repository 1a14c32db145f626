"""Markdown as it comes: links and images become their words, marks of citations are taken out.

    text ──▶ Markup ──▶ a construct that begins: Construct.read ──▶ Flow ──▶ words and marks

One pass over the characters with a stack of open brackets (markup_flow.py). Text is read here;
each construct has a class that reads it from its first sign to its end: markup_signs.py,
markup_marks.py, markup_links.py and markup_code.py. Nothing here is needed for safety: what is not
understood, or grows too long, leaves as it is, and the gate behind (links.py) makes it inert. So a
construct is held back for at most MOST_HELD characters, and never past a blank line.
"""

import re
from collections.abc import Container

from embedsvc.core.markup_code import Ticks
from embedsvc.core.markup_flow import Flow, Token
from embedsvc.core.markup_links import Behind
from embedsvc.core.markup_marks import Head
from embedsvc.core.markup_signs import Angle, Backslash, Exclamation

_SIGN = re.compile(r"[\\!\[\]<`~\n]")


class Markup:
    """Takes a text in pieces and gives words and marks of citations, as soon as they are sure."""

    def __init__(self, addresses: Container[str]) -> None:
        self._addresses = addresses
        self._flow = Flow()

    def feed(self, text: str) -> list[Token]:
        """The tokens that are sure now."""
        at = 0
        while at < len(text):
            inside = self._flow.inside
            at = inside.read(text, at) if inside else self._text(text, at)
        return self._flow.taken()

    def close(self) -> list[Token]:
        """The text has ended: what was held back. A mark that is cut keeps its whole words."""
        if self._flow.inside:
            self._flow.inside.close()
        self._flow.unwind()
        return self._flow.taken()

    def _text(self, text: str, at: int) -> int:
        match = _SIGN.search(text, at)
        end = match.start() if match else len(text)
        if end > at:
            self._flow.words(text[at:end])
        return self._sign(text[end], end) if match else end

    def _sign(self, character: str, at: int) -> int:
        """What begins with this sign; the place behind it, or at it where that is to be read."""
        flow = self._flow
        if character == "\n":
            flow.new_line()
            return at + 1
        if character in "`~":
            flow.inside = Ticks(flow, character)
            return at
        flow.line_start = False
        if character == "\\":
            flow.put(character)
            flow.inside = Backslash(flow)
        elif character == "!":
            flow.inside = Exclamation(flow)
        elif character == "[":
            flow.inside = Head(flow) if flow.open(image=False) else None
        elif character == "]" and flow.has_open:
            flow.inside = Behind(flow, flow.shut(), self._addresses)
        elif character == "<":
            flow.inside = Angle(flow)
        else:
            flow.put(character)
        return at + 1
