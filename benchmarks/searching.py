"""Search latency and throughput over REST, against encoding and FAISS alone in one process.

    .venv/bin/python benchmarks/searching.py
    .venv/bin/python benchmarks/searching.py --queries 20 --concurrent 40 --rounds 1 --bulk 16

On the paragraphs of xquad/en, one vector each, and with --scifact N on that many abstracts more:

1. One client, distinct queries, in turns block by block: `SentenceTransformer.encode` and a bare
   `IndexFlatIP` of the same vectors in one process ("bare"); the service's own backend and index
   without HTTP and SQL rows ("own backend and index"); and POST /search. Target: the median over
   REST is at most 1.3 times the bare one.
2. Distinct queries one after another and by 16 clients at once, in turns: queries/s of both. The
   clients are threads of a process of their own, each with a kept connection.
3. Searches while other documents are indexed in the background, in turns with indexing alone:
   how long a query takes that overtakes bulk work, and what that costs the bulk work.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from bare import bare_search
from common import (
    Child,
    Server,
    Target,
    percentile,
    print_table,
    print_targets,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import (
    ONE_VECTOR,
    Answered,
    Api,
    Load,
    documents_path,
    encode,
    latencies,
    load_generator,
    search_bodies,
    search_path,
    timed,
)

COLLECTION = "corpus"
BULK = "bulk"
LIMIT = 10
QUERIES, CONCURRENT, ROUNDS, BULK_DOCUMENTS = 100, 200, 3, 200
BLOCKS = 5
BULK_BLOCKS = 4
PAUSE_S = 0.2  # until the threads that the other side left spinning have gone to sleep

Json = dict[str, Any]


# The service without its doors


def own_search(
    threads: int, database: Path, home: Path
) -> Callable[[Sequence[str], int], list[float]]:
    """For `Child`: embed a query and search the index with the service's own parts."""
    from embedsvc.app import build_service
    from embedsvc.logs import configure
    from embedsvc.settings import Settings

    configure("error")
    # A home of its own, so that it has an index of its own over the same database.
    settings = Settings(home=home, database_url=f"sqlite:///{database}", threads=threads)
    service = build_service(settings)
    runner = asyncio.Runner()
    embed = service.embedders.embed

    async def searches(queries: Sequence[str], limit: int) -> list[float]:
        collection = await service.collections.get(COLLECTION)
        backend = await service.embedders.of(collection)
        index = await service.replicas.fresh(collection)
        await index.search(await embed(backend, ["warm up"], "query"), limit, None)
        taken = []
        for query in queries:
            start = time.perf_counter()
            await index.search(await embed(backend, [query], "query"), limit, None)
            taken.append(time.perf_counter() - start)
        return taken

    runner.run(searches([], LIMIT))
    return lambda queries, limit: runner.run(searches(queries, limit))


# 1. One client


def one_client(server: Server, api: Api, queries: Sequence[str], threads: int) -> Json:
    """Seconds of each query in the three ways, block by block in turns."""
    database = server.home / "embedsvc.db"
    taken: dict[str, list[float]] = {"bare": [], "own": [], "rest": []}
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        Child(bare_search, threads, database) as bare,
        Child(own_search, threads, database, Path(folder)) as own,
    ):
        for block in blocks(queries, BLOCKS):
            taken["bare"] += bare.call(block, LIMIT)
            time.sleep(PAUSE_S)
            taken["own"] += own.call(block, LIMIT)
            time.sleep(PAUSE_S)
            taken["rest"] += rest_search(api, block)
            time.sleep(PAUSE_S)
    return {name: summary(seconds) for name, seconds in taken.items()}


def rest_search(api: Api, queries: Sequence[str]) -> list[float]:
    """Seconds of each query, after one to warm up as the others do."""
    bodies = search_bodies(["warm up", *queries], LIMIT)
    return latencies(api, search_path(COLLECTION), bodies)[1:]


# 2. Many clients


def many_clients(
    server: Server, queries: Iterator[str], alone: int, together: int, clients: int, rounds: int
) -> list[dict[str, Answered]]:
    """Rounds of queries one after another, then of other ones by all clients at once."""
    found = []
    with Child(load_generator) as child:

        def put(count: int, threads: int) -> Answered:
            bodies = search_bodies(take(queries, count), LIMIT)
            answered: Answered = child.call(
                Load(server.url, search_path(COLLECTION), bodies, threads)
            )
            return answered

        put(2 * clients, clients)  # connections, threads, caches
        for _ in range(rounds):
            found.append({"alone": put(alone, 1), "together": put(together, clients)})
    return found


# 3. Beside bulk indexing


def beside_bulk(
    server: Server, api: Api, texts: Sequence[Json], queries: Iterator[str]
) -> dict[str, Any]:
    """Index blocks of documents, in turns alone and searched; latencies and documents/s."""
    half = len(texts) // 2
    api.create(BULK, ONE_VECTOR)
    taken: list[float] = []
    seconds: dict[str, list[float]] = {"alone": [], "searched": []}
    for quiet, searched in zip(
        blocks(texts[:half], BULK_BLOCKS), blocks(texts[half:], BULK_BLOCKS), strict=True
    ):
        seconds["alone"].append(index_s(server.url, quiet))
        with ThreadPoolExecutor(1) as background:
            indexing = background.submit(index_s, server.url, searched)
            while not indexing.done():
                body = search_bodies([next(queries)], LIMIT)
                taken += latencies(api, search_path(COLLECTION), body)
        seconds["searched"].append(indexing.result())
    return {
        "documents": half,
        "searches": summary(taken),
        "alone_documents_per_s": half / sum(seconds["alone"]),
        "searched_documents_per_s": half / sum(seconds["searched"]),
        "seconds": seconds,
    }


def index_s(url: str, documents: Sequence[Json]) -> float:
    """Seconds to index documents by one request on a connection of its own."""
    api, body = Api(url), encode({"documents": documents})
    return timed(lambda: api.send("POST", documents_path(BULK), body))


# Pieces


def blocks(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    """The items in `count` consecutive blocks of nearly the same length."""
    edges = [round(n * len(items) / count) for n in range(count + 1)]
    return [items[low:high] for low, high in pairwise(edges)]


def take(queries: Iterator[str], count: int) -> list[str]:
    """The next `count` queries. Raises SystemExit when there are not so many."""
    found = [query for query, _ in zip(queries, range(count), strict=False)]
    if len(found) < count:
        raise SystemExit("not enough distinct queries: use smaller --queries or --concurrent")
    return found


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median and 95th percentile."""
    return {
        "count": len(seconds),
        "median_ms": 1000 * statistics.median(seconds),
        "p95_ms": 1000 * percentile(seconds, 95),
    }


def all_queries() -> list[str]:
    """Distinct queries: those of xquad in English, then in Spanish and German."""
    found = [q for name in ("en", "es", "de") for q in read_set(f"xquad/{name}")[1].values()]
    return list(dict.fromkeys(found))


def documents_of(name: str) -> list[Json]:
    """The documents of a set, "title text" as the text."""
    return [{"id": i, "text": text} for i, text in read_set(name)[0].items()]


# The command


def show(results: Json, clients: int) -> None:
    """The tables of the three parts."""
    header = ["one client", "queries", "median ms", "p95 ms"]
    titles = {"bare": "bare encode and IndexFlatIP", "own": "own backend and index", "rest": "REST"}
    print_table(header, [[titles[n], *cells(row)] for n, row in results["one_client"].items()])
    many = results["many_clients"]
    header = ["", "queries", "median ms", "p95 ms", "queries/s, median of rounds"]
    rows = [
        [title, *cells(many[name]), f"{many[name]['queries_per_s']:.1f}"]
        for name, title in (("alone", "one after another"), ("together", f"{clients} clients"))
    ]
    print_table(header, rows, f"factor {many['factor']:.2f}, median of the rounds' own")
    bulk = results["beside_bulk"]
    print_table(
        ["searches while indexing", "queries", "median ms", "p95 ms"],
        [["REST, one client", *cells(bulk["searches"])]],
        f"indexing {bulk['alone_documents_per_s']:.2f} documents/s alone, "
        f"{bulk['searched_documents_per_s']:.2f} searched: "
        f"{bulk['searched_documents_per_s'] / bulk['alone_documents_per_s']:.2f} of it",
    )


def cells(row: Json) -> list[str]:
    """A summary as cells of a table."""
    return [f"{row['count']}", f"{row['median_ms']:.1f}", f"{row['p95_ms']:.1f}"]


def of_rounds(rounds: Sequence[dict[str, Answered]]) -> Json:
    """Latencies of all rounds, the median of their queries/s and of their factors."""
    ways: Json = {
        name: summary([one for found in rounds for one in found[name].latencies])
        | {"queries_per_s": statistics.median(found[name].per_second for found in rounds)}
        for name in ("alone", "together")
    }
    factors = [found["together"].per_second / found["alone"].per_second for found in rounds]
    return ways | {"factor": statistics.median(factors), "factors": factors}


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=QUERIES, help="of one client, a round")
    parser.add_argument("--concurrent", type=int, default=CONCURRENT, help="of all, a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of many clients")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--documents", type=int, default=240, help="first ones of xquad/en")
    parser.add_argument("--scifact", type=int, default=0, help="abstracts more in the corpus")
    parser.add_argument(
        "--bulk", type=int, default=BULK_DOCUMENTS, help="abstracts indexed while searched"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def main() -> None:
    """Index, then measure the three parts."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    abstracts = documents_of("scifact")
    corpus = documents_of("xquad/en")[: arguments.documents] + abstracts[: arguments.scifact]
    bulk = abstracts[arguments.scifact :][: 2 * arguments.bulk]
    queries = iter(all_queries())
    count, rounds = arguments.queries, arguments.rounds
    with Server({"EMBEDSVC_THREADS": str(arguments.threads)}) as server:
        api = Api(server.url)
        api.create(COLLECTION, ONE_VECTOR)
        api.add(COLLECTION, corpus)
        rest_search(api, take(queries, 5))
        one = one_client(server, api, take(queries, count), arguments.threads)
        many = many_clients(server, queries, count, arguments.concurrent, arguments.clients, rounds)
        results = {
            "one_client": one,
            "many_clients": of_rounds(many),
            "beside_bulk": beside_bulk(server, api, bulk, queries),
        }
    show(results, arguments.clients)
    ratio = one["rest"]["median_ms"] / one["bare"]["median_ms"]
    own = one["rest"]["median_ms"] / one["own"]["median_ms"]
    targets = [Target("median over REST to bare encode and search", ratio, most=1.3)]
    print(f"\nmedian over REST to own backend and index: {own:.3f}")
    print_targets(targets)
    whole = (count, arguments.concurrent, rounds) >= (QUERIES, CONCURRENT, ROUNDS)
    whole = whole and arguments.bulk >= BULK_DOCUMENTS and arguments.documents >= 240
    path = write_result(
        "searching" if whole else "searching-trial",
        {"options": vars(arguments), "targets": [t.as_row() for t in targets], **results},
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
