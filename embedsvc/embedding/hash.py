"""The deterministic fake: vectors from words, without a model.

Each word adds a direction of its own, so texts that share words are near each other; a little of
the whole text's own direction keeps different texts different. Same text, same vector, always.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Role, Space
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.core.tokens import approximate_starts, words
from embedsvc.errors import InvalidInput
from embedsvc.ports import Calls, Embedded
from embedsvc.settings import Settings

DIMENSIONS = 256
_MOST = 4096
_OWN_WEIGHT = 0.1
_INLINE = 50_000  # characters that are read without a detour through a thread


def destination(spec: Spec, settings: Settings) -> str | None:
    """Texts stay here."""
    del spec, settings
    return None


def create(spec: Spec, settings: Settings) -> "HashBackend":
    """`hash` has 256 dimensions, `hash:N` has N."""
    del settings
    refuse_options(spec)
    wanted = _dimensions(spec.model) if spec.model else (spec.dimensions or DIMENSIONS)
    if spec.dimensions not in (None, wanted):
        raise InvalidInput(f"{spec} has {wanted} dimensions, not {spec.dimensions}")
    if not 1 <= wanted <= _MOST:
        raise InvalidInput(f"hash:{wanted}: the dimensions must be from 1 to {_MOST}")
    return HashBackend(wanted)


def _dimensions(model: str) -> int:
    if not (model.isascii() and model.isdecimal() and len(model) <= 6):
        raise InvalidInput(f"hash:{model}: after the colon only a number of dimensions can stand")
    return int(model)


class HashBackend:
    """An embedding backend of arithmetic alone."""

    def __init__(self, dimensions: int) -> None:
        self.space = Space("hash", str(dimensions), dimensions)
        self.calls = Calls()

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): words and marks."""
        return approximate_starts(text)

    async def warm(self) -> None:
        """Nothing to load."""

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """The role makes no difference."""
        del role
        if sum(map(len, texts)) <= _INLINE:
            return Embedded(self._rows(texts))
        return Embedded(await asyncio.to_thread(self._rows, texts))

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _rows(self, texts: Sequence[str]) -> NDArray[np.floating]:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float64]:
        total = _OWN_WEIGHT * _direction(f"text:{text}", self.space.dimensions)
        for word in words(text):
            total = total + _direction(f"word:{word}", self.space.dimensions)
        return total / np.linalg.norm(total)


def _direction(name: str, dimensions: int) -> NDArray[np.float64]:
    """A vector of signs, of unit length, that only the name determines."""
    return _signs(name, dimensions) / np.sqrt(dimensions)


@lru_cache(maxsize=8192)
def _signs(name: str, dimensions: int) -> NDArray[np.int8]:
    digest = sha256(name.encode()).digest()
    while len(digest) * 8 < dimensions:
        digest += sha256(digest).digest()
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:dimensions]
    return bits.astype(np.int8) * 2 - 1
