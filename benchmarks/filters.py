"""Filtered search over REST: is the answer exact, and what does the filter cost?

    .venv/bin/python benchmarks/filters.py
    .venv/bin/python benchmarks/filters.py --chunks 5000 --queries 10

The chunks are those of benchmarks/hybrid.py: texts of SciFact's sentences, ready-made vectors of
384 dimensions; SciFact's claims are the queries, embedded by the default model. SQLite, one client,
one query a request. Each chunk has a number from 0 to 1 that is its place in a random order, so
that `{"share": {"$lt": 0.01}}` lets through 1 %: once as a declared field, once as one that is not.

- recall@10: against the exact answer, computed with NumPy over all chunks that match. Hybrid has
  the default fusion, half of the cosine and half of BM25. Target: at least 0.99.
- latency: the median of each selectivity, its filter the same for all queries, beside the median
  without a filter; they take turns. Target: at most 3 times that.
- new filters: the same with another range for every query, so that nothing can be remembered.
  Target for declared fields: at most 3 times the median without a filter.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from bare import read_rows, to_matrix
from common import (
    Server,
    Target,
    print_table,
    print_targets,
    read_lines,
    require_data,
    stop_on_sigterm,
    write_result,
)
from hybrid import drafts
from numpy.typing import NDArray
from rest import Api, encode, search_path

from embedsvc.app import build_service
from embedsvc.core.lexical import Statistics, bm25, number, terms
from embedsvc.core.preparing import Draft
from embedsvc.logs import configure
from embedsvc.settings import Settings

Json = dict[str, Any]
Scores = NDArray[np.float64]

COLLECTION = "filtered"
CHUNKS, QUERIES = 100_000, 40
LIMIT = 10
SELECTIVITIES = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9)
FIELDS = {"declared": "share", "undeclared": "portion"}
MODES = ("dense", "hybrid")
TIE = 1e-5  # scores that are nearer are equal: the service has them in 32 bits


def tagged(count: int) -> Iterator[list[Draft]]:
    """The documents in batches, each with its place in a random order under both names."""
    places = list(range(count))
    random.Random(2).shuffle(places)
    place = iter(places)
    for batch in drafts(count):
        yield [
            Draft(one.id, one.text, vectors=one.vectors, metadata=_metadata(next(place) / count))
            for one in batch
        ]


def _metadata(share: float) -> Json:
    names = {"source": "https://example.org/abstracts", "language": "en", "year": 2020}
    return names | dict.fromkeys(FIELDS.values(), share)


async def fill(home: Path, count: int) -> None:
    """Index the documents in this process."""
    service = build_service(Settings(home=home, samples=False))
    async with service.running(warm=False):
        await service.collections.put(COLLECTION, fields={FIELDS["declared"]: "number"})
        for batch in tagged(count):
            await service.ingest.add(COLLECTION, batch)
        collection = await service.collections.get(COLLECTION)
        await (await service.replicas.fresh(collection)).save()


# -- the exact answer -----------------------------------------------------------------------------


class Exact:
    """Every score of every chunk, by NumPy over what the database holds."""

    def __init__(self, database: Path) -> None:
        rows = read_rows(
            database,
            "SELECT document.key, document.metadata ->> '$.share', chunk.terms, vector.data "
            "FROM chunk JOIN document ON document.id = chunk.document_id "
            "JOIN vector ON vector.key = chunk.vector_key ORDER BY chunk.id",
        )
        self.keys = [row[0] for row in rows]
        self.shares = np.array([row[1] for row in rows], dtype=np.float64)
        self._bags = [row[2] for row in rows]
        self._vectors = to_matrix(rows)
        sizes = [len(one) // 5 for one in self._bags]
        self._numbers = np.frombuffer(
            b"".join(one[: 4 * n] for one, n in zip(self._bags, sizes, strict=True)), dtype="<u4"
        )
        self._mean = sum(sum(one[4 * n :]) for one, n in zip(self._bags, sizes, strict=True))
        self._mean /= len(rows)

    def scores(self, query: str, vector: Sequence[float]) -> dict[str, Scores]:
        """The scores of all chunks in each mode."""
        cosines = self._vectors.astype(np.float64) @ np.array(vector)
        wanted = list(dict.fromkeys(terms(query)))
        holding = {term: int((self._numbers == number(term)).sum()) for term in wanted}
        words = bm25(wanted, Statistics(len(self.keys), self._mean, holding), self._bags)
        return {"dense": cosines, "hybrid": (cosines + words) / 2}

    def recall(self, found: Sequence[str], scores: Scores, low: float, high: float) -> float:
        """The share of the best LIMIT with low <= share < high that was found; ties are equal."""
        inside = (self.shares >= low) & (self.shares < high)
        best = np.sort(scores[inside])[::-1][:LIMIT]
        if not len(best):
            return 1.0
        places = {key: place for place, key in enumerate(self.keys)}
        good = [
            key for key in found if inside[places[key]] and scores[places[key]] >= best[-1] - TIE
        ]
        return len(set(good)) / len(best)


# -- the measurement ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to search: a mode, and a field with a selectivity unless there is no filter."""

    mode: str
    field: str | None = None
    selectivity: float = 1.0
    fresh: bool = False

    def range(self, turn: int) -> tuple[float, float]:
        """The shares that the filter lets through."""
        if not self.fresh:
            return 0.0, self.selectivity
        low = random.Random(f"{self}{turn}").uniform(0, 1 - self.selectivity)
        return low, low + self.selectivity

    def body(self, query: str, turn: int) -> bytes:
        """The request."""
        asked: Json = {"query": query, "mode": self.mode, "limit": LIMIT, "include": ["text"]}
        if self.field is not None:
            low, high = self.range(turn)
            bounds = {"$gte": low, "$lt": high} if self.fresh else {"$lt": high}
            asked["filter"] = {FIELDS[self.field]: bounds}
        return encode(asked)


def ways(mode: str) -> list[Way]:
    """All ways of one mode, the unfiltered one first."""
    return [
        Way(mode),
        *(
            Way(mode, field, selectivity, fresh)
            for field in FIELDS
            for fresh in (False, True)
            for selectivity in SELECTIVITIES
        ),
    ]


@dataclass(frozen=True)
class Measured:
    """Seconds and recall of each query of one way."""

    seconds: list[float]
    recalls: list[float]

    @property
    def median_ms(self) -> float:
        """The median in milliseconds."""
        return 1000 * statistics.median(self.seconds)

    @property
    def recall(self) -> float:
        """The mean recall."""
        return statistics.mean(self.recalls)


def measure(api: Api, exact: Exact, queries: Sequence[str]) -> dict[Way, Measured]:
    """All ways in turn for each query, after a few queries to warm up."""
    vectors = api.call("POST", "/v1/embeddings", {"input": list(queries), "input_type": "query"})
    rows = [one["embedding"] for one in vectors["data"]]
    everything = [way for mode in MODES for way in ways(mode)]
    found = {way: Measured([], []) for way in everything}
    for way in everything:
        api.send("POST", search_path(COLLECTION), way.body("warm up", -1))
    for turn, (query, row) in enumerate(zip(queries, rows, strict=True)):
        scores = exact.scores(query, row)
        for way in random.Random(turn).sample(everything, len(everything)):
            start = time.perf_counter()
            answer = api.send("POST", search_path(COLLECTION), way.body(query, turn))
            found[way].seconds.append(time.perf_counter() - start)
            keys = [hit["document_id"] for hit in json.loads(answer)["results"]]
            recall = exact.recall(keys, scores[way.mode], *way.range(turn))
            found[way].recalls.append(recall)
    return found


def targets(found: Mapping[Way, Measured]) -> list[Target]:
    """The worst of all selectivities, for each mode and kind of field."""
    made = []
    for mode, field, fresh in product(MODES, FIELDS, (False, True)):
        mine = [m for w, m in found.items() if (w.mode, w.field, w.fresh) == (mode, field, fresh)]
        name = f"{mode}, {field}{', new filters' if fresh else ''}"
        made.append(Target(f"{name}: least recall@10", min(m.recall for m in mine), least=0.99))
        if field == "declared" or not fresh:
            slowest = max(m.median_ms for m in mine) / found[Way(mode)].median_ms
            made.append(Target(f"{name}: slowest to unfiltered", slowest, most=3.0))
    return made


def show(found: Mapping[Way, Measured], chunks: int) -> list[Json]:
    """Print a table for each mode; the rows as they are written."""
    rows = []
    for mode in MODES:
        plain = found[Way(mode)].median_ms
        mine = [
            {
                **asdict(way),
                "median_ms": measured.median_ms,
                "to_unfiltered": measured.median_ms / plain,
                "recall": measured.recall,
            }
            for way, measured in found.items()
            if way.mode == mode
        ]
        cells = [
            [
                f"{row['field'] or 'no filter'}{', new filters' if row['fresh'] else ''}",
                f"{row['selectivity']:.2%}",
                f"{row['median_ms']:.1f}",
                f"{row['to_unfiltered']:.2f}",
                f"{row['recall']:.3f}",
            ]
            for row in mine
        ]
        header = [mode, "matching", "median ms", "to unfiltered", "recall@10"]
        print_table(header, cells, f"{chunks} chunks, one client")
        rows += mine
    return rows


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--home", type=Path, help="keep the filled database here, or use it again")
    return parser.parse_args()


def main() -> None:
    """Fill, search in every way, compare with the exact answer."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    configure("error")
    queries = [row["text"] for row in read_lines("scifact", "queries.jsonl")][: arguments.queries]
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder) / "home"
        if not (home / "embedsvc.db").exists():
            start = time.perf_counter()
            asyncio.run(fill(home, arguments.chunks))
            print(f"{arguments.chunks} chunks filled in {time.perf_counter() - start:.0f} s")
        exact = Exact(home / "embedsvc.db")
        with Server(kept_home=home) as server:
            found = measure(Api(server.url), exact, queries)
    rows = show(found, arguments.chunks)
    reached = targets(found)
    print_targets(reached)
    whole = arguments.chunks >= CHUNKS and arguments.queries >= QUERIES
    options = {name: str(value) for name, value in vars(arguments).items()}
    results = {"options": options, "targets": [one.as_row() for one in reached], "rows": rows}
    print(f"written: {write_result('filters' if whole else 'filters-trial', results).name}")


if __name__ == "__main__":
    main()
