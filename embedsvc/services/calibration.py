"""What evidence is worth in an embedding space, learnt from questions whose answers are known.

How near a sentence has to be differs from model to model. So `calibration.toml`, which comes with
the package, has short passages with questions that they answer and questions that they do not. At
the first question to a space its own model embeds them, a regression is fitted to what it makes of
them (core/calibrating.py), and the result is kept in the database. The vectors are not.

For the models that come with the package the same has been done beforehand: `calibrations.json`,
made by `make calibrations`.
"""

import asyncio
import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from embedsvc.core.batching import slices
from embedsvc.core.calibrating import Calibration, calibrate
from embedsvc.core.model import Collection, Matrix, Role, Space
from embedsvc.core.rehearsal import Pool, Question, pool, rehearse
from embedsvc.errors import EmbedsvcError
from embedsvc.services.backends import Backend
from embedsvc.services.embedding import Embedders
from embedsvc.services.retrying import all_or_none
from embedsvc.store.calibrations import StoredCalibrations

log = structlog.get_logger(__name__)

MOST_SENTENCES = 16
"""Sentences that are embedded for a question."""

_METHOD = "1"  # to be raised when features or the way to learn from them change
BEFOREHAND = Path(__file__).with_name("calibrations.json")
_FILE = Path(__file__).with_name("calibration.toml")
_TOGETHER = 64  # texts: whoever else asks waits for no more of them


class Calibrations:
    """The calibration of each space: made at its first question, kept in the database."""

    def __init__(self, stored: StoredCalibrations, embedders: Embedders) -> None:
        self._stored = stored
        self._embedders = embedders
        self._known: dict[int, Calibration] = {}
        self._making: dict[int, asyncio.Task[Calibration]] = {}

    async def of(self, collection: Collection, backend: Backend) -> Calibration:
        """That of the collection's space. Raises ProviderError; the next question tries again."""
        space_id = collection.space_id
        if space_id in self._known:
            return self._known[space_id]
        if space_id not in self._making:
            task = asyncio.create_task(self._make(collection, backend))
            self._making[space_id] = task
            task.add_done_callback(lambda done: self._made(space_id, done))
        return await asyncio.shield(self._making[space_id])

    async def aclose(self) -> None:
        """Stop what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _made(self, space_id: int, task: "asyncio.Task[Calibration]") -> None:
        self._making.pop(space_id, None)
        if not task.cancelled() and task.exception() is None:  # else whoever waits has it
            self._known[space_id] = task.result()

    async def _make(self, collection: Collection, backend: Backend) -> Calibration:
        stored = await self._stored.get(collection.space_id, version())
        if stored is not None:
            return msgspec.json.decode(stored, type=Calibration)
        if (ready := beforehand().get(identity(backend.space))) is not None:
            return ready
        started = time.perf_counter()
        made = await self.learn(collection, backend)
        await self._keep(collection, made)
        log.info(
            "space_calibrated",
            embedding=backend.space.name,
            threshold=round(made.threshold, 3),
            auc=round(made.quality.auc, 3),
            precision=round(made.quality.precision, 3),
            recall=round(made.quality.recall, 3),
            seconds=round(time.perf_counter() - started, 1),
        )
        return made

    async def _keep(self, collection: Collection, made: Calibration) -> None:
        """Store what was learnt; where that fails it is known to this process alone."""
        body = msgspec.json.encode(made).decode()
        try:
            await self._stored.keep(collection.space_id, version(), body)
        except EmbedsvcError as error:
            log.warning("calibration_not_kept", error=error.detail)

    async def learn(self, collection: Collection, backend: Backend) -> Calibration:
        """Embed the examples and learn from them, whatever is known. Raises ProviderError."""
        examples = await asyncio.to_thread(shipped)
        statements = examples.statements()
        questions = [question.text for question in examples.questions]

        async def embed(texts: Sequence[str], role: Role) -> Matrix:
            return await self._embed(backend, texts, role, collection)

        rows = await embed([*examples.passages, *statements], sentence_role(backend))
        asked = await embed(questions, "query")
        count = len(examples.passages)
        by_text = dict(zip(statements, rows[count:], strict=True))
        return await asyncio.to_thread(_learnt, examples, rows[:count], by_text, asked)

    async def _embed(
        self, backend: Backend, texts: Sequence[str], role: Role, collection: Collection
    ) -> Matrix:
        """Vectors that are kept nowhere; of texts of like length together."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = (  # begun when they are awaited
            self._embedders.embed_beginnings(backend, [texts[i] for i in some], role, collection)
            for some in slices(order, _TOGETHER)
        )
        rows = await all_or_none(parts) if backend.calls.remote else [await part for part in parts]
        found = np.empty((len(texts), backend.space.dimensions), dtype=np.float32)
        found[order] = np.concatenate(rows)
        return found


def sentence_role(backend: Backend) -> Role:
    """How to embed a sentence while somebody waits: before bulk work, where that is no difference.

    To a model on this machine with the same prompt for both, queries go first.
    """
    space = backend.space
    alike = not backend.calls.remote and space.query_prompt == space.document_prompt
    return "query" if alike else "document"


@cache
def shipped() -> Pool:
    """The passages and questions that come with the package."""
    found = tomllib.loads(_FILE.read_text(encoding="utf-8"))["passage"]
    questions = [
        Question(text, about, answered)
        for about, passage in enumerate(found)
        for kind, answered in (("asks", True), ("misses", False))
        for text in passage[kind]
    ]
    return pool([passage["text"] for passage in found], questions)


@dataclass(frozen=True, slots=True)
class Beforehand:
    """Calibrations by the identity of their space, learnt from one version of the examples."""

    version: str
    spaces: Mapping[str, Calibration]


@cache
def beforehand() -> Mapping[str, Calibration]:
    """The calibrations that come with the package; none when the examples have changed since."""
    found = msgspec.json.decode(BEFOREHAND.read_bytes(), type=Beforehand)
    return found.spaces if found.version == version() else {}


def identity(space: Space) -> str:
    """A name that no other space has."""
    return json.dumps(asdict(space), sort_keys=True)


@cache
def version() -> str:
    """Changes with the examples and with the way to learn from them."""
    return sha256(_METHOD.encode() + _FILE.read_bytes()).hexdigest()


def _learnt(
    examples: Pool,
    passages: Matrix,
    statements: dict[str, NDArray[np.float32]],
    questions: Matrix,
) -> Calibration:
    """What the vectors say."""
    found = rehearse(examples, passages, statements, questions, MOST_SENTENCES)
    return calibrate(found.features, found.outcomes, found.groups)
