"""`transformers serve`, a server that is not ours, answers over its own socket."""

import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_llms import WINDOW, make_llm

from embedsvc.app import create_chat_model
from embedsvc.core.model import Message
from embedsvc.core.spec import parse_spec
from embedsvc.errors import ProviderError
from embedsvc.ports import Generation
from embedsvc.services.llms import LLMs, Said
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter, read_prices
from embedsvc.settings import Settings

HOST = "127.0.0.1"
TALK = [Message("system", "Be brief."), Message("user", "What is the capital?")]


@dataclass
class Serving:
    url: str
    folder: Path


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The server with a small Llama, whose name is its folder.

    It runs in a thread, as in its own tests: a process would import torch once more.
    """
    from transformers.cli.serve import Serve

    class Threaded(Serve):  # type: ignore[misc]  # the library is not typed here
        def start_server(self) -> None:
            """As theirs, but the event loop is closed at the end."""
            self._thread = threading.Thread(target=self.server.run)
            self._thread.start()

    folder = make_llm(tmp_path_factory.mktemp("served") / "models" / "llama")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = Threaded(str(folder), host=HOST, port=port, device="cpu", non_blocking=True)
    try:
        _wait_until_ready(f"http://{HOST}:{port}")
        yield Serving(f"http://{HOST}:{port}/v1", folder)
    finally:
        server.kill_server()


def _wait_until_ready(url: str) -> None:
    ends = time.monotonic() + 60
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < ends:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    pytest.fail("transformers serve does not answer")


@pytest.fixture
def settings(serving: Serving) -> Settings:
    variables = {"VLLM_BASE_URL": serving.url, "OPENAI_BASE_URL": serving.url}
    return Settings(home=serving.folder.parent.parent, variables=variables, offline=True)


async def said(settings: Settings, spec: str, **options: Any) -> tuple[list[str], Any]:
    """The pieces that a chain of that spec says, and how it ends."""
    meter = Meter(None, read_prices())  # type: ignore[arg-type]
    llms = LLMs(partial(create_chat_model, settings), Retrying(), meter, spec)
    try:
        chain = await llms.chain()
        pieces = [piece async for piece in llms.stream(chain, TALK, Generation(**options))]
    finally:
        await llms.aclose()
    return [piece.text for piece in pieces if isinstance(piece, Said)], pieces[-1]


@pytest.mark.parametrize("provider", ["vllm", "openai"])
def test_it_streams_an_answer_and_counts_it(
    run: Callable[[Any], Any], settings: Settings, serving: Serving, provider: str
) -> None:
    texts, ended = run(
        said(settings, f"{provider}:{serving.folder}", temperature=0.0, max_tokens=32)
    )
    assert len(texts) > 3
    assert (ended.completion_tokens, ended.estimated, ended.finish) == (32, False, "length")
    assert 5 < ended.prompt_tokens < WINDOW


def test_it_says_what_the_same_model_says_here(
    run: Callable[[Any], Any], settings: Settings, serving: Serving
) -> None:
    options = {"temperature": 0.0, "max_tokens": 32}
    theirs, there = run(said(settings, f"vllm:{serving.folder}", **options))
    ours, here = run(said(settings, "transformers:llama?device=cpu", **options))
    assert "".join(theirs) == "".join(ours)
    assert there.prompt_tokens == here.prompt_tokens


def test_closing_leaves_it_free_for_the_next(
    run: Callable[[Any], Any], settings: Settings, serving: Serving
) -> None:
    async def work() -> None:
        model = await create_chat_model(settings, parse_spec(f"vllm:{serving.folder}"))
        async with aclosing(model.stream(TALK, Generation(max_tokens=64))) as deltas:
            async for delta in deltas:
                if delta.text:
                    break
        assert [d async for d in model.stream(TALK, Generation(max_tokens=2))]
        await model.aclose()

    run(work())


def test_a_model_that_it_does_not_have_is_an_error(
    run: Callable[[Any], Any], settings: Settings
) -> None:
    with pytest.raises(ProviderError):
        run(said(settings, "openai:nobody/nothing"))
