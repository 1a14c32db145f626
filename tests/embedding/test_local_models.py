"""Models of other architectures, in every runtime: the vectors of sentence-transformers itself."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import LONGEST, RECIPES, TEXTS, WIDTH, Recipe, make, reference, write

from embedsvc.core.model import Role
from embedsvc.core.preparing import Draft
from embedsvc.core.spec import parse_spec
from embedsvc.core.vectors import unit_rows
from embedsvc.embedding import local
from embedsvc.embedding._runtimes.model import ABANDONED, LocalModel, converted
from embedsvc.errors import (
    ConfigError,
    Conflict,
    InvalidInput,
    MissingDependency,
    ProviderError,
    UnknownProvider,
)
from embedsvc.services.search import Query
from embedsvc.settings import Settings

Run = Callable[[Any], Any]
Models = Callable[[str], Settings]

RUNTIMES = ("torch", "ctranslate2", "onnx", "openvino")
ENCODERS = ("bert-mean", "bert-cls", "bert-max", "xlmr-mean", "distilbert-mean")
ONLY_TORCH = ("bert-dense", "bert-two-poolings", "bert-weighted")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`models(NAME)`: the settings of a home that has the model of RECIPES; each is made once."""
    settings = Settings(home=tmp_path_factory.mktemp("models"), threads=2)

    def model(name: str) -> Settings:
        folder = settings.home / "models" / name
        if not folder.is_dir():
            make(folder, RECIPES[name])
        return settings

    return model


@pytest.fixture
def own(settings: Settings) -> Callable[..., Settings]:
    """`own(NAME, …)`: the settings of a home of this test alone, with a model of that recipe."""

    def model(name: str = "mine", **recipe: Any) -> Settings:
        make(settings.home / "models" / name, Recipe(**recipe))
        return replace(settings, threads=2)

    return model


def folder_of(settings: Settings, name: str) -> Path:
    return settings.home / "models" / name


def create(settings: Settings, spec: str, dimensions: int | None = None) -> local.LocalBackend:
    return local.create(parse_spec(spec, dimensions), settings)


def embedded(
    run: Run, backend: local.LocalBackend, texts: Sequence[str], role: Role = "document"
) -> Any:
    """Unit rows, and the backend closed after."""

    async def work() -> Any:
        try:
            answer = await backend.embed(texts, role)
        finally:
            await backend.aclose()
        return unit_rows(answer.rows, len(texts), backend.space.dimensions, "test")

    return run(work())


def cosines(one: Any, other: Any) -> Any:
    return np.einsum("ij,ij->i", one, other)


# -- the same vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_runtime_makes_the_vectors_of_sentence_transformers(
    run: Run, models: Models, name: str, runtime: str
) -> None:
    settings = models(name)
    backend = create(settings, f"local:{name}?backend={runtime}")
    ours = embedded(run, backend, TEXTS)
    np.testing.assert_allclose(ours, reference(folder_of(settings, name), TEXTS), atol=1e-5)
    distances = ours @ ours.T
    np.fill_diagonal(distances, -1)
    assert distances.max() < 0.999, "the model tells no text from another: this proves nothing"


@pytest.mark.parametrize("runtime", ["ctranslate2", "onnx", "openvino"])
@pytest.mark.parametrize("name", ["bert-mean", "xlmr-mean", "distilbert-mean"])
def test_int8_is_near_in_every_architecture(
    run: Run, models: Models, name: str, runtime: str
) -> None:
    settings = models(name)
    backend = create(settings, f"local:{name}?backend={runtime}&precision=int8")
    assert backend.space.options == f"backend={runtime}&precision=int8"
    ours = embedded(run, backend, TEXTS)
    assert cosines(ours, reference(folder_of(settings, name), TEXTS)).min() > 0.98


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(run: Run, models: Models, precision: str) -> None:
    settings = models("bert-mean")
    backend = create(settings, f"local:bert-mean?precision={precision}")
    assert (backend.runtime, backend.space.options) == ("torch", f"precision={precision}")
    ours = embedded(run, backend, TEXTS)
    assert cosines(ours, reference(folder_of(settings, "bert-mean"), TEXTS)).min() > 0.999


@pytest.mark.parametrize("name", [*ONLY_TORCH, "qwen3-last", "bert-cased"])
def test_torch_runs_what_sentence_transformers_runs(run: Run, models: Models, name: str) -> None:
    settings = models(name)
    backend = create(settings, f"local:{name}")
    assert backend.runtime == "torch"
    expected = reference(folder_of(settings, name), TEXTS)
    assert backend.space.dimensions == expected.shape[1]
    np.testing.assert_allclose(embedded(run, backend, TEXTS), expected, atol=1e-5)


def test_a_decoder_runs_in_onnx_or_is_refused_in_words(run: Run, models: Models) -> None:
    settings = models("qwen3-last")
    backend = create(settings, "local:qwen3-last?backend=onnx")
    try:
        ours = embedded(run, backend, TEXTS)
    except ConfigError as error:
        assert "backend=torch" in error.detail  # noqa: PT017
    else:
        expected = reference(folder_of(settings, "qwen3-last"), TEXTS)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["bert-unlimited", "xlmr-unlimited"])
def test_without_a_stated_limit_the_model_reads_what_it_has_positions_for(
    run: Run, models: Models, name: str
) -> None:
    settings = models(name)
    backend = create(settings, f"local:{name}")
    assert backend.space.max_tokens == LONGEST
    np.testing.assert_allclose(
        embedded(run, backend, TEXTS), reference(folder_of(settings, name), TEXTS), atol=1e-5
    )


def test_positions_of_the_padding_are_not_counted(own: Any) -> None:
    settings = own(architecture="xlm-roberta", longest=LONGEST + 2)
    assert create(settings, "local:mine").space.max_tokens == LONGEST


def test_a_model_without_a_limit_reads_everything(own: Any) -> None:
    settings = own()
    folder = folder_of(settings, "mine")
    (folder / "sentence_bert_config.json").unlink()
    for file, name, value in (
        ("config.json", "max_position_embeddings", None),
        ("tokenizer_config.json", "model_max_length", 10**30),
    ):
        write(folder / file, {**json.loads((folder / file).read_text()), name: value})
    backend = create(settings, "local:mine")
    assert backend.space.max_tokens is backend.space.window is None
    assert len(backend._tokenise(["dog " * 500])[0]) == 502


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_vector_does_not_depend_on_its_batch(run: Run, models: Models, runtime: str) -> None:
    settings = models("bert-mean")
    together = embedded(run, create(settings, f"local:bert-mean?backend={runtime}"), TEXTS)
    backend = create(settings, f"local:bert-mean?backend={runtime}")

    async def one_by_one() -> Any:
        rows = [(await backend.embed([text], "document")).rows[0] for text in TEXTS]
        await backend.aclose()
        return unit_rows(np.stack(rows), len(TEXTS), WIDTH, "test")

    np.testing.assert_allclose(run(one_by_one()), together, atol=1e-5)


@pytest.mark.parametrize("name", ["bert-mean", "qwen3-last"])
def test_a_text_without_tokens_harms_nobody(run: Run, own: Any, name: str) -> None:
    """Where a tokenizer adds nothing of its own, white space has no token at all."""
    settings = own(architecture=RECIPES[name].architecture, pooling=RECIPES[name].pooling)
    file = folder_of(settings, "mine") / "tokenizer.json"
    write(file, {**json.loads(file.read_text()), "post_processor": None})
    rows = embedded(run, create(settings, "local:mine"), ["  ", "", *TEXTS])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    alone = embedded(run, create(settings, "local:mine"), TEXTS)
    np.testing.assert_allclose(rows[2:], alone, atol=1e-5)


def test_tokens_are_counted_as_the_model_reads_them(run: Run, models: Models) -> None:
    backend = create(models("prompted"), "local:prompted")
    counts = [len(backend.token_starts(text)) for text in TEXTS]

    async def read(role: Role) -> int | None:
        return (await backend.embed(TEXTS[:5], role)).tokens

    assert run(read("document")) == run(read("query")) == sum(counts[:5])
    run(backend.aclose())


# -- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("prompted", "search the fox: ", "the dog: "),
        ("e5-with-its-own", "ask ", "tell "),
        ("e5-small-x", "query: ", "passage: "),
        ("bge-tiny-en", "Represent this sentence for searching relevant passages: ", ""),
        ("nomic-embed-tiny", "search_query: ", "search_document: "),
        ("bert-mean", "", ""),
    ],
)
def test_the_prompts_of_a_model_or_of_its_family_are_read_before_each_text(
    run: Run, models: Models, name: str, query: str, document: str
) -> None:
    settings = models(name)
    space = create(settings, f"local:{name}").space
    assert (space.query_prompt, space.document_prompt) == (query, document)
    prompts: list[tuple[Role, str]] = [("query", query), ("document", document)]
    plain = reference(folder_of(settings, name), TEXTS[:5], prompt="")
    for role, prompt in prompts:
        ours = embedded(run, create(settings, f"local:{name}"), TEXTS[:5], role)
        expected = reference(folder_of(settings, name), TEXTS[:5], prompt=prompt)
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        assert (cosines(ours, plain).max() < 0.9999) == bool(prompt)


@pytest.mark.parametrize("runtime", ["ctranslate2", "onnx", "openvino"])
def test_every_runtime_reads_the_prompts(run: Run, models: Models, runtime: str) -> None:
    settings = models("prompted")
    backend = create(settings, f"local:prompted?backend={runtime}")
    ours = embedded(run, backend, TEXTS[:5], "query")
    expected = reference(folder_of(settings, "prompted"), TEXTS[:5], prompt_name="query")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_prompt_takes_its_tokens_from_the_window(models: Models) -> None:
    space = create(models("prompted"), "local:prompted").space
    plain = create(models("bert-mean"), "local:bert-mean").space
    assert plain.special_tokens == 2
    assert space.special_tokens == 2 + len(["search", "the", "fox", ":"])  # the longer of the two
    assert space.window == LONGEST - 6


def test_a_pooling_that_leaves_out_the_prompt_is_refused(own: Any) -> None:
    settings = own(prompts={"query": "ask "})
    file = folder_of(settings, "mine") / "1_Pooling" / "config.json"
    write(file, {**json.loads(file.read_text()), "include_prompt": False})
    with pytest.raises(InvalidInput, match="include_prompt"):
        create(settings, "local:mine")


def test_the_family_is_read_from_the_name_and_not_from_the_folders_above(
    own: Any, tmp_path: Path
) -> None:
    settings = own()
    elsewhere = tmp_path / "bge-models" / "mine"
    shutil.copytree(folder_of(settings, "mine"), elsewhere)
    spec = f"local:{elsewhere}"
    assert create(replace(settings, embedding=spec), spec).space.query_prompt == ""


# -- dimensions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert-mean", "bert-dense", "qwen3-last"])
def test_fewer_dimensions_are_the_first_ones_at_unit_length(
    run: Run, models: Models, name: str
) -> None:
    settings = models(name)
    backend = create(settings, f"local:{name}", 10)
    assert backend.space.dimensions == 10
    expected = reference(folder_of(settings, name), TEXTS)[:, :10]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded(run, backend, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "most"), [("bert-mean", WIDTH), ("bert-dense", 24)])
def test_more_dimensions_than_the_model_has_are_refused(
    models: Models, name: str, most: int
) -> None:
    assert create(models(name), f"local:{name}", most).space.dimensions == most
    with pytest.raises(InvalidInput, match=f"{most} dimensions.*{most + 1}"):
        create(models(name), f"local:{name}", most + 1)


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("backend=tensorflow", "backend is 'tensorflow'.*torch, ctranslate2, onnx, openvino"),
        ("precision=int4", "precision is 'int4'.*fp32, bf16, fp16, int8"),
        ("backend=torch&precision=int8", "torch has no int8.*fp32, bf16, fp16"),
        ("backend=onnx&precision=bf16", "onnx has no bf16.*fp32, int8"),
        ("backend=ctranslate2&precision=fp16", "ctranslate2 has no fp16"),
        ("Backend=onnx", "no option 'Backend'.*backend, precision"),
        ("device=cuda", "no option 'device'"),
        ("backend=", "backend is ''.*torch, ctranslate2"),
        ("backend", "provider:model.name=value"),
        ("backend=onnx&backend=torch", "twice"),
    ],
)
def test_a_wrong_option_is_refused_naming_the_value_and_what_there_is(
    models: Models, options: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        create(models("bert-mean"), f"local:bert-mean?{options}")


@pytest.mark.parametrize(
    ("options", "runtime", "space"),
    [
        ("", "torch", "precision=fp32"),
        ("?precision=bf16", "torch", "precision=bf16"),
        ("?precision=int8", "ctranslate2", "backend=ctranslate2&precision=int8"),
        ("?backend=onnx", "onnx", "precision=fp32"),
        ("?backend=openvino&precision=int8", "openvino", "backend=openvino&precision=int8"),
    ],
)
def test_runtimes_share_a_space_in_fp32_and_not_in_int8(
    models: Models, options: str, runtime: str, space: str
) -> None:
    backend = create(models("bert-mean"), f"local:bert-mean{options}")
    assert (backend.runtime, backend.space.options) == (runtime, space)


@pytest.mark.parametrize("runtime", ["ctranslate2", "onnx", "openvino"])
@pytest.mark.parametrize("name", ONLY_TORCH)
def test_what_only_torch_runs_is_refused_elsewhere_with_the_fix(
    models: Models, name: str, runtime: str
) -> None:
    with pytest.raises(InvalidInput, match="only backend=torch"):
        create(models(name), f"local:{name}?backend={runtime}")


def test_an_architecture_that_ctranslate2_does_not_know_is_refused_with_the_fix(
    run: Run, models: Models
) -> None:
    backend = create(models("qwen3-last"), "local:qwen3-last?backend=ctranslate2")
    with pytest.raises(ConfigError, match="not qwen3; use backend=torch"):
        run(backend.warm())


def test_a_folder_named_in_the_settings_may_lie_anywhere(run: Run, own: Any) -> None:
    settings = own()
    elsewhere = settings.home.parent / "elsewhere"
    folder_of(settings, "mine").rename(elsewhere)
    spec = f"local:{elsewhere}?backend=onnx"
    with pytest.raises(UnknownProvider):
        create(settings, spec)
    allowed = replace(settings, embedding=spec)
    rows = embedded(run, create(allowed, spec), TEXTS)
    np.testing.assert_allclose(rows, reference(elsewhere, TEXTS), atol=1e-5)
    assert create(allowed, f"local:{elsewhere}").runtime == "torch"


# -- what is missing or damaged --------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`without(PACKAGE)`: it cannot be imported, as where it is not installed."""
    before = dict(sys.modules)

    def block(package: str) -> None:
        for name in before:
            if name == package or name.startswith(f"{package}."):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    yield block
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("runtime", "package", "extra"),
    [
        ("torch", "sentence_transformers", "local"),
        ("ctranslate2", "ctranslate2", "local"),
        ("onnx", "onnxruntime", "onnx"),
        ("onnx", "onnx", "onnx"),
        ("onnx", "transformers", "local"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    run: Run, own: Any, without: Any, runtime: str, package: str, extra: str
) -> None:
    backend = create(own(), f"local:mine?backend={runtime}")
    without(package)
    with pytest.raises(MissingDependency) as caught:
        run(backend.warm())
    assert repr(package) in caught.value.detail
    assert f"pip install 'embedsvc[{extra}]'" in caught.value.detail


def test_without_the_tokenizers_the_extra_is_named(own: Any, without: Any) -> None:
    settings = own()
    without("tokenizers")
    with pytest.raises(MissingDependency, match=r"embedsvc\[local\]"):
        create(settings, "local:mine")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", None),
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", None),
        ("modules.json", "{"),
        ("modules.json", "[1]"),
        ("sentence_bert_config.json", "[]"),
        ("sentence_bert_config.json", '{"max_seq_length": "many"}'),
        ("config_sentence_transformers.json", "[]"),
        ("1_Pooling/config.json", "[]"),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_folder_is_refused_when_the_backend_is_created(
    own: Any, file: str, content: str | None
) -> None:
    settings = own()
    path = folder_of(settings, "mine") / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ConfigError, match="mine"):
        create(settings, "local:mine")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_damaged_weights_are_told_when_the_model_is_loaded(
    run: Run, own: Any, runtime: str
) -> None:
    settings = own()
    (folder_of(settings, "mine") / "model.safetensors").write_bytes(b"no weights")
    backend = create(settings, f"local:mine?backend={runtime}")
    with pytest.raises(ConfigError, match="local:mine"):
        run(backend.warm())
    assert not list((settings.home / "models" / ".converted").glob("*"))


def test_pickled_weights_are_never_read(own: Any) -> None:
    settings = own()
    folder = folder_of(settings, "mine")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        create(settings, "local:mine")


# -- the revision ---------------------------------------------------------------------------------


def test_other_weights_are_another_revision_in_every_file(own: Any) -> None:
    settings = own(dense=24)
    folder = folder_of(settings, "mine")
    seen = {create(settings, "local:mine").space.revision}
    for file in ("model.safetensors", "2_Dense/model.safetensors"):
        other = folder.parent / "other"
        make(other, Recipe(dense=24, seed=len(seen)))
        shutil.copy(other / file, folder / file)
        shutil.rmtree(other)
        seen.add(create(settings, "local:mine").space.revision)
    assert len(seen) == 3


def test_a_model_that_was_changed_on_disk_is_refused_for_the_old_vectors(
    run: Run, own: Any, opened: Any
) -> None:
    settings = own()
    folder = folder_of(settings, "mine")

    async def first() -> None:
        async with opened(of=settings) as service:
            await service.collections.put("c", "local:mine")
            added = await service.ingest.add("c", [Draft("a", text=TEXTS[0])])
            assert [o.status for o in added.documents] == ["indexed"]
            assert (await service.search.search("c", [Query(text="Paris")])).hits[0]

    async def again() -> None:
        async with opened(of=settings) as service:
            with pytest.raises(Conflict) as caught:
                await service.search.search("c", [Query(text="Paris")])
            assert caught.value.code == "embedding_space_changed"
            assert "local:mine" in caught.value.detail

    run(first())
    kept = folder.rename(folder.parent / "kept")
    make(folder, Recipe(seed=99))
    run(again())
    shutil.rmtree(folder)
    kept.rename(folder)
    run(first_again(opened, settings))


async def first_again(opened: Any, settings: Settings) -> None:
    async with opened(of=settings) as service:
        assert (await service.search.search("c", [Query(text="Paris")])).hits[0]


def test_another_tokenizer_is_noticed_by_the_vectors_it_leads_to(
    run: Run, own: Any, opened: Any
) -> None:
    """The weights are the same, and so is all that the space says: the canaries tell."""
    settings = own()
    file = folder_of(settings, "mine") / "tokenizer.json"

    async def search() -> Any:
        async with opened(of=settings) as service:
            return (await service.search.search("c", [Query(text="Paris")])).hits

    async def fill() -> None:
        async with opened(of=settings) as service:
            await service.collections.put("c", "local:mine")
            await service.ingest.add("c", [Draft("a", text=TEXTS[0])])

    run(fill())
    assert run(search())[0]
    changed = json.loads(file.read_text())
    changed["normalizer"] = {"type": "Replace", "pattern": {"String": "o"}, "content": "a"}
    write(file, changed)
    with pytest.raises(Conflict) as caught:
        run(search())
    assert caught.value.code == "embedding_space_changed"


# -- conversion -----------------------------------------------------------------------------------


def model_in(folder: Path, revision: str = "1", precision: str = "fp32") -> LocalModel:
    """A model that is only converted by a function of a test."""
    return LocalModel(
        "mine", folder, folder / "converted", revision, {}, "mean_tokens", 4, True, precision
    )


def test_a_model_is_converted_once_for_each_revision_and_precision(tmp_path: Path) -> None:
    made: list[Path] = []

    def convert(place: Path) -> None:
        made.append(place)
        (place / "file").write_text("x")

    folders = {
        converted(model, runtime, convert)
        for _ in range(2)
        for runtime in ("onnx", "openvino")
        for model in (
            model_in(tmp_path),
            model_in(tmp_path, "2"),
            model_in(tmp_path, precision="int8"),
        )
    }
    assert len(folders) == len(made) == 6
    assert {folder.name for folder in (tmp_path / "converted").iterdir()} == {
        folder.name for folder in folders
    }


@pytest.mark.parametrize("error", [OSError("full"), RuntimeError("no"), ValueError("no")])
def test_a_conversion_that_fails_leaves_nothing_and_can_be_tried_again(
    tmp_path: Path, error: Exception
) -> None:
    def fails(place: Path) -> None:
        (place / "part").write_text("half")
        raise error

    with pytest.raises(ConfigError, match="local:mine cannot be converted for onnx"):
        converted(model_in(tmp_path), "onnx", fails)
    assert not list((tmp_path / "converted").iterdir())
    folder = converted(model_in(tmp_path), "onnx", lambda place: (place / "all").touch())
    assert [file.name for file in folder.iterdir()] == ["all"]


def test_what_a_killed_conversion_left_is_not_used_and_removed_later(tmp_path: Path) -> None:
    left = [tmp_path / "converted" / f"half-{n}" for n in range(2)]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text("half of it")
    long_ago = left[0].stat().st_mtime - ABANDONED - 1
    os.utime(left[0], (long_ago, long_ago))
    folder = converted(model_in(tmp_path), "onnx", lambda place: (place / "all").touch())
    assert [file.name for file in folder.iterdir()] == ["all"]
    assert [path.exists() for path in left] == [False, True]  # one may be of a living process


def test_of_threads_that_convert_at_once_one_wins_and_all_go_on(tmp_path: Path) -> None:
    together = threading.Barrier(4)
    found: list[Path] = []

    def convert(place: Path) -> None:
        (place / "file").write_text(place.name)
        together.wait(20)  # so that all have made theirs before the first is done

    def work() -> None:
        found.append(converted(model_in(tmp_path), "onnx", convert))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "converted").iterdir()] == [found[0].name]


_CONVERT = """
import sys
from pathlib import Path
from embedsvc.embedding._runtimes.model import LocalModel, converted

def convert(place):
    (place / "file").write_text("all of it")
    sys.stdout.write("made\\n")
    sys.stdout.flush()
    sys.stdin.readline()  # until the other has made its own

folder = Path(sys.argv[1])
model = LocalModel("m", folder, folder / "made", "1", {}, "mean_tokens", 4, True, "fp32")
sys.stdout.write(str(converted(model, "onnx", convert)))
"""


def test_of_processes_that_convert_at_once_one_wins_and_both_go_on(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CONVERT, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
    folders = {process.communicate("go\n", timeout=100)[0] for process in processes}
    (made,) = (tmp_path / "made").iterdir()
    assert folders == {str(made)}
    assert (made / "file").read_text() == "all of it"


def test_a_converted_model_is_loaded_without_what_converted_it(
    run: Run, own: Any, without: Any
) -> None:
    settings = own()
    first = embedded(run, create(settings, "local:mine?backend=onnx"), TEXTS)
    for package in ("onnx", "transformers", "sentence_transformers"):
        without(package)
    second = embedded(run, create(settings, "local:mine?backend=onnx"), TEXTS)
    np.testing.assert_allclose(first, second, atol=1e-7)


def test_many_who_ask_for_a_model_at_once_load_it_once(run: Run, models: Models) -> None:
    backend = create(models("bert-mean"), "local:bert-mean?backend=ctranslate2")

    async def work() -> list[Any]:
        answers = await asyncio.gather(
            *(backend.embed([text], "document") for text in TEXTS for _ in range(3))
        )
        await backend.aclose()
        return [answer.rows[0] for answer in answers]

    before = {thread.ident for thread in threading.enumerate()}
    rows = run(work())
    after = {t.ident for t in threading.enumerate() if t.name == "model"}
    assert not after - before
    for n in range(0, len(rows), 3):
        np.testing.assert_allclose(rows[n], rows[n + 1], atol=1e-5)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_runtime_that_fails_during_a_call_is_a_provider_error(
    run: Run, own: Any, runtime: str
) -> None:
    """As with the tokenizer of a larger model, whose ids this one does not have."""
    settings = own()
    file = folder_of(settings, "mine") / "tokenizer.json"
    changed = json.loads(file.read_text())
    changed["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [1_000_000]
    write(file, changed)
    with pytest.raises(ProviderError, match="local:mine failed"):
        embedded(run, create(settings, f"local:mine?backend={runtime}"), TEXTS)
