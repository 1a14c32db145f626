"""From what a client sent to what can be stored: checked, cut into chunks, each with the address
of its vector. One bad document is an error of its own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.chunking import split
from embedsvc.core.fields import Fields, check_values
from embedsvc.core.model import (
    Chunking,
    Matrix,
    Metadata,
    Piece,
    Prepared,
    Space,
    TooLong,
    Truncated,
)
from embedsvc.core.vectors import to_blob, unit_rows
from embedsvc.errors import InvalidInput, TooLarge

MOST_ID = 512
MOST_METADATA = 65_536
MOST_TITLE = 4_096
TITLE_SHARE = 4
"""The title may take one part in so many of what the model reads; the rest is for the text."""

BETWEEN_CHUNKS = "\n\n"
"""Joins ready-made chunks into the text of their document."""

Tokenise = Callable[[str], NDArray[np.int64]]

_UNDECLARED: Fields = {}


@dataclass(frozen=True, slots=True)
class DraftChunk:
    """A chunk that the client cut."""

    text: str
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as a client sent it, unchecked: a text or chunks, maybe with their vectors."""

    id: str
    text: str | None = None
    chunks: Sequence[DraftChunk] | None = None
    vectors: Sequence[Sequence[float]] | None = None
    title: str | None = None
    url: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A prepared document, the texts to embed by key, and the ready-made vectors by key.

    `tokens` are those of each key; `truncated` tells the chunks that the model does not read whole.
    """

    document: Prepared
    texts: Mapping[bytes, str]
    vectors: Mapping[bytes, NDArray[np.float32]]
    tokens: Mapping[bytes, int]
    truncated: tuple[Truncated, ...] = ()


def prepare(
    draft: Draft,
    chunking: Chunking,
    space: Space,
    tokenise: Tokenise,
    most_characters: int,
    fields: Fields = _UNDECLARED,
) -> Cut:
    """Check and cut one document. Raises InvalidInput or TooLarge, naming the field."""
    check_labels(draft)
    _check_declared(draft, fields)
    title = draft.title.strip() if draft.title else ""
    header = _header(title, space, tokenise)
    header_tokens = len(tokenise(header))
    ready = None if draft.vectors is None else list(draft.vectors)
    text = _text(draft, most_characters)
    starts = tokenise(text) if ready is None else np.empty(0, dtype=np.int64)
    room = _room(chunking.size, space, header_tokens)
    pieces = _cut(draft, text, starts, replace(chunking, size=room))
    if ready is None and space.window is not None:
        window = max(1, space.window - header_tokens)
        pieces = _too_long(pieces, starts, window, chunking.too_long)
    else:
        window = len(starts)
    texts, tokens, truncated = _read(pieces, header, header_tokens, starts, window)
    prepared, vectors = _address(pieces, texts, ready, space)
    document = Prepared(
        id=draft.id,
        text=text,
        title=draft.title,
        url=draft.url,
        metadata=dict(draft.metadata or {}),
        text_hash=sha256(text.encode()).digest(),
        cuts=_cuts(draft, prepared),
        pieces=prepared,
    )
    if ready is not None:
        return Cut(document, {}, vectors, {})
    keys = [piece.key for piece in prepared]
    return Cut(
        document,
        dict(zip(keys, texts, strict=True)),
        {},
        dict(zip(keys, tokens, strict=True)),
        truncated,
    )


def _too_long(
    pieces: Sequence[Piece], starts: NDArray[np.int64], window: int, policy: TooLong
) -> list[Piece]:
    """The chunks with those that are too long split, where that is wanted. Raises TooLarge."""
    made: list[Piece] = []
    for number, piece in enumerate(pieces):
        inside = starts[slice(*np.searchsorted(starts, (piece.start, piece.end)))] - piece.start
        if len(inside) <= window or policy == "truncate":
            made.append(piece)
            continue
        if policy == "error":
            raise TooLarge(
                f"chunks[{number}].text: {len(inside)} tokens, and the model reads {window} of "
                "them: send smaller chunks",
                code="text_too_long",
            )
        made += [
            replace(
                piece, start=piece.start + low, end=piece.start + high, text=piece.text[low:high]
            )
            for low, high in split(piece.text, inside, window)
        ]
    return made


def _read(
    pieces: Sequence[Piece],
    header: str,
    header_tokens: int,
    starts: NDArray[np.int64],
    window: int,
) -> tuple[list[str], list[int], tuple[Truncated, ...]]:
    """What the model reads of each chunk, of how many tokens, and which chunks that cuts."""
    texts: list[str] = []
    tokens: list[int] = []
    truncated: list[Truncated] = []
    for number, piece in enumerate(pieces):
        low, high = np.searchsorted(starts, (piece.start, piece.end))
        count, text = int(high - low), piece.text
        if count > window:
            text = text[: int(starts[low + window]) - piece.start]
            truncated.append(Truncated(number, header_tokens + count, header_tokens + window))
        texts.append(header + text)
        tokens.append(header_tokens + min(count, window))
    return texts, tokens, tuple(truncated)


def key_of_text(embedded: str) -> bytes:
    """The address of the vector of a text as a model reads it."""
    return sha256(b"text\0" + embedded.encode()).digest()


def key_of_vector(blob: bytes) -> bytes:
    """The address of a ready-made vector: the text of somebody else can never find it."""
    return sha256(b"vector\0" + blob).digest()


def check_labels(draft: Draft) -> None:
    """Refuse an id, title, url or metadata that cannot be stored, naming it."""
    if not draft.id or len(draft.id) > MOST_ID:
        raise InvalidInput(f"id: {len(draft.id)} characters; use 1 to {MOST_ID}")
    for name, value in (("id", draft.id), ("title", draft.title), ("url", draft.url)):
        check_text(name, value or "")
    for name, value in (("title", draft.title), ("url", draft.url)):
        if value and len(value) > MOST_TITLE:
            raise TooLarge(f"{name}: {len(value)} characters; at most {MOST_TITLE} are allowed")
    _check_metadata("metadata", draft.metadata)


def _check_declared(draft: Draft, fields: Fields) -> None:
    check_values("metadata", draft.metadata, fields)
    for number, chunk in enumerate(draft.chunks or ()):
        check_values(f"chunks[{number}].metadata", chunk.metadata, fields)


def check_text(name: str, text: str) -> None:
    """Refuse a text that not every database can keep, naming it and the place."""
    if (at := text.find("\0")) >= 0:
        raise InvalidInput(f"{name}: a NUL character at position {at}; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{name}: half of a surrogate pair at position {error.start}; it is not text"
        ) from error


def _check_metadata(name: str, metadata: Metadata | None) -> None:
    if metadata is None:
        return
    try:
        shown = json.dumps(metadata, ensure_ascii=False)
    except RecursionError as error:
        raise InvalidInput(f"{name}: nested too deeply") from error
    check_text(name, shown)
    if "\\u0000" in shown and "\0" in _strings(metadata):
        raise InvalidInput(f"{name}: a NUL character; remove it")
    if len(shown) > MOST_METADATA:
        raise TooLarge(f"{name}: {len(shown)} characters of JSON; at most {MOST_METADATA}")


def _strings(value: Any) -> str:
    """All strings inside a JSON value, joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(key + _strings(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "".join(_strings(inner) for inner in value)
    return ""


def _header(title: str, space: Space, tokenise: Tokenise) -> str:
    """What stands before every chunk when it is embedded, so that it knows what it is about."""
    if not title:
        return ""
    window = space.window
    starts = tokenise(title)
    if window is not None and len(starts) > window // TITLE_SHARE:
        title = title[: int(starts[window // TITLE_SHARE])].rstrip()
    return f"{title}\n" if title else ""


def _text(draft: Draft, most_characters: int) -> str:
    """The document's text, checked; that of ready-made chunks is the chunks, joined."""
    if draft.chunks is None and draft.text is not None:
        text = draft.text
        check_text("text", text)
    elif draft.chunks is not None and draft.text is None:
        _check_chunks(draft.chunks)
        text = BETWEEN_CHUNKS.join(chunk.text for chunk in draft.chunks)
    else:
        raise InvalidInput("text: send either text or chunks, and one of them")
    if len(text) > most_characters:
        raise TooLarge(f"text: {len(text)} characters; at most {most_characters} are allowed")
    if not text.strip():
        raise InvalidInput("text: it is empty")
    return text


def _cut(draft: Draft, text: str, starts: NDArray[np.int64], chunking: Chunking) -> list[Piece]:
    """The chunks of the text, their keys still empty."""
    if draft.chunks is not None:
        return _given(draft.chunks)
    strategy = "none" if draft.vectors is not None else chunking.strategy
    overlap = min(chunking.overlap, chunking.size - 1)
    spans = split(text, starts, chunking.size, overlap, strategy)
    return [Piece(start, end, text[start:end], b"") for start, end in spans]


def _room(size: int, space: Space, header: int) -> int:
    """Tokens of a chunk's own text: its size, unless the header leaves less of the window."""
    return size if space.window is None else max(1, min(size, space.window - header))


def _check_chunks(chunks: Sequence[DraftChunk]) -> None:
    if not chunks:
        raise InvalidInput("chunks: the list is empty")
    for number, chunk in enumerate(chunks):
        if not chunk.text.strip():
            raise InvalidInput(f"chunks[{number}].text: it is empty")
        check_text(f"chunks[{number}].text", chunk.text)
        _check_metadata(f"chunks[{number}].metadata", chunk.metadata)


def _given(chunks: Sequence[DraftChunk]) -> list[Piece]:
    pieces, at = [], 0
    for chunk in chunks:
        pieces.append(Piece(at, at + len(chunk.text), chunk.text, b"", metadata=chunk.metadata))
        at += len(chunk.text) + len(BETWEEN_CHUNKS)
    return pieces


def _address(
    pieces: Sequence[Piece],
    texts: Sequence[str],
    ready: Sequence[Sequence[float]] | None,
    space: Space,
) -> tuple[list[Piece], dict[bytes, NDArray[np.float32]]]:
    """The chunks with the keys of what the model reads of them, or of their ready-made vectors."""
    if ready is None:
        keys = map(key_of_text, texts)
        return [_keyed(piece, key) for piece, key in zip(pieces, keys, strict=True)], {}
    rows: Matrix = unit_rows(ready, len(pieces), space.dimensions, "vectors")
    keys_of_rows = [key_of_vector(to_blob(row)) for row in rows]
    keyed = [_keyed(piece, key) for piece, key in zip(pieces, keys_of_rows, strict=True)]
    return keyed, dict(zip(keys_of_rows, rows, strict=True))


def _keyed(piece: Piece, key: bytes) -> Piece:
    return Piece(piece.start, piece.end, piece.text, key, piece.page, piece.metadata)


def _cuts(draft: Draft, pieces: Sequence[Piece]) -> bytes:
    """A digest of what came ready-made, so that other chunks of the same text are a change."""
    if draft.chunks is None and draft.vectors is None:
        return b""
    described = [[chunk.text, chunk.metadata] for chunk in draft.chunks or ()]
    digest = sha256(json.dumps(described, sort_keys=True).encode())
    if draft.vectors is not None:
        for piece in pieces:
            digest.update(piece.key)
    return digest.digest()
