"""The embedding backends in use: each built once, shared, and closed when it is long unused."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.fitting import Fitted, fit, surely_fits
from embedsvc.core.model import Matrix, Role, Space, TooLong
from embedsvc.core.repeats import repeated_rows
from embedsvc.core.spec import Spec
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import (
    Conflict,
    InvalidInput,
    ProviderBusy,
    ProviderError,
    ProviderWrong,
)
from embedsvc.ports import Calls, Embedded, EmbeddingBackend
from embedsvc.services.retrying import Retrying

T = TypeVar("T")

CreateBackend = Callable[[Spec], Awaitable[EmbeddingBackend]]
"""Raises UnknownProvider, MissingDependency, ConfigError, Forbidden when offline."""

MOST = 64
"""Backends that are kept: requests can name models, and must not fill the memory with them."""

QUERY_SECONDS = 30.0
"""The longest that a question waits for a provider, repetitions and all: somebody sits there."""

_INLINE = 20_000  # characters that are tokenised without a detour through a thread


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows of unit length, and how many tokens were read for them."""

    rows: Matrix
    tokens: int


@dataclass(slots=True, eq=False)
class Backend:
    """A backend with what is known of it here.

    `failures` counts calls after which it may be another model; `checked` remembers, by space, at
    how many failures and when its canaries were seen.
    """

    inner: EmbeddingBackend
    retrying: Retrying
    places: dict[Role, asyncio.Semaphore] = field(init=False)
    running: int = 0
    failures: int = 0
    checked: dict[int, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = self.inner.calls.at_once  # each: a question does not queue behind documents
        self.places = {"document": asyncio.Semaphore(count), "query": asyncio.Semaphore(count)}

    @property
    def space(self) -> Space:
        """What its vectors are."""
        return self.inner.space

    @property
    def calls(self) -> Calls:
        """How its calls are best made."""
        return self.inner.calls

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): the character offset at which each token of `text` begins."""
        return self.inner.token_starts(text)

    async def warm(self) -> None:
        """Load the model. Raises ConfigError."""
        await self.inner.warm()

    def is_checked(self, space_id: int, seconds: float) -> bool:
        """Whether its canaries were seen since its last failure, and not too long ago."""
        failures, at = self.checked.get(space_id, (-1, 0.0))
        recent = not self.inner.calls.remote or time.monotonic() - at < seconds
        return failures == self.failures and recent

    async def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""

        return await _beside(texts, lambda: [len(self.inner.token_starts(text)) for text in texts])

    async def fitted(
        self, texts: Sequence[str], too_long: TooLong = "truncate", place: str = "input"
    ) -> list[Fitted]:
        """What the model can read of each text. Raises TooLarge with "error", naming `place`."""
        window = self.space.window
        return await _beside(
            texts,
            lambda: [
                Fitted([text], [0])
                if surely_fits(text, window)
                else fit(text, self.inner.token_starts(text), window, too_long, index, place)
                for index, text in enumerate(texts)
            ],
        )

    async def call(self, texts: Sequence[str], role: Role) -> Vectors:
        """One call, repeated where that may help, and its answer checked. Raises ProviderError."""
        self.running += 1
        try:
            async with self.places[role]:
                answer = await self._answer(texts, role)
        finally:
            self.running -= 1
        if answer.tokens is not None and answer.tokens >= 0:
            return Vectors(np.asarray(answer.rows), answer.tokens)
        return Vectors(np.asarray(answer.rows), sum(await self.lengths(texts)))

    async def _answer(self, texts: Sequence[str], role: Role) -> Embedded:
        async def once() -> Embedded:
            try:
                return _checked(self.inner, await self.inner.embed(texts, role), texts)
            except ProviderBusy:
                raise
            except (ProviderError, asyncio.CancelledError):  # it may come back as another
                self.failures += 1
                raise

        if not self.inner.calls.remote:
            return _checked(self.inner, await self.inner.embed(texts, role), texts)
        patience = QUERY_SECONDS if role == "query" else math.inf
        return await self.retrying.call(self.inner.space.provider, once, at_most=patience)


class Backends:
    """The backends by the words that name them."""

    def __init__(self, create: CreateBackend, retrying: Retrying) -> None:
        self._create = create
        self._retrying = retrying
        self._known: OrderedDict[str, Backend] = OrderedDict()  # the longest unused first
        self._making: dict[str, asyncio.Task[Backend]] = {}

    async def get(self, spec: Spec) -> Backend:
        """The backend of a spec. Raises UnknownProvider, MissingDependency, ProviderError."""
        name = _name(spec)
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        if name not in self._making:
            self._making[name] = asyncio.create_task(self._make(spec))
            self._making[name].add_done_callback(lambda done: self._made(spec, done))
        return await asyncio.shield(self._making[name])

    def find(self, spec: Spec) -> Backend | None:
        """The backend of a spec, if it is in use already; builds nothing."""
        return self._known.get(_name(spec))

    def forget(self, backend: Backend) -> None:
        """Build it anew when it is next asked for: it is not what it was taken for."""
        for name in [name for name, known in self._known.items() if known is backend]:
            del self._known[name]

    async def aclose(self) -> None:
        """Close every backend."""
        for task in list(self._making.values()):
            task.cancel()
        distinct = {id(known): known.inner for known in self._known.values()}
        self._known.clear()
        await asyncio.gather(*(inner.aclose() for inner in distinct.values()))

    async def _make(self, spec: Spec) -> Backend:
        made = await self._retrying.call(
            spec.provider, lambda: self._create(spec), attempt=math.inf
        )
        if made.calls.cuts and spec.dimensions is not None:
            await made.aclose()  # nothing is loaded yet
            whole = await self.get(replace(spec, dimensions=None))
            if whole.inner.space.dimensions == spec.dimensions:
                return whole
            if spec.dimensions > whole.space.dimensions:
                raise InvalidInput(f"{spec} has {whole.space.dimensions} dimensions")
            made = Shortened(whole.inner, spec.dimensions)
        for known in self._known.values():
            if known.inner.space == made.space:  # the same under another word
                await made.aclose()
                return known
        return Backend(made, self._retrying)

    def _made(self, spec: Spec, task: "asyncio.Task[Backend]") -> None:
        self._making.pop(_name(spec), None)
        if task.cancelled() or task.exception() is not None:
            return
        backend = task.result()
        self._known[_name(spec)] = backend
        whole = replace(spec, dimensions=backend.space.dimensions)  # as collections ask for it
        self._known.setdefault(_name(whole), backend)
        while len(self._known) > MOST and self._drop_one():
            pass

    def _drop_one(self) -> bool:
        """Close the longest unused backend that nobody waits for; whether there was one."""
        for name, oldest in self._known.items():
            if oldest.running == 0:
                del self._known[name]
                if oldest not in self._known.values():
                    self._closing = asyncio.create_task(oldest.inner.aclose())
                return True
        return False


class Shortened:
    """The first dimensions of a backend whose vectors may be cut (Matryoshka)."""

    def __init__(self, whole: EmbeddingBackend, dimensions: int) -> None:
        self._whole = whole
        self.space = replace(whole.space, dimensions=dimensions)
        self.calls = whole.calls

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """As the whole backend has it."""
        return self._whole.token_starts(text)

    async def warm(self) -> None:
        """Load the whole model."""
        await self._whole.warm()

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """One call of the whole model."""
        answer = await self._whole.embed(texts, role)
        return Embedded(answer.rows[:, : self.space.dimensions], answer.tokens)

    async def aclose(self) -> None:
        """Nothing: the whole backend is closed for itself."""


async def _beside(texts: Sequence[str], work: Callable[[], T]) -> T:
    """What tokenises these texts: at once when they are short, else in a thread."""
    inline = sum(map(len, texts)) <= _INLINE
    return work() if inline else await asyncio.to_thread(work)


def _name(spec: Spec) -> str:
    return f"{spec} {spec.dimensions or ''}"


def _checked(backend: EmbeddingBackend, answer: Embedded, texts: Sequence[str]) -> Embedded:
    """An answer with unit rows. Raises ProviderWrong; Conflict for one of other dimensions."""
    space = backend.space
    found = np.shape(answer.rows)
    other = len(found) == 2 and found[0] == len(texts) and found[1] not in (0, space.dimensions)
    if backend.calls.remote and other:
        raise Conflict(
            f"{space.title}: the answer has {found[1]} dimensions, so it is of another model: "
            "bring the former model back, or index the documents into a new collection",
            code="embedding_space_changed",
        )
    try:
        rows = unit_rows(answer.rows, len(texts), space.dimensions, space.name)
    except InvalidInput as error:
        raise ProviderWrong(f"a wrong answer from {error.detail}") from error
    if backend.calls.remote and (same := repeated_rows(rows, texts)) is not None:
        raise ProviderWrong(
            f"a wrong answer from {space.name}: the texts {same[0]} and {same[1]} differ and "
            "their vectors do not"
        )
    return Embedded(rows, answer.tokens)
