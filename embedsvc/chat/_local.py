"""Language models in torch: how one is loaded, and how it writes. All of it runs in one thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embedsvc.chat._beside import Put
from embedsvc.chat._text import as_text, turns
from embedsvc.core.model import Message, Prompt
from embedsvc.errors import ConfigError, InvalidInput, PromptTooLong, ProviderError
from embedsvc.failures import shown
from embedsvc.ports import Delta, Generation

FAILURES = (RuntimeError, ValueError, LookupError, TypeError, MemoryError)
"""What torch and transformers raise for what goes wrong in them."""

MOST_NEW_TOKENS = 1_024
"""Of an answer where neither the request nor the model says."""

_THOUGHTS = "<think>"
_LOOK_BACK = 16
"""Tokens at the end of a prompt, among which that can be."""


@dataclass(frozen=True, slots=True)
class Loading:
    """What weights are made of, and how they are to run: equal ones are loaded once."""

    folder: Path
    quantisation: str | None
    device: str | None
    dtype: str | None
    threads: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How weights are used under a name; several may be of the same weights."""

    name: str
    kind: Literal["chat", "completion"]
    window: int


class Loaded:
    """A model in memory."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def write(
        self,
        prompt: Prompt,
        options: Generation,
        reading: Reading,
        put: Put,
        gone: Callable[[], bool],
    ) -> None:
        """Write into `put` until the end, or until the reader is `gone`.

        Raises PromptTooLong, InvalidInput.
        """
        import torch

        read = self._read(prompt, reading)
        count = int(read["input_ids"].shape[1])
        most = min(_room(count, reading), options.max_tokens or self._usual())
        read = read.to(self._model.device)
        streamer = _streamer(self._tokenizer, put, self._begun(read, reading))
        with torch.inference_mode():
            made = self._model.generate(
                **read,
                **_sampling(options),
                max_new_tokens=most,
                streamer=streamer,
                stopping_criteria=[lambda ids, _scores, **_: _told(gone, ids)],
                pad_token_id=self._padding(),
            )
        written = int(made.shape[1]) - count
        ended = int(made[0, -1]) in self._ends()
        put(Delta("", count, written, "stop" if ended or written < most else "length"))

    def _read(self, prompt: Prompt, reading: Reading) -> Any:
        if reading.kind == "completion":
            return self._tokenizer(as_text(prompt), return_tensors="pt")
        import jinja2

        messages = turns(prompt)
        try:
            return self._templated(messages)
        except jinja2.TemplateError:  # not all know a system message
            try:
                return self._templated(_without_system(messages))
            except jinja2.TemplateError as error:
                raise ConfigError(
                    f"{reading.name}: its chat template does not take these messages: "
                    f"{shown(str(error))}"
                ) from error

    def _templated(self, messages: Sequence[Message]) -> Any:
        return self._tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )

    def _begun(self, read: Any, reading: Reading) -> str:
        """What the template has written of the answer: some begin the thoughts themselves."""
        if reading.kind == "completion":
            return ""
        end = self._tokenizer.decode(read["input_ids"][0, -_LOOK_BACK:])
        return _THOUGHTS if end.rstrip().endswith(_THOUGHTS) else ""

    def _usual(self) -> int:
        return self._model.generation_config.max_new_tokens or MOST_NEW_TOKENS

    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        return {ends} if isinstance(ends, int) else set(ends or ())

    def _padding(self) -> int:
        padding: int | None = self._tokenizer.pad_token_id
        return next(iter(self._ends()), 0) if padding is None else padding


def is_of_memory(error: Exception) -> bool:
    """Whether the memory was too small, of the GPU or of the machine."""
    words = ("out of memory", "allocate memory", "not enough memory", "enough gpu ram")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def load(about: Loading) -> Loaded:
    """Read a model's files; a build of torch may know no CUDA.

    Raises ConfigError; ProviderError when the memory is too small, which may pass.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.disable_progress_bar()
    device = about.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        torch.set_num_threads(about.threads)  # it belongs to the thread
    shared = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(about.folder, **shared)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            about.folder, use_safetensors=True, **shared, **_placed(about, device)
        )
        if about.quantisation is None:
            model = model.to(device)
    except (*FAILURES, AssertionError, ImportError, OSError, SafetensorError) as error:
        name = f"transformers:{about.folder.name}"
        if is_of_memory(error):
            raise ProviderError(
                f"{name} cannot be loaded: the memory is too small: choose a smaller model"
            ) from error
        raise ConfigError(f"{name} cannot be loaded: {shown(str(error))}") from error
    if device == "cpu" and about.dtype is None and model.dtype == torch.float16:
        model = model.float()  # processors have no arithmetic for it
    return Loaded(model.eval(), tokenizer)


def _placed(about: Loading, device: str) -> dict[str, Any]:
    import torch
    import transformers

    if about.quantisation is None:
        return {"dtype": "auto" if about.dtype is None else getattr(torch, about.dtype)}
    four = about.quantisation == "4bit"
    computing = getattr(torch, about.dtype or "bfloat16")
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=four,
        load_in_8bit=not four,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=computing,
    )
    return {"quantization_config": config, "device_map": {"": device}, "dtype": computing}


def _room(count: int, reading: Reading) -> int:
    """The tokens that are left for an answer."""
    if count == 0:
        raise InvalidInput(f"{reading.name} goes on with a text, and this one is empty: send some")
    if count >= reading.window:
        raise PromptTooLong(
            f"{reading.name}: the prompt has {count} tokens and its window {reading.window}: "
            "send less"
        )
    return reading.window - count


def _sampling(options: Generation) -> dict[str, Any]:
    """Greedy, unless a temperature is given: what a model's own file says would make it random."""
    if not options.temperature:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    top = {} if options.top_p is None else {"top_p": options.top_p}
    return {"do_sample": True, "temperature": options.temperature, **top}


def _told(gone: Callable[[], bool], ids: Any) -> Any:
    import torch

    return torch.full((ids.shape[0],), gone(), dtype=torch.bool, device=ids.device)


def _streamer(tokenizer: Any, put: Put, begun: str) -> Any:
    from transformers import TextStreamer

    class Streamer(TextStreamer):  # type: ignore[misc]  # the library is not typed here
        """Hands on whole words, and never a part of a character; before them what has `begun`."""

        before = begun

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:  # and not earlier: after the first text no other model stands in
                put(Delta(self.before + text))
                self.before = ""

    return Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """What the system says as the beginning of what the user says."""
    first, second, *others = [*messages, *messages[:1]] if len(messages) == 1 else messages
    if first.role != "system":
        return list(messages)
    return [Message("user", f"{first.content}\n\n{second.content}"), *others]
