"""Keep the indexes level with SQL: before it searches, a process applies the changes between.

The same loop serves a restart, writes of this process, writes of others, and a lost snapshot.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from embedsvc.core.model import Change, Collection, Ids, Matrix
from embedsvc.ports import Step, VectorIndex, no_step
from embedsvc.store.store import Store

log = structlog.get_logger(__name__)

CreateIndex = Callable[[str, int], VectorIndex]
"""(name, dimensions) → index. The name is unique for ever, and fit for a folder."""

NUDGE_SECONDS = 0.1
PAGE = 16_384
"""Vectors that are read and applied together."""


class Replicas:
    """One index for each collection in use."""

    def __init__(
        self, store: Store, create: CreateIndex, on_step: Step = no_step, page: int = PAGE
    ) -> None:
        self._store = store
        self._create = create
        self._on_step = on_step
        self._page = page
        self._indexes: dict[tuple[int, int], VectorIndex] = {}
        self._locks: dict[tuple[int, int], asyncio.Lock] = {}
        self._nudged: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._rebuilding: dict[str, str] = {}

    async def degraded(self) -> list[str]:
        """What is being rebuilt or could not be saved, in words; empty when all is well."""
        infos = await asyncio.gather(*(index.info() for index in self._indexes.values()))
        unsaved = {reason for info in infos for reason in info.degraded}
        return sorted({*self._rebuilding.values(), *unsaved})

    def of(self, collection: Collection) -> VectorIndex:
        """The index of a collection, as it is."""
        key = _key(collection)
        if key not in self._indexes:
            # the time too: a new database in the same home must not find the old one's snapshot
            name = f"{collection.id}-{collection.created_at}-space-{collection.space_id}"
            self._indexes[key] = self._create(name, collection.dimensions)
            self._locks[key] = asyncio.Lock()
        return self._indexes[key]

    async def fresh(self, collection: Collection) -> VectorIndex:
        """The index, level with the version of `collection` or later."""
        index = self.of(collection)
        at = await index.version()
        if at == collection.version:
            return index
        async with self._locks[_key(collection)]:
            at = await index.version()
            if at > collection.version:
                collection = await self._store.collection(collection.name)
            if at > collection.version:  # the database was put back to an earlier state
                log.warning("index_of_a_later_time", collection=collection.name, index=at)
                await index.reset()
            if await index.version() < collection.version:
                await self._catch_up(index, collection)
        return index

    def nudge(self, collection: Collection) -> None:
        """Catch up soon, so that the next search need not wait; errors wait for that search."""
        key = _key(collection)
        if key not in self._nudged or self._nudged[key].done():
            task = asyncio.create_task(self._catch_up_soon(collection))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._nudged[key] = task

    async def rebuild(self, collection: Collection) -> VectorIndex:
        """Throw the index away, with its snapshot, and build it from SQL."""
        index = self.of(collection)
        async with self._locks[_key(collection)]:
            await index.reset()
            await self._catch_up(index, collection)
        await index.save()
        return index

    async def drop(self, collection: Collection) -> None:
        """Delete the index of a deleted collection."""
        index = self.of(collection)
        async with self._locks[_key(collection)]:
            await index.drop()
        del self._indexes[_key(collection)], self._locks[_key(collection)]
        self._nudged.pop(_key(collection), None)

    async def aclose(self) -> None:
        """Stop all background work."""
        for task in self._nudged.values():
            task.cancel()
        await asyncio.gather(*self._nudged.values(), return_exceptions=True)
        await asyncio.gather(*(index.aclose() for index in self._indexes.values()))

    async def _catch_up_soon(self, collection: Collection) -> None:
        await asyncio.sleep(NUDGE_SECONDS)  # one catch-up for all the writes of a moment
        await self.fresh(await self._store.collection(collection.name))

    async def _catch_up(self, index: VectorIndex, collection: Collection) -> None:
        """Apply what happened after the index's version, in pages; the version moves last."""
        since, upto = await index.version(), collection.version
        if since == 0 and (await index.info()).vectors:
            await index.reset()  # an earlier try broke off; what it read may be deleted by now
        removed = await self._store.removed(collection.id, since, upto)
        if removed is None:
            log.warning("index_too_old", collection=collection.name, index=since, sql=upto)
            await index.reset()
            since = 0
            removed = await self._store.removed(collection.id, since, upto)
            assert removed is not None
        await self._note_rebuild(index, collection)
        reading: asyncio.Task[Any] | None = self._read(collection, (since, _HIGHEST), upto)
        try:
            while reading is not None:
                ids, vectors, more = await reading
                # the next page is read while this one is applied
                reading = self._read(collection, more, upto) if more else None
                # what was replaced goes with the last page, when all that replaces it is there
                gone = removed[:0] if more else removed
                await index.apply(Change(since if more else upto, ids, vectors, gone))
                self._on_step("index:page")
        finally:
            if reading is not None:
                reading.cancel()
        if self._rebuilding.pop(collection.name, None):
            log.info("index_rebuilt", collection=collection.name, version=upto)

    def _read(
        self, collection: Collection, at: tuple[int, int], upto: int
    ) -> asyncio.Task[tuple[Ids, Matrix, tuple[int, int] | None]]:
        return asyncio.create_task(self._store.added(collection, at, upto, self._page))

    async def _note_rebuild(self, index: VectorIndex, collection: Collection) -> None:
        reasons = (await index.info()).degraded
        if reasons and await index.version() == 0:
            self._rebuilding[collection.name] = (
                f"index of {collection.name} is rebuilt from SQL: {'; '.join(reasons)}"
            )


_HIGHEST = 2**62  # above every chunk id: a page that begins there begins with the next version


def _key(collection: Collection) -> tuple[int, int]:
    return collection.id, collection.space_id
