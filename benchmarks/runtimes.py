"""The default model in every runtime and precision, side by side with bare sentence-transformers.

    .venv/bin/python benchmarks/runtimes.py
    .venv/bin/python benchmarks/runtimes.py --documents 32 --rounds 1 --quality ""

In turns, round by round: `SentenceTransformer.encode` (fp32, batches of 32) in a process of its
own, then each setting through the backend that the service uses, on the same SciFact texts, in one
call. All are loaded and warm, and idle while another one works. Cosines are those to the fp32
vectors of torch. Then nDCG@10 of whole sets, one vector a document, for the settings that do not
compute in fp32 and for torch in fp32.

Targets: the setting that the service chooses by itself is the fastest of those whose nDCG@10 stays
within 0.005 of fp32, and 3 times the bare model.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bare import bare_encoder
from common import (
    Child,
    Target,
    ndcg,
    print_table,
    print_targets,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from numpy.typing import NDArray

from embedsvc.app import create_backend
from embedsvc.core.model import Role
from embedsvc.core.spec import parse_spec
from embedsvc.core.vectors import unit_rows
from embedsvc.settings import Settings

MODEL = "local:all-MiniLM-L6-v2"
FP32 = "backend=torch&precision=fp32"
SETTINGS = (
    FP32,
    "backend=torch&precision=bf16",
    "backend=onnx&precision=fp32",
    "backend=onnx&precision=int8",
    "backend=openvino&precision=fp32",
    "backend=openvino&precision=int8",
    "backend=ctranslate2&precision=fp32",
    "backend=ctranslate2&precision=int8",
)
DOCUMENTS = 256
ROUNDS = 3
CLOSE = 0.005


class Runtimes:
    """The backends of all settings, in this process, warm."""

    def __init__(self, threads: int, names: Sequence[str], home: Path) -> None:
        self._runner = asyncio.Runner()
        settings = Settings(home=home, threads=threads)
        self.backends = {
            name: self._runner.run(create_backend(settings, parse_spec(f"{MODEL}?{name}")))
            for name in names
        }
        for backend in self.backends.values():
            self._runner.run(backend.warm())
        chosen = self._runner.run(create_backend(settings, parse_spec(MODEL)))
        self.chosen = f"{chosen.runtime} {chosen.space.options}"

    def is_chosen(self, name: str) -> bool:
        """Whether the service takes this setting when nothing is said."""
        backend = self.backends[name]
        return self.chosen == f"{backend.runtime} {backend.space.options}"

    def embed(
        self, name: str, texts: Sequence[str], role: Role = "document"
    ) -> tuple[float, NDArray[np.float32]]:
        """Seconds, and rows of unit length."""
        backend = self.backends[name]
        start = time.perf_counter()
        rows = self._runner.run(backend.embed(texts, role)).rows
        seconds = time.perf_counter() - start
        return seconds, unit_rows(rows, len(texts), backend.space.dimensions, name)


def quality(runtimes: Runtimes, name: str, sets: Sequence[str]) -> dict[str, float]:
    """nDCG@10 of each set, one vector a document."""
    found = {}
    for one in sets:
        corpus, queries, qrels = read_set(one)
        ids = list(corpus)
        _, documents = runtimes.embed(name, [corpus[i] for i in ids])
        _, asked = runtimes.embed(name, list(queries.values()), "query")
        gains = []
        for query, scores in zip(queries, asked @ documents.T, strict=True):
            best = np.argsort(-scores, kind="stable")[:10]
            gains.append(ndcg([ids[i] for i in best], qrels[query]))
        found[one] = statistics.fmean(gains)
        print(f"{name}: nDCG@10 of {one} {found[one]:.4f}", flush=True)
    return found


def show(rows: Mapping[str, Mapping[str, Any]], sets: Sequence[str]) -> None:
    """One line a setting."""
    header = ["", "documents/s", "to bare", "least cosine", "mean cosine"]
    header += [f"nDCG@10 {one}" for one in sets]
    lines = []
    for name, row in rows.items():
        marks = "*" if row.get("chosen") else ""
        cosines = [f"{row[k]:.4f}" if k in row else "" for k in ("least", "mean")]
        scores = [f"{row['quality'][s]:.4f}" if row.get("quality") else "" for s in sets]
        speed = [f"{row['documents_s']:.1f}", f"{row['to_bare']:.2f}"]
        lines.append([f"{name}{marks}", *speed, *cosines, *scores])
    print_table(header, lines, "the default model; * is what the service chooses here")


def targets_of(rows: Mapping[str, Mapping[str, Any]]) -> list[Target]:
    """What must hold of the setting that the service chooses."""
    chosen = next((row for row in rows.values() if row.get("chosen")), None)
    if chosen is None:
        return []
    found = [Target("the chosen setting to bare encode", chosen["to_bare"], least=3.0)]
    if chosen.get("quality"):
        base = rows[FP32]["quality"]
        close = {
            name: row
            for name, row in rows.items()
            if not row.get("quality")
            or all(abs(row["quality"][s] - base[s]) <= CLOSE for s in base)
        }
        fastest = max(row["documents_s"] for name, row in close.items() if name in SETTINGS)
        found.append(Target("to the fastest as good", chosen["documents_s"] / fastest, least=0.95))
        found += [
            Target(f"nDCG@10 {s} less fp32", chosen["quality"][s] - base[s], least=-CLOSE)
            for s in base
        ]
    return found


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="first ones of SciFact")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quality", default="xquad/en,scifact", help="sets, or nothing")
    parser.add_argument("--only", default="", help="settings that have one of these words")
    return parser.parse_args()


def main() -> None:
    """Measure all rounds, in turns, then the quality."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    texts = list(read_set("scifact")[0].values())[: arguments.documents]
    words = [word for word in arguments.only.split(",") if word]
    names = [n for n in SETTINGS if n == FP32 or not words or any(w in n for w in words)]
    sets = [one for one in arguments.quality.split(",") if one]
    seconds: dict[str, list[float]] = {name: [] for name in ("bare", *names)}
    vectors: dict[str, NDArray[np.float32]] = {}
    with (
        tempfile.TemporaryDirectory() as home,
        Child(bare_encoder, arguments.threads) as child,
    ):
        runtimes = Runtimes(arguments.threads, names, Path(home))
        for number in range(1, arguments.rounds + 1):
            seconds["bare"].append(child.call(texts).seconds)
            for name in names:
                taken, vectors[name] = runtimes.embed(name, texts)
                seconds[name].append(taken)
            speeds = {name: f"{len(texts) / taken[-1]:.1f}" for name, taken in seconds.items()}
            print(f"round {number}: {speeds}", flush=True)
        rows: dict[str, dict[str, Any]] = {}
        for name, taken in seconds.items():
            ratios = [bare / one for bare, one in zip(seconds["bare"], taken, strict=True)]
            rows[name] = {
                "documents_s": len(texts) / statistics.median(taken),
                "to_bare": statistics.median(ratios),
                "rounds_s": taken,
            }
            if name in vectors:
                cosines = np.einsum("ij,ij->i", vectors[name], vectors[FP32])
                rows[name] |= {
                    "least": float(cosines.min()),
                    "mean": float(cosines.mean()),
                    "chosen": runtimes.is_chosen(name),
                }
            if name == FP32 or "int8" in name:  # the others' cosines leave no doubt
                rows[name]["quality"] = quality(runtimes, name, sets)
    targets = targets_of(rows)
    show(rows, sets)
    print_targets(targets)
    whole = len(texts) >= DOCUMENTS and arguments.rounds >= ROUNDS and not words
    path = write_result(
        "runtimes" if whole else "runtimes-trial",
        {
            "options": vars(arguments),
            "targets": [target.as_row() for target in targets],
            "settings": rows,
        },
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
