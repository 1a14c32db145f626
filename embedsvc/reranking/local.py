"""Cross-encoders on this machine: local:NAME is the sentence-transformers folder models/NAME.

Nothing is fetched from the network, only safetensors weights are read, and no code that comes with
a model runs. One thread owns the model; what is heavy is imported there, at the first use.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.errors import (
    ConfigError,
    MissingDependency,
    ProviderError,
    Unavailable,
    UnknownProvider,
)
from embedsvc.ports import Calls
from embedsvc.settings import Settings

BATCH = 16
"""Pairs in one call of the model; other requests get their turn between two."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Texts stay here."""
    del spec, settings
    return None


def card(spec: Spec, settings: Settings) -> Path | None:
    """The file in which the model's authors say its licence."""
    return _folder(spec.model, settings) / "README.md"


def create(spec: Spec, settings: Settings) -> "LocalReranker":
    """Look at the model's configuration; its weights are loaded at the first use."""
    refuse_options(spec)
    folder = _folder(spec.model, settings)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        labels = config.get("id2label") or {}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{spec} is not a sentence-transformers folder: {error}") from error
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"{spec} has no safetensors weights; other kinds are not read")
    if len(labels) > 1:
        raise ConfigError(f"{spec} has {len(labels)} labels; a reranker has one score")
    return LocalReranker(str(spec), folder, settings.threads)


class LocalReranker:
    """One cross-encoder, loaded once, run by one thread."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        self.name = name
        self.calls = Calls(texts=BATCH)
        self._folder = folder
        self._threads = threads or os.cpu_count() or 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reranker")
        self._model: Any = None

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.floating]:
        """A pair that is longer than the model's window is cut."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._scores, query, list(texts))
        except RuntimeError as error:  # what torch raises, out of memory among it
            if "after shutdown" in str(error):
                raise Unavailable("the reranker is being shut down") from error
            raise ProviderError(f"{self.name} failed: {error}") from error

    async def aclose(self) -> None:
        """Stop the model's thread after its present call."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _scores(self, query: str, texts: list[str]) -> NDArray[np.floating]:
        if self._model is None:
            self._model = self._load()
        from torch import nn

        scores: NDArray[np.floating] = self._model.predict(
            [(query, text) for text in texts],
            batch_size=BATCH,
            show_progress_bar=False,
            activation_fn=nn.Sigmoid(),  # of logits: many models' own activation leaves them raw
            convert_to_numpy=True,
        )
        return scores.reshape(len(texts), -1)[:, 0].astype(np.float64)

    def _load(self) -> Any:
        try:
            import sentence_transformers
            import torch
            import transformers
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"local rerankers need the package {error.name!r}: pip install 'embedsvc[local]'"
            ) from error
        transformers.utils.logging.disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            torch.set_num_threads(self._threads)  # it belongs to the thread
        try:
            model = sentence_transformers.CrossEncoder(
                str(self._folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{self.name} cannot be loaded: {error}") from error
        if model.num_labels != 1:
            raise ConfigError(f"{self.name} has {model.num_labels} labels; a reranker has one")
        return model


def _folder(model: str, settings: Settings) -> Path:
    """The folder of a model. A name can come with a request, so it never leaves its folder."""
    folder = settings.model_folder(model)
    if folder is None:
        raise UnknownProvider(
            f"no local reranker is called {model!r}; put a cross-encoder of sentence-transformers "
            "into a folder of that name in the folder models of the home"
        )
    return folder
