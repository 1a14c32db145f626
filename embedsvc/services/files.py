"""Files in: the loader that reads a file makes it an ordinary document."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from embedsvc.core.preparing import Draft
from embedsvc.errors import EmbedsvcError, UnsupportedFormat
from embedsvc.ports import Loader
from embedsvc.services.ingest import Added, Ingest, Outcome, Wait, problem


@dataclass(frozen=True, slots=True)
class File:
    """A file as it came; its name becomes the id of its document."""

    name: str
    media_type: str
    content: bytes


class Files:
    """Turns files into documents and adds them."""

    def __init__(self, ingest: Ingest, loaders: Sequence[Loader]) -> None:
        self._ingest = ingest
        self._loaders = loaders

    async def add(
        self, name: str, files: Sequence[File], metadata: Mapping[str, Any], wait: Wait
    ) -> Added:
        """Add one document a file. A file that cannot be read fails alone."""
        drafts: list[Draft] = []
        outcomes: dict[str, Outcome] = {}
        for file in files:
            try:
                drafts.append(await asyncio.to_thread(self._draft, file, metadata))
            except EmbedsvcError as error:
                outcomes[file.name] = Outcome(file.name, "failed", error=problem(error))
        if not drafts:
            return Added(await self._ingest.version(name), list(outcomes.values()), 0)
        added = await self._ingest.add(name, drafts, wait)
        outcomes |= {outcome.id: outcome for outcome in added.documents}
        in_order = [outcomes[file.name] for file in files]
        return replace(added, documents=in_order)

    def _draft(self, file: File, metadata: Mapping[str, Any]) -> Draft:
        loaded = self._loader(file).load(file.content)
        labels = {"filename": file.name, **metadata}
        return Draft(file.name, text=loaded.text, title=loaded.title, metadata=labels)

    def _loader(self, file: File) -> Loader:
        suffix = PurePosixPath(file.name).suffix.lower()
        for loader in self._loaders:
            if suffix in loader.suffixes:
                return loader
        for loader in self._loaders:
            if not suffix and file.media_type.split(";")[0].strip() in loader.media_types:
                return loader
        known = sorted(suffix for loader in self._loaders for suffix in loader.suffixes)
        raise UnsupportedFormat(
            f"{file.name!r}: no loader reads {suffix or file.media_type!r}; known are "
            f"{', '.join(known)}"
        )
