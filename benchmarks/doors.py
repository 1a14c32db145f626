"""`/v1/embeddings` with single short texts: 16 clients against one, and what the service adds.

    .venv/bin/python benchmarks/doors.py
    .venv/bin/python benchmarks/doors.py --requests 64 --rounds 1

Round by round, in turns: one client that sends one text after another; 16 clients at once, each
with one text a request; and the model alone, called in a process of its own by the backend of the
service, one text after another. The clients are a process of their own. The overhead is the median
of one client's requests less the median of the model's calls.

Target: 16 clients get three times the texts a second of one.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import (
    Child,
    Server,
    Target,
    print_table,
    print_targets,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import Load, encode, load_generator

PATH = "/v1/embeddings"
REQUESTS = 400
ROUNDS = 3
CLIENTS = 16


def bare_backend(threads: int) -> Callable[[Sequence[str]], list[float]]:
    """Seconds of each call of the backend of the service, with one text each."""
    from embedsvc.app import create_backend
    from embedsvc.core.spec import parse_spec
    from embedsvc.settings import Settings

    runner = asyncio.Runner()
    home = Path(tempfile.mkdtemp(prefix="benchmark-"))
    settings = Settings(home=home, threads=threads)
    backend = runner.run(create_backend(settings, parse_spec(settings.embedding)))
    runner.run(backend.warm())

    async def work(texts: Sequence[str]) -> list[float]:
        taken = []
        for text in texts:
            start = time.perf_counter()
            await backend.embed([text], "document")
            taken.append(time.perf_counter() - start)
        return taken

    return lambda texts: runner.run(work(texts))


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def main() -> None:
    """Measure all rounds, in turns."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    queries = list(read_set("xquad/en")[1].values())[: arguments.requests]
    bodies = [encode({"input": text, "encoding_format": "base64"}) for text in queries]
    rounds = []
    with (
        Child(load_generator) as clients,
        Child(bare_backend, arguments.threads) as model,
        Server({"EMBEDSVC_THREADS": str(arguments.threads)}) as server,
    ):
        clients.call(Load(server.url, PATH, bodies[:32], 4))
        for number in range(1, arguments.rounds + 1):
            one = clients.call(Load(server.url, PATH, bodies, 1))
            many = clients.call(Load(server.url, PATH, bodies, arguments.clients))
            bare = statistics.median(model.call(queries))
            rounds.append(
                {
                    "one_s": one.per_second,
                    "many_s": many.per_second,
                    "one_median_ms": statistics.median(one.latencies) * 1000,
                    "many_median_ms": statistics.median(many.latencies) * 1000,
                    "model_median_ms": bare * 1000,
                }
            )
            print(
                f"round {number}:",
                ", ".join(f"{name} {value:.2f}" for name, value in rounds[-1].items()),
                flush=True,
            )
    middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    factor = statistics.median(r["many_s"] / r["one_s"] for r in rounds)
    overhead = statistics.median(r["one_median_ms"] - r["model_median_ms"] for r in rounds)
    print_table(
        ["", "texts/s", "median ms"],
        [
            ["one client", f"{middle['one_s']:.1f}", f"{middle['one_median_ms']:.1f}"],
            [
                f"{arguments.clients} clients",
                f"{middle['many_s']:.1f}",
                f"{middle['many_median_ms']:.1f}",
            ],
            ["the model alone", "", f"{middle['model_median_ms']:.1f}"],
        ],
        f"{len(queries)} questions of xquad/en through {PATH}",
    )
    print(f"the service adds {overhead:.1f} ms to the model's call (medians)")
    targets = [Target(f"{arguments.clients} clients to one", factor, least=3.0)]
    print_targets(targets)
    whole = len(queries) >= REQUESTS and arguments.rounds >= ROUNDS
    path = write_result(
        "doors" if whole else "doors-trial",
        {
            "options": vars(arguments),
            "overhead_ms": overhead,
            "targets": [target.as_row() for target in targets],
            "rounds": rounds,
        },
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
