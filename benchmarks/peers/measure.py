"""The measurement itself, the same for every system: a client process of its own.

`drive_*.py` say how one system is spoken to, then call `main`. Each runs as
`python drive_NAME.py JOB RESULT`, both JSON files. Standard library only: this file is read by
the Python of every peer's environment.
"""

import json
import queue
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Search = Callable[[str], list[str]]  # a query to the ids of the documents, best first


@dataclass(frozen=True)
class Document:
    """One document of the corpus; the text is what is embedded."""

    id: str
    text: str


@dataclass(frozen=True)
class Job:
    """What one measurement does. No query text occurs twice, so no cache of queries helps."""

    url: str
    model: str  # the folder of the model, for a client that embeds
    documents: list[Document]
    warm_up: list[str]
    queries: list[str]  # by one client, one after the other
    concurrent_queries: list[str]  # by all clients together
    clients: int
    batch: int  # documents a request
    limit: int  # results a search


class System(Protocol):
    """A running system as its client sees it."""

    def warm_up_indexing(self, document: Document) -> None:
        """Index one document apart, so that the model is loaded before the clock runs."""

    def index(self, documents: Sequence[Document], batch: int) -> None:
        """Index all documents; returns when searches find them."""

    def connect(self) -> Search:
        """The search of one more client, with a connection of its own where it has one."""


def main(open_system: Callable[[Job], System]) -> None:
    """Read the job file, measure, write the result file: the two arguments of the command line."""
    job_file, result_file = map(Path, sys.argv[1:3])
    job = read_job(job_file.read_text(encoding="utf-8"))
    result = measure(open_system(job), job)
    result_file.write_text(json.dumps(result), encoding="utf-8")


def read_job(text: str) -> Job:
    """The job that `dataclasses.asdict` and JSON made a text of."""
    fields = json.loads(text)
    documents = [Document(**document) for document in fields.pop("documents")]
    return Job(documents=documents, **fields)


def measure(system: System, job: Job) -> dict[str, Any]:
    """Index the corpus, search with one client, then with all; raw times and rankings."""
    system.warm_up_indexing(Document("warm-up", "A sentence that loads the model."))
    index_s = _timed(lambda: system.index(job.documents, job.batch))
    searches = [system.connect() for _ in range(job.clients)]
    _warm_up(searches, job.warm_up)
    rankings, latencies_s = _search_in_turn(searches[0], job.queries)
    return {
        "index_s": index_s,
        "latencies_s": latencies_s,
        "rankings": rankings,
        "concurrent_s": _timed(lambda: _search_at_once(searches, job.concurrent_queries)),
        "peak_rss": _peak_rss(),
    }


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _warm_up(searches: Sequence[Search], queries: Sequence[str]) -> None:
    """A few searches by the first client, one by each to open its connection, a few by all."""
    for query in queries:
        searches[0](query)
    for client, search in enumerate(searches):
        search(f"{queries[0]} {client}")
    _search_at_once(searches, [f"{queries[-1]} {n}" for n in range(2 * len(searches))])


def _search_in_turn(search: Search, queries: Sequence[str]) -> tuple[list[list[str]], list[float]]:
    rankings, latencies = [], []
    for query in queries:
        start = time.perf_counter()
        rankings.append(search(query))
        latencies.append(time.perf_counter() - start)
    return rankings, latencies


def _search_at_once(searches: Sequence[Search], queries: Sequence[str]) -> None:
    """One thread a client, each taking the next query when it has its answer.

    Raises the first failure, if any, when all threads have ended.
    """
    waiting = queue.SimpleQueue[str]()
    for query in queries:
        waiting.put(query)
    with ThreadPoolExecutor(len(searches)) as clients:
        for done in [clients.submit(_search_until_empty, search, waiting) for search in searches]:
            done.result()


def _search_until_empty(search: Search, waiting: queue.SimpleQueue[str]) -> None:
    while True:
        try:
            query = waiting.get_nowait()
        except queue.Empty:
            return
        search(query)


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
