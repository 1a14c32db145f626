"""FAISS as a replica of SQL: immutable segments, a small exact tail, and tombstones.

A FAISS object is filled once and never changed again, so a search needs no lock and can never meet
a half-done change (FAISS aborts the process when one object is searched and changed at once).
What changes is the state: a tuple of segments and a tail, replaced as a whole by the next one.

    write ──▶ tail (NumPy) ──full──▶ flat segment ──several alike──▶ merged ──large──▶ HNSW
    remove ─▶ a tombstone in the segment's own map of what is alive

On disk there are only sealed segments, each written once, and a manifest with their checksums and
the version up to which they are complete. What is younger (the tail, the latest tombstones) is
read from SQL again at a restart. So a snapshot costs what is new, and a file that is missing or
damaged costs a rebuild and never an answer. Where several processes serve one home, the first that
opens an index keeps its snapshot, and the others only read it.
"""

import asyncio
import fcntl
import json
import mmap
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import faiss
import numpy as np
import structlog
from numpy.typing import NDArray

from embedsvc.core.model import Change, Ids, IndexInfo, Match, Matrix
from embedsvc.core.vectors import top
from embedsvc.errors import EmbedsvcError, Unavailable
from embedsvc.ports import Step, no_step

log = structlog.get_logger(__name__)

_FORMAT = 1
_MAGIC = b"embedsvc-segment-1\n"
_KEPT_MANIFESTS = 2
_BEYOND = 8  # asked for beyond k, to see whether the last one has equals
_BUILD_STEP = 2_048  # vectors between two looks at whether the index is being closed


@dataclass(frozen=True, slots=True)
class Limits:
    """When things happen, in vectors; tests shrink them so that every edge is met.

    On two cores a flat search of 100,000 vectors takes about as long as embedding the query
    (`benchmarks/index_sizes.py`), so the graph begins beyond that.
    """

    seal: int = 4_096
    fan_in: int = 8
    approximate: int = 131_072
    dead_share: float = 0.3
    exact_within: int = 20_000
    hnsw_links: int = 32
    hnsw_construction: int = 120
    hnsw_search: int = 128


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed FAISS index: position i holds the vector of `ids[i]`; ids ascend.

    `alive` is never changed in place: a tombstone makes a new Segment around the same engine.
    """

    name: str
    ids: Ids
    engine: Any
    alive: NDArray[np.bool_]

    @property
    def vectors(self) -> Matrix:
        """Shape (n, dimensions): the engine's own memory, not a copy."""
        flat = faiss.downcast_index(getattr(self.engine, "storage", None) or self.engine)
        view = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
        rows: Matrix = view.reshape(flat.ntotal, flat.d)
        return rows

    @property
    def approximate(self) -> bool:
        """Whether a search of it may miss."""
        return isinstance(self.engine, faiss.IndexHNSW)

    def without(self, removed: Ids) -> "Segment":
        """The same segment with those ids dead."""
        positions = _positions(self.ids, removed)
        if not self.alive[positions].any():
            return self
        alive = self.alive.copy()
        alive[positions] = False
        return replace(self, alive=alive)


@dataclass(frozen=True, slots=True)
class State:
    """All that a search looks at, at one version."""

    version: int
    segments: tuple[Segment, ...]
    tail_ids: Ids
    tail: Matrix
    highest: int  # every id up to here has been seen, so it is never added again
    sealed_version: int  # every change up to here is in the segments
    sealed_highest: int  # every id up to here is in the segments, or dead

    @property
    def vectors(self) -> int:
        """How many vectors a search can return."""
        return len(self.tail_ids) + sum(int(s.alive.sum()) for s in self.segments)


def create(
    name: str,
    dimensions: int,
    folder: Path,
    on_step: Step = no_step,
    limits: Limits = Limits(),
) -> "FaissIndex":
    """Open the index whose snapshot lies in `folder`, or an empty one."""
    return FaissIndex(name, dimensions, folder, on_step, limits)


class FaissIndex:
    """One collection's vectors in FAISS. The snapshot is read at the first use."""

    def __init__(
        self, name: str, dimensions: int, folder: Path, on_step: Step, limits: Limits
    ) -> None:
        self._name = name
        self._dimensions = dimensions
        self._limits = limits
        self._files = _Files(folder, name, dimensions, on_step)
        self._on_step = on_step
        self._state: State | None = None
        self._changing = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._stopping = False
        self._unsettled = False
        self._damaged: tuple[str, ...] = ()  # until all is read from SQL again
        self._unsaved: tuple[str, ...] = ()  # until the next save succeeds
        self._saved: tuple[str, ...] = ()

    async def version(self) -> int:
        """The last change applied; 0 when new."""
        return (await self._current()).version

    async def apply(self, change: Change) -> None:
        """Take in a change; seals the tail when it is full and then settles in the background."""
        await self._current()
        async with self._changing:
            before = await self._current()
            after = await asyncio.to_thread(self._applied, before, change)
            self._state = after
            if after.version > before.version:
                self._damaged = ()
        if len(after.segments) != len(before.segments) or self._heavy(after):
            self._settle()

    async def search(self, queries: Matrix, k: int, within: Ids | None) -> list[list[Match]]:
        """The `k` nearest of each query, best first; with `within`, among those ids alone."""
        state = await self._current()
        return await asyncio.to_thread(_search, state, queries, k, within, self._limits)

    async def vectors(self, ids: Ids) -> tuple[Ids, Matrix]:
        """Those of `ids` that the index holds, with its copy of their vectors."""
        return await asyncio.to_thread(_held, await self._current(), ids)

    async def ids(self) -> Ids:
        """Every id that a search can return, ascending."""
        state = await self._current()
        return np.sort(np.concatenate([state.tail_ids, *(s.ids[s.alive] for s in state.segments)]))

    async def info(self) -> IndexInfo:
        """What the index says of itself."""
        state = await self._current()
        return IndexInfo(
            engine="faiss",
            version=state.version,
            vectors=state.vectors,
            segments=len(state.segments),
            removed=sum(len(s.ids) - int(s.alive.sum()) for s in state.segments),
            approximate=sum(len(s.ids) for s in state.segments if s.approximate),
            bytes=sum(_bytes(s) for s in state.segments) + state.tail.nbytes,
            degraded=self._damaged + self._unsaved,
        )

    async def save(self) -> None:
        """Seal the tail, merge what should be merged, and write the snapshot."""
        await self._current()
        async with self._changing:
            state = await self._current()
            if len(state.tail_ids):
                sealed = await asyncio.to_thread(self._sealed, state)
                self._state = replace(sealed, sealed_version=sealed.version)
        self._settle()
        if self._settling is not None:
            await asyncio.shield(self._settling)

    async def reset(self) -> None:
        """Forget everything, on disk too; the version is 0 again."""
        async with self._changing:
            # first the state, then the files, behind a save that may be under way: so no save of
            # the old state can come after
            self._state, self._saved = self._empty(), ()
            self._damaged = self._unsaved = ()
            await self._behind(self._files.clear)

    async def drop(self) -> None:
        """Reset and let go; the index is not used again."""
        self._stopping = True  # a merge under way ends at its next step
        await self.reset()
        await self.aclose()

    async def aclose(self) -> None:
        """Stop background work after its present step."""
        self._stopping = True
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        self._files.release()

    # -- changes ------------------------------------------------------------------------------

    async def _current(self) -> State:
        if self._state is None:
            async with self._changing:
                if self._state is None:
                    self._state = await asyncio.to_thread(self._load)
        return self._state

    async def _behind(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run slow work in the index's own thread, where nobody waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def _empty(self) -> State:
        return State(
            0,
            (),
            np.empty(0, dtype=np.int64),
            np.empty((0, self._dimensions), dtype=np.float32),
            highest=0,
            sealed_version=0,
            sealed_highest=0,
        )

    def _applied(self, state: State, change: Change) -> State:
        """The state after a change; pure but for the segments it builds."""
        ids, tail = _only(change.ids, change.vectors, change.ids > state.highest)
        if len(state.tail_ids):
            ids = np.concatenate([state.tail_ids, ids])
            tail = np.concatenate([state.tail, tail])
        segments = state.segments
        if len(change.removed):
            ids, tail = _only(ids, tail, ~np.isin(ids, change.removed))
            segments = tuple(s.without(change.removed) for s in segments)
            segments = tuple(s for s in segments if s.alive.any())
        highest = max(state.highest, int(change.ids[-1]) if len(change.ids) else 0)
        state = replace(state, segments=segments, tail_ids=ids, tail=tail, highest=highest)
        if len(state.tail_ids) >= self._limits.seal:
            state = self._sealed(state)
        complete = not len(state.tail_ids)
        return replace(
            state,
            version=change.version,
            sealed_version=change.version if complete else state.sealed_version,
        )

    def _sealed(self, state: State) -> State:
        """The tail as one more segment."""
        segment = self._build(state.tail_ids, state.tail)
        return replace(
            state,
            segments=(*state.segments, segment),
            tail_ids=state.tail_ids[:0],
            tail=state.tail[:0],
            sealed_highest=state.highest,
        )

    def _build(self, ids: Ids, vectors: Matrix) -> Segment:
        if len(ids) >= self._limits.approximate:
            engine = faiss.IndexHNSWFlat(
                self._dimensions, self._limits.hnsw_links, faiss.METRIC_INNER_PRODUCT
            )
            engine.hnsw.efConstruction = self._limits.hnsw_construction
            engine.hnsw.efSearch = self._limits.hnsw_search
            faiss.omp_set_num_threads(1)  # of this thread alone: leave the rest to searches
        else:
            engine = faiss.IndexFlatIP(self._dimensions)
        for start in range(0, len(ids), _BUILD_STEP):
            if self._stopping:
                raise Unavailable("the index is being closed")
            engine.add(np.ascontiguousarray(vectors[start : start + _BUILD_STEP]))
        return Segment(uuid4().hex, ids.copy(), engine, np.ones(len(ids), dtype=np.bool_))

    # -- background ---------------------------------------------------------------------------

    def _heavy(self, state: State) -> bool:
        return any(_dead_share(s) > self._limits.dead_share for s in state.segments)

    def _settle(self) -> None:
        """Merge and save, once at a time; an error leaves the index as good as it was."""
        self._unsettled = True
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_all())

    async def _settle_all(self) -> None:
        try:
            while self._unsettled:  # again, for what came while the last round ran
                self._unsettled = False
                await self._merge_all()
                await self._save_manifest()
        except Unavailable:
            log.debug("index_merge_stopped", index=self._name)
        except (OSError, RuntimeError) as error:  # FAISS wraps what its writer raises
            self._unsaved = (f"snapshot not written: {error}",)
            log.warning("index_snapshot_failed", index=self._name, error=str(error))

    async def _merge_all(self) -> None:
        while victims := self._to_merge(await self._current()):
            merged = await self._behind(self._merge, victims)
            self._on_step("index:merged")
            async with self._changing:
                self._state = _swap(await self._current(), victims, merged)

    def _to_merge(self, state: State) -> tuple[Segment, ...]:
        """The segments to rewrite next: one with many dead, else several of like size."""
        for segment in state.segments:
            if _dead_share(segment) > self._limits.dead_share:
                return (segment,)
        tiers: dict[int, list[Segment]] = {}
        for segment in state.segments:
            tiers.setdefault(self._tier(segment), []).append(segment)
        for tier in sorted(tiers):
            if len(tiers[tier]) >= self._limits.fan_in:
                return tuple(tiers[tier][: self._limits.fan_in])
        return ()

    def _tier(self, segment: Segment) -> int:
        tier, size = 0, self._limits.seal * 2
        while len(segment.ids) >= size:
            tier, size = tier + 1, size * self._limits.fan_in
        return tier

    def _merge(self, victims: Sequence[Segment]) -> Segment | None:
        ids = np.concatenate([s.ids[s.alive] for s in victims])
        if not len(ids):
            return None
        vectors = np.concatenate([s.vectors[s.alive] for s in victims])
        order = np.argsort(ids, kind="stable")
        return self._build(ids[order], vectors[order])

    # -- disk ---------------------------------------------------------------------------------

    async def _save_manifest(self) -> None:
        state = await self._current()
        described = tuple(f"{s.name}:{int(s.alive.sum())}" for s in state.segments)
        if described == self._saved or not state.segments or not state.sealed_version:
            return
        await self._behind(self._files.save, state)
        self._saved = described
        self._unsaved = ()

    def _load(self) -> State:
        try:
            state, problems = self._files.load()
        except OSError as error:
            state, problems = None, [f"snapshot not readable: {error.strerror or error}"]
        for problem in problems:
            log.warning("index_snapshot_damaged", index=self._name, problem=problem)
        self._damaged = tuple(problems)
        return self._empty() if state is None else state


class SnapshotDamaged(EmbedsvcError):
    """A snapshot is not what was written."""

    code = "snapshot_damaged"


_UNREADABLE = (
    SnapshotDamaged,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
)
"""What reading a file that is not what was written can raise, from our code, JSON and FAISS."""


@dataclass(slots=True)
class _Files:
    """The snapshot on disk: segment files, and the two newest manifests that name them."""

    folder: Path
    name: str
    dimensions: int
    on_step: Step
    _written: dict[str, str] = field(default_factory=dict)  # name of segment → SHA-256
    _lock: int | None = None

    def own(self) -> bool:
        """Whether this process keeps the snapshot: the first that asks does, until it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder.with_suffix(".lock")
        if self._lock is not None and not _is_same_file(self._lock, file):
            self.release()  # somebody deleted the folder: another process may hold it anew
        if self._lock is None:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._lock = handle
        return True

    def release(self) -> None:
        """Let another process keep the snapshot."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self, state: State) -> None:
        """Write what is new, then the manifest, then delete what no manifest names."""
        if not self.own():
            return
        entries = []
        for segment in state.segments:
            file = self.folder / f"{segment.name}.segment"
            if segment.name not in self._written or not file.exists():
                self._written[segment.name] = self._write(file, _segment_writer(segment))
            entries.append(
                {
                    "name": segment.name,
                    "sha256": self._written[segment.name],
                    "dead": b64encode(np.packbits(~segment.alive).tobytes()).decode(),
                }
            )
        self.on_step("snapshot:segments")
        body = {
            "format": _FORMAT,
            "index": self.name,
            "dimensions": self.dimensions,
            "version": state.sealed_version,
            "highest": state.sealed_highest,
            "segments": entries,
        }
        text = json.dumps(body, sort_keys=True)
        sealed = json.dumps({"sha256": sha256(text.encode()).hexdigest(), "body": text})
        self._write(
            self.folder / f"{state.sealed_version:020}.manifest", _bytes_writer(sealed.encode())
        )
        self.on_step("snapshot:manifest")
        self._tidy()

    def load(self) -> tuple[State | None, list[str]]:
        """The newest good snapshot, and what was wrong with newer ones (set aside)."""
        problems: list[str] = []
        mine = self.own()
        for file in sorted(self.folder.glob("*.manifest"), reverse=True):
            try:
                return self._read(file), problems
            except _UNREADABLE as error:
                if mine:  # else its keeper may have replaced it this moment
                    problems.append(f"snapshot {file.name} set aside: {error}")
                    file.replace(file.with_suffix(".damaged"))
        return None, problems

    def clear(self) -> None:
        """Delete the snapshot, if it is this process that keeps it."""
        if self.folder.is_dir() and self.own():
            for file in sorted(self.folder.iterdir(), key=lambda f: f.suffix != ".manifest"):
                file.unlink(missing_ok=True)
        self._written.clear()

    def _read(self, file: Path) -> State:
        sealed = json.loads(file.read_text(encoding="utf-8"))
        text = sealed["body"]
        if sha256(text.encode()).hexdigest() != sealed["sha256"]:
            raise SnapshotDamaged("its checksum does not match")
        body = json.loads(text)
        expected = (_FORMAT, self.name, self.dimensions)
        if (body["format"], body["index"], body["dimensions"]) != expected:
            raise SnapshotDamaged("it belongs to another index or format")
        segments = tuple(self._read_segment(entry) for entry in body["segments"])
        self._written = {entry["name"]: entry["sha256"] for entry in body["segments"]}
        return State(
            body["version"],
            segments,
            np.empty(0, dtype=np.int64),
            np.empty((0, self.dimensions), dtype=np.float32),
            highest=body["highest"],
            sealed_version=body["version"],
            sealed_highest=body["highest"],
        )

    def _read_segment(self, entry: dict[str, Any]) -> Segment:
        with (self.folder / f"{entry['name']}.segment").open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if sha256(content).hexdigest() != entry["sha256"]:
            raise SnapshotDamaged(f"segment {entry['name']} has a wrong checksum")
        at = len(_MAGIC)
        if content[:at] != _MAGIC:
            raise SnapshotDamaged(f"segment {entry['name']} is of another format")
        count = int.from_bytes(content[at : at + 8], "little")
        ids = np.frombuffer(content, dtype="<i8", count=count, offset=at + 8).astype(np.int64)
        data = np.frombuffer(content, dtype=np.uint8, offset=at + 8 + 8 * count)
        engine = faiss.deserialize_index(data)
        if engine.ntotal != count or engine.d != self.dimensions:
            raise SnapshotDamaged(f"segment {entry['name']} has another size than its ids")
        dead = np.frombuffer(b64decode(entry["dead"]), dtype=np.uint8)
        alive = np.unpackbits(dead, count=count) == 0
        return Segment(entry["name"], ids, engine, alive)

    def _write(self, file: Path, write: Callable[[IO[bytes]], str]) -> str:
        """Write so that the name holds all of it or nothing: temporary name, fsync, rename."""
        temporary = file.with_suffix(file.suffix + ".part")
        try:
            with temporary.open("wb") as stream:
                digest = write(stream)
                stream.flush()
                self.on_step("snapshot:written")
                os.fsync(stream.fileno())
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.on_step("snapshot:renamed")
        _sync_folder(file.parent)
        return digest

    def _tidy(self) -> None:
        manifests = sorted(self.folder.glob("*.manifest"), reverse=True)
        kept = {name for file in manifests[:_KEPT_MANIFESTS] for name in _segments_of(file)}
        for file in manifests[_KEPT_MANIFESTS:]:
            file.unlink(missing_ok=True)
        for file in self.folder.iterdir():
            if file.suffix != ".manifest" and file.stem not in kept:
                file.unlink(missing_ok=True)
        self._written = {name: digest for name, digest in self._written.items() if name in kept}


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _segments_of(manifest: Path) -> list[str]:
    """The segments that a manifest names; none when it is damaged, as reading it will find."""
    try:
        body = json.loads(json.loads(manifest.read_text(encoding="utf-8"))["body"])
        return [entry["name"] for entry in body["segments"]]
    except _UNREADABLE:
        return []


# -- pure pieces ------------------------------------------------------------------------------


def _only(ids: Ids, vectors: Matrix, wanted: NDArray[np.bool_]) -> tuple[Ids, Matrix]:
    """Those that are wanted; no copy where that is all of them."""
    return (ids, vectors) if wanted.all() else (ids[wanted], vectors[wanted])


def _swap(state: State, victims: Sequence[Segment], merged: Segment | None) -> State:
    """Put the merged segment in the victims' place, with what died since they were read."""
    names = {segment.name for segment in victims}
    rest = tuple(s for s in state.segments if s.name not in names)
    if merged is None:
        return replace(state, segments=rest)
    now = [s for s in state.segments if s.name in names]
    living = np.concatenate([s.ids[s.alive] for s in now]) if now else merged.ids[:0]
    alive = np.isin(merged.ids, living)
    if not alive.any():
        return replace(state, segments=rest)
    return replace(state, segments=(replace(merged, alive=alive), *rest))


def _search(
    state: State, queries: Matrix, k: int, within: Ids | None, limits: Limits
) -> list[list[Match]]:
    """Search every part and merge; equal scores in the order of ids."""
    parts = list(_part_results(state, queries, k, within, limits))
    found: list[list[Match]] = []
    for row in range(len(queries)):
        ids = np.concatenate([part[0][row] for part in parts]) if parts else np.empty(0, np.int64)
        scores = np.concatenate([part[1][row] for part in parts]) if parts else np.empty(0)
        best = np.lexsort((ids, -scores))[:k]
        found.append([Match(int(ids[i]), float(scores[i])) for i in best])
    return found


_Hits = tuple[list[Ids], list[NDArray[np.float32]]]


def _part_results(
    state: State, queries: Matrix, k: int, within: Ids | None, limits: Limits
) -> Iterator[_Hits]:
    if len(state.tail_ids):
        chosen = (
            np.arange(len(state.tail_ids)) if within is None else _positions(state.tail_ids, within)
        )
        yield _exact(queries, state.tail, state.tail_ids, chosen, k)
    for segment in state.segments:
        if within is None:
            yield _engine(segment, queries, k, segment.alive)
            continue
        chosen = _positions(segment.ids, within)
        chosen = chosen[segment.alive[chosen]]
        if len(within) <= limits.exact_within:
            yield _exact(queries, segment.vectors, segment.ids, chosen, k)
        else:
            allowed = np.zeros(len(segment.ids), dtype=np.bool_)
            allowed[chosen] = True
            yield _engine(segment, queries, k, allowed)


def _exact(queries: Matrix, vectors: Matrix, ids: Ids, chosen: NDArray[np.int64], k: int) -> _Hits:
    rows = vectors if len(chosen) == len(ids) else vectors[chosen]
    scores = queries @ rows.T
    best = [top(row, k) for row in scores]
    return [ids[chosen[b]] for b in best], [row[b] for row, b in zip(scores, best, strict=True)]


def _engine(segment: Segment, queries: Matrix, k: int, allowed: NDArray[np.bool_]) -> _Hits:
    """Ask FAISS, with the dead and the filtered left out inside its own search."""
    count = int(allowed.sum())
    if not count:
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        return [nothing[0]] * len(queries), [nothing[1]] * len(queries)
    parameters = faiss.SearchParametersHNSW() if segment.approximate else faiss.SearchParameters()
    if segment.approximate:
        parameters.efSearch = max(segment.engine.hnsw.efSearch, 2 * k)
    bits = np.packbits(allowed, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)  # lives, like its bits, until this returns
    if count < len(allowed):
        parameters.sel = selector
    asked = min(k + _BEYOND, count)
    while True:
        scores, positions = segment.engine.search(
            np.ascontiguousarray(queries), asked, params=parameters
        )
        # which of several equal scores FAISS returns last is chance: look until they end
        if segment.approximate or asked == count or (scores[:, -1] < scores[:, k - 1]).all():
            break
        asked = min(asked * 4, count)
    if (positions[:, : min(k, count)] < 0).any():
        # the graph found too few that are allowed, because they are far away: look at all of them
        return _exact(queries, segment.vectors, segment.ids, np.flatnonzero(allowed), k)
    found = [row >= 0 for row in positions]  # FAISS marks what it did not find with -1
    return (
        [segment.ids[row[ok]] for row, ok in zip(positions, found, strict=True)],
        [row[ok] for row, ok in zip(scores, found, strict=True)],
    )


def _held(state: State, ids: Ids) -> tuple[Ids, Matrix]:
    positions = _positions(state.tail_ids, ids)
    found_ids, found = [state.tail_ids[positions]], [state.tail[positions]]
    for segment in state.segments:
        positions = _positions(segment.ids, ids)
        positions = positions[segment.alive[positions]]
        found_ids.append(segment.ids[positions])
        found.append(segment.vectors[positions])
    joined = np.concatenate(found_ids)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(found)[order]


def _positions(ids: Ids, wanted: Ids) -> NDArray[np.int64]:
    """Where in the ascending `ids` the wanted ones are; those that are not are left out."""
    if not len(ids) or not len(wanted):
        return np.empty(0, dtype=np.int64)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return places[ids[places] == wanted].astype(np.int64)


def _dead_share(segment: Segment) -> float:
    return 1.0 - float(segment.alive.sum()) / max(1, len(segment.ids))


def _bytes(segment: Segment) -> int:
    links = segment.engine.hnsw.neighbors.size() * 4 if segment.approximate else 0
    return int(segment.vectors.nbytes + segment.ids.nbytes + segment.alive.nbytes + links)


class _Hashing:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = sha256()

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _segment_writer(segment: Segment) -> Callable[[IO[bytes]], str]:
    def write(stream: IO[bytes]) -> str:
        out = _Hashing(stream)
        out.write(_MAGIC + len(segment.ids).to_bytes(8, "little"))
        out.write(segment.ids.astype("<i8").tobytes())
        # through a Python file, because faiss.write_index(path) does not report a full disk
        writer = faiss.PyCallbackIOWriter(out.write)
        faiss.write_index(segment.engine, writer)
        return out.hexdigest()

    return write


def _bytes_writer(content: bytes) -> Callable[[IO[bytes]], str]:
    def write(stream: IO[bytes]) -> str:
        out = _Hashing(stream)
        out.write(content)
        return out.hexdigest()

    return write


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
