"""Retrieval quality through the real service, against the published figures of the model.

    .venv/bin/python benchmarks/quality.py
    .venv/bin/python benchmarks/quality.py --sets xquad/en --limit 20

Two ways of indexing, both searched for 10 documents over REST:

- one vector: "title text" as one string, chunking "none", so the model reads the first 256 tokens,
  searched densely. This is how the published figures were computed, and the figure must be met.
- chunks: documents with title and text, default chunking, the best chunk of each document
  ("per_document": 1), in every mode. Dense must be at least the published figure; LEAST has what
  lexical and hybrid must reach.

nDCG@10 is averaged over all judged queries, and compared with ir-measures where that is installed.
With --limit only the first documents are indexed, and only queries that they answer are asked; the
published figures are of the whole sets, so there is no target then.
"""

import argparse
import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import (
    Server,
    Target,
    ndcg,
    print_table,
    print_targets,
    read_documents,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import ONE_VECTOR, Api, timed

K = 10


@dataclass(frozen=True)
class Published:
    """nDCG@10 of all-MiniLM-L6-v2; without `tolerance` only for information, one vector only."""

    value: float
    tolerance: float | None


PUBLISHED = {
    "scifact": Published(0.645, 0.003),
    "xquad/en": Published(0.944, 0.003),
    "xquad/de": Published(0.7032, None),
    "xquad/es": Published(0.6323, None),
    "clapnq": Published(0.0, None),
}
LEAST = {
    ("scifact", "lexical"): 0.665,
    ("scifact", "hybrid"): 0.70,
    ("xquad/de", "lexical"): 0.90,
    ("xquad/es", "lexical"): 0.90,
}
FUSIONS: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "lexical": {"mode": "lexical"},
    "hybrid": {"mode": "hybrid"},
    "hybrid, reciprocal ranks": {"mode": "hybrid", "fusion": {"method": "rrf"}},
}


@dataclass(frozen=True)
class Evaluation:
    """One set, maybe cut to its first documents."""

    name: str
    texts: list[dict[str, str]]  # "title text" as the text
    documents: list[dict[str, str]]  # title apart
    queries: dict[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def read_evaluation(name: str, limit: int) -> Evaluation:
    """The set; with a limit its first documents, and the queries judged on them alone."""
    corpus, queries, qrels = read_set(name)
    documents = read_documents(name)[: limit or None]
    kept = {document["id"] for document in documents}
    asked = {i: text for i, text in queries.items() if qrels[i].keys() <= kept}
    texts = [{"id": d["id"], "text": corpus[d["id"]]} for d in documents]
    return Evaluation(name, texts, documents, asked, qrels)


def evaluate(api: Api, one: Evaluation, way: str) -> list[dict[str, Any]]:
    """Index in one way and search in the modes that go with it; the scores."""
    chunked = way == "chunks"
    collection = f"{one.name.replace('/', '-')}-{way}"
    api.create(collection, None if chunked else ONE_VECTOR)
    documents = one.documents if chunked else one.texts
    index_s = timed(lambda: api.add(collection, documents))
    rows = []
    for mode in FUSIONS if chunked else ["dense"]:
        options = FUSIONS[mode] | ({"per_document": 1} if chunked else {})
        rankings = api.rankings(collection, list(one.queries.values()), limit=K, **options)
        found = dict(zip(one.queries, rankings, strict=True))
        rows.append(
            {
                "set": one.name,
                "way": way,
                "mode": mode,
                "documents": len(documents),
                "chunks": api.call("GET", f"/v1/collections/{collection}")["chunks"],
                "queries": len(found),
                "ndcg_at_10": statistics.fmean(ndcg(found[i], one.qrels[i], K) for i in found),
                "ir_measures": by_ir_measures(found, one.qrels),
                "documents_per_s": len(documents) / index_s,
            }
        )
        print(f"{one.name}, {way}, {mode}: {rows[-1]['ndcg_at_10']:.4f}", flush=True)
    return rows


def by_ir_measures(
    found: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]
) -> float | None:
    """nDCG@10 as ir-measures computes it; None where it is not installed."""
    if importlib.util.find_spec("ir_measures") is None:
        return None
    import ir_measures

    run = {i: {d: -float(rank) for rank, d in enumerate(ids)} for i, ids in found.items()}
    judged = {i: dict(qrels[i]) for i in found}
    measure = ir_measures.nDCG @ K
    return float(ir_measures.calc_aggregate([measure], judged, run)[measure])


def targets_of(row: Mapping[str, Any]) -> list[Target]:
    """What a row of a whole set is to reach."""
    name = f"{row['set']}, {row['way']}, {row['mode']}, nDCG@10"
    if (least := LEAST.get((row["set"], row["mode"]))) is not None:
        return [Target(name, row["ndcg_at_10"], least=least)]
    published = PUBLISHED.get(row["set"])
    if published is None or published.tolerance is None or row["mode"] != "dense":
        return []
    if row["way"] == "chunks":
        return [Target(name, row["ndcg_at_10"], least=published.value)]
    low, high = published.value - published.tolerance, published.value + published.tolerance
    return [Target(name, row["ndcg_at_10"], least=low, most=high)]


def above_both(rows: Sequence[Mapping[str, Any]]) -> list[Target]:
    """On SciFact hybrid must find more than either stage alone."""
    found = {
        r["mode"]: r["ndcg_at_10"] for r in rows if (r["set"], r["way"]) == ("scifact", "chunks")
    }
    if not found:
        return []
    gain = found["hybrid"] - max(found["dense"], found["lexical"])
    return [Target("scifact, chunks, hybrid less the better of both", gain, least=0.0)]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of all rows."""
    shown = []
    for row in rows:
        published = PUBLISHED.get(row["set"])
        other = row["ir_measures"]
        shown.append(
            [
                f"{row['set']}, {row['way']}, {row['mode']}",
                row["documents"],
                row["chunks"],
                row["queries"],
                f"{row['ndcg_at_10']:.4f}",
                (published and published.value) or "-",
                "-" if other is None else f"{other:.4f}",
                f"{row['documents_per_s']:.1f}",
            ]
        )
    header = ["set", "documents", "chunks", "queries", "nDCG@10", "published", "ir-measures", "d/s"]
    print_table(header, shown, "nDCG@10")


def ways_of(name: str) -> Sequence[str]:
    """Both ways; chunks alone for the sets whose published figures are only for information."""
    published = PUBLISHED.get(name)
    informative = published is not None and published.tolerance is None
    return ["chunks"] if informative else ["one-vector", "chunks"]


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", default=",".join(PUBLISHED), help="names, separated by commas")
    parser.add_argument("--limit", type=int, default=0, help="first documents only; 0: all")
    return parser.parse_args()


def main() -> None:
    """Evaluate each set in each way, in one server."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    names = arguments.sets.split(",")
    rows = []
    with Server() as server:
        api = Api(server.url)
        for name in names:
            one = read_evaluation(name, arguments.limit)
            for way in ways_of(name):
                rows += evaluate(api, one, way)
    whole = not arguments.limit and set(names) == set(PUBLISHED)
    targets = [target for row in rows for target in targets_of(row)] + above_both(rows)
    if arguments.limit:
        targets = []
    show(rows)
    print_targets(targets)
    results = {"rows": rows, "targets": [target.as_row() for target in targets]}
    print(f"written: {write_result('quality' if whole else 'quality-trial', results).name}")


if __name__ == "__main__":
    main()
