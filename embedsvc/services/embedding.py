"""Texts to vectors, and never twice: what is stored is not embedded again.

A backend's answer is checked and stored the moment it arrives, before anything uses it; so neither
a crash nor a later failure pays for the same text a second time. A space keeps the vectors of a few
fixed texts, its canaries: a backend that no longer makes the same vectors is refused, and one that
makes them under another name is recognised.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.batching import batches
from embedsvc.core.canaries import CANARIES, REPRODUCED_QUANTISED, alike, same_name
from embedsvc.core.model import Collection, Matrix, Role, Space
from embedsvc.core.spec import parse_spec
from embedsvc.errors import Conflict, EmbedsvcError, InvalidInput, ProviderTimeout, ProviderWrong
from embedsvc.services.backends import QUERY_SECONDS, Backend, Backends, CreateBackend, Vectors
from embedsvc.services.retrying import Retrying, all_or_none
from embedsvc.services.storing import Storing
from embedsvc.services.usage import Meter
from embedsvc.store.store import Store

CHECKED_FOR = 600.0
"""Seconds after which a remote backend has to show its canaries again."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a set of texts, by their keys; `tokens` were read for the fresh ones."""

    fresh: frozenset[bytes] = frozenset()
    failed: Mapping[bytes, EmbedsvcError] = field(default_factory=dict)
    tokens: int = 0
    cost_usd: float | None = 0.0


class Embedders:
    """Embeds by the backends in use, and keeps the vectors they have made."""

    def __init__(
        self, store: Store, create: CreateBackend, retrying: Retrying, meter: Meter
    ) -> None:
        self._store = store
        self._backends = Backends(create, retrying)
        self.meter = meter
        self._checking: dict[tuple[Backend, int], asyncio.Task[None]] = {}

    # -- which backend ------------------------------------------------------------------------

    async def backend(self, spec: str, dimensions: int | None = None) -> Backend:
        """The backend of `provider:model`. Raises UnknownProvider, MissingDependency."""
        return await self._backends.get(parse_spec(spec, dimensions))

    def built(self, spec: str) -> Backend | None:
        """The backend of a spec, if it is in use already; builds nothing."""
        return self._backends.find(parse_spec(spec))

    async def space(self, collection: Collection) -> Space:
        """The space of a collection as it was written down; asks no backend."""
        return (await self._store.space(collection.space_id)).space

    async def of(self, collection: Collection) -> Backend:
        """The backend of a collection. Raises Conflict when it makes other vectors by now."""
        stored = await self.space(collection)
        spec = parse_spec(collection.embedding, collection.dimensions)
        if stored.provider == spec.provider:  # else it is the same model at another provider
            spec = spec.overlaid(stored.options)
        try:
            backend = await self._backends.get(spec)
        except InvalidInput as error:  # the model could do all this when the collection was made
            raise Conflict(
                f"the vectors of this collection were made by {stored.title}: {error.detail}",
                code="embedding_space_changed",
            ) from error
        if backend.space != stored and not backend.calls.remote:
            raise _changed(stored, backend.space)
        return backend

    async def same_space(self, collection: Collection, backend: Backend) -> bool:
        """Whether a backend of another name makes the vectors of this collection."""
        stored = await self._store.space(collection.space_id)
        if backend.space == stored.space:
            return True
        if not backend.calls.remote or stored.canaries is None:
            return False
        return alike(await self._canaries(backend), stored.canaries, stored.space)

    async def space_of(self, backend: Backend) -> Space:
        """The space of a new collection: one that is known by its canaries, else the backend's.

        So the same model behind another address shares the vectors that are there already, and
        another model behind the same name does not.
        """
        if not backend.calls.remote:
            return backend.space
        failures = backend.failures
        canaries = await self._first_canaries(backend)
        space = await self._recognised(backend.space, canaries)
        space_id = await self._store.space_id(space)
        await self._store.keep_canaries(space_id, canaries)
        backend.checked[space_id] = failures, time.monotonic()
        return space

    async def _recognised(self, space: Space, canaries: Matrix) -> Space:
        """A space that is there and has these canaries; else a new one."""
        taken = False
        for known in await self._store.spaces(space.dimensions):
            if known.canaries is None:
                continue
            if same_name(known.space, space) and alike(canaries, known.canaries, known.space):
                return known.space
            taken = taken or known.space == space  # the name is the same, and the model is not
        return replace(space, revision=sha256(canaries.tobytes()).hexdigest()) if taken else space

    # -- vectors ------------------------------------------------------------------------------

    async def embed(
        self,
        backend: Backend,
        texts: Sequence[str],
        role: Role,
        collection: Collection | None = None,
    ) -> Vectors:
        """Shape (len(texts), dimensions), rows of unit length. Raises ProviderError."""
        if not texts:
            return Vectors(np.empty((0, backend.space.dimensions), dtype=np.float32), 0)
        work = self._embed(backend, texts, role, collection)
        if role != "query" or not backend.calls.remote:
            return await work
        try:
            async with asyncio.timeout(QUERY_SECONDS):  # the canaries and all
                return await work
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{backend.space.provider} did not answer within {QUERY_SECONDS:g} seconds"
            ) from error

    async def embed_beginnings(
        self, backend: Backend, texts: Sequence[str], role: Role, collection: Collection
    ) -> Matrix:
        """As `embed`, of texts that may be too long: what the model reads of each."""
        read = await backend.fitted(texts)
        found = await self.embed(backend, [one.parts[0] for one in read], role, collection)
        return found.rows

    async def _embed(
        self,
        backend: Backend,
        texts: Sequence[str],
        role: Role,
        collection: Collection | None,
    ) -> Vectors:
        await self._check(backend, collection)
        distinct = list(dict.fromkeys(texts))
        try:
            answers = await all_or_none(
                self._call(backend, [distinct[i] for i in batch], role, collection)
                for batch in await self._batches(backend, distinct)
            )
        except Conflict:
            self._backends.forget(backend)
            raise
        await self._check(backend, collection)  # no call was repeated, or it is the same model
        rows = np.concatenate([answer.rows for answer in answers])
        tokens = sum(answer.tokens for answer in answers)
        if len(distinct) < len(texts):
            place = {text: i for i, text in enumerate(distinct)}
            rows = rows[[place[text] for text in texts]]
        return Vectors(rows, tokens)

    async def ensure_stored(
        self,
        collection: Collection,
        backend: Backend,
        texts: Mapping[bytes, str],
        lengths: Mapping[bytes, int],
    ) -> Embedded:
        """Embed and store what has no vector yet; an error costs only the texts it is about.

        `lengths` are the tokens of each text.
        """
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

        async def call(some: Sequence[str]) -> Vectors:
            made = await self._call(backend, some, "document", collection)
            await self._check(backend, collection)
            return made

        async def sound() -> None:
            backend.failures += 1
            await self._check(backend, collection)

        work = Storing(self._store, collection.space_id, texts, call, sound)
        together = batches(
            [lengths[key] for key in missing], backend.calls.texts, backend.calls.tokens
        )
        places = asyncio.Semaphore(backend.calls.at_once)  # what has not begun can be given up

        async def embed_slice(batch: Sequence[int]) -> tuple[int, dict[bytes, EmbedsvcError]]:
            async with places:
                return await work.slice([missing[i] for i in batch])

        outcomes = await asyncio.gather(*map(embed_slice, together), return_exceptions=True)
        failed: dict[bytes, EmbedsvcError] = {}
        tokens = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            tokens += outcome[0]
            failed.update(outcome[1])
        fresh = frozenset(key for key in missing if key not in failed)
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
        for task in list(self._checking.values()):
            task.cancel()
        await self._backends.aclose()

    async def _batches(self, backend: Backend, texts: Sequence[str]) -> list[list[int]]:
        """Positions of texts that go into one call together."""
        limit = backend.calls.tokens
        lengths = [0] * len(texts) if limit is None else await backend.lengths(texts)
        return batches(lengths, backend.calls.texts, limit)

    async def _call(
        self, backend: Backend, texts: Sequence[str], role: Role, collection: Collection | None
    ) -> Vectors:
        """One call, counted when it is answered."""
        made = await backend.call(texts, role)
        self.meter.add(backend.space.name, made.tokens, len(texts), collection)
        return made

    # -- canaries -----------------------------------------------------------------------------

    async def _check(self, backend: Backend, collection: Collection | None) -> None:
        """Refuse a backend that does not make the vectors of its space any more."""
        if collection is None or backend.is_checked(collection.space_id, CHECKED_FOR):
            return
        which = backend, collection.space_id
        if which not in self._checking:  # all that wait share one check, and its error
            self._checking[which] = asyncio.create_task(self._compare(*which))
            self._checking[which].add_done_callback(lambda task: self._compared(which, task))
        await asyncio.shield(self._checking[which])

    def _compared(self, which: tuple[Backend, int], task: "asyncio.Task[None]") -> None:
        self._checking.pop(which, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; there may be nobody

    async def _compare(self, backend: Backend, space_id: int) -> None:
        failures = backend.failures
        stored = await self._store.space(space_id)
        if stored.canaries is None:
            await self._store.keep_canaries(space_id, await self._first_canaries(backend))
        elif not alike(await self._canaries(backend), stored.canaries, stored.space):
            raise _changed(stored.space, backend.space)
        backend.checked[space_id] = failures, time.monotonic()

    async def _first_canaries(self, backend: Backend) -> Matrix:
        """The canaries of a new space. Raises ProviderWrong where vectors are mixed up."""
        canaries = await self._canaries(backend)
        if backend.calls.remote:
            role, text = CANARIES[0]
            alone = await self._call(backend, [text], role, None)
            if float(alone.rows[0] @ canaries[0]) < REPRODUCED_QUANTISED:
                raise ProviderWrong(
                    f"a wrong answer from {backend.space.name}: a text has another vector alone "
                    "than together with others"
                )
        return canaries

    async def _canaries(self, backend: Backend) -> Matrix:
        """Shape (canaries, dimensions)."""
        rows = np.empty((len(CANARIES), backend.space.dimensions), dtype=np.float32)
        for role in ("document", "query"):
            at = [i for i, canary in enumerate(CANARIES) if canary[0] == role]
            rows[at] = (await self._call(backend, [CANARIES[i][1] for i in at], role, None)).rows
        return rows


def _changed(stored: Space, found: Space) -> Conflict:
    other = found.title if found.title != stored.title else "the model that has this name now"
    return Conflict(
        f"the vectors of this collection were made by {stored.title}; {other} makes others: "
        "bring the former model back, or index the documents into a new collection",
        code="embedding_space_changed",
    )
