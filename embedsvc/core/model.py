"""The values that pass between layers: all frozen, none knows how it is stored or sent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
"""Shape (n, dimensions): rows of unit length, so an inner product is a cosine."""

Ids = NDArray[np.int64]
"""Shape (n,): ids of chunks, ascending."""

Role = Literal["document", "query"]
Metadata = Mapping[str, Any]
DocumentStatus = Literal["indexed", "pending", "failed"]
FieldType = Literal["string", "integer", "number", "boolean", "datetime"]
Strategy = Literal["sentences", "tokens", "none"]
TooLong = Literal["truncate", "split", "error"]
"""What happens to a chunk that is longer than the model reads."""

Speaker = Literal["system", "user", "assistant"]
Grounding = Literal["strict", "normal"]
AnswerState = Literal["answered", "no_answer"]


@dataclass(frozen=True, slots=True)
class Space:
    """What makes two vectors comparable: they may be mixed only when all of this is equal.

    `max_tokens` is what the model reads of one text, special tokens included; None when unbounded.
    `options` are those of the spec that change vectors, such as `precision=int8`.
    """

    provider: str
    model: str
    dimensions: int
    revision: str = ""
    max_tokens: int | None = None
    pooling: str = ""
    query_prompt: str = ""
    document_prompt: str = ""
    special_tokens: int = 0
    options: str = ""

    @property
    def name(self) -> str:
        """The canonical `provider:model`."""
        return f"{self.provider}:{self.model}" if self.model else self.provider

    @property
    def title(self) -> str:
        """The space in words, for errors that compare two."""
        parts = [f"{self.dimensions} dimensions", self.options, f"revision {self.revision[:12]}"]
        return f"{self.name} ({', '.join(p for p in parts if p and p != 'revision ')})"

    @property
    def window(self) -> int | None:
        """Tokens of a text that the model reads, special tokens not counted."""
        return None if self.max_tokens is None else self.max_tokens - self.special_tokens


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a text is cut: `size` and `overlap` in tokens of the collection's model."""

    size: int = 256
    overlap: int = 0
    strategy: Strategy = "sentences"
    too_long: TooLong = "truncate"


@dataclass(frozen=True, slots=True)
class Truncated:
    """A text of which the model read only a part: `kept` of its `tokens`."""

    index: int
    tokens: int
    kept: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents that share one embedding space.

    `version` counts its writes; `pruned_to` is the version up to which removals are forgotten;
    `words` are those of all its chunks.
    """

    id: int
    name: str
    embedding: str
    space_id: int
    dimensions: int
    version: int
    pruned_to: int
    chunks: int
    words: int
    description: str | None
    chunking: Chunking
    fields: Mapping[str, FieldType]
    created_at: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk before it is stored: `text == document.text[start:end]`.

    `key` addresses its vector: a digest of what was embedded, or of a ready-made vector itself.
    """

    start: int
    end: int
    text: str
    key: bytes
    page: int | None = None
    metadata: Metadata | None = None


def content_hash(
    text_hash: bytes, cuts: bytes, title: str | None, url: str | None, metadata: Metadata
) -> bytes:
    """SHA-256 over all that a client can set of a document."""
    labels = json.dumps([title, url, metadata], sort_keys=True, ensure_ascii=False)
    return sha256(text_hash + sha256(cuts).digest() + labels.encode()).digest()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that is checked and cut: all that a commit needs.

    `cuts` is a digest of chunks or vectors that came ready-made, empty for a plain text.
    """

    id: str
    text: str
    title: str | None
    url: str | None
    metadata: Metadata
    text_hash: bytes
    cuts: bytes
    pieces: Sequence[Piece]

    @property
    def content_hash(self) -> bytes:
        """Equal for two documents when writing one over the other would change nothing."""
        return content_hash(self.text_hash, self.cuts, self.title, self.url, self.metadata)


@dataclass(frozen=True, slots=True)
class Document:
    """A document as stored; `text` is empty unless it was asked for. Times in microseconds."""

    id: str
    status: DocumentStatus
    title: str | None
    url: str | None
    metadata: Metadata
    text_hash: bytes
    cuts: bytes
    chunks: int
    created_at: int
    updated_at: int
    error: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as stored, joined with what a reader wants to know of its document."""

    id: int
    document_id: str
    ordinal: int
    start: int
    end: int
    page: int | None
    text: str
    title: str | None
    url: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Change:
    """What an index has to do to get from one version to the next.

    Idempotent: an id that is known already is not added twice, and removing an unknown id is
    nothing. The arrays are given away: an index may keep them, and nobody writes to them again. A
    long change comes in parts; only the last carries the new `version`.
    """

    version: int
    ids: Ids
    vectors: Matrix
    removed: Ids


@dataclass(frozen=True, slots=True)
class Match:
    """One hit of an index: cosine, higher is better."""

    chunk_id: int
    score: float


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index says of itself, for people."""

    engine: str
    version: int
    vectors: int
    segments: int = 0
    removed: int = 0
    approximate: int = 0
    bytes: int = 0
    degraded: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a talk with a language model."""

    role: Speaker
    content: str


Prompt = str | Sequence[Message]
"""Messages, or a bare text: to a chat model that is one message of the user."""
