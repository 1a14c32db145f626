"""What every provider's answer is checked for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedsvc.errors import ProviderError


def in_order(scores: Sequence[tuple[int, float]], count: int, name: str) -> NDArray[np.floating]:
    """Scores of (index, score) in the order of the texts. Raises ProviderError if one lacks."""
    found = np.full(count, np.nan)
    try:
        for index, score in scores:
            found[index] = score
        complete = sorted(index for index, _ in scores) == list(range(count))
    except (IndexError, TypeError, ValueError) as error:
        raise ProviderError(f"a wrong answer from {name}: {error}") from error
    if not complete:
        raise ProviderError(
            f"a wrong answer from {name}: {len(scores)} scores for {count} texts, numbered "
            f"{[index for index, _ in scores][:8]}"
        )
    return found
