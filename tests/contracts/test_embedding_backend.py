"""One suite over the embedding backends: the fake and the real model."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedsvc.app import create_backend
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


@pytest.fixture(params=["hash", "hash:1", "hash:1000", "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "local":
        return request.getfixturevalue("model")
    provider, _, model = request.param.partition(":")
    return create_backend(Settings(home=tmp_path), provider, model, None)


def embed(run: Run, backend: Any, texts: list[str], role: str = "document") -> Any:
    raw = run(backend.embed(texts, role))
    return unit_rows(raw, len(texts), backend.space.dimensions, "test")


def test_there_is_one_vector_for_each_text(run: Run, backend: Any) -> None:
    run(backend.warm())
    raw = run(backend.embed(MIXED, "document"))
    assert np.asarray(raw).shape == (len(MIXED), backend.space.dimensions)
    assert np.isfinite(raw).all()


def test_the_same_text_has_the_same_vector(run: Run, backend: Any) -> None:
    one, two = embed(run, backend, ["hello there"]), embed(run, backend, ["hello there"])
    np.testing.assert_allclose(one, two, atol=1e-6)


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
    for number, text in enumerate(MIXED):
        np.testing.assert_allclose(embed(run, backend, [text])[0], together[number], atol=2e-6)


def test_calls_at_the_same_time_get_their_own_vectors(run: Run, backend: Any) -> None:
    expected = embed(run, backend, MIXED)

    async def work() -> list[Any]:
        orders = [np.random.default_rng(n).permutation(len(MIXED)) for n in range(6)]
        found = await asyncio.gather(
            *(
                backend.embed([MIXED[i] for i in order], "query" if n % 2 else "document")
                for n, order in enumerate(orders)
            )
        )
        return list(zip(orders, found, strict=True))

    for order, raw in run(work()):
        rows = unit_rows(raw, len(MIXED), backend.space.dimensions, "")
        np.testing.assert_allclose(rows, expected[order], atol=2e-6)


def test_tokens_begin_inside_the_text_and_ascend(backend: Any) -> None:
    for text in ["", *MIXED]:
        starts = backend.token_starts(text)
        assert starts.dtype == np.int64
        assert (np.diff(starts) >= 0).all()
        assert all(0 <= start < len(text) for start in starts)
    assert 8 <= len(backend.token_starts(MIXED[1])) <= 14


# -- the fake -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["0", "-1", "x", "4097", "1.5", " 8", "²", "1e3", "9999999", "\0"]
)
def test_a_number_of_dimensions_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(InvalidInput, match="dimensions"):
        create_backend(Settings(), "hash", model, None)


def test_the_fake_has_the_dimensions_that_were_asked_for() -> None:
    assert create_backend(Settings(), "hash", "", None).space.dimensions == 256
    assert create_backend(Settings(), "hash", "8", None).space.dimensions == 8
    assert (
        create_backend(Settings(), "hash", "", 8).space
        == create_backend(Settings(), "hash", "8", None).space
    )
    with pytest.raises(InvalidInput):
        create_backend(Settings(), "hash", "8", 9)
    with pytest.raises(InvalidInput):
        create_backend(Settings(), "hash", "", 5_000)


# -- the real model -------------------------------------------------------------------------------


def test_the_shipped_model_is_described_by_its_own_files(model: Any) -> None:
    space = model.space
    assert (space.provider, space.model, space.dimensions) == ("local", "all-MiniLM-L6-v2", 384)
    assert (space.max_tokens, space.special_tokens, space.window) == (256, 2, 254)
    assert space.pooling == "mean_tokens" or "mean" in space.pooling
    assert space.revision.startswith("53aa5117")
    assert space.name == "local:all-MiniLM-L6-v2"


def test_the_vectors_are_those_of_sentence_transformers(
    run: Run, model: Any, local_backend: Any
) -> None:
    texts = [MIXED[0], MIXED[1], MIXED[3], "A text that is longer than the window. " * 60, "   x  "]
    assert len(model.token_starts(texts[3])) > 256
    ours = embed(run, model, texts)
    reference = local_backend._model._model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(ours, reference, atol=1e-5)


def test_what_is_beyond_the_window_changes_nothing(run: Run, model: Any) -> None:
    base = "word " * 300
    rows = embed(run, model, [base, base + " entirely different ending"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.parametrize(
    "name", ["", "../x", "/etc", "..", ".", ".hidden", "a/b", "a\\b", "a\0b", "nope", "x" * 300]
)
def test_a_model_that_is_not_in_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "models").mkdir()
    with pytest.raises(UnknownProvider, match="no local model"):
        create_backend(Settings(home=tmp_path), "local", name, None)


def test_a_folder_without_a_model_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a sentence-transformers folder"):
        create_backend(Settings(home=tmp_path), "local", "mine", None)
    (tmp_path / "models" / "mine" / "config.json").write_text("[]")
    (tmp_path / "models" / "mine" / "modules.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a sentence-transformers folder"):
        create_backend(Settings(home=tmp_path), "local", "mine", None)


def test_other_dimensions_than_the_model_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="384"):
        create_backend(Settings(home=tmp_path), "local", "all-MiniLM-L6-v2", 100)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "provider", ["nope", "", "os", "embedsvc.cli", "../hash", "Hash", "batching"]
)
def test_a_provider_that_is_none_is_refused_and_imports_nothing(provider: str) -> None:
    with pytest.raises(UnknownProvider) as caught:
        create_backend(Settings(), provider, "", None)
    assert "batching" not in caught.value.detail.replace(repr(provider), "")


def test_a_typing_error_is_met_with_the_nearest_name() -> None:
    with pytest.raises(EmbedsvcError, match="did you mean 'hash'"):
        create_backend(Settings(), "hahs", "", None)
