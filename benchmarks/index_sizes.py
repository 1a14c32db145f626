"""What an index costs by size: ingest, latency, memory, restart; and flat search against HNSW.

    .venv/bin/python benchmarks/index_sizes.py
    .venv/bin/python benchmarks/index_sizes.py --sizes 1000,5000
    .venv/bin/python benchmarks/index_sizes.py --engines
    .venv/bin/python benchmarks/index_sizes.py --engines --engine-sizes 10000

Vectors are ready-made, 384 dimensions, drawn around 1,000 centres: quite random ones have no near
neighbours, which no text collection looks like and which makes the recall of HNSW meaningless.

Per size, documents of one chunk with their vectors go to a server in requests of 1,000. Then, each
in a process that was started anew on what is on disk:

- latency of a vector query over REST, and of `index.search` in process.
- memory: the server's resident memory after loading and searching, less that of a server with an
  empty collection that answered as many searches. Target: 1.5 times the bytes of the vectors; both
  after a restart as the first server left its files, where the youngest vectors come from SQL, and
  with a snapshot of all. At 1,000 chunks the difference is less than an allocator's noise.
- ready with the snapshot: `Replicas.fresh` against reading and SHA-256-hashing the same segment
  files. Target: 3 times.
- ready without a snapshot (its folder deleted): against reading the vectors from SQL, once plainly
  and once joined with the chunks in the order of ids. Target: 3 times the plain reading.

The last two run in turns in one process with warm caches of the system; medians of three.

With --engines instead: for each size the same vectors in one flat segment and in one HNSW segment
of the service's own index, with the parameters of its Limits: how long building takes with one
thread, the median search of one query, and recall@10 against the exact result.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from bare import read_rows, to_matrix
from common import Server, Target, percentile, print_table, print_targets, stop_on_sigterm
from common import write_result as write
from numpy.typing import NDArray
from rest import Api, documents_path, encode, latencies, require_added, search_path

from embedsvc.app import build_service
from embedsvc.core.model import Change, Collection
from embedsvc.index import faiss
from embedsvc.logs import configure
from embedsvc.ports import VectorIndex
from embedsvc.services.indexing import Replicas
from embedsvc.services.service import Service
from embedsvc.settings import Settings

DIMENSIONS = 384
CENTRES = 1_000
NOISE = 0.8  # neighbours around one centre have a cosine of about 1 / (1 + NOISE²) = 0.6
SIZES = "1000,10000,100000"
ENGINE_SIZES = "10000,50000,100000,200000"
EMBEDDING = f"hash:{DIMENSIONS}"  # never asked: the vectors are ready-made
COLLECTION = "vectors"
BATCH = 1_000
QUERIES = 200
ROUNDS = 3
LIMIT = 10
BLOCKS = 4

Matrix = NDArray[np.float32]
Json = dict[str, Any]


def clustered(count: int, seed: int) -> Matrix:
    """Shape (count, DIMENSIONS): unit vectors around centres that are the same for every seed."""
    centres = _unit(np.random.default_rng(0).standard_normal((CENTRES, DIMENSIONS), np.float32))
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, DIMENSIONS), np.float32) / np.sqrt(DIMENSIONS)
    return _unit(centres[random.integers(CENTRES, size=count)] + np.float32(NOISE) * noise)


def _unit(rows: Matrix) -> Matrix:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# One size, from ingest to restart


def measure_size(size: int, rounds: int) -> Json:
    """All numbers of one size."""
    bodies = query_bodies(QUERIES)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        home = Path(folder)
        ingest_s = fill(home, size)
        left = restarted(home, bodies)
        inside = asyncio.run(in_process(home, rounds))
        found = restarted(home, bodies)
    empty = empty_server(bodies)
    vector_bytes = size * DIMENSIONS * 4
    return {
        "size": size,
        "ingest_vectors_per_s": size / ingest_s,
        "vector_bytes": vector_bytes,
        "rss_as_left_bytes": left["rss"] - empty["rss"],
        "rss_bytes": found["rss"] - empty["rss"],
        "peak_rss_bytes": found["peak_rss"] - empty["peak_rss"],
        "rest": summary(found["latencies"]),
        **inside,
    }


def fill(home: Path, size: int) -> float:
    """Send documents with their vectors to a server; seconds that the requests took."""
    total = 0.0
    with Server({"EMBEDSVC_EMBEDDING": EMBEDDING}, home) as server:
        api = Api(server.url)
        api.create(COLLECTION)
        vectors = clustered(size, seed=1)
        for start in range(0, size, BATCH):
            # Six digits: the service normalises again, and the JSON is half as long.
            rows = np.round(vectors[start : start + BATCH].astype(np.float64), 6).tolist()
            documents = [
                {"id": f"d{start + n}", "text": f"document {start + n}", "vectors": [row]}
                for n, row in enumerate(rows)
            ]
            body = encode({"documents": documents})
            began = time.perf_counter()
            content = api.send("POST", documents_path(COLLECTION), body)
            total += time.perf_counter() - began
            require_added(json.loads(content))
    return total


def query_bodies(count: int) -> list[bytes]:
    """Vector queries near what is indexed."""
    rows = clustered(count, seed=2).tolist()
    return [encode({"vector": row, "limit": LIMIT}) for row in rows]


def restarted(home: Path, bodies: Sequence[bytes]) -> Json:
    """A new server on that home: latencies of the queries, then its memory."""
    with Server({"EMBEDSVC_EMBEDDING": EMBEDDING}, home) as server:
        api, path = Api(server.url), search_path(COLLECTION)
        latencies(api, path, bodies[:20])
        taken = latencies(api, path, bodies)
        return {"latencies": taken, "rss": server.rss(), "peak_rss": server.peak_rss()}


def empty_server(bodies: Sequence[bytes]) -> Json:
    """The same of a server that was restarted with an empty collection."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        fill(Path(folder), 0)
        return restarted(Path(folder), bodies)


# In process


async def in_process(home: Path, rounds: int) -> Json:
    """Search latency without doors, and the time to be ready with and without a snapshot."""
    async with opened(home) as service:
        collection = await service.collections.get(COLLECTION)
        async with replica(service, collection) as index:
            queries = clustered(QUERIES, seed=2)
            searches = [await timed(index.search(row[None, :], LIMIT, None)) for row in queries]
            await index.save()  # nothing is left to be read from SQL at a restart
        folder = next(entry for entry in (home / "index").iterdir() if entry.is_dir())
        segments = segment_files(folder)
        snapshot_bytes = sum(file.stat().st_size for file in segments)
        snapshot = await ready_in_turns(service, collection, rounds, segments)
        rebuilt = await rebuilt_in_turns(service, collection, rounds, folder)
    return {
        "search": summary(searches),
        "segments": len(segments),
        "snapshot_bytes": snapshot_bytes,
        "snapshot": snapshot,
        "rebuild": rebuilt,
    }


@asynccontextmanager
async def opened(home: Path) -> Any:
    """The service on that home, without its background work."""
    service = build_service(Settings(home=home, embedding=EMBEDDING, samples=False))
    try:
        yield service
    finally:
        await service.replicas.aclose()
        service.database.close()


@asynccontextmanager
async def replica(service: Service, collection: Collection) -> Any:
    """A new index, as a process has it that just started, level with the collection."""
    replicas = new_replicas(service)
    try:
        yield await replicas.fresh(collection)
    finally:
        await replicas.aclose()


def new_replicas(service: Service) -> Replicas:
    """What `app` makes once a process."""
    folder = service.settings.home / "index"

    def create(name: str, dimensions: int) -> VectorIndex:
        made: VectorIndex = faiss.create(name, dimensions, folder / name)
        return made

    return Replicas(service.store, create)


async def ready_in_turns(
    service: Service, collection: Collection, rounds: int, segments: Sequence[Path]
) -> Json:
    """Seconds to be ready from the snapshot, and to read and hash its segments."""
    ready, reading = [], []
    for _ in range(rounds + 1):
        replicas = new_replicas(service)
        ready.append(await timed(replicas.fresh(collection)))
        await replicas.aclose()
        reading.append(timed_now(lambda: [sha256(file.read_bytes()) for file in segments]))
    return against(ready[1:], reading[1:])


async def rebuilt_in_turns(
    service: Service, collection: Collection, rounds: int, folder: Path
) -> Json:
    """Seconds to be ready with the snapshot deleted, and to read the vectors from SQL."""
    database = service.settings.home / "embedsvc.db"
    plain = "SELECT data FROM vector"
    joined = (
        "SELECT chunk.id, vector.data FROM chunk "
        f"JOIN vector ON vector.space_id = {collection.space_id} "
        "AND vector.key = chunk.vector_key "
        f"WHERE chunk.collection_id = {collection.id} ORDER BY chunk.id"
    )
    ready, reading, joining = [], [], []
    for _ in range(rounds + 1):
        shutil.rmtree(folder)
        replicas = new_replicas(service)
        ready.append(await timed(replicas.fresh(collection)))
        await replicas.of(collection).save()  # its background work ends before others are timed
        await replicas.aclose()
        reading.append(timed_now(lambda: to_matrix(read_rows(database, plain))))
        joining.append(timed_now(lambda: to_matrix(read_rows(database, joined))))
    return against(ready[1:], reading[1:]) | {"joined": against(ready[1:], joining[1:])}


def segment_files(folder: Path) -> list[Path]:
    """The segment files that the newest manifest names."""
    newest = max(folder.glob("*.manifest"))
    body = json.loads(json.loads(newest.read_text(encoding="utf-8"))["body"])
    return [folder / f"{entry['name']}.segment" for entry in body["segments"]]


def against(ready: Sequence[float], reading: Sequence[float]) -> Json:
    """Medians of both, and of the rounds' own ratios."""
    return {
        "ready_s": statistics.median(ready),
        "reading_s": statistics.median(reading),
        "ratio": statistics.median(a / b for a, b in zip(ready, reading, strict=True)),
    }


async def timed(work: Awaitable[object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def timed_now(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def summary(seconds: Sequence[float]) -> Json:
    """Milliseconds: median and 95th percentile."""
    return {
        "median_ms": 1000 * statistics.median(seconds),
        "p95_ms": 1000 * percentile(seconds, 95),
    }


def size_targets(row: Json) -> list[Target]:
    """What one size is to reach."""
    at = f"at {row['size']:,}"
    left, whole = (row[n] / row["vector_bytes"] for n in ("rss_as_left_bytes", "rss_bytes"))
    return [
        Target(f"memory to bytes of vectors {at}, as left", left, most=1.5),
        Target(f"memory to bytes of vectors {at}, whole snapshot", whole, most=1.5),
        Target(f"ready to reading the snapshot {at}", row["snapshot"]["ratio"], most=3),
        Target(f"ready to reading SQL {at}", row["rebuild"]["ratio"], most=3),
    ]


def show_sizes(rows: Sequence[Json]) -> None:
    """Two tables: in use, and at a restart."""
    print_table(
        [
            "chunks",
            "ingest/s",
            "REST ms",
            "p95",
            "index ms",
            "p95",
            "vectors MiB",
            "as left MiB",
            "memory MiB",
            "peak MiB",
        ],
        [
            [
                f"{row['size']:,}",
                f"{row['ingest_vectors_per_s']:.0f}",
                f"{row['rest']['median_ms']:.1f}",
                f"{row['rest']['p95_ms']:.1f}",
                f"{row['search']['median_ms']:.2f}",
                f"{row['search']['p95_ms']:.2f}",
                *(
                    f"{row[name] / 2**20:.1f}"
                    for name in ("vector_bytes", "rss_as_left_bytes", "rss_bytes", "peak_rss_bytes")
                ),
            ]
            for row in rows
        ],
        "in use (memory above a server with an empty collection)",
    )
    print_table(
        [
            "chunks",
            "segments",
            "snapshot s",
            "read+hash s",
            "ratio",
            "rebuild s",
            "SQL s",
            "ratio",
            "joined s",
            "ratio",
        ],
        [
            [
                f"{row['size']:,}",
                row["segments"],
                *numbers(row["snapshot"]),
                *numbers(row["rebuild"]),
                *numbers(row["rebuild"]["joined"])[1:],
            ]
            for row in rows
        ],
        "ready after a restart",
    )


def numbers(found: Json) -> list[str]:
    """Ready, reading and their ratio as cells."""
    return [f"{found['ready_s']:.3f}", f"{found['reading_s']:.3f}", f"{found['ratio']:.2f}"]


# Flat against HNSW


async def measure_engines(size: int, limits: faiss.Limits) -> Json:
    """Both engines over the same vectors."""
    vectors, queries = clustered(size, seed=1), clustered(QUERIES, seed=2)
    flat_limits = replace(limits, seal=size, approximate=size + 1)
    hnsw_limits = replace(limits, seal=size, approximate=size)
    async with (
        built(vectors, flat_limits) as (flat, flat_s),
        built(vectors, hnsw_limits) as (hnsw, hnsw_s),
    ):
        exact, exact_ms = [], []
        near, near_ms = [], []
        for block in np.array_split(queries, BLOCKS):
            await searched(flat, block, exact, exact_ms)
            await searched(hnsw, block, near, near_ms)
        hits = [len(a & b) / LIMIT for a, b in zip(exact, near, strict=True)]
        return {
            "size": size,
            "flat_build_s": flat_s,
            "flat": summary(exact_ms),
            "hnsw_build_s": hnsw_s,
            "hnsw": summary(near_ms),
            "recall_at_10": statistics.fmean(hits),
            "lowest_recall_at_10": min(hits),
            "flat_bytes": (await flat.info()).bytes,
            "hnsw_bytes": (await hnsw.info()).bytes,
        }


@asynccontextmanager
async def built(vectors: Matrix, limits: faiss.Limits) -> Any:
    """An index with all vectors in one segment, and the seconds that building took."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        index = faiss.create("engine", DIMENSIONS, Path(folder) / "engine", limits=limits)
        ids = np.arange(1, len(vectors) + 1, dtype=np.int64)
        seconds = await timed(index.apply(Change(1, ids, vectors, ids[:0])))
        await index.save()  # its background work ends before searches are timed
        try:
            yield index, seconds
        finally:
            await index.aclose()


async def searched(index: Any, queries: Matrix, found: list[set[int]], taken: list[float]) -> None:
    """Search one query after the other, after one to warm up; append ids and seconds."""
    await index.search(queries[:1], LIMIT, None)
    for row in queries:
        start = time.perf_counter()
        (matches,) = await index.search(row[None, :], LIMIT, None)
        taken.append(time.perf_counter() - start)
        found.append({match.chunk_id for match in matches})


def show_engines(rows: Sequence[Json], limits: faiss.Limits) -> None:
    """The table from which to choose."""
    header = [
        "vectors",
        "flat ms",
        "p95",
        "HNSW build s",
        "HNSW ms",
        "p95",
        "recall@10",
        "lowest",
        "flat MiB",
        "HNSW MiB",
    ]
    cells = [
        [
            f"{row['size']:,}",
            f"{row['flat']['median_ms']:.2f}",
            f"{row['flat']['p95_ms']:.2f}",
            f"{row['hnsw_build_s']:.1f}",
            f"{row['hnsw']['median_ms']:.2f}",
            f"{row['hnsw']['p95_ms']:.2f}",
            f"{row['recall_at_10']:.4f}",
            f"{row['lowest_recall_at_10']:.1f}",
            f"{row['flat_bytes'] / 2**20:.0f}",
            f"{row['hnsw_bytes'] / 2**20:.0f}",
        ]
        for row in rows
    ]
    title = (
        f"flat against HNSW: {limits.hnsw_links} links, construction {limits.hnsw_construction}, "
        f"search {limits.hnsw_search}; the service changes over at {limits.approximate:,}"
    )
    print_table(header, cells, title)


# The command


def parse_arguments() -> argparse.Namespace:
    """The options."""
    limits = faiss.Limits()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default=SIZES, help="chunks, separated by commas")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the restarts")
    parser.add_argument("--engines", action="store_true", help="compare flat and HNSW instead")
    parser.add_argument("--engine-sizes", default=ENGINE_SIZES)
    parser.add_argument("--links", type=int, default=limits.hnsw_links)
    parser.add_argument("--construction", type=int, default=limits.hnsw_construction)
    parser.add_argument("--search", type=int, default=limits.hnsw_search)
    return parser.parse_args()


def main() -> None:
    """Measure the sizes, or the engines."""
    stop_on_sigterm()
    arguments = parse_arguments()
    configure("error")
    path = main_engines(arguments) if arguments.engines else main_sizes(arguments)
    print(f"written: {path.name}")


def main_sizes(arguments: argparse.Namespace) -> Path:
    """Every size in turn."""
    rows = []
    for size in sizes_of(arguments.sizes):
        rows.append(measure_size(size, arguments.rounds))
        print(f"{size:,} chunks measured", flush=True)
    targets = [target for row in rows for target in size_targets(row)]
    show_sizes(rows)
    print_targets(targets)
    whole = arguments.sizes == SIZES and arguments.rounds >= ROUNDS
    results = {"sizes": rows, "targets": [target.as_row() for target in targets]}
    return write("index_sizes" if whole else "index_sizes-trial", results)


def main_engines(arguments: argparse.Namespace) -> Path:
    """Every size of the engines in turn."""
    limits = replace(
        faiss.Limits(),
        hnsw_links=arguments.links,
        hnsw_construction=arguments.construction,
        hnsw_search=arguments.search,
    )
    rows = []
    for size in sizes_of(arguments.engine_sizes):
        rows.append(asyncio.run(measure_engines(size, limits)))
        print(f"{size:,} vectors measured", flush=True)
    show_engines(rows, limits)
    whole = arguments.engine_sizes == ENGINE_SIZES and limits == faiss.Limits()
    name = "index_sizes-engines" if whole else "index_sizes-engines-trial"
    return write(name, {"options": vars(arguments), "engines": rows})


def sizes_of(listed: str) -> Iterator[int]:
    """The sizes that an option lists."""
    return map(int, listed.split(","))


if __name__ == "__main__":
    main()
