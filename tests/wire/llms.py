"""What the fake language models share: what they say, how fast, and what a test asks of each.

with OpenAIChat() as model:
    model.reply = lambda messages: "anything"    # a plain function of the messages
    model.first, model.between = 0.5, 0.01       # seconds to the first token and between two
"""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wire.embeddings import KEY
from wire.server import Reply, Request, Server, Streamed

__all__ = ["KEY", "LLM", "Talk", "sse"]

_PIECE = re.compile(r"\s*\S+")


@dataclass(frozen=True)
class Talk:
    """A request, in words that are the same for all providers.

    `messages` are {"role", "content"}; a completion model is given one of the user.
    """

    model: str
    messages: Sequence[Mapping[str, str]]
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: Sequence[str] = ()
    key: str = ""


class LLM(Server):
    """A server of one provider that says what `reply(messages)` gives, in pieces of one word."""

    spec: str
    counts = True
    """Whether it says how many tokens there were."""
    completes = False
    """Whether the model is one for texts, not messages."""
    stream = "text/event-stream"
    garbage = b"data: {not JSON\n\n"
    """What a client must take note of, and cannot read."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.reply: Callable[[Sequence[Mapping[str, str]]], str] = lambda _messages: (
            "Paris is the capital of France."
        )
        self.first = 0.0
        self.between = 0.0
        self.before = 0.0
        """Seconds until the head of an answer."""

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """The variables that lead here, with the key."""

    @abstractmethod
    def read(self, request: Request) -> Talk:
        """What was asked for."""

    def opening(self, talk: Talk) -> list[bytes]:
        """What comes before the first word."""
        del talk
        return []

    @abstractmethod
    def word(self, text: str, talk: Talk) -> bytes:
        """A piece of the answer."""

    @abstractmethod
    def closing(self, finish: str, read: int, written: int, talk: Talk) -> list[bytes]:
        """What comes after the last word; `finish` is stop or length."""

    @abstractmethod
    def error(self, status: int, message: str) -> Reply:
        """An error as this provider words it."""

    def busy(self, seconds: int) -> Reply:
        """Over the rate limit, to come back after so many seconds."""
        return replace(self.error(429, "slow down"), headers={"Retry-After": str(seconds)})

    def denied(self, message: str) -> Reply:
        """The key is none."""
        return self.error(401, message)

    @property
    def talks(self) -> list[Talk]:
        """Every request for an answer so far."""
        return [self.read(request) for request in self.requests]

    def answer(self, request: Request) -> Reply:
        """What the model says."""
        talk = self.read(request)
        return Reply(body=Streamed(self._parts(talk), self.before, self.stream))

    def _parts(self, talk: Talk) -> Iterator[bytes | float]:
        pieces, finish = _written(self.reply(talk.messages), talk)
        yield from self.opening(talk)
        yield self.first
        for number, piece in enumerate(pieces):
            if number:
                yield self.between
            yield self.word(piece, talk)
        read = sum(len(message["content"].split()) for message in talk.messages)
        yield from self.closing(finish, read, len(pieces), talk)


def _written(text: str, talk: Talk) -> tuple[list[str], str]:
    """The pieces of an answer, up to a stop text or the most tokens."""
    ends = [at for stop in talk.stop if (at := text.find(stop)) >= 0]
    pieces = _PIECE.findall(text[: min(ends)] if ends else text)
    if talk.max_tokens is not None and len(pieces) > talk.max_tokens:
        return pieces[: talk.max_tokens], "length"
    return pieces, "stop"


def sse(body: Any, event: str | None = None, end: str = "\n\n") -> bytes:
    """A server-sent event."""
    data = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return (f"event: {event}\n" if event else "").encode() + f"data: {data}{end}".encode()
