"""Texts that end an answer, looked for here: not every model and server does."""

from collections.abc import Sequence


class Stops:
    """Passes text on until one of `stops` comes in it, also when that comes in pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.ended = False
        """Whether one came; nothing more is passed on."""

    def feed(self, text: str) -> str:
        """What can be passed on: what may be the beginning of a stop is held back."""
        if self.ended:
            return ""
        text = self._held + text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.ended, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def close(self) -> str:
        """What was held back for nothing."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
