"""OpenVINO on a processor: fp32, or weights in int8 with activations quantised as they come."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.embedding._runtimes._export import INPUTS, export
from embedsvc.embedding._runtimes.model import Loaded, LocalModel, converted, pooled
from embedsvc.errors import ConfigError

BUDGET = 2_048
_GROUP = "64"  # activations that share a scale


def load(model: LocalModel, threads: int) -> Loaded:
    """One run on all threads. Raises ConfigError, MissingDependency."""
    import openvino

    folder = converted(model, "openvino", partial(_convert, model))
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if model.precision == "int8" else "0",
    }
    try:
        compiled = core.compile_model(core.read_model(folder / "model.xml"), "CPU", settings)
    except RuntimeError as error:
        raise ConfigError(f"local:{model.name} cannot be loaded: {error}") from error
    request = compiled.create_infer_request()

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        answer = request.infer(dict(zip(INPUTS, (ids, mask), strict=True)))
        return np.array(answer[compiled.output(0)])

    return Loaded([pooled(hidden, model)], BUDGET)


def _convert(model: LocalModel, place: Path) -> None:
    import openvino

    export(model, place)
    read = openvino.Core().read_model(place / "model.onnx")
    if model.precision == "int8":
        _compress(read)
    openvino.serialize(read, place / "model.xml", place / "model.bin")
    (place / "model.onnx").unlink()


def _compress(read: Any) -> None:
    """Keep the weights of every matrix product as int8, with a scale for each output channel."""
    from openvino import opset13 as ops

    for node in read.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() != "Constant" or len(source.shape) != 2:
            continue
        weights = source.data.astype(np.float32)
        inputs = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.abs(weights).max(axis=inputs, keepdims=True) / 127
        scale[scale == 0] = 1
        rounded = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        whole = ops.convert(ops.constant(rounded), "f32")
        node.input(1).replace_source_output(ops.multiply(whole, ops.constant(scale)).output(0))
