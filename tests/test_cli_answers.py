"""`embedsvc ask`, `answers` and `conversations`, as people run them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import served_here
from wire.openai_chat import OpenAIChat
from wire.server import Reply, Server

from embedsvc.__main__ import main
from embedsvc.settings import Settings

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]
TEXT = "The Eiffel Tower was finished in 1889. It is 330 metres tall."
QUESTION = "When was the Eiffel Tower finished?"
LLM = ("-m", "openai:gpt-4o")
SAID = 'It was finished in 1889 [1 "finished in 1889"]. \x1b[31mIt is green [1 "is green"].'


@pytest.fixture(scope="module")
def llm() -> Iterator[OpenAIChat]:
    with OpenAIChat() as made:
        made.reply = lambda _messages: SAID
        yield made


@pytest.fixture(scope="module")
def server(module_settings: Settings, llm: OpenAIChat) -> Iterator[str]:
    """A service with one document, on a home where commands find it."""
    settings = replace(module_settings, chat="echo", variables=llm.variables)
    with served_here(settings) as url:
        body = {"documents": [{"id": "tower", "text": TEXT}]}
        httpx.post(f"{url}/v1/collections/c/documents", json=body).raise_for_status()
        yield url


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`command("ask", …)`: run it in this process, on an empty home of its own."""
    for name in [name for name in os.environ if name.startswith("EMBEDSVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EMBEDSVC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["embedsvc", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(str(code)), out, err)

    return run


@pytest.fixture
def shared(
    command: Command, server: str, module_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """As `command`, where a service runs in which nobody has asked anything yet."""
    monkeypatch.setenv("EMBEDSVC_HOME", str(module_settings.home))
    httpx.delete(f"{server}/v1/conversations").raise_for_status()
    return command


@pytest.fixture
def alone(command: Command, llm: OpenAIChat, monkeypatch: pytest.MonkeyPatch) -> Command:
    """As `command`, with one document and no service that runs."""
    for name, value in {"EMBEDSVC_EMBEDDING": "hash", **llm.variables}.items():
        monkeypatch.setenv(name, value)
    Path("some.jsonl").write_text(json.dumps({"id": "tower", "text": TEXT}))
    assert command("add", "some.jsonl", "-c", "c").returncode == 0
    return command


def ask(command: Command, *arguments: str) -> Any:
    done = command("ask", QUESTION, "-c", "c", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_answer_is_shown_with_its_citations(alone: Command) -> None:
    start = TEXT.index("finished in")
    for option in ("--stream", "--no-stream"):
        done = alone("ask", QUESTION, "-c", "c", option, *LLM)
        assert done.returncode == 0, done.stderr
        text, first, second, *claims = done.stdout.splitlines()
        assert text.startswith("It was finished in 1889 [1]. ")
        assert "\x1b" not in done.stdout, "a model never speaks to the terminal"
        assert first == f'  [1] tower {start}-{start + 16}  verified  "finished in 1889"'
        assert second.startswith("  [2] tower  not_found")
        assert claims[0].startswith("  no source says: ")
        assert re.search(r"conversation [0-9a-f]{32}, go on with -k", done.stderr)


def test_an_answer_that_breaks_off_is_an_error(command: Command) -> None:
    half = 'event: delta\ndata: {"text": "It was fin"}\n\n'
    with Server(lambda _request: Reply(body=half)) as service:
        done = command("--server", service.url, "ask", QUESTION, "-c", "c", "--stream")
    assert (done.returncode, done.stdout) == (1, "It was fin\n")
    assert done.stderr == "embedsvc: the answer broke off before its end; ask again\n"


def test_how_to_answer_is_passed_on(shared: Command, llm: OpenAIChat) -> None:
    options = ["--temperature", "0.5", "--max-tokens", "70", "--system", "Be brief.", "-n", "3"]
    found = ask(shared, *options, *LLM, "--grounding", "normal", "--mode", "lexical")
    assert found["model"] == "openai:gpt-4o"
    talk = llm.talks[-1]
    assert (talk.temperature, talk.max_tokens) == (0.5, 70)
    assert "Be brief." in talk.messages[0]["content"]
    assert ask(shared, "-f", "year:2020")["sources"] == []
    assert ask(shared, "-m", "extractive")["model"] == "extractive"


def test_a_conversation_goes_on_by_its_id_or_as_the_last_one(shared: Command) -> None:
    first = ask(shared)
    other = ask(shared)
    talk = first["conversation_id"]
    assert talk != other["conversation_id"]
    assert ask(shared, "--conversation", talk)["conversation_id"] == talk
    assert ask(shared, "-k")["conversation_id"] == talk
    listed = shared("conversations", "-c", "c").stdout.splitlines()
    assert listed[0].startswith(talk)
    assert listed[0].endswith("c  6 turns")
    assert listed[1].strip() == QUESTION
    shown = shared("conversations", "show", talk).stdout.splitlines()
    assert shown[0] == f"user: {QUESTION}"
    assert shown[1].startswith("assistant: Each source stands between")
    assert shared("conversations", "delete", talk).stdout == "1 conversation deleted\n"
    left = json.loads(shared("conversations", "--json").stdout)["conversations"]
    assert [one["id"] for one in left] == [other["conversation_id"]]
    done = shared("conversations", "delete", "--all", "-c", "c")
    assert done.stdout == "1 conversation deleted\n"
    assert shared("conversations").stdout == "no conversations\n"


def test_answers_are_listed_shown_rated_and_deleted(shared: Command) -> None:
    first, second = ask(shared, *LLM), ask(shared)
    listed = shared("answers", "-n", "1")
    assert listed.stdout.splitlines()[0].startswith(second["id"])
    assert listed.stdout.splitlines()[-1] == "the last 1; there are more: --limit"
    assert shared("answers", "rate", first["id"], "-1", "too short").returncode == 0
    rated = json.loads(shared("answers", "--rating", "-1", "--json").stdout)["answers"]
    assert [one["id"] for one in rated] == [first["id"]]
    shown = shared("answers", "show", first["id"])
    assert shown.returncode == 0, shown.stderr
    for word in (QUESTION, "verified", "source 1  tower 0-", "rated -1  too short", "tokens, $"):
        assert word in shown.stdout, word
    assert "prompt, system:" in shown.stdout
    assert shared("answers", "delete", first["id"]).stdout == "1 answer deleted\n"
    assert shared("answers", "--state", "no_answer").stdout == "no answers\n"
    left = json.loads(shared("answers", "-c", "c", "--json").stdout)["answers"]
    assert [one["id"] for one in left] == [second["id"]]


def test_what_cannot_be_done_is_said_in_one_line(shared: Command) -> None:
    for arguments, word in (
        (("ask", "x", "-c", "nothing"), "nothing"),
        (("ask", "x", "-c", "nothing", "--stream"), "nothing"),
        (("ask", "x", "-c", "c", "-k"), "--keep-on"),
        (("ask", "x", "-c", "c", "-k", "--conversation", "y"), "--keep-on"),
        (("ask", "x", "-c", "c", "--conversation", "y"), "'y'"),
        (("ask", "x", "-c", "c", "-m", "nobody:x"), "nobody"),
        (("ask", "x", "-c", "c", "--temperature", "9"), "temperature"),
        (("answers", "show", "y"), "'y'"),
        (("answers", "rate", "y", "1"), "'y'"),
        (("answers", "delete", "y"), "'y'"),
        (("answers", "-c", "nothing"), "nothing"),
        (("conversations", "show", "y"), "'y'"),
        (("conversations", "delete"), "--all"),
        (("conversations", "delete", "y", "--all"), "--all"),
    ):
        done = shared(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert done.stderr.startswith("embedsvc: ")
        assert word in done.stderr, done.stderr
