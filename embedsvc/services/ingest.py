"""Documents in: prepared, embedded where needed, and committed together.

    prepare (pure) ──▶ embed what has no vector ──▶ one transaction ──▶ the index catches up

Embedding comes before the transaction, never inside. With wait=none the documents are stored as
pending work first, and the same path runs later in `work`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import msgspec
import structlog

from embedsvc.core.filters import Filter, matches_all
from embedsvc.core.model import Collection, Document, Prepared, Truncated
from embedsvc.core.preparing import Cut, Draft, check_labels, prepare
from embedsvc.errors import Conflict, EmbedsvcError, InvalidInput, NotFound, TooLarge
from embedsvc.ports import Step, no_step
from embedsvc.services.backends import Backend
from embedsvc.services.collections import Collections
from embedsvc.services.embedding import Embedded, Embedders
from embedsvc.services.indexing import Replicas
from embedsvc.store.store import Claimed, FieldsChanged, Known, Remember, Reply, Store

log = structlog.get_logger(__name__)

Wait = Literal["searchable", "stored", "none"]
Status = Literal["indexed", "unchanged", "pending", "failed"]

CLAIM = 64
LEASE_SECONDS = 600.0
ATTEMPTS = 8
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one document failed, while the others did not."""

    code: str
    detail: str
    transient: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document. `truncated`: chunks that the model does not read whole."""

    id: str
    status: Status
    chunks: int = 0
    embedded: int = 0
    cached: int = 0
    truncated: tuple[Truncated, ...] = ()
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a request."""

    version: int
    documents: Sequence[Outcome]
    tokens: int
    cost_usd: float | None = None


class Ingest:
    """Adds, replaces and deletes documents."""

    def __init__(
        self,
        store: Store,
        collections: Collections,
        embedders: Embedders,
        replicas: Replicas,
        *,
        most_characters: int,
        most_documents: int,
        on_step: Step = no_step,
    ) -> None:
        self._store = store
        self._collections = collections
        self._embedders = embedders
        self._replicas = replicas
        self._most_characters = most_characters
        self._most_documents = most_documents
        self._on_step = on_step
        self._work_waits = asyncio.Event()

    async def add(
        self,
        name: str,
        drafts: Sequence[Draft],
        wait: Wait = "searchable",
        idempotency_key: str | None = None,
    ) -> Added:
        """Put documents in the place of those with the same ids.

        A bad document fails alone. Raises InvalidInput for a request that is bad as a whole.
        """
        self._check_request(drafts)
        while True:
            try:
                return await self._add_once(name, drafts, wait, idempotency_key)
            except NotFound:  # deleted while the texts were embedded: the write makes it again
                log.info("collection_deleted_meanwhile", collection=name)
            except FieldsChanged:  # the documents have to be checked against other types
                log.info("fields_changed_meanwhile", collection=name)

    async def _add_once(
        self, name: str, drafts: Sequence[Draft], wait: Wait, idempotency_key: str | None
    ) -> Added:
        collection = await self._collections.get_or_create(name)
        if idempotency_key is None:
            return await self._add(collection, drafts, wait, None)
        digest = sha256(msgspec.json.encode((wait, drafts))).digest()
        earlier = await self._store.reply(collection.id, idempotency_key)
        if earlier is None:
            return await self._add(collection, drafts, wait, (idempotency_key, digest))
        if earlier.request_hash != digest:
            raise Conflict(
                f"Idempotency-Key {idempotency_key!r} came before with another request",
                code="idempotency_key_reused",
            )
        return msgspec.json.decode(earlier.body, type=Added)

    async def delete(self, name: str, document_id: str) -> None:
        """Delete one document. Raises NotFound."""
        collection = await self._collections.get(name)
        if document_id not in await self._store.known(collection.id, [document_id]):
            raise NotFound(
                f"no document {document_id!r} in the collection {name!r}",
                code="document_not_found",
            )
        await self._store.delete_documents(name, [document_id], None)

    async def delete_many(
        self, name: str, ids: Sequence[str] | None, where: Filter | None
    ) -> tuple[int, int]:
        """Delete by ids or by a filter; how many there were, and the version then."""
        if (ids is None) == (where is None):
            raise InvalidInput("ids: send either ids or a filter, and one of them")
        if where is not None and matches_all(where):
            raise InvalidInput(
                "filter: an empty one matches every document; delete the collection instead",
                code="invalid_filter",
            )
        collection = await self._collections.get(name)
        return await self._store.delete_documents(collection.name, ids, where)

    async def patch(
        self,
        name: str,
        document_id: str,
        title: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Document:
        """Change title or metadata (None: leave), without embedding again. Raises NotFound."""
        if title is None and metadata is None:
            raise InvalidInput("title: send title, metadata, or both")
        check_labels(Draft(document_id, title=title, metadata=metadata))
        collection = await self._collections.get(name)
        return await self._store.patch(collection.name, document_id, title, metadata)

    async def diff(self, name: str, theirs: Mapping[str, str]) -> dict[str, list[str]]:
        """Ids of a client's documents, given with the SHA-256 of their texts, by what is due."""
        collection = await self._collections.get(name)
        ours = await self._store.digests(collection.id)
        due: dict[str, list[str]] = {
            word: [] for word in ("new", "changed", "unchanged", "pending", "failed", "missing")
        }
        for document_id, digest in theirs.items():
            if document_id not in ours:
                due["new"].append(document_id)
                continue
            status, known = ours[document_id]
            if status != "indexed":
                due[status].append(document_id)
            else:
                due["unchanged" if known == digest else "changed"].append(document_id)
        due["missing"] = sorted(ours.keys() - theirs.keys())
        return due

    async def version(self, name: str) -> int:
        """The version of a collection, created when there is none."""
        return (await self._collections.get_or_create(name)).version

    async def work(self) -> None:
        """Embed pending documents as they come, until cancelled."""
        while True:
            try:
                if await self.work_once():
                    continue
            except Exception as error:
                log.error("pending_work_failed", exc_info=error)
            self._work_waits.clear()
            try:
                await asyncio.wait_for(self._work_waits.wait(), IDLE_SECONDS)
            except TimeoutError:
                continue

    async def work_once(self) -> int:
        """Claim some pending documents and embed them; return how many were claimed."""
        claimed = await self._store.claim(CLAIM, LEASE_SECONDS)
        for name in dict.fromkeys(one.collection for one in claimed):
            mine = [one for one in claimed if one.collection == name]
            try:
                await self._finish(name, mine)
            except asyncio.CancelledError:  # the next start need not wait for the lease to end
                await self._release_all(name, mine)
                raise
            except FieldsChanged:  # to be checked against other types, at once
                await self._release_all(name, mine)
            except NotFound:  # the collection was deleted, and these go with it
                continue
            except Exception as error:
                log.error("pending_work_failed", collection=name, exc_info=error)
                await self._give_all_back(name, mine)
        return len(claimed)

    # -- the path of a request ----------------------------------------------------------------

    def _check_request(self, drafts: Sequence[Draft]) -> None:
        if not drafts:
            raise InvalidInput("documents: the list is empty; send at least one")
        if len(drafts) > self._most_documents:
            raise TooLarge(
                f"documents: {len(drafts)} in one request; at most {self._most_documents}"
            )
        seen: set[str] = set()
        for draft in drafts:
            if draft.id in seen:
                raise InvalidInput(
                    f"documents: the id {draft.id[:80]!r} comes twice in one request",
                    code="duplicate_id",
                )
            seen.add(draft.id)

    async def _add(
        self,
        collection: Collection,
        drafts: Sequence[Draft],
        wait: Wait,
        request: tuple[str, bytes] | None,
    ) -> Added:
        backend = await self._embedders.of(collection)
        cuts, outcomes = await self._prepare(collection, backend, drafts)
        known = await self._store.known(collection.id, list(cuts))
        changed = {i: cut for i, cut in cuts.items() if not _same(cut.document, known.get(i))}
        for i in cuts.keys() - changed.keys():
            outcomes[i] = Outcome(i, "unchanged", chunks=known[i].chunks)
        embedded = Embedded()
        if wait == "searchable":
            embedded = await self._embed(collection, backend, changed)
        for i, cut in list(changed.items()):
            outcomes[i] = _outcome(cut, embedded, pending=wait != "searchable")
            if outcomes[i].error is not None:
                del changed[i]

        def added(version: int) -> Added:
            done = [outcomes[draft.id] for draft in drafts]
            return Added(version, done, embedded.tokens, embedded.cost_usd)

        def remember(version: int) -> Reply:
            assert request is not None
            return Reply(*request, msgspec.json.encode(added(version)))

        for_now = any(o.error is not None and o.error.transient for o in outcomes.values())
        kept = remember if request is not None and not for_now else None
        return added(await self._commit(collection, drafts, changed, wait, kept))

    async def _commit(
        self,
        collection: Collection,
        drafts: Sequence[Draft],
        changed: Mapping[str, Cut],
        wait: Wait,
        remember: Remember | None,
    ) -> int:
        """Make it true; return the version at which it is."""
        if not changed:
            if remember is not None:
                await self._store.remember(collection, remember(collection.version))
            return collection.version
        self._on_step("ingest:before-write")
        if wait == "searchable":
            documents = [changed[draft.id].document for draft in drafts if draft.id in changed]
            version = await self._store.replace(collection, documents, reply=remember)
            self._replicas.nudge(collection)
            return version
        bodies = [
            (changed[draft.id].document, msgspec.json.encode(draft))
            for draft in drafts
            if draft.id in changed
        ]
        version = await self._store.enqueue(collection, bodies, remember)
        self._work_waits.set()
        return version

    async def _embed(
        self, collection: Collection, backend: Backend, cuts: Mapping[str, Cut]
    ) -> Embedded:
        """Store every vector that these documents need and nobody has stored yet."""
        ready = {key: row for cut in cuts.values() for key, row in cut.vectors.items()}
        if ready:
            await self._embedders.store_ready(collection, ready)
        texts = {key: text for cut in cuts.values() for key, text in cut.texts.items()}
        lengths = {key: count for cut in cuts.values() for key, count in cut.tokens.items()}
        return await self._embedders.ensure_stored(collection, backend, texts, lengths)

    async def _prepare(
        self, collection: Collection, backend: Backend, drafts: Sequence[Draft]
    ) -> tuple[dict[str, Cut], dict[str, Outcome]]:
        """The documents that can be stored, and those that failed."""

        def work() -> tuple[dict[str, Cut], dict[str, Outcome]]:
            good: dict[str, Cut] = {}
            bad: dict[str, Outcome] = {}
            for draft in drafts:
                try:
                    good[draft.id] = prepare(
                        draft,
                        collection.chunking,
                        backend.space,
                        backend.token_starts,
                        self._most_characters,
                        collection.fields,
                    )
                except EmbedsvcError as error:
                    bad[draft.id] = Outcome(draft.id, "failed", error=problem(error))
            return good, bad

        return await asyncio.to_thread(work)

    # -- the path of pending work ---------------------------------------------------------------

    async def _finish(self, name: str, claimed: Sequence[Claimed]) -> None:
        """Embed and commit what was claimed of one collection, or give it back with the reason."""
        collection = await self._collections.get(name)
        mine = {one.id: one for one in claimed}
        try:
            backend = await self._embedders.of(collection)
            drafts = [msgspec.json.decode(one.body, type=Draft) for one in claimed]
            cuts, outcomes = await self._prepare(collection, backend, drafts)
            embedded = await self._embed(collection, backend, cuts)
        except EmbedsvcError as error:
            for one in claimed:
                await self._give_back(collection, one, problem(error))
            return
        for i, cut in cuts.items():
            outcomes[i] = _outcome(cut, embedded, pending=False)
        good = [cut.document for i, cut in cuts.items() if outcomes[i].error is None]
        if good:
            revisions = {document.id: mine[document.id].revision for document in good}
            await self._store.replace(collection, good, revisions)
            self._replicas.nudge(collection)
        for i, outcome in outcomes.items():
            if outcome.error is not None:
                await self._give_back(collection, mine[i], outcome.error)

    async def _release_all(self, name: str, claimed: Sequence[Claimed]) -> None:
        collection = await self._collections.get(name)
        for one in claimed:
            await self._store.release(collection, one, None, 0)

    async def _give_all_back(self, name: str, claimed: Sequence[Claimed]) -> None:
        collection = await self._collections.get(name)
        why = Problem("internal_error", "an unexpected error; the log has it", transient=True)
        for one in claimed:
            await self._give_back(collection, one, why)

    async def _give_back(self, collection: Collection, one: Claimed, why: Problem) -> None:
        final = not why.transient or one.attempts >= ATTEMPTS
        log.warning(
            "document_not_embedded",
            collection=collection.name,
            document=one.id,
            code=why.code,
            final=final,
        )
        await self._store.release(
            collection, one, why.detail if final else None, retry_in=2.0**one.attempts
        )


def _same(document: Prepared, known: Known | None) -> bool:
    return (
        known is not None
        and known.status == "indexed"
        and known.content_hash == document.content_hash
    )


def _outcome(cut: Cut, embedded: Embedded, *, pending: bool) -> Outcome:
    document = cut.document
    failure = next((embedded.failed[key] for key in cut.texts if key in embedded.failed), None)
    if failure is not None:
        return Outcome(document.id, "failed", error=problem(failure))
    fresh = sum(piece.key in embedded.fresh for piece in document.pieces)
    return Outcome(
        document.id,
        "pending" if pending else "indexed",
        chunks=len(document.pieces),
        embedded=fresh,
        cached=0 if pending else len(document.pieces) - fresh,
        truncated=cut.truncated,
    )


def problem(error: EmbedsvcError) -> Problem:
    """An error as part of an answer."""
    return Problem(error.code, error.detail, error.transient)
