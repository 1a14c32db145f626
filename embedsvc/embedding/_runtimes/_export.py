"""The transformer of a model as an ONNX file, without its pooling."""

import warnings
from pathlib import Path
from typing import Any

from embedsvc.embedding._runtimes.model import LocalModel
from embedsvc.errors import ConfigError

INPUTS = ("input_ids", "attention_mask")


def export(model: LocalModel, place: Path) -> None:
    """Write `place/model.onnx`: ids and mask in, the last layer out."""
    import onnx  # noqa: F401 - torch needs it, and says so less plainly
    import torch
    import transformers

    inner = transformers.AutoModel.from_pretrained(
        str(model.folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation="eager",
        dtype=torch.float32,
    ).eval()

    class LastLayer(torch.nn.Module):  # type: ignore[misc]
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            found = inner(input_ids=input_ids, attention_mask=attention_mask)
            return found.last_hidden_state

    last = LastLayer()
    last.inner = inner
    example = torch.ones(2, 16, dtype=torch.long)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about shapes
            torch.onnx.export(
                last,
                (example, example),
                str(place / "model.onnx"),
                input_names=list(INPUTS),
                output_names=["hidden"],
                dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*INPUTS, "hidden")},
                opset_version=17,
                dynamo=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"local:{model.name} cannot be exported to ONNX ({error}); use backend=torch"
        ) from error
