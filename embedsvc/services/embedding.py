"""Texts to vectors, and never twice: what is stored is not embedded again.

A backend's answer is checked and stored the moment it arrives, before anything uses it; so neither
a crash nor a later failure pays for the same text a second time. A space keeps the vectors of a few
fixed texts, its canaries: a backend that no longer makes the same vectors is refused, and one that
makes them under another name is recognised.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.batching import batches
from embedsvc.core.model import Collection, Matrix, Role, Space
from embedsvc.core.repeats import repeated_rows
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import (
    Conflict,
    EmbedsvcError,
    InvalidInput,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderWrong,
)
from embedsvc.ports import Answer, EmbeddingBackend
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter
from embedsvc.store.store import Store

T = TypeVar("T")

CreateBackend = Callable[[Spec], Awaitable[EmbeddingBackend]]
"""Raises UnknownProvider, MissingDependency, ConfigError, Forbidden when offline."""

CANARIES: Sequence[tuple[Role, str]] = (
    ("document", "The quick brown fox jumps over the lazy dog."),
    ("document", "Les sanglots longs des violons de l'automne blessent mon cœur."),
    ("document", "def add(a, b):\n    return a + b"),
    ("query", "Which city is the capital of France?"),
)
"""Never change one: the vectors of these very texts are stored with every space."""

REPRODUCED = 0.999
"""Least cosine of a canary to its stored vector. Runtimes and machines differ by 0.0001 or less, a
change of the model, its pooling or its prompts by 0.05 and more."""

REPRODUCED_QUANTISED = 0.98
"""The same for int8, whose rounding differs between processors."""

QUERY_SECONDS = 30.0
"""The longest that a question waits for a provider, repetitions and all: somebody sits there."""

CHECKED_FOR = 600.0
"""Seconds after which a remote backend has to show its canaries again."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows of unit length, and how many tokens were read for them."""

    rows: Matrix
    tokens: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a set of texts, by their keys; `tokens` were read for the fresh ones."""

    fresh: frozenset[bytes] = frozenset()
    failed: Mapping[bytes, EmbedsvcError] = field(default_factory=dict)
    tokens: int = 0
    cost_usd: float | None = 0.0


class Embedders:
    """The backends in use, each built once, and the vectors they have made."""

    def __init__(
        self, store: Store, create: CreateBackend, retrying: Retrying, meter: Meter
    ) -> None:
        self._store = store
        self._create = create
        self._retrying = retrying
        self.meter = meter
        self._backends: dict[str, EmbeddingBackend] = {}
        # (id of a backend, space) → after how many of its failures, and when
        self._checked: dict[tuple[int, int], tuple[int, float]] = {}
        self._failures: defaultdict[int, int] = defaultdict(int)  # by the id of a backend
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)  # by space
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by name

    # -- which backend ------------------------------------------------------------------------

    async def backend(self, spec: str, dimensions: int | None = None) -> EmbeddingBackend:
        """The backend of `provider:model`. Raises UnknownProvider, MissingDependency."""
        return await self._built(parse_spec(spec, dimensions))

    def built(self, spec: str) -> EmbeddingBackend | None:
        """The backend of a spec, if it is in use already; builds nothing."""
        return self._backends.get(f"{parse_spec(spec)} ")

    async def of(self, collection: Collection) -> EmbeddingBackend:
        """The backend of a collection. Raises Conflict when it makes other vectors by now."""
        stored = await self._store.space(collection.space_id)
        spec = parse_spec(collection.embedding, collection.dimensions)
        try:
            backend = await self._built(spec.overlaid(stored.space.options))
        except InvalidInput as error:  # the model could do all this when the collection was made
            raise Conflict(
                f"the vectors of this collection were made by {stored.space.title}: {error.detail}",
                code="embedding_space_changed",
            ) from error
        if backend.space != stored.space and not backend.calls.remote:
            raise _changed(stored.space, backend.space)
        return backend

    async def same_space(self, collection: Collection, backend: EmbeddingBackend) -> bool:
        """Whether a backend of another name makes the vectors of this collection."""
        stored = await self._store.space(collection.space_id)
        if backend.space == stored.space:
            return True
        if not backend.calls.remote or stored.canaries is None:
            return False
        return _alike(await self._canaries(backend), stored.canaries, stored.space)

    async def space_of(self, backend: EmbeddingBackend) -> Space:
        """The space of a new collection: one that is known by its canaries, else the backend's.

        So the same model behind another address shares the vectors that are there already, and
        another model behind the same name does not.
        """
        if not backend.calls.remote:
            return backend.space
        failures = self._failures[id(backend)]
        canaries = await self._first_canaries(backend)
        space = await self._recognised(backend.space, canaries)
        space_id = await self._store.space_id(space)
        await self._store.keep_canaries(space_id, canaries)
        self._checked[id(backend), space_id] = failures, time.monotonic()
        return space

    async def _recognised(self, space: Space, canaries: Matrix) -> Space:
        """A space that is there and has these canaries; else a new one."""
        taken = False
        for known in await self._store.spaces(space.dimensions):
            if known.canaries is None:
                continue
            if _same_model(known.space, space) and _alike(canaries, known.canaries, known.space):
                return known.space
            taken = taken or known.space == space  # the name is the same, and the model is not
        return replace(space, revision=sha256(canaries.tobytes()).hexdigest()) if taken else space

    async def _built(self, spec: Spec) -> EmbeddingBackend:
        name = f"{spec} {spec.dimensions or ''}"
        if name not in self._backends:
            async with self._creating[name]:
                if name not in self._backends:
                    made = await self._retrying.call(spec.provider, lambda: self._create(spec))
                    one = await self._one_of_its_space(made)
                    self._backends[name] = one
                    self._backends.setdefault(f"{spec} {one.space.dimensions}", one)
        return self._backends[name]

    async def _one_of_its_space(self, made: EmbeddingBackend) -> EmbeddingBackend:
        """The backend that already serves this space, whatever it was called; else this one."""
        for known in self._backends.values():
            if known.space == made.space:
                await made.aclose()
                return known
        return made

    # -- vectors ------------------------------------------------------------------------------

    async def embed(
        self,
        backend: EmbeddingBackend,
        texts: Sequence[str],
        role: Role,
        collection: Collection | None = None,
    ) -> Vectors:
        """Shape (len(texts), dimensions), rows of unit length. Raises ProviderError."""
        if not texts:
            return Vectors(np.empty((0, backend.space.dimensions), dtype=np.float32), 0)
        await self._check(backend, collection)
        places = asyncio.Semaphore(backend.calls.at_once)

        async def one(batch: Sequence[int]) -> Vectors:
            async with places:
                return await self._call(backend, [texts[i] for i in batch], role)

        counts = _lengths(backend, texts)
        together = batches(counts, backend.calls.texts, backend.calls.tokens)
        answers = await _all_or_none(map(one, together))
        await self._check(backend, collection)  # no call was repeated, or it is the same model
        tokens = sum(answer.tokens for answer in answers)
        self.meter.add(backend.space.name, tokens, len(texts), collection)
        return Vectors(np.concatenate([answer.rows for answer in answers]), tokens)

    async def ensure_stored(
        self, collection: Collection, backend: EmbeddingBackend, texts: Mapping[bytes, str]
    ) -> Embedded:
        """Embed and store what has no vector yet; an error costs only the texts it is about."""
        there = await self._store.stored_keys(collection.space_id, list(texts))
        missing = [key for key in texts if key not in there]
        if not missing:
            return Embedded()
        try:
            await self._check(backend, collection)
        except Conflict:
            raise
        except EmbedsvcError as error:  # what has its vectors already can be stored all the same
            return Embedded(failed=dict.fromkeys(missing, error))
        places = asyncio.Semaphore(backend.calls.at_once)

        async def call(some: Sequence[str]) -> Vectors:
            made = await self._call(backend, some, "document")
            await self._check(backend, collection)
            return made

        async def sound() -> None:
            self._failures[id(backend)] += 1
            await self._check(backend, collection)

        work = _Storing(self._store, collection.space_id, texts, call, sound)

        async def embed_slice(batch: Sequence[int]) -> tuple[int, dict[bytes, EmbedsvcError]]:
            async with places:
                return await work.slice([missing[i] for i in batch])

        counts = _lengths(backend, [texts[key] for key in missing])
        together = batches(counts, backend.calls.texts, backend.calls.tokens)
        outcomes = await asyncio.gather(*map(embed_slice, together), return_exceptions=True)
        failed: dict[bytes, EmbedsvcError] = {}
        tokens = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            tokens += outcome[0]
            failed.update(outcome[1])
        fresh = frozenset(key for key in missing if key not in failed)
        self.meter.add(backend.space.name, tokens, len(fresh), collection)
        return Embedded(fresh, failed, tokens, self.meter.price(backend.space.name, tokens))

    async def store_ready(
        self, collection: Collection, vectors: Mapping[bytes, NDArray[np.float32]]
    ) -> None:
        """Store vectors that came with their documents."""
        await self._store.add_vectors(
            collection.space_id, list(vectors), np.stack(list(vectors.values()))
        )

    async def aclose(self) -> None:
        """Close every backend."""
        distinct = {id(backend): backend for backend in self._backends.values()}
        await asyncio.gather(*(backend.aclose() for backend in distinct.values()))

    async def _call(self, backend: EmbeddingBackend, texts: Sequence[str], role: Role) -> Vectors:
        """One call, repeated where that may help, and its answer checked."""

        async def once() -> Vectors:
            try:
                return _checked(backend, await backend.embed(texts, role), texts)
            except ProviderBusy:
                raise
            except (ProviderError, asyncio.CancelledError):  # it may come back as another
                self._failures[id(backend)] += 1
                raise

        if not backend.calls.remote:
            return _checked(backend, await backend.embed(texts, role), texts)
        patience = QUERY_SECONDS if role == "query" else math.inf
        return await self._retrying.call(backend.space.provider, once, patience)

    # -- canaries -----------------------------------------------------------------------------

    async def _check(self, backend: EmbeddingBackend, collection: Collection | None) -> None:
        """Refuse a backend that does not make the vectors of its space any more."""
        if collection is None:
            return
        which = id(backend), collection.space_id
        if self._is_checked(which, backend):
            return
        async with self._locks[collection.space_id]:
            if self._is_checked(which, backend):
                return
            stored = await self._store.space(collection.space_id)
            failures = self._failures[id(backend)]
            if stored.canaries is None:
                canaries = await self._first_canaries(backend)
                await self._store.keep_canaries(collection.space_id, canaries)
            elif not _alike(await self._canaries(backend), stored.canaries, stored.space):
                raise _changed(stored.space, backend.space)
            self._checked[which] = failures, time.monotonic()

    def _is_checked(self, which: tuple[int, int], backend: EmbeddingBackend) -> bool:
        failures, at = self._checked.get(which, (-1, 0.0))
        if failures != self._failures[id(backend)]:
            return False
        return not backend.calls.remote or time.monotonic() - at < CHECKED_FOR

    async def _first_canaries(self, backend: EmbeddingBackend) -> Matrix:
        """The canaries of a new space. Raises ProviderWrong where vectors are mixed up."""
        canaries = await self._canaries(backend)
        if backend.calls.remote:
            role, text = CANARIES[0]
            alone = await self._call(backend, [text], role)
            self.meter.add(backend.space.name, alone.tokens, 1, None)
            if float(alone.rows[0] @ canaries[0]) < REPRODUCED_QUANTISED:
                raise ProviderWrong(
                    f"a wrong answer from {backend.space.name}: a text has another vector alone "
                    "than together with others"
                )
        return canaries

    async def _canaries(self, backend: EmbeddingBackend) -> Matrix:
        """Shape (canaries, dimensions)."""
        rows = np.empty((len(CANARIES), backend.space.dimensions), dtype=np.float32)
        for role in ("document", "query"):
            at = [i for i, canary in enumerate(CANARIES) if canary[0] == role]
            found = await self._call(backend, [CANARIES[i][1] for i in at], role)
            rows[at] = found.rows
            self.meter.add(backend.space.name, found.tokens, len(at), None)
        return rows


@dataclass(slots=True)
class _Storing:
    """Embeds texts by their keys and stores what comes, looking for the text that is at fault.

    `call` embeds; `sound` raises when the backend does not embed its canaries as it should.
    """

    store: Store
    space_id: int
    texts: Mapping[bytes, str]
    call: Callable[[Sequence[str]], Awaitable[Vectors]]
    sound: Callable[[], Awaitable[None]]
    given_up: EmbedsvcError | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def slice(
        self, keys: Sequence[bytes], sound: bool = False
    ) -> tuple[int, dict[bytes, EmbedsvcError]]:
        """The tokens that were read, and what failed, by key. `sound`: the backend was checked."""
        if self.given_up is not None:
            return 0, dict.fromkeys(keys, self.given_up)
        try:
            return await self._stored(keys), {}
        except (ProviderRejected, ProviderWrong) as error:
            if len(keys) == 1 or not (sound or await self._is_sound(error)):
                return 0, dict.fromkeys(keys, error)
            half = len(keys) // 2  # the text at fault shall fail alone
            first = await self.slice(keys[:half], True)
            second = await self.slice(keys[half:], True)
            return first[0] + second[0], {**first[1], **second[1]}
        except EmbedsvcError as error:
            await self._is_sound(error)
            return 0, dict.fromkeys(keys, error)

    async def _stored(self, keys: Sequence[bytes]) -> int:
        vectors = await self.call([self.texts[key] for key in keys])
        await self.store.add_vectors(self.space_id, keys, vectors.rows)
        return vectors.tokens

    async def _is_sound(self, error: EmbedsvcError) -> bool:
        """Whether harmless texts are embedded well; if not, nothing more is sent."""
        async with self.lock:
            if self.given_up is None:
                try:
                    await self._check_after(error)
                except EmbedsvcError as worse:
                    same = isinstance(worse, ProviderRejected | ProviderWrong)
                    self.given_up = error if same else worse
            return self.given_up is None

    async def _check_after(self, error: EmbedsvcError) -> None:
        """Raises EmbedsvcError where another text would fare no better."""
        blames_texts = error.transient or isinstance(error, ProviderRejected)
        if not blames_texts or not isinstance(error, ProviderError):
            raise error
        await self.sound()


async def _all_or_none(works: Iterable[Awaitable[T]]) -> list[T]:
    """All results; when one fails the others are not paid for either. Raises its error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _lengths(backend: EmbeddingBackend, texts: Sequence[str]) -> Iterable[int]:
    """Tokens of each text, where calls are limited by them; else nothing is counted."""
    if backend.calls.tokens is None:
        return [0] * len(texts)
    return [len(backend.token_starts(text)) for text in texts]


def _checked(backend: EmbeddingBackend, answer: Answer, texts: Sequence[str]) -> Vectors:
    """An answer as unit rows. Raises ProviderWrong; Conflict for one of other dimensions."""
    space = backend.space
    found = np.shape(answer.rows)
    other = len(found) == 2 and found[0] == len(texts) and found[1] != space.dimensions
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
    if answer.tokens is not None:
        return Vectors(rows, answer.tokens)
    return Vectors(rows, sum(len(backend.token_starts(text)) for text in texts))


def _alike(one: Matrix, other: Matrix, space: Space) -> bool:
    if one.shape != other.shape:
        return False
    least = REPRODUCED_QUANTISED if "int8" in space.options else REPRODUCED
    return bool((np.einsum("ij,ij->i", one, other) >= least).all())


def _same_model(one: Space, other: Space) -> bool:
    """Whether two names may mean one model: equal but for owner, tag and case."""
    return _bare(one.model) == _bare(other.model)


def _bare(model: str) -> str:
    return model.casefold().rsplit("/", 1)[-1].partition(":")[0]


def _changed(stored: Space, found: Space) -> Conflict:
    return Conflict(
        f"the vectors of this collection were made by {stored.title}; {found.title} makes others: "
        "bring the former model back, or index the documents into a new collection",
        code="embedding_space_changed",
    )
