"""docs/llms.md: its worked example works as it stands, and its tables leave nothing out."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from wire.server import Reply, Request, Server, Streamed

from embedsvc import plugins
from embedsvc.app import create_chat_model
from embedsvc.chat import _named, transformers
from embedsvc.core.model import Message
from embedsvc.ports import Generation
from embedsvc.providers import OPENAI_SERVERS
from embedsvc.services.llms import EXTRACTIVE, LLMs
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter, read_prices
from embedsvc.settings import Settings

PAGE = (Path(__file__).parent.parent / "docs" / "llms.md").read_text(encoding="utf-8")


def handle(request: Request) -> Reply:
    """What the invented provider of the example answers."""
    assert request.headers["authorization"] == "Bearer acme-key"
    said = [f"{role}: {content}\n".encode() for role, content in request.json["messages"]]
    return Reply(body=Streamed(said))


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The package of the example, installed as a package is: with an entry point."""
    code, project = (
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "toml")
    )
    assert code is not None
    assert project is not None
    group, line = re.findall(r'"(embedsvc\.chat)"\]\n(.*)\n', project.group(1))[0]
    with Server(handle) as server:
        package = tmp_path / "site" / "acme_chat"
        package.mkdir(parents=True)
        written = code.group(1).replace("https://api.acme.example", server.url)
        (package / "__init__.py").write_text(written)
        about = tmp_path / "site" / "acme_chat-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-chat\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        importlib.invalidate_caches()
        yield server
        sys.modules.pop("acme_chat", None)


def test_the_model_of_the_example_answers(
    run: Callable[[Any], Any], settings: Settings, acme: Server
) -> None:
    mine = replace(settings, variables={"ACME_API_KEY": "acme-key"})
    meter = Meter(None, read_prices())  # type: ignore[arg-type]
    llms = LLMs(partial(create_chat_model, mine), Retrying(), meter, "acme:small")
    prompt = [Message("user", "one"), Message("assistant", "two")]

    async def work() -> None:
        acme.faults.append(Reply(429, b"", {"Retry-After": "0"}))
        text, ended = await llms.say(await llms.chain(), prompt, Generation(temperature=0.5))
        assert text == "user: one\nassistant: two\n"
        assert (ended.model, ended.finish, ended.cost_usd) == ("acme:small", "stop", None)
        await llms.aclose()

    run(work())
    assert [request.json["temperature"] for request in acme.requests] == [0.5, 0.5]


def test_the_table_has_every_provider_and_no_other() -> None:
    table = PAGE.split("\n\n")[2]
    words = re.findall(r"^\| `([a-z]+)[:`]", table, re.MULTILINE)
    assert sorted(words) == sorted([*plugins.names("chat"), EXTRACTIVE])


@pytest.mark.parametrize("name", sorted({*OPENAI_SERVERS} & {*plugins.names("chat")}))
def test_the_variables_of_every_server_are_those_it_has(name: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}:"))
    server = OPENAI_SERVERS[name]
    if server.key_needed:
        assert f"`{server.key_variable}`" in row
    if name not in ("github", "groq"):  # nobody has another address of these
        assert f"`{server.url_variable}`" in row


def test_every_option_is_in_the_table() -> None:
    options = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert set(options) - {EXTRACTIVE, "echo"} == {*_named._OPTIONS, *transformers._OPTIONS}
