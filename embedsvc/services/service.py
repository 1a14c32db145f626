"""All services of one running embedsvc, and what it does from its start to its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from embedsvc import __version__
from embedsvc.errors import EmbedsvcError
from embedsvc.services.ask import Ask
from embedsvc.services.collections import Collections
from embedsvc.services.duplicates import DuplicateFinder
from embedsvc.services.embed import Embed
from embedsvc.services.embedding import Embedders
from embedsvc.services.evaluation import Evaluate
from embedsvc.services.explain import Explain
from embedsvc.services.files import File, Files
from embedsvc.services.indexing import Replicas
from embedsvc.services.ingest import Ingest
from embedsvc.services.judging import Judging
from embedsvc.services.llms import LLMs
from embedsvc.services.models import Models
from embedsvc.services.records import Records
from embedsvc.services.rerank import Rerank
from embedsvc.services.search import Search
from embedsvc.services.topics import TopicFinder
from embedsvc.services.verify import Verify
from embedsvc.settings import Settings
from embedsvc.store.database import Database
from embedsvc.store.store import Store, now

log = structlog.get_logger(__name__)

SAMPLES = "manual"
"""The collection that holds the sample documents: the manual of embedsvc."""

REPLIES_KEPT = 86_400 * 1_000_000
"""Microseconds for which a repeated Idempotency-Key gets the same answer."""

_PAGE = 100
_COUNTED_SECONDS = 5.0
_TIDIED_SECONDS = 3600.0


@dataclass(slots=True)
class Readiness:
    """What is missing before everything works at full speed."""

    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a door of embedsvc can call."""

    settings: Settings
    database: Database
    store: Store
    embedders: Embedders
    replicas: Replicas
    collections: Collections
    ingest: Ingest
    files: Files
    search: Search
    explain: Explain
    ask: Ask
    llms: LLMs
    records: Records
    embed: Embed
    rerank: Rerank
    models: Models
    verify: Verify
    duplicates: DuplicateFinder
    topics: TopicFinder
    judging: Judging
    evaluate: Evaluate
    readiness: Readiness = field(default_factory=Readiness)
    version: str = __version__

    @asynccontextmanager
    async def running(self, *, warm: bool = True) -> AsyncIterator[None]:
        """Work in the background while inside; close everything at the end.

        With `warm`, load the default model, the samples and the indexes at once, instead of at
        their first use.
        """
        tasks = [
            asyncio.create_task(self.ingest.work()),
            asyncio.create_task(self._tidy()),
            asyncio.create_task(self.evaluate.watch()),
            asyncio.create_task(self.records.watch()),
            asyncio.create_task(self._count()),
        ]
        if warm:
            self.readiness.missing["model"] = f"{self.settings.embedding} is being loaded"
            self.readiness.missing["indexes"] = "indexes are being loaded"
            if self.settings.samples:
                self.readiness.missing["samples"] = "the sample documents are being loaded"
            tasks.append(asyncio.create_task(self._warm()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.evaluate.aclose()
            await self._flush_usage()
            await self.rerank.aclose()
            await self.ask.aclose()
            await self.llms.aclose()
            await self.embedders.aclose()
            await self.replicas.aclose()
            await asyncio.to_thread(self.database.close)

    async def degraded(self) -> list[str]:
        """What works, but not as it should, in words. Raises Unavailable without a database."""
        await self.store.empty()
        return [*await self.replicas.degraded(), *self.readiness.failed.values()]

    async def _warm(self) -> None:
        await self._step("indexes", self._load_indexes())
        await self._step("model", self._load_model())
        if self.settings.samples:
            await self._step("samples", self._load_samples())

    async def _step(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except EmbedsvcError as error:
            self.readiness.failed[name] = f"{name}: {error.detail}"
            log.error("start_step_failed", step=name, error=error.detail)
        except Exception as error:
            self.readiness.failed[name] = f"{name}: an unexpected error; the log has it"
            log.error("start_step_failed", step=name, exc_info=error)
        finally:
            self.readiness.missing.pop(name, None)

    async def _load_model(self) -> None:
        backend = await self.embedders.backend(self.settings.embedding)
        await backend.warm()
        log.info("model_ready", embedding=backend.space.name)

    async def _load_indexes(self) -> None:
        after: str | None = ""
        while after is not None:
            found = await self.store.collections(after, _PAGE)
            for collection in found:
                await self.replicas.fresh(collection)
            after = found[-1].name if len(found) == _PAGE else None

    async def _load_samples(self) -> None:
        """Load the sample documents, once, into a service that never had a collection."""
        paths = await asyncio.to_thread(_sample_paths, self.settings.samples_folder)
        if not paths or not await self.store.empty():
            return
        contents = [await asyncio.to_thread(path.read_bytes) for path in paths]
        files = [File(p.name, "text/markdown", c) for p, c in zip(paths, contents, strict=True)]
        added = await self.files.add(SAMPLES, files, {}, "searchable")
        log.info("samples_loaded", collection=SAMPLES, documents=len(added.documents))

    async def _tidy(self) -> None:
        """Free the rows of deleted collections and forget old answers, now and every hour."""
        while True:
            try:
                while await self.store.sweep():  # noqa: ASYNC110 - a pause for other writes
                    await asyncio.sleep(0.05)
                await self.store.forget_replies(now() - REPLIES_KEPT)
            except EmbedsvcError as error:
                log.warning("tidying_failed", error=error.detail)
            except Exception as error:  # whatever the database said, there is a next time
                log.error("tidying_failed", exc_info=error)
            await asyncio.sleep(_TIDIED_SECONDS)

    async def _count(self) -> None:
        """Write what was counted, every few seconds."""
        while True:
            await asyncio.sleep(_COUNTED_SECONDS)
            await self._flush_usage()

    async def _flush_usage(self) -> None:
        try:
            await self.embedders.meter.flush()
        except Exception as error:  # the next time will do
            log.warning("usage_not_written", exc_info=error)


def _sample_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.md")) if folder.is_dir() else []
