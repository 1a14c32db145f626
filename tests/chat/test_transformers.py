"""Language models on this machine: small ones, with random weights, that really run."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_llms import NO_SYSTEM, TEMPLATE, WINDOW, make_llm

from embedsvc.app import create_chat_model
from embedsvc.chat import _local, _weights
from embedsvc.core.model import Message
from embedsvc.core.spec import parse_spec
from embedsvc.errors import (
    ConfigError,
    InvalidInput,
    MissingDependency,
    PromptTooLong,
    ProviderError,
    Unavailable,
    UnknownProvider,
)
from embedsvc.ports import Delta, Generation
from embedsvc.settings import Settings

Run = Callable[[Any], Any]
DTYPES = ("?dtype=float32", "?dtype=bfloat16")
TALK = [Message("system", "Be brief."), Message("user", "What is the capital?")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_llm(folder / "models" / "llama")
    make_llm(folder / "models" / "gpt2", "GPT2LMHeadModel", template=None)
    make_llm(folder / "models" / "strict", template=NO_SYSTEM)
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, offline=True, provider_timeout=0.001, threads=1)


@pytest.fixture
def make(run: Run, settings: Settings) -> Iterator[Callable[..., Any]]:
    """`make(spec)`: a model; closed at the end."""
    made: list[Any] = []

    def create(spec: str) -> Any:
        made.append(run(create_chat_model(settings, parse_spec(spec))))
        return made[-1]

    yield create
    for model in made:
        run(model.aclose())


async def said(model: Any, prompt: Any = TALK, **options: Any) -> list[Delta]:
    return [delta async for delta in model.stream(prompt, Generation(**options))]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def expected(folder: Path, prompt: Any, count: int) -> tuple[str, int]:
    """What transformers itself writes greedily, and how many tokens it reads."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    if isinstance(prompt, str):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    else:
        spoken = [{"role": message.role, "content": message.content} for message in prompt]
        ids = tokenizer.apply_chat_template(
            spoken, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
    read = ids.shape[1]
    for _ in range(count):
        with torch.inference_mode():
            best = model(ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
        if int(best) == 1:
            break
    return tokenizer.decode(ids[0, read:], skip_special_tokens=True), read


@pytest.mark.parametrize(
    ("name", "kind", "prompt"),
    [("llama", "chat", TALK), ("gpt2", "completion", "the quick brown fox")],
)
def test_it_writes_what_transformers_writes(
    run: Run, make: Callable[..., Any], home: Path, name: str, kind: str, prompt: Any
) -> None:
    model = make(f"transformers:{name}")
    assert (model.kind, model.window, model.remote) == (kind, WINDOW, False)
    deltas = run(said(model, prompt, max_tokens=24))
    text, read = expected(home / "models" / name, prompt, 24)
    assert text_of(deltas) == text
    assert deltas[-1].prompt_tokens == read
    assert deltas[-1].completion_tokens == 24
    assert deltas[-1].finish == "length"


def test_words_come_as_they_are_written(run: Run, make: Callable[..., Any]) -> None:
    deltas = run(said(make("transformers:llama"), max_tokens=48))
    assert len([delta for delta in deltas if delta.text]) > 3


def test_messages_to_a_completion_model_are_one_text(
    run: Run, make: Callable[..., Any], home: Path
) -> None:
    deltas = run(said(make("transformers:gpt2"), TALK, max_tokens=4))
    text = "Be brief.\n\nUser: What is the capital?\nAssistant:"
    assert text_of(deltas) == expected(home / "models" / "gpt2", text, 4)[0]


def test_a_template_without_system_messages_gets_none(
    run: Run, make: Callable[..., Any], home: Path
) -> None:
    together = [Message("user", "Be brief.\n\nWhat is the capital?")]
    deltas = run(said(make("transformers:strict"), max_tokens=12))
    assert text_of(deltas) == expected(home / "models" / "strict", together, 12)[0]


@pytest.mark.parametrize(
    ("end", "thinks"), [("<think>\n", True), ("<think>", True), ("<think></think>", False)]
)
def test_thoughts_that_the_template_begins_are_marked_as_such(
    run: Run, make: Callable[..., Any], home: Path, end: str, thinks: bool
) -> None:
    name = f"thinks-{len(end)}"
    folder = make_llm(home / "models" / name, template=f"{TEMPLATE}{{{{ {json.dumps(end)} }}}}")
    text = text_of(run(said(make(f"transformers:{name}"), max_tokens=12)))
    assert text.removeprefix("<think>") == expected(folder, TALK, 12)[0]
    assert text.startswith("<think>") is thinks


def test_a_completion_model_is_not_taken_to_think(run: Run, make: Callable[..., Any]) -> None:
    text = text_of(run(said(make("transformers:gpt2"), "<think>", max_tokens=4)))
    assert not text.startswith("<think>")


def test_a_temperature_makes_it_vary(run: Run, make: Callable[..., Any]) -> None:
    model = make("transformers:llama")
    texts = {text_of(run(said(model, max_tokens=12, temperature=1.5, top_p=0.9))) for _ in range(4)}
    assert len(texts) > 1
    assert len({text_of(run(said(model, max_tokens=12, temperature=0.0))) for _ in range(3)}) == 1


def test_it_ends_where_its_window_does(run: Run, make: Callable[..., Any]) -> None:
    model = make("transformers:llama")
    last = run(said(model, max_tokens=1_000))[-1]
    assert last.prompt_tokens + last.completion_tokens <= WINDOW
    with pytest.raises(PromptTooLong, match=f"its window {WINDOW}"):
        run(said(model, [Message("user", "the quick brown fox " * 50)]))


def test_a_window_is_never_larger_than_the_model(run: Run, make: Callable[..., Any]) -> None:
    model = make("transformers:gpt2?window=100000")
    assert model.window == WINDOW
    with pytest.raises(PromptTooLong, match=f"its window {WINDOW}: send less"):
        run(said(model, "the quick brown fox " * 50))


def test_a_text_without_a_token_cannot_be_gone_on_with(run: Run, make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match="this one is empty: send some"):
        run(said(make("transformers:gpt2"), ""))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (IndexError("index out of range in self"), "gpt2 failed: index out of range"),
        (RuntimeError("CUDA out of memory. Tried"), "send less, or choose a smaller model"),
        (TypeError(), "gpt2 failed: TypeError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_in_torch_is_an_error_of_ours(
    run: Run,
    make: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    why: str,
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    model = make("transformers:gpt2")
    run(said(model, "a", max_tokens=1))
    monkeypatch.setattr(model._weights.loaded._model, "generate", fails)
    with pytest.raises(ProviderError, match=why) as caught:
        run(said(model, "a"))
    assert caught.value.transient


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        OSError("[Errno 12] Cannot allocate memory"),
        ValueError("Make sure you have enough GPU RAM to fit the quantized model."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_model_that_does_not_fit_into_memory_may_do_so_later(
    run: Run, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import transformers

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    model = make("transformers:gpt2")
    with monkeypatch.context() as patch:
        patch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fails)
        with pytest.raises(ProviderError, match="choose a smaller model") as caught:
            run(said(model, "a"))
    assert caught.value.transient
    assert run(said(model, "a", max_tokens=1))


def test_a_device_that_is_not_there_is_a_clear_error(run: Run, make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="transformers:gpt2 cannot be loaded"):
        run(said(make("transformers:gpt2?device=cuda:9"), "a"))


# -- what is in memory --------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was loaded, in its order."""
    found: list[Any] = []

    def load(about: Any) -> Any:
        found.append(about)
        return _local.load(about)

    monkeypatch.setattr(_weights, "load", load)
    return found


def test_names_and_options_of_the_same_weights_share_them(
    run: Run, make: Callable[..., Any], loads: list[Any]
) -> None:
    options = ("", "?window=128", "?kind=completion")
    plain, small, text = [make(f"transformers:llama{each}") for each in options]

    async def work() -> None:
        await asyncio.gather(*(said(model, max_tokens=2) for model in (plain, small, text)))
        await small.aclose()
        assert await said(plain, max_tokens=2)
        with pytest.raises(Unavailable):
            await said(small)

    run(work())
    assert len(loads) == 1


def test_few_models_are_in_memory_and_the_longest_unused_makes_room(
    run: Run, make: Callable[..., Any], loads: list[Any]
) -> None:
    names = ("gpt2", "gpt2?dtype=float32", "gpt2?dtype=bfloat16")
    models = [make(f"transformers:{name}") for name in names]

    def held() -> list[bool]:
        return [model._weights.loaded is not None for model in models]

    for model in models:
        run(said(model, "a", max_tokens=1))
    assert held() == [False, True, True]
    run(said(models[1], "a", max_tokens=1))
    run(said(models[0], "a", max_tokens=1))
    assert held() == [True, True, False]
    assert len(loads) == 4


def test_a_model_waits_for_room_while_all_others_write(
    run: Run, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_weights, "MOST_LOADED", 1)
    one, two, three = [make(f"transformers:gpt2{each}") for each in ("", *DTYPES)]
    most: list[int] = []
    writing = threading.Event()
    told = _local._told

    def counted(gone: Any, ids: Any) -> Any:
        most.append(sum(model._weights.loaded is not None for model in (one, two, three)))
        writing.set()
        return told(gone, ids)

    monkeypatch.setattr(_local, "_told", counted)

    async def work() -> None:
        first = asyncio.create_task(said(one, "a", max_tokens=100))
        await asyncio.to_thread(writing.wait, 10)
        impatient = asyncio.create_task(said(two, "a", max_tokens=4))
        patient = asyncio.create_task(said(three, "a", max_tokens=4))
        await asyncio.sleep(0.01)
        impatient.cancel()
        for deltas in await asyncio.gather(first, patient):
            assert deltas[-1].finish

    run(work())
    assert set(most) == {1}


# -- who goes -----------------------------------------------------------------------------------


def test_the_thread_stops_when_nobody_listens(
    run: Run, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("transformers:llama")
    run(said(model, max_tokens=1))
    steps = threading.Semaphore(0)
    told = _local._told

    def slowly(gone: Any, ids: Any) -> Any:
        time.sleep(0.02)
        steps.release()
        return told(gone, ids)

    monkeypatch.setattr(_local, "_told", slowly)

    async def work() -> None:
        async with aclosing(model.stream(TALK, Generation(max_tokens=100))) as deltas:
            async for _ in deltas:
                break
        started = time.monotonic()
        await said(model, max_tokens=1)  # its turn comes at once
        assert time.monotonic() - started < 1

    run(work())
    count = 0
    while steps.acquire(blocking=False):
        count += 1
    assert count < 60


def test_answers_are_written_one_after_the_other(run: Run, make: Callable[..., Any]) -> None:
    model = make("transformers:llama")

    async def together() -> list[str]:
        answers = await asyncio.gather(*(said(model, max_tokens=8) for _ in range(4)))
        return [text_of(deltas) for deltas in answers]

    assert len(set(run(together()))) == 1


def test_one_that_waits_for_its_turn_can_go(run: Run, make: Callable[..., Any]) -> None:
    model = make("transformers:llama")

    async def work() -> None:
        first = asyncio.create_task(said(model, max_tokens=64))
        second = asyncio.create_task(said(model, max_tokens=64))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert text_of(await first)

    run(work())


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "nobody", "..", "../models/llama", "models/llama", ".hidden", "x" * 300]
)
def test_a_name_never_leaves_the_folder_of_models(make: Callable[..., Any], name: str) -> None:
    with pytest.raises(UnknownProvider, match="put a transformers folder of that name"):
        make(f"transformers:{name}")


def test_a_path_is_taken_from_the_operators_own_setting_alone(
    run: Run, settings: Settings, home: Path
) -> None:
    path = home / "models" / "llama"
    with pytest.raises(UnknownProvider):
        run(create_chat_model(settings, parse_spec(f"transformers:{path}")))
    mine = replace(settings, chat=f"echo, transformers:{path}?device=cpu,extractive")
    model = run(create_chat_model(mine, parse_spec(f"transformers:{path}?device=cpu")))
    assert run(said(model, max_tokens=2))
    run(model.aclose())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("quantization=2bit", "use 4bit or 8bit"),
        ("device=tpu", "use cpu, cuda, cuda:0 or mps"),
        ("dtype=int4", "use float32, bfloat16, float16"),
        ("colour=red", "no option 'colour'"),
        ("kind=poem", "use chat or completion"),
    ],
)
def test_a_wrong_option_is_refused_in_words(
    make: Callable[..., Any], options: str, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        make(f"transformers:llama?{options}")


def test_a_model_without_a_template_is_no_chat_model(make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match="use kind=completion"):
        make("transformers:gpt2?kind=chat")
    assert make("transformers:llama?kind=completion").kind == "completion"


def test_quantization_says_what_it_needs(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedsvc.chat import transformers

    found = {"bitsandbytes": False}
    find = transformers.importlib.util.find_spec
    monkeypatch.setattr(
        transformers.importlib.util,
        "find_spec",
        lambda name, package=None: found.get(name, find(name, package)) or None,
    )
    with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[quantised\]'"):
        make("transformers:llama?quantization=4bit")
    found.update(bitsandbytes=True, accelerate=True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="needs a GPU with CUDA"):
        make("transformers:llama?quantization=8bit")


def test_weights_that_could_run_code_are_not_read(
    run: Run, make: Callable[..., Any], home: Path
) -> None:
    folder = make_llm(home / "models" / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="no safetensors weights"):
        make("transformers:pickled")


def test_code_that_comes_with_a_model_does_not_run(
    run: Run, make: Callable[..., Any], home: Path
) -> None:
    folder = make_llm(home / "models" / "coded")
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config |= {"model_type": "coded", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    config["auto_map"]["AutoConfig"] = "evil.Config"
    file.write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        run(said(make("transformers:coded")))
    assert not (home / "ran").exists()


def test_broken_weights_are_a_clear_error(run: Run, make: Callable[..., Any], home: Path) -> None:
    folder = make_llm(home / "models" / "broken")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="transformers:broken cannot be loaded"):
        run(said(make("transformers:broken")))
