"""What a reasoning model writes before its answer, in `<think>` … `</think>`, is left out."""

_OPEN, _CLOSE = "<think>", "</think>"


class Spoken:
    """The text after the thoughts at its beginning, in pieces of any size."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._begun = False

    def feed(self, text: str) -> str:
        """What is sure to be no thought."""
        if self._begun:
            return text
        self._held += text
        while True:
            if self._inside:
                _, closed, after = self._held.partition(_CLOSE)
                if not closed:
                    self._held = self._held[-len(_CLOSE) :]
                    return ""
                self._held, self._inside = after.lstrip(), False
            begins = self._held.lstrip()
            if begins.startswith(_OPEN):
                self._held, self._inside = begins[len(_OPEN) :], True
            elif _OPEN.startswith(begins):
                return ""  # it may still become one
            else:
                return self._rest()

    def close(self) -> str:
        """The text has ended: what was held back; thoughts without an end are none of it."""
        return "" if self._inside or self._begun else self._rest()

    def _rest(self) -> str:
        self._begun = True
        rest, self._held = self._held, ""
        return rest


def spoken(text: str) -> str:
    """A whole text without the thoughts at its beginning, even if they begin in the prompt."""
    made = Spoken()
    rest = made.feed(text) + made.close()
    thoughts, ended, after = rest.partition(_CLOSE)
    return after.lstrip() if ended and _OPEN not in thoughts else rest
