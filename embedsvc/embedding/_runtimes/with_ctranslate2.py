"""CTranslate2: BERT and its relatives on a processor, in int8 with a scale for every token.

Because each token has its own scale, what else is in the batch changes a vector only by rounding.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.embedding._runtimes.model import Loaded, LocalModel, converted, pooled
from embedsvc.errors import ConfigError

BUDGET = 512
"""Tokens in one call of one core: what lies in its caches; more is slower."""

FAMILIES = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "distilbert"})
TYPES = {"fp32": "float32", "int8": "int8_float32"}


def load(model: LocalModel, threads: int) -> Loaded:
    """One run a thread. Raises ConfigError, MissingDependency."""
    import ctranslate2

    if model.config.get("model_type") not in FAMILIES:
        raise ConfigError(
            f"local:{model.name}: ctranslate2 runs {', '.join(sorted(FAMILIES))}, not "
            f"{model.config.get('model_type')}; use backend=torch"
        )
    kind = TYPES[model.precision]
    folder = converted(model, "ctranslate2", lambda place: _convert(model, place, kind))
    try:
        encoder = ctranslate2.Encoder(
            str(folder), device="cpu", compute_type=kind, inter_threads=threads, intra_threads=1
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"local:{model.name} cannot be loaded: {error}") from error

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        rows = [row[:length].tolist() for row, length in zip(ids, mask.sum(axis=1), strict=True)]
        return np.array(encoder.forward_batch(rows).last_hidden_state)

    return Loaded([pooled(hidden, model)] * threads, BUDGET)


def _convert(model: LocalModel, place: Path, kind: str) -> None:
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, *args: Any, **chosen: Any) -> Any:
            loaded = super().load_model(*args, use_safetensors=True, **chosen)
            if not hasattr(loaded.config, "position_embedding_type"):
                # transformers 5 knows no other and does not save it any more; the converter asks
                loaded.config.position_embedding_type = "absolute"
            return loaded

    converter = Converter(str(model.folder), trust_remote_code=False)
    converter.convert(str(place), quantization=kind, force=True)
