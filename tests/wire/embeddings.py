"""What the fake providers of embeddings share: their vectors, and what a test asks of each."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from wire.server import Changed, Reply, Request, Server

KEY = "T0p-secret/key+0123456789abcdef"


def row(text: str, dimensions: int) -> list[float]:
    """The vector of a text: always the same, and another for each text."""
    seed = int.from_bytes(sha256(text.encode()).digest()[:8])
    return [round(float(x), 6) for x in np.random.default_rng(seed).standard_normal(dimensions)]


@dataclass(frozen=True)
class Call:
    """A request for vectors, in words that are the same for all providers."""

    texts: Sequence[str]
    role: str | None = None
    dimensions: int | None = None
    key: str = ""
    nested: bool = False
    """Amazon's Nova has a form of its own."""


class Provider(Server):
    """A server that speaks the protocol of one provider.

    `has_roles`, `shortens` and `counts` say what can be seen of roles, dimensions and tokens there.
    """

    model: str
    dimensions: int
    has_roles = True
    shortens: int | None = None
    """Other dimensions that the model can have."""
    counts = True
    others = False
    """Whether models of any name are there."""

    def __init__(self) -> None:
        super().__init__(self.answer)

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """The variables that lead here, with the key."""

    @abstractmethod
    def read(self, request: Request) -> Call:
        """What was asked for."""

    @abstractmethod
    def written(self, rows: list[list[float]], call: Call) -> Reply:
        """The right answer with these vectors."""

    @abstractmethod
    def error(self, status: int, message: str) -> Reply:
        """An error as this provider words it."""

    @abstractmethod
    def fewer(self, body: Any) -> Any:
        """An answer without its last vector."""

    def busy(self, seconds: int) -> Reply:
        """Over the rate limit, to come back after so many seconds."""
        return replace(self.error(429, "slow down"), headers={"Retry-After": str(seconds)})

    def denied(self, message: str) -> Reply:
        """The key is none."""
        return self.error(401, message)

    def one_fewer(self) -> Changed:
        """The fault of a vector that is missing."""
        return Changed(self.fewer)

    @property
    def calls(self) -> list[Call]:
        """Every request for vectors so far."""
        return [self.read(request) for request in self.requests]

    def answer(self, request: Request) -> Reply:
        """What the provider would say."""
        call = self.read(request)
        dimensions = call.dimensions or self.dimensions
        return self.written([row(text, dimensions) for text in call.texts], call)


def tokens(call: Call) -> int:
    """What the fakes count: words."""
    return sum(len(text.split()) for text in call.texts)


def bearer(request: Request) -> str:
    """The key of an Authorization header."""
    return request.headers.get("authorization", "").removeprefix("Bearer ")
