"""The last gate of a text: nothing that passes it can become a link, an image or a tag.

It looks at characters as they leave, so whatever was cut, joined or decoded before cannot slip by.
What can act has a beginning that cannot be avoided, and each is broken or checked here:

- a tag, a comment, an autolink: `<`, which stays only before white space, a digit or `=`;
- a link or an image: `](`, `![` and, at the beginning of a line, `]:`, parted by a space;
- an address that programs make a link of by themselves: `://`, `www.`, `mailto:` and the like.
  It stays where it stands, letter for letter, in a source, and a space parts it from what follows;
- an entity that came together only here: its `&` becomes `&amp;`.
"""

import re
from collections.abc import Iterable
from html.entities import html5

REMOVED = "[link removed]"

MOST_HELD = 2_000
"""Characters of the longest address that is compared; a longer one goes."""

_SCHEMES = (
    "http", "https", "ftp", "ftps", "sftp", "ssh", "ws", "wss", "file", "mailto", "xmpp",
    "javascript", "vbscript", "data", "blob", "ldap", "gopher", "telnet", "irc", "magnet",
)  # fmt: skip
_ACTING = ("javascript", "vbscript", "data:", "blob:", "file:")
_BEGINNINGS = frozenset(word[:n] for word in (*_SCHEMES, "www") for n in range(1, len(word) + 1))
_KNOWN = frozenset(_SCHEMES)

_MAY_BE_ADDRESS = re.compile(
    rf":\\{{0,8}}/|www\\{{0,8}}\.|(?:{'|'.join(_SCHEMES)})\\{{0,8}}:", re.IGNORECASE
)
_LONGEST_MARKS = 16
_MOST_TAILS = 16  # ways in which one address ends in the sources

_NEXT = re.compile(r"[<&:\n]|!+|\[+|\]+|[A-Za-z]+")
_COLON = re.compile(r"\\{0,8}:[\\/]{0,99}")
_COLON_BEGUN = re.compile(r"\\{0,8}(?::[\\/]{0,99})?\Z")
_SLASHES = re.compile(r":\\{0,8}/\\{0,8}/[\\/]{0,99}")
_SLASHES_BEGUN = re.compile(r":\\{0,8}(?:/\\{0,8}(?:/[\\/]{0,99})?)?\Z")
_DOT = re.compile(r"\\{0,8}\.")
_DOT_BEGUN = re.compile(r"\\{0,8}\.?\Z")
_STOP = re.compile(r"[\s<>\"\[\]{}|\\^`“”„«»‹›「」『』【】《》。，、；：！？（）]")
_TRAILING = ".,;:!?'\")]}*_~…’"
_NO_BEGINNING = "\"'<>)]}*_,;`"  # **Data:** is prose
_NO_HOST = "\"'<>)]},;`"
_BEHIND_ADDRESS = frozenset(
    "?!.,:;*_~'\")`"
)  # no program makes these part of a link before a space
_SCHEME_BEFORE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,38}\Z")
_TAIL = 40
_ENTITY = re.compile(r"&(?:#|[A-Za-z][A-Za-z0-9]{1,31};)")
_ENTITY_BEGUN = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{0,31})?\Z")
_CONTAINER = frozenset(" \t>*+-0123456789.)")


class Addresses:
    """Addresses as they stand in texts, and without some of the marks at their ends.

    What is kept of one is at most what it takes in its text. Those that are programs or files
    themselves are never among them.
    """

    def __init__(self) -> None:
        self._tails: dict[str, list[str]] = {}

    def add(self, run: str, shortest: int) -> None:
        """Take in an address whose first `shortest` characters are no marks at its end."""
        if run.casefold().startswith(_ACTING):
            return
        bare, tail = _parted(run, shortest)
        tails = self._tails.setdefault(bare, [])
        tail = tail[:_LONGEST_MARKS]
        if len(tails) < _MOST_TAILS and not any(one.startswith(tail) for one in tails):
            tails.append(tail)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and 0 < len(address) == self.longest(address, 0)

    def longest(self, run: str, shortest: int) -> int:
        """Characters of the run that are one of them, as many marks at its end as can be; or 0."""
        bare, tail = _parted(run, shortest)
        tails = self._tails.get(bare)
        return 0 if tails is None else len(bare) + max(_in_common(tail, one) for one in tails)

    @property
    def size(self) -> int:
        """Characters that are kept."""
        return sum(len(bare) + sum(map(len, tails)) for bare, tails in self._tails.items())


def addresses(texts: Iterable[str]) -> Addresses:
    """All addresses that stand in the texts; one that is too long to compare is none."""
    found = Addresses()
    collecting = Gate(Addresses(), found)
    for text in texts:
        if _MAY_BE_ADDRESS.search(text):
            for word in filter(_MAY_BE_ADDRESS.search, text.split()):
                collecting.feed(f"{word}\n")
    return found


class Gate:
    """Lets a text through, piece by piece, with everything that could act taken out.

    What comes out does not depend on the pieces. It holds back only what may be an address or the
    beginning of a tag or an entity: of ordinary prose at most some letters of a word.
    """

    def __init__(self, allowed: Addresses, collected: Addresses | None = None) -> None:
        self._allowed = allowed
        self._collected = collected
        self._held = ""
        self._out: list[str] = []
        self._tail = ""
        self._code = False
        self._swallows = False
        self._after_address = False
        self._at_line_start = True
        self._label = False

    def feed(self, text: str, code: bool = False) -> str:
        """What may leave now. In code a `<` is parted from what follows, not spelled."""
        self._code = code
        self._run(self._held + text, final=False)
        return self._taken()

    def close(self) -> str:
        """What was held back. Text may follow."""
        self._run(self._held, final=True)
        self._swallows = False
        return self._taken()

    def marked(self) -> None:
        """A mark of a citation leaves at this place: ` [1]`."""
        self._label = self._label or self._at_line_start
        self._at_line_start = self._after_address = False
        self._tail = " ]"

    def _taken(self) -> str:
        out = "".join(self._out)
        self._out.clear()
        return out

    # -- reading ----------------------------------------------------------------------------

    def _run(self, text: str, final: bool) -> None:
        self._held = ""
        at = self._swallow(text, 0) if self._swallows else 0
        while at < len(text):
            begun = at
            if self._after_address:
                at = self._part(text, at, final)
            else:
                match = _NEXT.search(text, at)
                begun = match.start() if match else len(text)
                self._put(text[at:begun])
                at = self._special(text, match, final) if match else begun
            if at < 0:
                self._held = text[begun:]
                return

    def _swallow(self, text: str, at: int) -> int:
        """Pass over the rest of an address that was too long."""
        stop = _STOP.search(text, at)
        if stop is None:
            return len(text)
        self._swallows = False
        return stop.start()

    def _part(self, text: str, at: int, final: bool) -> int:
        """Behind an address that stays: nothing but marks may touch it."""
        character = text[at]
        if character not in _BEHIND_ADDRESS:
            self._leave_address(character)
            return at
        if character == ":":
            return self._slashes(text, at, final)
        self._put(character)
        return at + 1

    def _leave_address(self, character: str) -> None:
        self._after_address = False
        if not character.isspace():
            self._put(" ")

    def _special(self, text: str, match: re.Match[str], final: bool) -> int:
        """Deal with what stands there; where to go on, or -1 to wait for more."""
        first = match.group()[0]
        if first == "<":
            return self._opener(text, match.start(), final)
        if first == "&":
            return self._entity(text, match.start(), final)
        if first == ":":
            return self._slashes(text, match.start(), final)
        if first in "![]\n":
            return self._plain_special(match)
        return self._word(text, match, final)

    def _plain_special(self, match: re.Match[str]) -> int:
        self._put(match.group())
        return match.end()

    def _opener(self, text: str, at: int, final: bool) -> int:
        if at + 1 == len(text) and not final:
            return -1
        after = text[at + 1 : at + 2]
        if after and (after.isspace() or after in "=0123456789"):
            self._put("<")
        else:
            self._put("< " if self._code else "&lt;")
        return at + 1

    def _entity(self, text: str, at: int, final: bool) -> int:
        if not final and _ENTITY_BEGUN.match(text, at):
            return -1
        match = _ENTITY.match(text, at)
        known = match and (match.group() == "&#" or match.group()[1:] in html5)
        if match and match.group() == "&amp;":
            self._put("&amp;")
            return match.end()
        self._put("&amp;" if known else "&")
        return at + 1

    def _slashes(self, text: str, at: int, final: bool) -> int:
        if not final and _SLASHES_BEGUN.match(text, at):
            return -1
        match = _SLASHES.match(text, at)
        if match is None:
            self._put(":")
            return at + 1
        before = _SCHEME_BEFORE.search(self._tail)
        return self._address(text, at, match.end(), before.group() if before else "", final)

    def _word(self, text: str, match: re.Match[str], final: bool) -> int:
        word = match.group().lower()
        if word not in _BEGINNINGS or self._tail[-1:].isalnum():
            return self._plain_special(match)
        if match.end() == len(text) and not final:
            return -1
        mark, begun = (_DOT, _DOT_BEGUN) if word == "www" else (_COLON, _COLON_BEGUN)
        if word != "www" and word not in _KNOWN:
            return self._plain_special(match)
        if not final and begun.match(text, match.end()):
            return -1
        joined = mark.match(text, match.end())
        after = text[joined.end() : joined.end() + 1] if joined else ""
        none = _NO_HOST if word == "www" else _NO_BEGINNING
        if joined is None or not after or after.isspace():
            return self._plain_special(match)
        if after in none:
            if word != "www":
                return self._plain_special(match)
            return self._beginning(text[match.start() : joined.end()], joined.end())
        return self._address(text, match.start(), joined.end(), "", final)

    # -- addresses --------------------------------------------------------------------------

    def _address(self, text: str, start: int, body: int, before: str, final: bool) -> int:
        """Let an address pass or take it out; `before` is the part that has left already."""
        stop = _STOP.search(text, body, start + MOST_HELD)
        if stop is None and len(text) - start < MOST_HELD and not final:
            return -1
        too_long = stop is None and len(text) - start >= MOST_HELD
        end = stop.start() if stop else min(len(text), start + MOST_HELD)
        if end <= body and not too_long:
            return self._beginning(text[start:body], body)
        shortest = len(before) + body - start
        if too_long:
            self._put(REMOVED)
            self._swallows = True
            return self._swallow(text, end)
        if self._collected is not None:
            self._collected.add(before + text[start:end], shortest)
        return self._decide(text, start, end, before, shortest)

    def _beginning(self, text: str, end: int) -> int:
        """A beginning of an address with no address behind it; what follows must not become one.

        Programs take much for a host: `https://|x@host` leads to the host.
        """
        self._put(text)
        self._after_address = True
        return end

    def _decide(self, text: str, start: int, end: int, before: str, shortest: int) -> int:
        if length := self._allowed.longest(before + text[start:end], shortest):
            kept = start + length - len(before)
            self._put(text[start:kept])
            self._after_address = True
            return kept
        self._put(REMOVED)
        return max(start + 1, start + len(text[start:end].rstrip(_TRAILING)))

    # -- writing ----------------------------------------------------------------------------

    def _put(self, text: str) -> None:
        """Write, and part what must not touch."""
        if not text:
            return
        if self._after_address and not _BEHIND_ADDRESS.issuperset(text):
            self._leave_address(text[0])
        last, first = self._tail[-1:], text[0]
        if (last, first) in (("]", "("), ("!", "[")) or (
            last == "]" and first == ":" and self._label
        ):
            self._out.append(" ")
        self._follow_line(text)
        self._out.append(text)
        self._tail = text[-_TAIL:] if len(text) >= _TAIL else (self._tail + text)[-_TAIL:]

    def _follow_line(self, text: str) -> None:
        """Note whether a line begins here, and whether one began with a bracket."""
        if text == "\n":
            if self._at_line_start:
                self._label = False
            self._at_line_start = True
        elif self._at_line_start:
            if text[0] == "[":
                self._label = True
            self._at_line_start = all(character in _CONTAINER for character in text)


def _parted(run: str, shortest: int) -> tuple[str, str]:
    """The run without the marks at its end, and these marks."""
    bare = max(len(run.rstrip(_TRAILING)), min(shortest + 1, len(run)))
    return run[:bare], run[bare:]


def _in_common(one: str, other: str) -> int:
    """Characters with which both begin."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
