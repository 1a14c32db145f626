"""`embedsvc ask`, `answers` and `conversations`, as people run them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire.openai_chat import OpenAIChat

from embedsvc.__main__ import main

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


@pytest.fixture
def command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    llm: OpenAIChat,
) -> Command:
    """`command("ask", …)`: run it in this process on a home of its own with one document."""
    for name in [name for name in os.environ if name.startswith("EMBEDSVC_")]:
        monkeypatch.delenv(name)
    given = {
        "EMBEDSVC_EMBEDDING": "hash",
        "EMBEDSVC_HOME": str(tmp_path / "home"),
        "EMBEDSVC_CHAT": "echo",
        **llm.variables,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
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

    (tmp_path / "some.jsonl").write_text(json.dumps({"id": "tower", "text": TEXT}))
    assert run("add", "some.jsonl", "-c", "c").returncode == 0
    return run


def ask(command: Command, *arguments: str) -> Any:
    done = command("ask", QUESTION, "-c", "c", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_answer_is_shown_with_its_citations(command: Command) -> None:
    start = TEXT.index("finished in")
    for option in ("--stream", "--no-stream"):
        done = command("ask", QUESTION, "-c", "c", option, *LLM)
        assert done.returncode == 0, done.stderr
        text, first, second, *claims = done.stdout.splitlines()
        assert text.startswith("It was finished in 1889 [1]. ")
        assert "\x1b" not in done.stdout, "a model never speaks to the terminal"
        assert first == f'  [1] tower {start}-{start + 16}  verified  "finished in 1889"'
        assert second.startswith("  [2] tower  not_found")
        assert claims[0].startswith("  no source says: ")
        assert re.search(r"conversation [0-9a-f]{32}, go on with -k", done.stderr)


def test_how_to_answer_is_passed_on(command: Command, llm: OpenAIChat) -> None:
    options = ["--temperature", "0.5", "--max-tokens", "70", "--system", "Be brief.", "-n", "3"]
    found = ask(command, *options, *LLM, "--grounding", "normal", "--mode", "lexical")
    assert found["model"] == "openai:gpt-4o"
    talk = llm.talks[-1]
    assert (talk.temperature, talk.max_tokens) == (0.5, 70)
    assert "Be brief." in talk.messages[0]["content"]
    assert ask(command, "-f", "year:2020")["sources"] == []
    assert ask(command, "-m", "extractive")["model"] == "extractive"


def test_a_conversation_goes_on_by_its_id_or_as_the_last_one(command: Command) -> None:
    first = ask(command)
    other = ask(command)
    talk = first["conversation_id"]
    assert talk != other["conversation_id"]
    assert ask(command, "--conversation", talk)["conversation_id"] == talk
    assert ask(command, "-k")["conversation_id"] == talk
    listed = command("conversations", "-c", "c").stdout.splitlines()
    assert listed[0].startswith(talk)
    assert listed[0].endswith("c  6 turns")
    assert listed[1].strip() == QUESTION
    shown = command("conversations", "show", talk).stdout.splitlines()
    assert shown[0] == f"user: {QUESTION}"
    assert shown[1].startswith("assistant: Each source stands between")
    assert command("conversations", "delete", talk).stdout == "1 conversation deleted\n"
    left = json.loads(command("conversations", "--json").stdout)["conversations"]
    assert [one["id"] for one in left] == [other["conversation_id"]]
    done = command("conversations", "delete", "--all", "-c", "c")
    assert done.stdout == "1 conversation deleted\n"
    assert command("conversations").stdout == "no conversations\n"


def test_answers_are_listed_shown_rated_and_deleted(command: Command) -> None:
    first, second = ask(command, *LLM), ask(command)
    listed = command("answers", "-n", "1")
    assert listed.stdout.splitlines()[0].startswith(second["id"])
    assert listed.stdout.splitlines()[-1] == "the last 1; there are more: --limit"
    assert command("answers", "rate", first["id"], "-1", "too short").returncode == 0
    rated = json.loads(command("answers", "--rating", "-1", "--json").stdout)["answers"]
    assert [one["id"] for one in rated] == [first["id"]]
    shown = command("answers", "show", first["id"])
    assert shown.returncode == 0, shown.stderr
    for word in (QUESTION, "verified", "source 1  tower 0-", "rated -1  too short", "tokens, $"):
        assert word in shown.stdout, word
    assert "prompt, system:" in shown.stdout
    assert command("answers", "delete", first["id"]).stdout == "1 answer deleted\n"
    assert command("answers", "--state", "no_answer").stdout == "no answers\n"
    left = json.loads(command("answers", "-c", "c", "--json").stdout)["answers"]
    assert [one["id"] for one in left] == [second["id"]]


def test_what_cannot_be_done_is_said_in_one_line(command: Command) -> None:
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
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert done.stderr.startswith("embedsvc: ")
        assert word in done.stderr, done.stderr
