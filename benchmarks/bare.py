"""What the service is measured against: sentence-transformers and FAISS with nothing around them.

Each is made in a process of its own (`common.Child`) and times itself, so that what passes between
the processes is not counted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import model_folder
from numpy.typing import NDArray

from embedsvc.store.database import sqlite_library

BATCH = 32


@dataclass(frozen=True)
class Encoded:
    """One timed call; tokens without special ones, no more than the model reads of each text."""

    seconds: float
    cpu_s: float
    tokens: int


def bare_encoder(threads: int) -> Callable[[Sequence[str]], Encoded]:
    """`SentenceTransformer.encode` in fp32 on the processor, loaded and warm."""
    model = _load(threads)
    model.encode(["A sentence that warms the model up. " * 20] * BATCH, batch_size=BATCH)

    def encode(texts: Sequence[str]) -> Encoded:
        start, cpu = time.perf_counter(), time.process_time()
        model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        ids = model.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        window = model.max_seq_length - model.tokenizer.num_special_tokens_to_add()
        return Encoded(seconds, cpu, sum(min(len(row), window) for row in ids))

    return encode


def bare_search(threads: int, database: Path) -> Callable[[Sequence[str], int], list[float]]:
    """Encode a query, search an `IndexFlatIP` of the vectors that the database holds."""
    import faiss

    model = _load(threads)
    vectors = stored_vectors(database)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def search(queries: Sequence[str], limit: int) -> list[float]:
        index.search(model.encode(["warm up"], show_progress_bar=False), limit)
        taken = []
        for query in queries:
            start = time.perf_counter()
            index.search(model.encode([query], show_progress_bar=False), limit)
            taken.append(time.perf_counter() - start)
        return taken

    return search


def stored_vectors(database: Path) -> NDArray[np.float32]:
    """All vectors of a service's SQLite file, in the order of the chunks."""
    rows = read_rows(
        database,
        "SELECT vector.data FROM chunk JOIN collection ON collection.id = chunk.collection_id "
        "JOIN vector ON vector.space_id = collection.space_id AND vector.key = chunk.vector_key "
        "ORDER BY chunk.id",
    )
    return to_matrix(rows)


def read_rows(database: Path, statement: str) -> list[Any]:
    """All rows of a statement, by a new plain connection of the library that the service uses."""
    connection = sqlite_library().connect(str(database))
    try:
        rows: list[Any] = connection.execute(statement).fetchall()
        return rows
    finally:
        connection.close()


def to_matrix(rows: Sequence[Any]) -> NDArray[np.float32]:
    """Rows whose last column is a vector, as one matrix."""
    flat = np.frombuffer(b"".join(row[-1] for row in rows), dtype="<f4")
    return flat.reshape(len(rows), -1)


def _load(threads: int) -> Any:
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    return SentenceTransformer(model_folder(), device="cpu", local_files_only=True)
