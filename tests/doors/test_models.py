"""The list of models: complete, without loading any or calling anybody."""

import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from embedsvc.services.models import licence_of
from embedsvc.settings import Settings


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def test_openais_client_lists_models_and_collections(client: openai.OpenAI) -> None:
    found = {model.id: model for model in client.models.list()}
    assert {"hash:64", "hash:32", "extractive", "cosine", "collection:other"} <= set(found)
    default = found["hash:64"]
    assert (default.object, default.owned_by) == ("model", "hash")
    assert default.model_extra == {
        "type": "embedding",
        "default": True,
        "dimensions": 64,
        "max_tokens": None,
        "licence": None,
        "sends_data_to": None,
    }
    collection = found["collection:other"]
    assert collection.created > 1_700_000_000
    assert collection.model_extra is not None
    assert (collection.model_extra["type"], collection.model_extra["dimensions"]) == (
        "collection",
        32,
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hash:64", "hash:64"),
        ("64", "hash:64"),
        ("collection:other", "collection:other"),
        ("cosine", "cosine"),
    ],
)
def test_openais_client_retrieves_one(client: openai.OpenAI, name: str, found: str) -> None:
    assert client.models.retrieve(name).id == found


def test_one_that_does_not_exist_is_the_clients_own_error(client: openai.OpenAI) -> None:
    for name in ("none", "collection:none", "a/b:c", "ö"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "model_not_found"


def test_ids_may_hold_slashes_and_colons(
    opened: Callable[..., Any], settings: Settings, run: Callable[[Any], Any]
) -> None:
    remote = replace(
        settings,
        embedding="vllm:BAAI/bge-small-en-v1.5",
        rerank="cosine:azure:text-embedding-3-small",
        variables={
            "VLLM_BASE_URL": "https://gpu.example.org/v1",
            "AZURE_OPENAI_ENDPOINT": "https://us.example.org",
        },
    )

    async def listed() -> Any:
        async with opened(of=remote) as service:
            for name in ("vllm:BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"):
                assert (await service.models.get(name)).id == "vllm:BAAI/bge-small-en-v1.5"
            return {model.id: model for model in await service.models.list()}

    found = run(listed())
    embedding = found["vllm:BAAI/bge-small-en-v1.5"]
    assert embedding.sends_data_to == "gpu.example.org"
    assert embedding.dimensions is None  # nobody was asked
    assert found["cosine:azure:text-embedding-3-small"].sends_data_to == "us.example.org"
    assert found["extractive"].sends_data_to is None


def test_the_local_model_is_described_without_being_loaded(
    opened: Callable[..., Any],
    settings: Settings,
    run: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    local = replace(settings, embedding="local:all-MiniLM-L6-v2")
    before = "ctranslate2" in sys.modules

    async def listed() -> Any:
        async with opened(of=local) as service:
            return (await service.models.list())[0]

    model = run(listed())
    assert ("ctranslate2" in sys.modules) is before
    assert (model.dimensions, model.max_tokens) == (384, 256)
    assert model.licence == "apache-2.0"
    assert model.sends_data_to is None


def test_slashes_reach_the_route_as_they_were_sent(web: httpx.Client) -> None:
    for path in ("owner%2Fname", "owner/name", "a//b"):
        answer = web.get(f"/v1/models/{path}")
        assert answer.status_code == 404
        assert path.replace("%2F", "/") in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ('---\nlanguage: en\nlicense: "mit"\n---\n', "mit"),
        ("---\nlicense: cc-by-4.0 # see below\n---\n", "cc-by-4.0"),
        ("---\nlanguage: en\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_model_card_says(
    tmp_path: Path, card: str, licence: str | None
) -> None:
    file = tmp_path / "README.md"
    file.write_text(card, encoding="utf-8")
    assert licence_of(file) == licence
    assert licence_of(tmp_path / "none.md") is None
