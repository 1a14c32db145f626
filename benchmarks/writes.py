"""Small durable writes: one document a request, by one client and by 16 at once.

    .venv/bin/python benchmarks/writes.py
    .venv/bin/python benchmarks/writes.py --seconds 2 --rounds 1

Every document is acknowledged when it is committed and fsynced (synchronous=FULL) and searches
find it; the embedding is "hash", which costs next to nothing. In turns, round by round:

- plain SQLite: rows of the same size, one a commit, in one loop: what the disk allows without
  sharing commits.
- REST with one client, then with all (a process of their own, one thread and connection each).
- the service in process (without HTTP) with one task, then with all: the only place where its
  commits can be counted. A document is two writes, its vector's and its own, so two writes a
  commit are shared by nobody.

No target: how many documents share a commit, and what that gains, is the result.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from common import (
    Child,
    Server,
    percentile,
    print_table,
    stop_on_sigterm,
    write_result,
)
from rest import Answered, Api, Load, documents_path, encode, load_generator

from embedsvc.app import build_service
from embedsvc.core.preparing import Draft
from embedsvc.logs import configure
from embedsvc.services.service import Service
from embedsvc.settings import Settings
from embedsvc.store.database import sqlite_library

SECONDS, ROUNDS = 10.0, 3
COLLECTION = "notes"
MOST_PER_SECOND = 2_000  # documents that are prepared for a second of writing

Json = dict[str, Any]


def text_of(name: str) -> str:
    """A text of a short note's length that no other document has."""
    return f"Note {name}: the quick brown fox jumps over the lazy dog and comes back again."


def plain_sqlite(seconds: float) -> Json:
    """One row a commit on a connection of its own, durable as the service's."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        connection = sqlite_library().connect(str(Path(folder, "plain.db")), isolation_level=None)
        with contextlib.closing(connection):
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
                connection.execute(statement).fetchall()
            connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT, data BLOB)")
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                row = (text_of(str(len(taken))), b"\0" * 1024)
                connection.execute("INSERT INTO note (text, data) VALUES (?, ?)", row)
                taken.append(time.perf_counter() - start)
    return row_of(taken, sum(taken))


def over_rest(server: Server, child: Child, clients: int, seconds: float) -> Json:
    """As many clients as said, each adding one document after the other."""
    names = [uuid4().hex for _ in range(int(seconds * MOST_PER_SECOND))]
    bodies = [encode({"documents": [{"id": name, "text": text_of(name)}]}) for name in names]
    load = Load(server.url, documents_path(COLLECTION), bodies, clients, seconds)
    found: Answered = child.call(load)
    return row_of(found.latencies, found.seconds)


async def in_process(service: Service, tasks: int, seconds: float) -> Json:
    """As many tasks as said, each adding one document after the other; commits are counted."""
    taken: list[float] = []
    commits, began = service.database.commits, time.perf_counter()

    async def add_until_end() -> None:
        while (start := time.perf_counter()) < began + seconds:
            name = uuid4().hex
            added = await service.ingest.add(COLLECTION, [Draft(name, text_of(name))])
            if added.documents[0].status != "indexed":
                raise RuntimeError(f"not indexed: {added.documents[0]}")
            taken.append(time.perf_counter() - start)

    await asyncio.gather(*(add_until_end() for _ in range(tasks)))
    row = row_of(taken, time.perf_counter() - began)
    return row | {"commits": service.database.commits - commits}


def row_of(taken: Sequence[float], seconds: float) -> Json:
    """Documents, seconds and latencies of one turn."""
    return {
        "documents": len(taken),
        "per_s": len(taken) / seconds,
        "median_ms": 1000 * statistics.median(taken),
        "p95_ms": 1000 * percentile(taken, 95),
    }


async def measure(server: Server, child: Child, arguments: argparse.Namespace) -> list[Json]:
    """All rounds, each way in turn."""
    clients, seconds = arguments.clients, arguments.seconds
    rounds = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        service = build_service(Settings(home=Path(folder), embedding="hash", samples=False))
        async with service.running(warm=False):
            await in_process(service, clients, seconds / 10)  # warm up
            over_rest(server, child, clients, seconds / 10)
            for _ in range(arguments.rounds):
                rounds.append(
                    {
                        "plain SQLite, one row a commit": plain_sqlite(seconds),
                        "REST, 1 client": over_rest(server, child, 1, seconds),
                        f"REST, {clients} clients": over_rest(server, child, clients, seconds),
                        "in process, 1 task": await in_process(service, 1, seconds),
                        f"in process, {clients} tasks": await in_process(service, clients, seconds),
                    }
                )
    return rounds


def medians(rounds: Sequence[Json]) -> Json:
    """The median over the rounds of each number of each way."""
    return {
        way: {name: statistics.median(one[way][name] for one in rounds) for name in rounds[0][way]}
        | {"documents_per_commit": per_commit(rounds, way)}
        for way in rounds[0]
    }


def per_commit(rounds: Sequence[Json], way: str) -> float | None:
    """Documents to commits over all rounds, where commits were counted."""
    if "commits" not in rounds[0][way]:
        return None
    return sum(r[way]["documents"] for r in rounds) / sum(r[way]["commits"] for r in rounds)


def show(middle: Json) -> None:
    """The table."""
    rows = []
    for way, row in middle.items():
        shared = row["documents_per_commit"]
        rows.append(
            [
                way,
                f"{row['per_s']:.1f}",
                f"{row['median_ms']:.1f}",
                f"{row['p95_ms']:.1f}",
                f"{row['commits']:.0f}" if "commits" in row else "-",
                "-" if shared is None else f"{shared:.2f}",
            ]
        )
    header = ["", "documents/s", "median ms", "p95 ms", "commits", "documents/commit"]
    print_table(header, rows, "one document a request, synchronous=FULL")


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each turn")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args()


def main() -> None:
    """Measure all rounds."""
    stop_on_sigterm()
    arguments = parse_arguments()
    configure("error")
    with Server({"EMBEDSVC_EMBEDDING": "hash"}) as server, Child(load_generator) as child:
        Api(server.url).create(COLLECTION)
        rounds = asyncio.run(measure(server, child, arguments))
    middle = medians(rounds)
    show(middle)
    whole = arguments.seconds >= SECONDS and arguments.rounds >= ROUNDS
    path = write_result(
        "writes" if whole else "writes-trial",
        {"options": vars(arguments), "medians": middle, "rounds": rounds},
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
