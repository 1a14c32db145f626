"""What the tests of the store share: a collection, and documents that need no preparing."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from embedsvc.core.model import Chunking, Collection, Piece, Prepared, Space
from embedsvc.store.store import Store

SPACE = Space("test", "two", 2)


@pytest.fixture
def space() -> Space:
    return SPACE


@pytest.fixture
def collection(run: Callable[[Any], Any], store: Store) -> Collection:
    """An empty collection called `books`."""
    made: Collection = run(store.create_collection("books", "test:two", SPACE, Chunking()))[0]
    return made


def prepared(
    document_id: str, *texts: str, title: str | None = None, metadata: Any = None, own: Any = None
) -> Prepared:
    """A document whose chunks are `texts`; chunk metadata from `own`, a list."""
    text = "\n\n".join(texts)
    pieces, at = [], 0
    for number, part in enumerate(texts):
        key = sha256(part.encode()).digest()
        extra = None if own is None else own[number]
        pieces.append(Piece(at, at + len(part), part, key, metadata=extra))
        at += len(part) + 2
    digest = sha256(text.encode()).digest()
    return Prepared(document_id, text, title, None, metadata or {}, digest, b"", pieces)


@pytest.fixture(name="prepared")
def prepared_() -> Callable[..., Prepared]:
    return prepared


@pytest.fixture
def put(run: Callable[[Any], Any], store: Store) -> Callable[..., int]:
    """`put(collection, documents…)`: store vectors and documents, as ingest does."""

    def put_(collection: Collection, *documents: Prepared) -> int:
        keys = sorted({piece.key for document in documents for piece in document.pieces})
        vectors = np.array([vector_of(key) for key in keys], dtype=np.float32).reshape(-1, 2)

        async def work() -> int:
            await store.add_vectors(collection.space_id, keys, vectors)
            return await store.replace(collection, documents)

        version: int = run(work())
        return version

    return put_


def vector_of(key: bytes) -> list[float]:
    angle = int.from_bytes(key[:4], "big")
    return [float(np.cos(angle)), float(np.sin(angle))]
