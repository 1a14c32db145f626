"""`embedsvc duplicates` and `embedsvc topics`, as people run them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedsvc.__main__ import main

Done = subprocess.CompletedProcess[str]
FOX = "The quick brown fox jumps over the lazy dog while seven wizards watch from the hill."


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """`command("topics")`: run it in this process on documents of a home of its own."""
    for name in [name for name in os.environ if name.startswith("EMBEDSVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EMBEDSVC_EMBEDDING", "hash")
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
def filled(command: Callable[..., Done], tmp_path: Path) -> Callable[..., Done]:
    documents = [
        {"id": "fox", "text": FOX, "title": "Fox"},
        {"id": "copy", "text": FOX, "title": "Fox"},
        {"id": "almost", "text": FOX + " And then."},
        {"id": "whale", "text": "Blue whales eat krill in the cold ocean."},
    ]
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, documents)))
    assert command("add", "some.jsonl", "-c", "c").returncode == 0
    return command


def test_duplicates_are_listed_below_the_one_to_keep(filled: Callable[..., Done]) -> None:
    done = filled("duplicates", "-c", "c")
    assert done.returncode == 0, done.stderr
    keep, copy, almost, told = done.stdout.splitlines()
    assert keep == "fox"
    assert copy == "  copy  the same text as fox, cosine 1.000"
    assert almost.startswith("  almost  shares 88% with fox, cosine 0.9")
    assert told == "1 group among 4 documents; 2 documents could go"
    strict = filled("duplicates", "-c", "c", "--threshold", "1", "--json")
    assert [group["kind"] for group in json.loads(strict.stdout)["groups"]] == ["exact"]


def test_topics_are_listed_with_words_and_examples(filled: Callable[..., Done]) -> None:
    done = filled("topics", "-c", "c", "--clusters", "2", "--examples", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("3 documents, 75%")
    assert any(line.endswith("fox  Fox") or "copy" in line for line in lines)
    assert lines[-1] == "2 topics of 4 documents"
    found = json.loads(filled("--json", "topics", "-c", "c", "-f", '{"a":1}').stdout)
    assert (found["topics"], found["documents"]) == ([], 0)


def test_what_cannot_be_asked_fails_in_one_line(filled: Callable[..., Done]) -> None:
    for arguments, word in (
        (("duplicates", "-c", "nothing"), "nothing"),
        (("duplicates", "-c", "c", "-t", "2"), "threshold"),
        (("duplicates", "-c", "c", "-f", "{"), "--filter"),
        (("topics", "-c", "c", "-k", "9"), "clusters: 9"),
    ):
        done = filled(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("embedsvc: ")
        assert word in done.stderr
