"""Texts to vectors, and never twice: what is stored is not embedded again.

A backend's answer is checked and stored the moment it arrives, before anything uses it; so neither
a crash nor a later failure pays for the same text a second time. A space keeps the vectors of a few
fixed texts, its canaries: a backend that no longer makes the same vectors is refused, and one that
makes them under another name is recognised.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
)
from embedsvc.ports import Answer, EmbeddingBackend
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter
from embedsvc.store.store import Store

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
        self._checked: dict[tuple[int, int], float] = {}  # (id of a backend, space) → when
        self._locks: dict[int, asyncio.Lock] = {}
        self._creating = asyncio.Lock()

    # -- which backend ------------------------------------------------------------------------

    async def backend(self, spec: str, dimensions: int | None = None) -> EmbeddingBackend:
        """The backend of `provider:model`. Raises UnknownProvider, MissingDependency."""
        return await self._built(parse_spec(spec, dimensions))

    async def of(self, collection: Collection) -> EmbeddingBackend:
        """The backend of a collection. Raises Conflict when it makes other vectors by now."""
        stored = await self._store.space(collection.space_id)
        spec = parse_spec(collection.embedding, collection.dimensions)
        backend = await self._built(spec.overlaid(stored.space.options))
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

        So the same model behind another address shares the vectors that are there already.
        """
        if not backend.calls.remote:
            return backend.space
        canaries = await self._canaries(backend)
        for known in await self._store.spaces(backend.space.dimensions):
            if (
                known.canaries is not None
                and _same_model(known.space, backend.space)
                and _alike(canaries, known.canaries, known.space)
            ):
                return known.space
        await self._store.keep_canaries(await self._store.space_id(backend.space), canaries)
        return backend.space

    async def _built(self, spec: Spec) -> EmbeddingBackend:
        name = f"{spec} {spec.dimensions or ''}"
        if name not in self._backends:
            async with self._creating:
                if name not in self._backends:
                    made = await self._retrying.call(spec.provider, lambda: self._create(spec))
                    self._backends[name] = await self._one_of_its_space(made)
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
        answers = await asyncio.gather(*map(one, together))
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
        await self._check(backend, collection)
        places = asyncio.Semaphore(backend.calls.at_once)
        work = _Storing(self._store, collection.space_id, texts, backend, self._call)

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
            return _checked(backend, await backend.embed(texts, role), texts)

        if not backend.calls.remote:
            return await once()
        try:
            return await self._retrying.call(backend.space.provider, once)
        except ProviderBusy:
            raise
        except ProviderError:  # it may come back as another
            for seen in [seen for seen in self._checked if seen[0] == id(backend)]:
                self._checked.pop(seen, None)
            raise

    # -- canaries -----------------------------------------------------------------------------

    async def _check(self, backend: EmbeddingBackend, collection: Collection | None) -> None:
        """Refuse a backend that does not make the vectors of its space any more."""
        if collection is None:
            return
        which = id(backend), collection.space_id
        if self._is_checked(which, backend):
            return
        async with self._locks.setdefault(collection.space_id, asyncio.Lock()):
            if self._is_checked(which, backend):
                return
            stored = await self._store.space(collection.space_id)
            canaries = await self._canaries(backend)
            if stored.canaries is None:
                await self._store.keep_canaries(collection.space_id, canaries)
            elif not _alike(canaries, stored.canaries, stored.space):
                raise _changed(stored.space, backend.space)
            self._checked[which] = time.monotonic()

    def _is_checked(self, which: tuple[int, int], backend: EmbeddingBackend) -> bool:
        at = self._checked.get(which)
        if at is None:
            return False
        return not backend.calls.remote or time.monotonic() - at < CHECKED_FOR

    async def _canaries(self, backend: EmbeddingBackend) -> Matrix:
        """Shape (canaries, dimensions)."""
        rows = np.empty((len(CANARIES), backend.space.dimensions), dtype=np.float32)
        for role in ("document", "query"):
            at = [i for i, canary in enumerate(CANARIES) if canary[0] == role]
            found = await self._call(backend, [CANARIES[i][1] for i in at], role)
            rows[at] = found.rows
            self.meter.add(backend.space.name, found.tokens, len(at), None)
        return rows


@dataclass(frozen=True, slots=True)
class _Storing:
    """Embeds texts by their keys and stores what comes, bisecting what is rejected."""

    store: Store
    space_id: int
    texts: Mapping[bytes, str]
    backend: EmbeddingBackend
    call: Callable[[EmbeddingBackend, Sequence[str], Role], Awaitable[Vectors]]

    async def slice(self, keys: Sequence[bytes]) -> tuple[int, dict[bytes, EmbedsvcError]]:
        """The tokens that were read, and what failed, by key."""
        try:
            return await self._stored(keys), {}
        except ProviderRejected as error:
            if len(keys) == 1 or await self._rejects_anything():
                return 0, dict.fromkeys(keys, error)
            half = len(keys) // 2  # the text at fault shall fail alone
            first, second = await self.slice(keys[:half]), await self.slice(keys[half:])
            return first[0] + second[0], {**first[1], **second[1]}
        except EmbedsvcError as error:
            return 0, dict.fromkeys(keys, error)

    async def _stored(self, keys: Sequence[bytes]) -> int:
        texts = [self.texts[key] for key in keys]
        vectors = await self.call(self.backend, texts, "document")
        await self.store.add_vectors(self.space_id, keys, vectors.rows)
        return vectors.tokens

    async def _rejects_anything(self) -> bool:
        """Whether a harmless text is rejected too: then no text is at fault, and none is sought."""
        try:
            await self.call(self.backend, [CANARIES[0][1]], "document")
        except ProviderRejected:
            return True
        except EmbedsvcError:
            return False
        return False


def _lengths(backend: EmbeddingBackend, texts: Sequence[str]) -> Iterable[int]:
    """Tokens of each text, where calls are limited by them; else nothing is counted."""
    if backend.calls.tokens is None:
        return [0] * len(texts)
    return [len(backend.token_starts(text)) for text in texts]


def _checked(backend: EmbeddingBackend, answer: Answer, texts: Sequence[str]) -> Vectors:
    """An answer as unit rows. Raises ProviderError for one that cannot be right."""
    space = backend.space
    try:
        rows = unit_rows(answer.rows, len(texts), space.dimensions, space.name)
    except InvalidInput as error:
        raise ProviderError(f"a wrong answer from {error.detail}") from error
    if backend.calls.remote and (same := repeated_rows(rows, texts)) is not None:
        raise ProviderError(
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
