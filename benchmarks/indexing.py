"""Indexing over REST against the bare model on the same texts, and what a second indexing costs.

    .venv/bin/python benchmarks/indexing.py
    .venv/bin/python benchmarks/indexing.py --documents 16 --rounds 1

In turns, round by round: `SentenceTransformer.encode` (fp32, batches of 32) in a process of its
own, then one request with all documents ("title text", one vector each) to a fresh server with an
empty home, so that no vector is known already; both ready and warm, with as many threads, while
the other one is idle. Processor seconds say how much of a difference is work, and how much is
waiting for the processor. Then, on the same server:

- changed: the same documents with other metadata; nothing is embedded, everything is written.
- unchanged: the same request once more; nothing is written.
- chunks: title and text apart in a collection with default chunking.

Targets: indexing at 0.95 of the bare model's documents/s; changed and unchanged 30 times as fast
as the first indexing. All ratios are medians of the rounds' own.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bare import bare_encoder
from common import (
    Child,
    Server,
    Target,
    print_table,
    print_targets,
    read_documents,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import ONE_VECTOR, Api, Json, documents_path, encode, require_added

DOCUMENTS = 256
ROUNDS = 3


def measure_round(
    child: Child,
    texts: Sequence[Mapping[str, str]],
    documents: Sequence[Mapping[str, str]],
    threads: int,
) -> dict[str, float]:
    """Seconds and tokens of one round."""
    bare = child.call([document["text"] for document in texts])
    with Server({"EMBEDSVC_THREADS": str(threads)}) as server:
        api = Api(server.url)
        api.add("warm-up", [{"id": "1", "text": "A sentence that warms the service up."}])
        api.create("one-vector", ONE_VECTOR)
        cpu = server.cpu_s()
        first, answer = add_timed(api, "one-vector", texts)
        cpu = server.cpu_s() - cpu
        require_counts(answer, "indexed", embedded=True)
        labelled = [{**document, "metadata": {"round": 2}} for document in texts]
        changed, answer = add_timed(api, "one-vector", labelled)
        require_counts(answer, "indexed", embedded=False)
        unchanged, answer = add_timed(api, "one-vector", labelled)
        require_counts(answer, "unchanged", embedded=False)
        chunked, answer = add_timed(api, "chunks", documents)
    return {
        "bare_s": bare.seconds,
        "bare_cpu_s": bare.cpu_s,
        "bare_tokens": bare.tokens,
        "first_s": first,
        "first_cpu_s": cpu,
        "changed_s": changed,
        "unchanged_s": unchanged,
        "chunks_s": chunked,
        "chunks_tokens": answer["usage"]["tokens"],
        "chunks": sum(one["chunks"] for one in answer["documents"]),
    }


def add_timed(
    api: Api, collection: str, documents: Sequence[Mapping[str, Any]]
) -> tuple[float, Json]:
    """Seconds of one request with all documents, and its answer."""
    body = encode({"documents": documents})
    start = time.perf_counter()
    content = api.send("POST", documents_path(collection), body)
    seconds = time.perf_counter() - start
    answer: Json = json.loads(content)
    require_added(answer)
    return seconds, answer


def require_counts(answer: Json, status: str, *, embedded: bool) -> None:
    """Raise unless every document has the status, and was embedded or was not."""
    for one in answer["documents"]:
        if one["status"] != status or (one["embedded"] > 0) != embedded:
            raise RuntimeError(f"expected {status}, embedded: {embedded}, but: {one}")


def ratios_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians over the rounds of each round's own ratio of speeds."""
    return {
        "first / bare": statistics.median(one["bare_s"] / one["first_s"] for one in rounds),
        "changed / first": statistics.median(one["first_s"] / one["changed_s"] for one in rounds),
        "unchanged / first": statistics.median(
            one["first_s"] / one["unchanged_s"] for one in rounds
        ),
    }


def show(rounds: Sequence[Mapping[str, float]], count: int) -> None:
    """Documents and tokens a second, medians and each round."""
    header = [
        "",
        "documents/s",
        "tokens/s",
        "processor s",
        *(f"round {n}" for n in range(1, len(rounds) + 1)),
    ]
    rows = []
    for name, title, tokens in (
        ("bare_s", "bare encode", "bare_tokens"),
        ("first_s", "REST, one vector", "bare_tokens"),
        ("changed_s", "again, other metadata", None),
        ("unchanged_s", "again, unchanged", None),
        ("chunks_s", "REST, default chunking", "chunks_tokens"),
    ):
        speeds = [count / one[name] for one in rounds]
        of_tokens = statistics.median(one[tokens] / one[name] for one in rounds) if tokens else 0
        rows.append(
            [
                title,
                f"{statistics.median(speeds):.2f}",
                f"{of_tokens:.0f}" if tokens else "-",
                processor_seconds(rounds, name),
                *(f"{speed:.2f}" for speed in speeds),
            ]
        )
    print_table(header, rows, f"{count} SciFact documents")


def processor_seconds(rounds: Sequence[Mapping[str, float]], name: str) -> str:
    """The median of the rounds, where it was measured."""
    name = name.replace("_s", "_cpu_s")
    found = [one[name] for one in rounds if name in one]
    return f"{statistics.median(found):.2f}" if found else "-"


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="first ones of SciFact")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def main() -> None:
    """Measure all rounds, in turns."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    documents = read_documents("scifact")[: arguments.documents]
    corpus = read_set("scifact")[0]
    texts = [{"id": d["id"], "text": corpus[d["id"]]} for d in documents]
    rounds = []
    with Child(bare_encoder, arguments.threads) as child:
        for number in range(1, arguments.rounds + 1):
            rounds.append(measure_round(child, texts, documents, arguments.threads))
            shown = ", ".join(f"{name} {value:.2f}" for name, value in rounds[-1].items())
            print(f"round {number}: {shown}", flush=True)
    ratios = ratios_of(rounds)
    targets = [
        Target("documents/s, REST to bare model", ratios["first / bare"], least=0.95),
        Target("documents/s, changed metadata to first", ratios["changed / first"], least=30),
        Target("documents/s, unchanged to first", ratios["unchanged / first"], least=30),
    ]
    show(rounds, len(texts))
    print_targets(targets)
    whole = len(texts) >= DOCUMENTS and arguments.rounds >= ROUNDS
    path = write_result(
        "indexing" if whole else "indexing-trial",
        {
            "options": vars(arguments),
            "ratios": ratios,
            "targets": [target.as_row() for target in targets],
            "rounds": rounds,
        },
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
