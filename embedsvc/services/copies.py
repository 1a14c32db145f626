"""Copies of a collection with another model or other chunks, for as long as they are measured."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from embedsvc.core.model import Chunking, Collection
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import EmbedsvcError, InvalidInput, NotFound
from embedsvc.services.collections import COPY, Collections
from embedsvc.services.embedding import Embedders
from embedsvc.services.ingest import Ingest
from embedsvc.store.store import Store

log = structlog.get_logger(__name__)

PREFIX = "eval-"
_PAGE = 64


@dataclass(frozen=True, slots=True)
class Otherwise:
    """How a copy is to differ from its collection; None: not at all."""

    embedding: str | None = None
    dimensions: int | None = None
    chunking: Chunking | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """The collection of each kind of configuration: itself, or a copy of so many documents."""

    collection: Collection
    copies: Mapping[Otherwise, str]
    documents: int = 0

    @property
    def steps(self) -> int:
        """How many documents are to be copied."""
        return self.documents * len(self.copies)

    def of(self, other: Otherwise) -> str:
        """The name of the collection that such a configuration searches."""
        return self.copies.get(other, self.collection.name)


class Copies:
    """Makes copies of collections and deletes them."""

    def __init__(
        self,
        store: Store,
        collections: Collections,
        ingest: Ingest,
        embedders: Embedders,
        most_documents: int,
    ) -> None:
        self._store = store
        self._collections = collections
        self._ingest = ingest
        self._embedders = embedders
        self._page = min(_PAGE, most_documents)

    async def plan(
        self, collection: Collection, evaluation_id: str, others: Iterable[Otherwise]
    ) -> Targets:
        """Which configurations need a copy, one for all that differ alike.

        Raises UnknownProvider, MissingDependency, ConfigError, ProviderError.
        """
        copies: dict[Otherwise, str] = {}
        for other in others:
            if other not in copies and not await self._is_same(collection, other):
                copies[other] = name_of(evaluation_id, len(copies) + 1)
        if not copies:
            return Targets(collection, copies)
        documents, _ = await self._store.counts(collection.id)
        return Targets(collection, copies, documents)

    @asynccontextmanager
    async def made(self, targets: Targets, advance: Callable[[int], None]) -> AsyncIterator[None]:
        """With the copies, which are gone afterwards, whatever happens."""
        try:
            for other, name in targets.copies.items():
                await self.make(targets.collection, name, other, advance)
            yield
        finally:
            await self.drop(list(targets.copies.values()))

    async def make(
        self,
        collection: Collection,
        name: str,
        other: Otherwise,
        advance: Callable[[int], None],
    ) -> None:
        """Copy every document. Vectors that are known are not embedded again.

        Raises InvalidInput when a document cannot be copied: a comparison on a part is none.
        """
        if other.embedding is None and other.dimensions is None:
            dimensions: int | None = collection.dimensions
        else:
            dimensions = other.dimensions
        await self._collections.put(
            name,
            embedding=other.embedding or collection.embedding,
            dimensions=dimensions,
            chunking=other.chunking or collection.chunking,
            fields=collection.fields,
            copy=True,
        )
        after: int | None = 0
        while after is not None:
            page, after = await self._store.documents(collection.name, after, self._page, None)
            found = [await self._draft(collection.name, one.id, other) for one in page]
            await self._add(name, [draft for draft in found if draft is not None])
            advance(len(page))

    async def drop(self, names: Sequence[str]) -> None:
        """Delete copies; one that cannot be deleted now is swept away later."""
        for name in names:
            try:
                await self._collections.delete(name)
            except NotFound:
                continue
            except EmbedsvcError as error:
                log.warning("copy_not_deleted", collection=name, error=error.detail)

    async def _is_same(self, collection: Collection, other: Otherwise) -> bool:
        """Whether that is the collection as it is."""
        if other.chunking not in (None, collection.chunking):
            return False
        if other.embedding is None and other.dimensions in (None, collection.dimensions):
            return True
        spec = other.embedding or collection.embedding
        backend = await self._embedders.backend(spec, other.dimensions)
        return await self._embedders.same_space(collection, backend)

    async def _add(self, name: str, drafts: Sequence[Draft]) -> None:
        if not drafts:
            return
        added = await self._ingest.add(name, drafts)
        for outcome in added.documents:
            if outcome.error is not None:
                raise InvalidInput(
                    f"document {outcome.id!r} cannot be indexed in that configuration: "
                    f"{outcome.error.detail}",
                    code=outcome.error.code,
                )

    async def _draft(self, name: str, document_id: str, other: Otherwise) -> Draft | None:
        """A document as it can be sent again; None when nothing of it is indexed."""
        try:
            found, chunks = await self._store.document(name, document_id, text=True, chunks=True)
        except NotFound:  # deleted a moment ago
            return None
        if not chunks:
            return None
        own = found.cuts and other.chunking is None  # chunks that the client cut stay as they are
        return Draft(
            id=found.id,
            text=None if own else found.text,
            chunks=[DraftChunk(c.text, c.metadata) for c in chunks] if own else None,
            title=found.title,
            url=found.url,
            metadata=found.metadata,
        )


def name_of(evaluation_id: str, number: int) -> str:
    """The name of a copy."""
    return f"{PREFIX}{evaluation_id}-{number}"


def owners(names: Iterable[str]) -> dict[str, str]:
    """The names that are those of copies, each with the id of its evaluation."""
    found = ((name, COPY.fullmatch(name)) for name in names)
    return {name: match[1] for name, match in found if match}
