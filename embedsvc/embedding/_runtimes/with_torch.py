"""torch: every kind of model, on every GPU of the machine, else on the processor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.embedding._runtimes.model import Loaded, LocalModel, Run, Tokens, padded
from embedsvc.errors import ConfigError

CPU_BUDGET = 2_048
"""Tokens in one call on a processor: as fast as larger calls, and a query waits 0.3 s at most."""

CUDA_BUDGET = 65_536
TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load(model: LocalModel, threads: int) -> Loaded:
    """One run a GPU, or one on all threads. Raises ConfigError, MissingDependency."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [f"cuda:{i}" for i in range(count)] or ["cpu"]
    runs = [_run(model, device, threads) for device in devices]
    return Loaded(runs, CUDA_BUDGET if count else CPU_BUDGET)


def _run(model: LocalModel, device: str, threads: int) -> Run:
    import torch

    loaded = _model(model, device)
    padding = loaded.tokenizer.pad_token_id or 0
    typed = "token_type_ids" in loaded.tokenizer.model_input_names

    def run(batch: Sequence[Tokens]) -> NDArray[np.floating]:
        if device == "cpu" and torch.get_num_threads() != threads:  # it belongs to the thread
            torch.set_num_threads(threads)
        ids, mask = padded(batch, padding)
        features = {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }
        if typed:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        with torch.inference_mode():
            rows = loaded(features)["sentence_embedding"].float().cpu().numpy()
        found: NDArray[np.floating] = rows
        return found

    return run


def _model(model: LocalModel, device: str) -> Any:
    import sentence_transformers
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        return sentence_transformers.SentenceTransformer(
            str(model.folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": getattr(torch, TYPES[model.precision])},
        ).eval()
    except Exception as error:  # of torch, of safetensors, of the model's own class
        raise ConfigError(f"local:{model.name} cannot be loaded: {error}") from error
