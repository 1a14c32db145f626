"""Collections: create, describe, list, delete."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embedsvc.core.fields import check_fields
from embedsvc.core.model import Chunking, Collection, FieldType, IndexInfo, Space
from embedsvc.core.preparing import check_text
from embedsvc.errors import Conflict, InvalidInput, NotFound
from embedsvc.services.embedding import Embedders
from embedsvc.services.indexing import Replicas
from embedsvc.store.store import Store

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MOST_TOKENS = 100_000

COPY = re.compile(r"eval-([0-9a-f]{32})-[0-9]+")
"""Names of the copies that evaluations make, with the id of the evaluation: for nobody else."""


@dataclass(frozen=True, slots=True)
class Described:
    """A collection with what is in it."""

    collection: Collection
    documents: int
    chunks: int
    index: IndexInfo


class Collections:
    """The named sets of documents."""

    def __init__(
        self, store: Store, embedders: Embedders, replicas: Replicas, default_embedding: str
    ) -> None:
        self._store = store
        self._embedders = embedders
        self._replicas = replicas
        self._default = default_embedding

    async def get(self, name: str) -> Collection:
        """One collection. Raises NotFound; InvalidInput when no collection can have that name."""
        return await self._store.collection(checked_name(name))

    async def get_or_create(self, name: str) -> Collection:
        """The collection, created with the defaults when there is none."""
        try:
            return await self.get(name)
        except NotFound:
            return (await self.put(name))[0]

    async def put(
        self,
        name: str,
        embedding: str | None = None,
        dimensions: int | None = None,
        chunking: Chunking | None = None,
        description: str | None = None,
        fields: Mapping[str, FieldType] | None = None,
        *,
        copy: bool = False,
    ) -> tuple[Collection, bool]:
        """Create it, or change description and fields; whether it was created.

        `copy`: it is made by an evaluation, which alone may use the names that match COPY.
        Another word for the same model (at another address) is taken over. Raises Conflict when it
        exists with another embedding or chunking, or with values that do not fit the fields.
        """
        checked_name(name)
        check_text("description", description or "")
        check_fields(fields or {})
        existing = await self._existing(name)
        if existing is None:
            _refuse_copy_name(name, copy)
            spec = embedding or self._default
            backend = await self._embedders.backend(spec, dimensions)
            cut = _checked_chunking(chunking or _default_chunking(backend.space), backend.space)
            space = await self._embedders.space_of(backend)
            existing, created = await self._store.create_collection(
                name, spec, space, cut, description, fields
            )
            if created:
                return existing, True
        await self._refuse_change(existing, embedding, dimensions, chunking)
        moved = embedding if embedding != existing.embedding else None
        return await self._store.update_collection(name, description, fields, moved), False

    async def describe(self, name: str) -> Described:
        """A collection with counts and the state of its index. Raises NotFound."""
        return await self._described(await self.get(name))

    async def list(self, after: str, limit: int) -> tuple[list[Described], str | None]:
        """A page by name, without copies, and the name after which the next page begins."""
        page = await self._store.collections(after, limit + 1)
        found = _without_copies(page)
        while len(found) <= limit < len(page):
            page = await self._store.collections(page[-1].name, limit + 1)
            found += _without_copies(page)
        more = found[limit - 1].name if len(found) > limit else None
        return [await self._described(c) for c in found[:limit]], more

    async def delete(self, name: str) -> None:
        """Delete a collection and all that is in it. Raises NotFound."""
        gone = await self._store.delete_collection(checked_name(name))
        await self._replicas.drop(gone)

    async def _described(self, collection: Collection) -> Described:
        documents, chunks = await self._store.counts(collection.id)
        info = await self._replicas.of(collection).info()
        return Described(collection, documents, chunks, info)

    async def _existing(self, name: str) -> Collection | None:
        try:
            return await self._store.collection(name)
        except NotFound:
            return None

    async def _is_same(self, existing: Collection, embedding: str) -> bool:
        """Whether another word means the model that the collection is embedded with."""
        try:
            other = await self._embedders.backend(embedding, existing.dimensions)
        except InvalidInput:  # that model does not have as many dimensions
            await self._embedders.backend(embedding)
            return False
        return await self._embedders.same_space(existing, other)

    async def _refuse_change(
        self,
        existing: Collection,
        embedding: str | None,
        dimensions: int | None,
        chunking: Chunking | None,
    ) -> None:
        if (embedding, dimensions, chunking) == (None, None, None):
            return
        other = embedding if embedding != existing.embedding else None
        if other is not None and not await self._is_same(existing, other):
            raise Conflict(
                f"the collection {existing.name!r} is embedded with {existing.embedding}, "
                f"not with {other}: that is a migration",
                code="embedding_differs",
            )
        if dimensions not in (None, existing.dimensions):
            raise Conflict(
                f"the collection {existing.name!r} has {existing.dimensions} dimensions, "
                f"not {dimensions}: that is a migration",
                code="embedding_differs",
            )
        space = await self._embedders.space(existing)
        if chunking is not None and _checked_chunking(chunking, space) != existing.chunking:
            raise Conflict(
                f"the collection {existing.name!r} is chunked with size {existing.chunking.size}, "
                f"overlap {existing.chunking.overlap}, strategy {existing.chunking.strategy!r}, "
                f"too_long {existing.chunking.too_long!r}: "
                "create another collection for another chunking",
                code="chunking_differs",
            )


def checked_name(name: str) -> str:
    """The name, if a collection can have it. Raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"collection: {name[:80]!r} is not a name; use 1 to 63 of a-z, 0-9, '_' and '-', "
            "beginning with a letter or digit"
        )
    return name


def _without_copies(page: Sequence[Collection]) -> list[Collection]:
    return [one for one in page if not COPY.fullmatch(one.name)]


def _refuse_copy_name(name: str, copy: bool) -> None:
    if not copy and COPY.fullmatch(name):
        raise InvalidInput(
            f"collection: {name!r} is a name of the copies that evaluations make and delete; "
            "choose another one"
        )


def _default_chunking(space: Space) -> Chunking:
    size = Chunking().size
    window = space.window
    return Chunking(size=size if window is None else min(size, window))


def _checked_chunking(chunking: Chunking, space: Space) -> Chunking:
    window = space.window
    if not 1 <= chunking.size <= _MOST_TOKENS:
        raise InvalidInput(f"chunking.size: {chunking.size}; use 1 to {_MOST_TOKENS} tokens")
    if not 0 <= chunking.overlap < chunking.size:
        raise InvalidInput(
            f"chunking.overlap: {chunking.overlap}; use 0 to {chunking.size - 1}, less than size"
        )
    if window is not None and chunking.size > window and chunking.strategy != "none":
        # the model would not read the rest: smaller chunks lose nothing
        return replace(chunking, size=window, overlap=min(chunking.overlap, window // 2))
    return chunking
