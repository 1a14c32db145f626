"""What hybrid search costs beside dense search, and what indexing the words costs.

    .venv/bin/python benchmarks/hybrid.py
    .venv/bin/python benchmarks/hybrid.py --chunks 5000 --queries 20

Texts are five sentences each, drawn from SciFact's abstracts, so that words are as frequent as in
real text; vectors are ready-made, drawn around the vectors of real abstracts, 384 dimensions.
Queries are SciFact's claims, embedded by the default model.

- latency: one client over REST, one query a request, all modes in turn for each query. Target: the
  median of hybrid is at most 2 times that of dense.
- indexing: the model embeds documents at the rate that benchmarks/indexing.py measures; what the
  words cost is measured alone: making the bags of terms, and writing them, with the lexical index
  in the transaction and without. Target: at most 15 % of the time that embedding takes.
"""

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from common import (
    Server,
    Target,
    print_table,
    print_targets,
    read_documents,
    read_lines,
    require_data,
    stop_on_sigterm,
)
from common import write_result as write
from rest import Api, encode, search_path, timed

from embedsvc.app import build_service
from embedsvc.core.lexical import bag
from embedsvc.core.preparing import Draft
from embedsvc.logs import configure
from embedsvc.settings import Settings
from embedsvc.store import lexical

Json = dict[str, Any]
COLLECTION = "chunks"
BATCH = 1_000
SENTENCES = 5
MODES: dict[str, Json] = {
    "dense": {"mode": "dense"},
    "lexical": {"mode": "lexical"},
    "hybrid": {},
    "hybrid, reciprocal ranks": {"fusion": {"method": "rrf"}},
    "hybrid, a common word": {},
}


def texts(count: int) -> Iterator[str]:
    """Texts with the word frequencies of SciFact."""
    chance = random.Random(1)
    abstracts = [document["text"] for document in read_documents("scifact")]
    sentences = [s for text in abstracts for s in re.split(r"(?<=\.) ", text)]
    for _ in range(count):
        yield " ".join(chance.sample(sentences, SENTENCES))


def drafts(count: int) -> Iterator[list[Draft]]:
    """Documents of one chunk with their vectors, in batches."""
    chance = np.random.default_rng(1)
    centres = chance.standard_normal((1_000, 384))
    batch: list[Draft] = []
    for number, text in enumerate(texts(count)):
        row = centres[number % 1_000] + chance.standard_normal(384)
        batch.append(Draft(f"d{number}", text=text, vectors=[row.tolist()]))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def fill(home: Path, count: int) -> float:
    """Index the documents in this process; seconds of it that were spent in the service."""
    service = build_service(Settings(home=home, samples=False))
    spent = 0.0
    async with service.running(warm=False):
        for batch in drafts(count):
            start = time.perf_counter()
            await service.ingest.add(COLLECTION, batch)
            spent += time.perf_counter() - start
        collection = await service.collections.get(COLLECTION)
        await (await service.replicas.fresh(collection)).save()
    return spent


def latencies(api: Api, queries: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of each query in each mode; the modes take turns."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    path = search_path(COLLECTION)
    for query in queries:
        for mode, options in MODES.items():
            text = query.split()[0] + " of the cells in" if "common" in mode else query
            body = encode({"query": text, "limit": 10, **options})
            found[mode].append(timed(lambda body=body: api.send("POST", path, body)))
    return found


def words_ms(count: int) -> Json:
    """Milliseconds a chunk: making its bag of terms; and writing it, alone and with its words."""
    sample = list(texts(count))
    bags_ms = timed(lambda: [bag(text) for text in sample]) / count * 1e3
    seconds = {"with words": [], "without": []}  # type: dict[str, list[float]]
    for _ in range(3):
        for way, spent in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                if way == "with words":
                    spent.append(asyncio.run(fill(Path(folder), count)))
                    continue
                with mock.patch.object(lexical, "insert"):
                    spent.append(asyncio.run(fill(Path(folder), count)))
    with_words, without = (statistics.median(seconds[w]) / count * 1e3 for w in seconds)
    return {"bags": bags_ms, "written": with_words, "written_without": without}


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--documents-per-s", type=float, default=57.1, help="of the bare indexing")
    parser.add_argument("--home", type=Path, help="keep the filled database here, or use it again")
    return parser.parse_args()


def main() -> None:
    """Fill, search in every mode, and measure the words."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    configure("error")
    queries = [row["text"] for row in read_lines("scifact", "queries.jsonl")]
    queries = queries[: arguments.queries + 10]
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder) / "home"
        if not (home / "embedsvc.db").exists():
            seconds = asyncio.run(fill(home, arguments.chunks))
            print(f"{arguments.chunks} chunks filled in {seconds:.0f} s", flush=True)
        with Server(kept_home=home) as server:
            api = Api(server.url)
            latencies(api, queries[-10:])
            spent = latencies(api, queries[: arguments.queries])
    words = words_ms(min(arguments.chunks, 2_000))
    medians = {mode: statistics.median(found) * 1e3 for mode, found in spent.items()}
    embedding_ms = 1e3 / arguments.documents_per_s
    words_cost = words["bags"] + words["written"] - words["written_without"]
    targets = [
        Target("hybrid to dense, median", medians["hybrid"] / medians["dense"], most=2.0),
        Target("words to embedding, a document", words_cost / embedding_ms, most=0.15),
    ]
    rows = [[mode, f"{ms:.1f}", f"{ms / medians['dense']:.2f}"] for mode, ms in medians.items()]
    print_table(["mode", "median ms", "to dense"], rows, f"{arguments.chunks} chunks, one client")
    print_table(["words, ms a chunk", ""], [[k, f"{v:.3f}"] for k, v in words.items()])
    print_targets(targets)
    results = {
        "options": {k: v for k, v in vars(arguments).items() if k != "home"},
        "targets": [target.as_row() for target in targets],
        "median_ms": medians,
        "words_ms": words,
    }
    whole = arguments.chunks == 100_000
    print(f"written: {write('hybrid' if whole else 'hybrid-trial', results).name}")


if __name__ == "__main__":
    main()
