"""What every provider's answer is checked for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedsvc.failures import wrong


def in_order(scores: Sequence[tuple[int, float]], count: int, name: str) -> NDArray[np.floating]:
    """Scores of (index, score) in the order of the texts. Raises ProviderWrong if one lacks."""
    found = np.full(count, np.nan)
    try:
        for index, score in scores:
            found[index] = score
        complete = sorted(index for index, _ in scores) == list(range(count))
    except (IndexError, TypeError, ValueError) as error:
        raise wrong(name, error) from error
    if not complete:
        numbered = [index for index, _ in scores][:8]
        raise wrong(name, f"{len(scores)} scores for {count} texts, numbered {numbered}")
    return found
