"""Compare an index with SQL, id by id and vector by vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedsvc.core.model import Collection, Ids
from embedsvc.ports import VectorIndex
from embedsvc.services.collections import Collections
from embedsvc.services.indexing import Replicas
from embedsvc.store.store import Store

PAGE = 16_384
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Verified:
    """What differs. Empty lists: the index is exactly the truth.

    `missing`: chunks that no search can find; `orphaned`: ids in the index without a chunk;
    `mismatched`: another vector in the index than in SQL; `vectorless`: chunks without a vector.
    """

    collection: str
    version: int
    index_version: int
    chunks: int
    missing: Sequence[int]
    orphaned: Sequence[int]
    mismatched: Sequence[int]
    vectorless: Sequence[int]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.orphaned or self.mismatched or self.vectorless)


class Verify:
    """Checks indexes, and rebuilds them."""

    def __init__(self, store: Store, collections: Collections, replicas: Replicas) -> None:
        self._store = store
        self._collections = collections
        self._replicas = replicas

    async def verify(self, name: str) -> Verified:
        """Read every vector from SQL and from the index. Writes meanwhile are not faults."""
        collection = await self._collections.get(name)
        return await self._compare(collection, await self._replicas.fresh(collection))

    async def repair(self, name: str) -> Verified:
        """Build the index anew from SQL, and verify it."""
        collection = await self._collections.get(name)
        return await self._compare(collection, await self._replicas.rebuild(collection))

    async def _compare(self, collection: Collection, index: VectorIndex) -> Verified:
        missing: list[int] = []
        mismatched: list[int] = []
        vectorless: list[int] = []
        seen: list[Ids] = []
        after = 0
        while len(page := await self._store.chunk_ids(collection.id, after, PAGE)):
            after = int(page[-1])
            seen.append(page)
            true_ids, true = await self._store.chunk_vectors(collection, page.tolist())
            vectorless += np.setdiff1d(page, true_ids).tolist()
            held_ids, held = await index.vectors(true_ids)
            missing += np.setdiff1d(true_ids, held_ids).tolist()
            common = np.isin(true_ids, held_ids)
            wrong = np.abs(true[common] - held).max(axis=1, initial=0.0) > TOLERANCE
            mismatched += held_ids[wrong].tolist()
        known = np.concatenate(seen) if seen else np.empty(0, dtype=np.int64)
        orphaned = np.setdiff1d(await index.ids(), known).tolist()
        if missing or orphaned or mismatched or vectorless:
            missing, orphaned, mismatched, vectorless = await self._lasting(
                collection, missing, orphaned, mismatched, vectorless
            )
        return Verified(
            collection=collection.name,
            version=collection.version,
            index_version=await index.version(),
            chunks=len(known),
            missing=missing,
            orphaned=orphaned,
            mismatched=mismatched,
            vectorless=vectorless,
        )

    async def _lasting(
        self,
        collection: Collection,
        missing: list[int],
        orphaned: list[int],
        mismatched: list[int],
        vectorless: list[int],
    ) -> tuple[list[int], list[int], list[int], list[int]]:
        """Those faults that are still there once the index has caught up with later writes."""
        current = await self._store.collection(collection.name)
        index = await self._replicas.fresh(current)
        held = set((await index.ids()).tolist())
        suspects = sorted({*missing, *orphaned, *mismatched, *vectorless})
        rows = await self._store.chunks(current.id, vectorless)
        there = set((await self._store.chunk_vectors(current, suspects))[0].tolist())
        return (
            [i for i in missing if i in there and i not in held],
            [i for i in orphaned if i in held and i not in there],
            [i for i in mismatched if i in held and i in there],
            [i for i in vectorless if i in rows and i not in there],
        )
