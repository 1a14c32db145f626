"""One suite over the embedding backends: the fake, and the real model in every runtime."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedsvc.app import create_backend
from embedsvc.core.spec import parse_spec
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import ConfigError, EmbedsvcError, InvalidInput, UnknownProvider
from embedsvc.settings import Settings

Run = Callable[[Any], Any]
MIXED = [
    "short",
    "A sentence of some length about embeddings and search.",
    "word " * 90,
    "東京は日本の首都です。",
    "x" * 5_000,
    "!",
    "a much longer text " * 60,
    "A café in Zürich.",
]
MODEL = "local:all-MiniLM-L6-v2"
LEAST = {"fp32": 1 - 1e-6, "bf16": 0.999, "int8": 0.98}
"""Least cosine of a text to its vector in fp32 by sentence-transformers itself."""

SAME = {"bf16": 0.999, "int8": 0.995}
"""Least cosine of a text to its own vector from another call."""

RUNTIMES = {
    "torch": "fp32",
    "torch-bf16": "bf16",
    "ctranslate2": "fp32",
    "ctranslate2-int8": "int8",
    "onnx": "fp32",
    "onnx-int8": "int8",
    "openvino": "fp32",
    "openvino-int8": "int8",
}


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """`runtimes("onnx-int8")`: the shipped model in that runtime, converted and loaded once."""
    settings = Settings(home=tmp_path_factory.mktemp("runtimes"), threads=2)
    made: dict[str, Any] = {}

    def backend(name: str) -> Any:
        if name not in made:
            runtime, _, precision = name.partition("-")
            spec = f"{MODEL}?backend={runtime}&precision={precision or 'fp32'}"
            made[name] = asyncio.run(create_backend(settings, parse_spec(spec)))
            asyncio.run(made[name].warm())
        return made[name]

    yield backend
    for one in made.values():
        asyncio.run(one.aclose())


@pytest.fixture(scope="session")
def encode(local_backend: Any) -> Callable[[list[str]], Any]:
    """Vectors of the shipped model by sentence-transformers itself, of unit length."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(local_backend._model.folder),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
    )
    return lambda texts: model.encode(texts, normalize_embeddings=True, show_progress_bar=False)


@pytest.fixture(params=["hash", "hash:1", "hash:1000", "local", *RUNTIMES])
def backend(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Any:
    if request.param == "local":
        return request.getfixturevalue("model")
    if request.param in RUNTIMES:
        return request.getfixturevalue("runtimes")(request.param)
    return made(run, tmp_path, request.param)


def precision_of(backend: Any) -> str:
    found: str = backend.space.options.rpartition("=")[2]
    return found


def made(run: Run, home: Path, spec: str, dimensions: int | None = None) -> Any:
    return run(create_backend(Settings(home=home), parse_spec(spec, dimensions)))


def embed(run: Run, backend: Any, texts: list[str], role: str = "document") -> Any:
    answer = run(backend.embed(texts, role))
    return unit_rows(answer.rows, len(texts), backend.space.dimensions, "test")


def assert_alike(backend: Any, one: Any, other: Any) -> None:
    """The same up to rounding, which is that of 8 or 16 bits where a model runs in those."""
    if "fp32" in backend.space.options or backend.space.provider == "hash":
        np.testing.assert_allclose(one, other, atol=5e-6)
    else:
        assert np.einsum("ij,ij->i", one, other).min() > SAME[precision_of(backend)]


def test_there_is_one_vector_for_each_text(run: Run, backend: Any) -> None:
    run(backend.warm())
    answer = run(backend.embed(MIXED, "document"))
    assert np.asarray(answer.rows).shape == (len(MIXED), backend.space.dimensions)
    assert np.isfinite(answer.rows).all()


def test_tokens_are_told_as_they_were_read_or_not_at_all(run: Run, backend: Any) -> None:
    answer = run(backend.embed(MIXED[:2], "document"))
    counted = sum(len(backend.token_starts(text)) for text in MIXED[:2])
    assert answer.tokens in (None, counted)
    window = backend.space.window
    if answer.tokens is not None and window is not None:
        assert run(backend.embed(["word " * 1_000], "query")).tokens == window


def test_its_calls_have_limits_and_stay_here(backend: Any) -> None:
    assert backend.calls.texts > 0
    assert backend.calls.at_once > 0
    assert not backend.calls.remote


def test_the_same_text_has_the_same_vector(run: Run, backend: Any) -> None:
    one, two = embed(run, backend, ["hello there"]), embed(run, backend, ["hello there"])
    np.testing.assert_allclose(one, two, atol=2e-6)


def test_different_texts_have_different_vectors(run: Run, backend: Any) -> None:
    if backend.space.dimensions == 1:
        pytest.skip("one dimension has two directions")
    rows = embed(run, backend, MIXED)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    assert cosines.max() < 0.999


def test_a_query_is_nearest_to_the_text_that_shares_its_words(run: Run, backend: Any) -> None:
    if backend.space.dimensions == 1:
        pytest.skip("one dimension has two directions")
    texts = ["The capital of France is Paris.", "Bread is baked in an oven.", "Cats chase mice."]
    rows = embed(run, backend, texts)
    query = embed(run, backend, ["What is the capital of France?"], "query")[0]
    assert int((rows @ query).argmax()) == 0


def test_without_prompts_the_role_makes_no_difference(run: Run, backend: Any) -> None:
    assert backend.space.query_prompt == backend.space.document_prompt == ""
    one, two = (embed(run, backend, ["hello"], role) for role in ("query", "document"))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_batch_gives_what_single_calls_give_in_the_same_order(run: Run, backend: Any) -> None:
    together = embed(run, backend, MIXED)
    alone = np.concatenate([embed(run, backend, [text]) for text in MIXED])
    assert_alike(backend, alone, together)


def test_calls_at_the_same_time_get_their_own_vectors(run: Run, backend: Any) -> None:
    expected = embed(run, backend, MIXED)

    async def work() -> list[Any]:
        orders = [np.random.default_rng(n).permutation(len(MIXED)) for n in range(3)]
        found = await asyncio.gather(
            *(
                backend.embed([MIXED[i] for i in order], "query" if n % 2 else "document")
                for n, order in enumerate(orders)
            )
        )
        return list(zip(orders, found, strict=True))

    for order, answer in run(work()):
        rows = unit_rows(answer.rows, len(MIXED), backend.space.dimensions, "")
        assert_alike(backend, rows, expected[order])


def test_tokens_begin_inside_the_text_and_ascend(backend: Any) -> None:
    for text in ["", *MIXED]:
        starts = backend.token_starts(text)
        assert starts.dtype == np.int64
        assert (np.diff(starts) >= 0).all()
        assert all(0 <= start < len(text) for start in starts)
    assert 8 <= len(backend.token_starts(MIXED[1])) <= 14


# -- the fake -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["0", "-1", "x", "4097", "1.5", " 8", "²", "1e3", "9999999"])
def test_a_number_of_dimensions_that_is_none_is_refused(
    run: Run, tmp_path: Path, model: str
) -> None:
    with pytest.raises(InvalidInput, match="dimensions"):
        made(run, tmp_path, f"hash:{model}")


def test_the_fake_has_the_dimensions_that_were_asked_for(run: Run, tmp_path: Path) -> None:
    assert made(run, tmp_path, "hash").space.dimensions == 256
    assert made(run, tmp_path, "hash:8").space.dimensions == 8
    assert made(run, tmp_path, "hash", 8).space == made(run, tmp_path, "hash:8").space
    for spec, dimensions in (("hash:8", 9), ("hash", 5_000)):
        with pytest.raises(InvalidInput):
            made(run, tmp_path, spec, dimensions)


def test_the_fake_has_no_options(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="hash has no option 'size'; it has none"):
        made(run, tmp_path, "hash?size=3")


# -- the real model -------------------------------------------------------------------------------

INT8 = "backend=ctranslate2&precision=int8"


def test_the_shipped_model_is_described_by_its_own_files(model: Any) -> None:
    space = model.space
    assert (space.provider, space.model, space.dimensions) == ("local", "all-MiniLM-L6-v2", 384)
    assert (space.max_tokens, space.special_tokens, space.window) == (256, 2, 254)
    assert space.pooling == "mean_tokens"
    assert space.revision.startswith("53aa5117")
    assert space.name == "local:all-MiniLM-L6-v2"
    assert space.options in ("precision=fp32", "precision=bf16", INT8)
    assert space.options.removeprefix("backend=ctranslate2&") in space.title


@pytest.mark.parametrize("name", ["local", *RUNTIMES])
def test_the_vectors_are_those_of_sentence_transformers(
    run: Run, request: pytest.FixtureRequest, encode: Any, name: str
) -> None:
    texts = [MIXED[0], MIXED[1], MIXED[3], "A text that is longer than the window. " * 60, "   x  "]
    backend = request.getfixturevalue("local_backend" if name == "local" else "runtimes")
    backend = backend if name == "local" else backend(name)
    precision = precision_of(backend)
    assert precision == RUNTIMES.get(name, precision)
    assert len(backend.token_starts(texts[3])) > 256
    ours, reference = embed(run, backend, texts), encode(texts)
    assert np.einsum("ij,ij->i", ours, reference).min() >= LEAST[precision]
    if precision == "fp32":
        np.testing.assert_allclose(ours, reference, atol=1e-5)


def test_what_is_beyond_the_window_changes_nothing(run: Run, model: Any) -> None:
    base = "word " * 300
    rows = embed(run, model, [base, base + " entirely different ending"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc", "..", ".", ".hidden", "a/b", "a\\b", "nope", "x" * 300]
)
def test_a_model_that_is_not_in_its_folder_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "models").mkdir()
    with pytest.raises(UnknownProvider, match="no local model"):
        made(run, tmp_path, f"local:{name}")


def test_a_folder_without_a_model_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a sentence-transformers folder"):
        made(run, tmp_path, "local:mine")


def test_more_dimensions_than_the_model_has_are_refused(run: Run, tmp_path: Path) -> None:
    assert made(run, tmp_path, MODEL, 100).space.dimensions == 100
    for dimensions in (0, -1, 385):
        with pytest.raises(InvalidInput, match="384"):
            made(run, tmp_path, MODEL, dimensions)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "provider", ["nope", "", "os", "embedsvc.cli", "../hash", "Hash", "batching", "_runtimes"]
)
def test_a_provider_that_is_none_is_refused_and_imports_nothing(
    run: Run, tmp_path: Path, provider: str
) -> None:
    with pytest.raises(UnknownProvider) as caught:
        made(run, tmp_path, provider)
    known = caught.value.detail.replace(repr(provider), "")
    assert "batching" not in known
    assert "_" not in known


def test_a_typing_error_is_met_with_the_nearest_name(run: Run, tmp_path: Path) -> None:
    with pytest.raises(EmbedsvcError, match="did you mean 'hash'"):
        made(run, tmp_path, "hahs")
