"""Texts to vectors, and never twice: what is stored is not embedded again.

A backend's answer is checked and stored the moment it arrives, before anything uses it; so neither
a crash nor a later failure pays for the same text a second time.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Collection, Matrix, Role
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import Conflict, EmbedsvcError, InvalidInput, ProviderError, ProviderRejected
from embedsvc.ports import EmbeddingBackend
from embedsvc.store.store import Store

CreateBackend = Callable[[str, str, int | None], EmbeddingBackend]
"""(provider, model, dimensions) → backend. Raises UnknownProvider, MissingDependency."""

AT_ONCE = 16
"""Slices of one request that wait for the model together: enough to sort by length."""

SLICE = 32
"""Texts that are embedded and stored together: what a crash can cost."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a set of texts, by their keys."""

    fresh: frozenset[bytes] = frozenset()
    failed: Mapping[bytes, EmbedsvcError] = field(default_factory=dict)


class Embedders:
    """The backends in use, each built once, and the vectors they have made."""

    def __init__(self, store: Store, create: CreateBackend) -> None:
        self._store = store
        self._create = create
        self._backends: dict[tuple[str, int | None], EmbeddingBackend] = {}
        self._spaces: dict[tuple[str, int | None], int] = {}
        self._creating = asyncio.Lock()

    async def backend(self, spec: str, dimensions: int | None = None) -> EmbeddingBackend:
        """The backend of `provider:model`. Raises UnknownProvider, MissingDependency."""
        if (spec, dimensions) not in self._backends:
            async with self._creating:
                if (spec, dimensions) not in self._backends:
                    provider, _, model = spec.partition(":")
                    made = await asyncio.to_thread(self._create, provider, model, dimensions)
                    self._backends[spec, dimensions] = await self._one_of_its_space(made)
        return self._backends[spec, dimensions]

    async def _one_of_its_space(self, made: EmbeddingBackend) -> EmbeddingBackend:
        """The backend that already serves this space, whatever it was called; else this one."""
        for known in self._backends.values():
            if known.space == made.space:
                await made.aclose()
                return known
        return made

    async def of(self, collection: Collection) -> EmbeddingBackend:
        """The backend of a collection. Raises Conflict when it makes other vectors by now."""
        named = collection.embedding, collection.dimensions
        backend = await self.backend(*named)
        if named not in self._spaces:
            self._spaces[named] = await self._store.space_id(backend.space)
        if self._spaces[named] != collection.space_id:
            raise Conflict(
                f"the vectors of the collection {collection.name!r} come from another "
                f"{collection.embedding} than the one installed now (revision "
                f"{backend.space.revision[:12]}): install the former one, or index the documents "
                "into a new collection",
                code="embedding_space_changed",
            )
        return backend

    async def embed(self, backend: EmbeddingBackend, texts: Sequence[str], role: Role) -> Matrix:
        """Shape (len(texts), dimensions), rows of unit length. Raises ProviderError."""
        if not texts:
            return np.empty((0, backend.space.dimensions), dtype=np.float32)
        raw = await backend.embed(texts, role)
        try:
            return unit_rows(raw, len(texts), backend.space.dimensions, backend.space.name)
        except InvalidInput as error:
            raise ProviderError(f"a wrong answer from {error.detail}") from error

    async def ensure_stored(
        self, collection: Collection, backend: EmbeddingBackend, texts: Mapping[bytes, str]
    ) -> Embedded:
        """Embed and store what has no vector yet; an error costs only the texts it is about."""
        there = await self._store.stored_keys(collection.space_id, list(texts))
        missing = [key for key in texts if key not in there]
        slices = [missing[i : i + SLICE] for i in range(0, len(missing), SLICE)]
        places = asyncio.Semaphore(AT_ONCE)

        async def embed_slice(keys: Sequence[bytes]) -> dict[bytes, EmbedsvcError]:
            async with places:
                return await self._embed_slice(collection.space_id, backend, keys, texts)

        outcomes = await asyncio.gather(*map(embed_slice, slices), return_exceptions=True)
        failed: dict[bytes, EmbedsvcError] = {}
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            failed.update(outcome)
        return Embedded(frozenset(key for key in missing if key not in failed), failed)

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

    async def _embed_slice(
        self,
        space_id: int,
        backend: EmbeddingBackend,
        keys: Sequence[bytes],
        texts: Mapping[bytes, str],
    ) -> dict[bytes, EmbedsvcError]:
        """Embed and store; what failed, by key."""
        try:
            vectors = await self.embed(backend, [texts[key] for key in keys], "document")
        except ProviderRejected as error:
            if len(keys) == 1:
                return {keys[0]: error}
            half = len(keys) // 2  # the text at fault shall fail alone
            return {
                **await self._embed_slice(space_id, backend, keys[:half], texts),
                **await self._embed_slice(space_id, backend, keys[half:], texts),
            }
        except EmbedsvcError as error:
            return dict.fromkeys(keys, error)
        await self._store.add_vectors(space_id, keys, vectors)
        return {}
