"""Vectors are checked and normalised here, once, before anything stores or compares them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedsvc.core.model import Ids, Matrix
from embedsvc.errors import InvalidInput

_SMALLEST = 1e-300


def unit_rows(raw: ArrayLike, count: int, dimensions: int, source: str) -> Matrix:
    """Return `raw` as `count` rows of unit length.

    Raises InvalidInput naming `source` and the row at fault: wrong count, wrong dimensions, a
    number that is not finite, or a vector of zeros.
    """
    try:
        rows = np.asarray(raw, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{source}: not a list of vectors of numbers") from error
    if rows.ndim != 2 or rows.shape[0] != count:
        found = len(rows) if rows.ndim else 0
        raise InvalidInput(f"{source}: {found} vectors where {count} are needed")
    if rows.shape[1] != dimensions:
        raise InvalidInput(
            f"{source}: vectors of {rows.shape[1]} dimensions where the model has {dimensions}"
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidInput(f"{source}: vector {row} holds a number that is not finite")
    peaks = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    if count and float(peaks.min()) < _SMALLEST:
        row = int(np.argmin(peaks))
        raise InvalidInput(f"{source}: vector {row} is all zeros and has no direction")
    rows = rows / peaks  # else the squares of large numbers would not be finite
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def to_blob(row: NDArray[np.float32]) -> bytes:
    """One vector as little-endian float32."""
    return row.astype("<f4", copy=False).tobytes()


def from_blobs(blobs: Sequence[bytes], dimensions: int) -> Matrix:
    """Shape (len(blobs), dimensions): the inverse of `to_blob`, for many."""
    flat = np.frombuffer(b"".join(blobs), dtype="<f4")
    return flat.reshape(len(blobs), dimensions).astype(np.float32, copy=False)


def top(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the `k` highest scores, best first; equal scores by position."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, dtype=np.int64)
    lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
    chosen = np.flatnonzero(scores >= lowest)  # more than k where others equal the lowest
    return chosen[np.lexsort((chosen, -scores[chosen]))][:k]


def inside(ids: Ids, within: Ids) -> NDArray[np.bool_]:
    """Shape (len(ids),): which of the ids are in `within`, which ascends and may be much longer."""
    if not len(within):
        return np.zeros(len(ids), dtype=np.bool_)
    places = np.minimum(np.searchsorted(within, ids), len(within) - 1)
    found: NDArray[np.bool_] = within[places] == ids
    return found
