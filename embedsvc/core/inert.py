"""Text of a model, made inert: it can be shown anywhere and does nothing.

    characters ──▶ visible ──▶ entities spelled out ──▶ Markdown unwrapped ──▶ gate

Images become their alternative text and links their words; an address stays only where it stands
letter for letter in a source; what could open a tag is `&lt;`; hidden characters are gone. See
links.py for what is promised of the result, whatever the parts before it make of a text.
"""

import re
from collections.abc import Callable, Iterable

from embedsvc.core.links import Gate, addresses
from embedsvc.core.marks import Marker
from embedsvc.core.markup import Markup
from embedsvc.core.markup_flow import Words
from embedsvc.core.visible import Spelled, Visible


class Inert:
    """Makes a text inert as it comes, in pieces of any size; marks of citations come out whole.

    A mark that is not `known` is text. Ordinary prose flows at once. What is held back is bounded,
    and what comes out in the end does not depend on how the text was cut.
    """

    def __init__(
        self, sources: Iterable[str] = (), known: Callable[[Marker], bool] = lambda _: True
    ) -> None:
        self._known = known
        allowed = addresses(sources)
        self._seen = Visible()
        self._spelled = Spelled()
        self._shown = Visible()
        self._markup = Markup(allowed)
        self._gate = Gate(allowed)

    def feed(self, text: str) -> list[str | Marker]:
        """What can be shown now of the text so far, and marks of citations in their places."""
        visible = self._shown.feed(self._spelled.feed(self._seen.feed(text)))
        return self._passed(self._markup.feed(visible))

    def close(self) -> list[str | Marker]:
        """The text has ended: what was held back."""
        rest = self._markup.feed(self._shown.feed(self._spelled.close()))
        pieces = self._passed([*rest, *self._markup.close()])
        return _without_empty([*pieces, self._gate.close()])

    def _passed(self, tokens: Iterable[Words | Marker]) -> list[str | Marker]:
        pieces: list[str | Marker] = []
        for token in tokens:
            if isinstance(token, Words):
                pieces.append(self._gate.feed(token.text, token.code))
            elif self._known(token):
                pieces += [self._gate.close(), token]
                self._gate.marked()
            else:
                pieces.append(self._gate.feed(token.written))
        return _without_empty(pieces)


_PLAIN = re.compile(r"(?:[A-Za-zÀ-ÖØ-öø-ÿ0-9 ,;'\"()\n-]|\.(?=\s|\Z))*")
"""Text that is inert as it is."""


def inert(text: str, sources: Iterable[str] = ()) -> str:
    """A whole text, made inert; addresses stay that stand in one of the sources.

    Marks of citations are text like any other here.
    """
    if _PLAIN.fullmatch(text):
        return text
    made = Inert(sources, known=lambda _: False)
    pieces = [*made.feed(text), *made.close()]
    return "".join(piece for piece in pieces if isinstance(piece, str))


def _without_empty(pieces: list[str | Marker]) -> list[str | Marker]:
    return [piece for piece in pieces if piece != ""]
