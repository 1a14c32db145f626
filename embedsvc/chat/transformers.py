"""Language models on this machine: transformers:NAME is the folder <home>/models/NAME.

    transformers:tiny-llama                   a chat model, if it has a chat template
    transformers:gpt2                         else it goes on with a text
    transformers:llama-3.1-8b?quantization=4bit&device=cuda:0&dtype=bfloat16

    quantization   4bit or 8bit: needs CUDA and bitsandbytes
    device         cpu, cuda, cuda:N or mps; by default CUDA where there is one
    dtype          float32, bfloat16 or float16; by default as the weights are stored

Nothing is fetched from the network, only safetensors weights are read, and no code that comes with
a model runs. One thread owns the weights, whatever names and options use them, and writes one
answer at a time; what is heavy is imported there, at the first use.
"""

import asyncio
import importlib.util
import json
import os
import re
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from embedsvc.chat._beside import Put, in_thread
from embedsvc.chat._local import FAILURES, Loading, Reading, is_of_memory
from embedsvc.chat._named import Kind, kind_of, window_of
from embedsvc.chat._remote import until
from embedsvc.chat._text import ends
from embedsvc.chat._weights import Shelf, Weights, shelf
from embedsvc.chat._windows import UNKNOWN
from embedsvc.core.model import Prompt
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.errors import (
    ConfigError,
    InvalidInput,
    MissingDependency,
    ProviderError,
    Unavailable,
    UnknownProvider,
)
from embedsvc.failures import shown
from embedsvc.ports import Delta, Generation
from embedsvc.settings import Settings

_OPTIONS = dict.fromkeys(("kind", "window", "quantization", "device", "dtype"))
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,2})?")
_DTYPES = ("float32", "bfloat16", "float16")
_QUANTIZATIONS = ("4bit", "8bit")
_WINDOWS = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len")
"""What architectures call it."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Texts stay here."""
    del spec, settings
    return None


def card(spec: Spec, settings: Settings) -> Path | None:
    """The file in which the model's authors say its licence."""
    return _folder(spec, settings) / "README.md"


def create(spec: Spec, settings: Settings) -> "LocalModel":
    """Look at the model's configuration; its weights are loaded at the first use."""
    refuse_options(spec, _OPTIONS)
    device, dtype, quantization = _checked(spec)
    folder = _folder(spec, settings)
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"chat 'transformers' needs the package {package!r}: pip install 'embedsvc[local]'"
            )
    if quantization is not None:
        _check_quantization(spec, device)
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"{spec} has no safetensors weights; other kinds are not read")
    window = _window(_json(folder / "config.json"), window_of(spec))
    reading = Reading(f"transformers:{spec.model}", _kind(spec, folder), window)
    threads = settings.threads or os.cpu_count() or 1
    about = Loading(folder.resolve(), quantization, device, dtype, threads)
    return LocalModel(reading, shelf(), shelf().take(about))


class LocalModel:
    """One language model: weights that it may share with others, and how it uses them."""

    remote = False

    def __init__(self, reading: Reading, kept: Shelf, weights: Weights) -> None:
        self.name = reading.name
        self.kind = reading.kind
        self.window = reading.window
        self._reading = reading
        self._shelf = kept
        self._weights = weights
        self._closing = False

    async def stream(self, prompt: Prompt, options: Generation) -> AsyncGenerator[Delta, None]:
        """Write when it is this one's turn; the thread stops at the next token after a close."""

        def work(put: Put, gone: threading.Event) -> None:
            def over() -> bool:
                return self._closing or gone.is_set()

            with self._shelf.lent(self._weights, over) as loaded:
                if loaded is not None and not over():
                    loaded.write(prompt, options, self._reading, put, over)
            if self._closing:
                raise self._is_closed()

        if self._closing:
            raise self._is_closed()
        try:
            async with (
                aclosing(in_thread(self._weights.thread, work)) as written,
                aclosing(until(written, ends(self.kind, prompt))) as deltas,
            ):
                async for delta in deltas:
                    yield delta
        except FAILURES as error:
            raise self._failed(error) from error

    async def aclose(self) -> None:
        """Stop what it writes at the next token; the last user of the weights lets go of them."""
        if not self._closing:
            self._closing = True
            await asyncio.to_thread(self._shelf.let_go, self._weights)

    def _is_closed(self) -> Unavailable:
        return Unavailable(f"{self.name} is being shut down")

    def _failed(self, error: Exception) -> ProviderError:
        if is_of_memory(error):
            return ProviderError(
                f"{self.name}: the memory is too small: send less, or choose a smaller model"
            )
        return ProviderError(f"{self.name} failed: {shown(str(error) or repr(error))}")


def _checked(spec: Spec) -> tuple[str | None, str | None, str | None]:
    """Device, dtype and quantization of a spec. Raises InvalidInput."""
    device, dtype = spec.options.get("device"), spec.options.get("dtype")
    quantization = spec.options.get("quantization")
    if device is not None and not _DEVICE.fullmatch(device):
        raise InvalidInput(f"{spec}: device is {device!r}; use cpu, cuda, cuda:0 or mps")
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidInput(f"{spec}: dtype is {dtype!r}; use {', '.join(_DTYPES)}")
    if quantization is not None and quantization not in _QUANTIZATIONS:
        raise InvalidInput(f"{spec}: quantization is {quantization!r}; use 4bit or 8bit")
    return device, dtype, quantization


def _check_quantization(spec: Spec, device: str | None) -> None:
    """Refuse what would fail later, or silently run in full. Imports torch."""
    import torch

    for package in ("bitsandbytes", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(
                f"{spec} needs the package {package!r}: pip install 'embedsvc[quantised]'"
            )
    if not torch.cuda.is_available() or (device or "cuda").partition(":")[0] != "cuda":
        raise ConfigError(
            f"{spec}: quantization needs a GPU with CUDA, and "
            f"{'there is none here' if not torch.cuda.is_available() else f'device is {device}'}: "
            "leave it out"
        )


def _kind(spec: Spec, folder: Path) -> Kind:
    template = _json(folder / "tokenizer_config.json").get("chat_template")
    templated = bool(template) or (folder / "chat_template.jinja").is_file()
    asked = kind_of(spec)
    if asked == "chat" and not templated:
        raise InvalidInput(f"{spec}: it has no chat template; use kind=completion")
    return asked or ("chat" if templated else "completion")


def _window(config: dict[str, Any], asked: int | None) -> int:
    """What is asked for, but never more than the model has room for: it would break."""
    inner = config.get("text_config")
    for found in (config, inner if isinstance(inner, dict) else {}):
        for name in _WINDOWS:
            if isinstance(value := found.get(name), int) and value > 0:
                return min(value, asked or value)
    return asked or UNKNOWN


def _folder(spec: Spec, settings: Settings) -> Path:
    """The folder of a model. A name can come with a request, so it never leaves its folder.

    A path is taken where the operator's own setting names it.
    """
    model = spec.model
    named = [link.strip().partition("?")[0] for link in settings.chat.split(",")]
    if f"transformers:{model}" in named and Path(model).is_dir():
        return Path(model)
    folder = settings.model_folder(model)
    if folder is None:
        raise UnknownProvider(
            f"no language model on this machine is called {model!r}; put a transformers folder of "
            "that name into the folder models of the home"
        )
    return folder


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file.name} of {file.parent.name} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
