"""ONNX Runtime on a processor: fp32, or int8 with a scale for every output channel of a weight."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedsvc.embedding._runtimes._export import INPUTS, export
from embedsvc.embedding._runtimes.model import Loaded, LocalModel, converted, pooled
from embedsvc.errors import ConfigError

BUDGET = 512
"""Tokens in one call of one core: what lies in its caches; more is slower."""


def load(model: LocalModel, threads: int) -> Loaded:
    """One run a thread, on one session. Raises ConfigError, MissingDependency."""
    import onnxruntime

    make = _quantised if model.precision == "int8" else export
    folder = converted(model, "onnx", partial(make, model))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.disable_telemetry_events()
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ConfigError(f"local:{model.name} cannot be loaded: {error}") from error

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = session.run(
            None, dict(zip(INPUTS, (ids, mask), strict=True))
        )[0]
        return found

    # In int8 all numbers of a call share a scale. A text that is alone in its call has the same
    # vector always; among others it was seen to differ by a cosine of 0.95.
    return Loaded([pooled(hidden, model)] * threads, 1 if model.precision == "int8" else BUDGET)


def _quantised(model: LocalModel, place: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    export(model, place)
    whole = place / "whole.onnx"
    (place / "model.onnx").rename(whole)
    quantize_dynamic(
        whole,
        place / "model.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True},
    )
    whole.unlink()
