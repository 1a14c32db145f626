"""A model as its files describe it, and what every runtime needs around it."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.errors import ConfigError, EmbedsvcError

Tokens = Sequence[int]
Run = Callable[[Sequence[Tokens]], NDArray[np.floating]]
"""Token ids of several texts → shape (texts, dimensions)."""

Hidden = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.floating]]
"""Ids and mask, shape (texts, tokens) → shape (texts, tokens, hidden size)."""

ABANDONED = 86_400.0
"""Seconds after which a conversion that has not ended is taken for one of a process that died."""

POOLINGS = ("mean_tokens", "cls_token", "max_tokens", "lasttoken")
"""Poolings that are done here, so that a runtime needs no torch."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on disk. `converted` is the folder for what runtimes make of it.

    `plain` is one whose sentence vector is a pooling of the last layer and nothing more.
    """

    name: str
    folder: Path
    converted: Path
    revision: str
    config: Mapping[str, Any]
    pooling: str
    dimensions: int
    plain: bool
    precision: str

    @property
    def padding(self) -> int:
        """The id that fills up short texts."""
        return int(self.config.get("pad_token_id") or 0)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run; `budget` is the tokens, padding counted in, that fill a call well."""

    runs: Sequence[Run]
    budget: int


def pooled(hidden: Hidden, model: LocalModel) -> Run:
    """A run from the function that computes the last layer."""

    def run(batch: Sequence[Tokens]) -> NDArray[np.floating]:
        ids, mask = padded(batch, model.padding)
        return pool(hidden(ids, mask), mask, model.pooling)

    return run


def padded(batch: Sequence[Tokens], padding: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask, shape (texts, tokens of the longest)."""
    lengths = np.fromiter(map(len, batch), dtype=np.int64)
    ids = np.full((len(batch), int(lengths.max())), padding, dtype=np.int64)
    for row, tokens in zip(ids, batch, strict=True):
        row[: len(tokens)] = tokens
    return ids, (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)


def pool(
    hidden: NDArray[np.floating], mask: NDArray[np.int64], pooling: str
) -> NDArray[np.floating]:
    """Shape (texts, hidden size) from (texts, tokens, hidden size)."""
    lengths = mask.sum(axis=1)
    if pooling == "cls_token":
        return hidden[:, 0]
    if pooling == "lasttoken":
        return hidden[np.arange(len(hidden)), lengths - 1]
    there = mask[:, :, None].astype(hidden.dtype)
    if pooling == "max_tokens":
        return np.where(there > 0, hidden, -np.inf).max(axis=1)
    summed: NDArray[np.floating] = np.einsum("bth,bt->bh", hidden, there[:, :, 0])
    return summed / lengths[:, None]


def converted(model: LocalModel, runtime: str, make: Callable[[Path], None]) -> Path:
    """The folder of a converted model, made once by `make(folder)`.

    Conversion goes to a temporary name first and is on disk before it has its own; of two that
    convert at once, one wins. Raises ConfigError.
    """
    said = json.dumps([model.revision, model.name, runtime, model.precision])
    folder = model.converted / f"{runtime}-{sha256(said.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    model.converted.mkdir(parents=True, exist_ok=True)
    _clear(model.converted)
    half = Path(mkdtemp(prefix="half-", dir=model.converted))
    try:
        make(half)
        _flush(half)
        half.rename(folder)
    except (EmbedsvcError, ImportError):
        raise
    except Exception as error:  # every converter has classes of its own
        if not folder.is_dir():
            raise ConfigError(
                f"local:{model.name} cannot be converted for {runtime} ({error}); use backend=torch"
            ) from error
    finally:
        rmtree(half, ignore_errors=True)
    return folder


def _clear(folder: Path) -> None:
    """Remove what conversions left behind that never ended."""
    for half in folder.glob("half-*"):
        with suppress(FileNotFoundError):  # another process removes it too
            if time.time() - half.stat().st_mtime > ABANDONED:
                rmtree(half, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make sure that what was written is on disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
