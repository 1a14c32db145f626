"""Fixed texts whose vectors tell a space: what makes the same vectors is the same model."""

from collections.abc import Sequence

import numpy as np

from embedsvc.core.model import Matrix, Role, Space

CANARIES: Sequence[tuple[Role, str]] = (
    ("document", "The quick brown fox jumps over the lazy dog."),
    ("document", "Les sanglots longs des violons de l'automne blessent mon cœur."),
    ("document", "def add(a, b):\n    return a + b"),
    ("query", "Which city is the capital of France?"),
)
"""Never change one: the vectors of these very texts are stored with every space."""

REPRODUCED = 0.999
"""Least cosine of a canary to its stored vector. Runtimes and machines differ by 0.0001 or less, a
change of the model, its pooling or its prompts by 0.05 and more."""

REPRODUCED_QUANTISED = 0.98
"""The same for int8, whose rounding differs between processors."""


def alike(one: Matrix, other: Matrix, space: Space) -> bool:
    """Whether two sets of canaries were made by the same model, that of `space`."""
    if one.shape != other.shape:
        return False
    least = REPRODUCED_QUANTISED if "int8" in space.options else REPRODUCED
    return bool((np.einsum("ij,ij->i", one, other) >= least).all())


def same_name(one: Space, other: Space) -> bool:
    """Whether two names may mean one model: equal but for owner, tag and case."""
    return one.options == other.options and _bare(one.model) == _bare(other.model)


def _bare(model: str) -> str:
    return model.casefold().rsplit("/", 1)[-1].partition(":")[0]
