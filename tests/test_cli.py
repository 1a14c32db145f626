"""The commands, as people run them: in processes of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import served

from embedsvc import home as homes
from embedsvc.__main__ import main
from embedsvc.errors import ConfigError

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the processes of these tests keep what they compile, whatever the machine's habit."""
    return {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("pyc")),
    }


@pytest.fixture
def command(tmp_path: Path, bytecode: dict[str, str]) -> Command:
    """`command("search", "x")`: run it in an empty folder, with the fast embedding."""

    def run(*arguments: str | bytes, environment: dict[str, str] | None = None) -> Done:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EMBEDSVC_")}
        given = {"EMBEDSVC_EMBEDDING": "hash", "EMBEDSVC_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [sys.executable, "-m", "embedsvc", *arguments],
            cwd=tmp_path,
            env=kept | bytecode | given | (environment or {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """As `command`, in this process: for the many that fail."""

    def run(*arguments: Any, environment: dict[str, str] | None = None) -> Done:
        for name in [name for name in os.environ if name.startswith("EMBEDSVC_")]:
            monkeypatch.delenv(name)
        given = {"EMBEDSVC_EMBEDDING": "hash", "EMBEDSVC_HOME": str(tmp_path / "home")}
        for name, value in (given | (environment or {})).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["embedsvc", *map(os.fsdecode, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(str(ended.value.code or 0)), out, err)

    return run


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "fox.md").write_text("# Fox\n\nThe quick brown fox jumps over the lazy dog.")
    (folder / "deep" / "whale.txt").write_text("Blue whales eat krill.")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    lines = [{"id": "j1", "text": "Bread is baked."}, {"_id": "j2", "text": "", "title": "empty"}]
    (folder / "more.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return folder


def one_line(done: Done, *words: str) -> None:
    """It failed, and said why in one line."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("embedsvc: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


@pytest.fixture(params=["directly", "through a server"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """The commands work on the home, or find the server that runs on it."""
    if request.param == "directly":
        yield
        return
    with served(tmp_path / "home", EMBEDSVC_EMBEDDING="hash"):
        yield


@pytest.mark.usefixtures("door")
def test_add_search_ask_list_verify_and_rebuild(command: Command, notes: Path) -> None:
    added = command("add", "notes", "-c", "c", "--json")
    assert added.returncode == 2, added.stderr  # one document is empty
    outcomes = {o["id"]: o["status"] for o in json.loads(added.stdout)["documents"]}
    assert outcomes == {
        "notes/fox.md": "indexed",
        "notes/deep/whale.txt": "indexed",
        "j1": "indexed",
        "j2": "failed",
    }
    (notes / "more.jsonl").unlink()
    again = command("add", "notes", "-c", "c")
    assert (again.returncode, again.stderr) == (0, "")
    assert "2 unchanged" in again.stdout
    where = '{"filename":{"$ne":"fox.md"}}'
    found = command("--json", "search", "blue whales krill", "-c", "c", "-n", "1", "-f", where)
    hits = json.loads(found.stdout)["results"]
    assert [hit["document_id"] for hit in hits] == ["notes/deep/whale.txt"]
    plain = command("search", "blue whales krill", "-c", "c")
    assert plain.stdout.startswith("1. notes/deep/whale.txt")
    question = "The quick brown fox jumps over the lazy dog"
    answer = json.loads(command("ask", question, "-c", "c", "--json").stdout)
    assert answer["state"] == "answered"
    assert answer["citations"][0]["status"] == "verified"
    listed = json.loads(command("collections", "--json").stdout)["collections"]
    assert [(one["name"], one["documents"]) for one in listed] == [("c", 3)]
    verified = command("verify", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["collections"][0]["ok"] is True
    rebuilt = command("rebuild", "c")
    assert rebuilt.returncode == 0
    assert rebuilt.stdout.split() == ["c", "3", "chunks", "ok"]


def test_what_cannot_be_done_is_said_in_one_line(inside: Command, notes: Path) -> None:
    one_line(inside("search", "x", "-c", "nope"), "nope")
    one_line(inside("ask", "x", "-c", "nope"), "nope")
    one_line(inside("verify", "nope"), "nope")
    one_line(inside("search", "x", "-c", "Bad Name"), "Bad Name")
    one_line(inside("search", "", "-c", "nope"), "empty")
    one_line(inside("search", "x", "-f", "{"), "--filter", "JSON")
    one_line(inside("add", "notes/picture.png"), ".png")
    one_line(inside("--server", "http://127.0.0.1:1", "collections"), "does not answer")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("bad.txt", b"\xff\xfe\xff", ["bad.txt"]),
        ("bad.jsonl", b"{", ["bad.jsonl", "line 1"]),
        ("bad.jsonl", b'{"id":"a","text":"x"}\n[]\n', ["bad.jsonl", "line 2"]),
        ("bad.jsonl", b'{"id":"a","text":"\xff"}', ["bad.jsonl"]),
        ("bad.jsonl", b'{"id":"a","text":"x","metadata":{"n":NaN}}', ["bad.jsonl"]),
        ("bad.jsonl", b'{"id":"a","text":"\\ud800"}', ["bad.jsonl"]),
        ("bad.jsonl", b'{"id":"a","txt":"x"}', ["txt"]),
        ("bad.jsonl", b"[" * 100_000, ["bad.jsonl", "line 1"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_line(
    inside: Command, tmp_path: Path, file: str, content: bytes, words: list[str]
) -> None:
    (tmp_path / file).write_bytes(content)
    one_line(inside("add", file), *words)


def test_a_filter_with_numbers_that_json_does_not_have_is_refused(inside: Command) -> None:
    one_line(inside("search", "x", "-f", '{"a": NaN}'), "--filter")


def test_a_file_name_that_is_not_utf_8_is_refused_in_one_line(
    inside: Command, tmp_path: Path
) -> None:
    file = os.fsencode(tmp_path) + b"/n\xff.txt"
    with open(file, "wb") as stream:
        stream.write(b"text")
    one_line(inside("add", file))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"EMBEDSVC_PROT": "1"}, ["EMBEDSVC_PROT", "EMBEDSVC_PORT"]),
        ({"EMBEDSVC_PORT": "x"}, ["EMBEDSVC_PORT"]),
        ({"EMBEDSVC_INDEX": "nope"}, ["nope", "faiss"]),
        ({"EMBEDSVC_CHAT": "nope"}, ["nope", "extractive"]),
        ({"EMBEDSVC_DATABASE_URL": "mysql://x/y"}, ["EMBEDSVC_DATABASE_URL"]),
        ({"EMBEDSVC_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, ["database"]),
    ],
)
def test_a_bad_setting_is_named_in_one_line(
    inside: Command, environment: dict[str, str], words: list[str]
) -> None:
    done = inside("collections", environment=environment)
    one_line(done, *words)
    assert "secret" not in done.stderr


@pytest.mark.parametrize("verb", ["collections", "migrate"])
def test_a_home_that_is_no_home_is_named_in_one_line(
    inside: Command, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "file").write_text("")
    one_line(inside(verb, environment={"EMBEDSVC_HOME": str(tmp_path / "file" / "x")}))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "embedsvc.db").write_bytes(b"no database at all" * 500)
    one_line(inside(verb), "database")


def test_a_wrong_use_is_explained_with_status_2(inside: Command) -> None:
    for arguments in (["nope"], ["search"], ["add", "not/there"], ["search", "x", "--nope"]):
        done = inside(*arguments)
        assert done.returncode == 2
        assert "Usage" in done.stderr


def test_migrate_says_what_it_did(inside: Command) -> None:
    first, second = inside("migrate"), inside("migrate")
    assert (first.returncode, second.returncode) == (0, 0)
    assert "was new" in first.stdout
    assert "was" not in second.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_without_keys_only_this_machine_is_served(inside: Command, host: str) -> None:
    one_line(inside("serve", "--host", host, "--port", "0"), "EMBEDSVC_HOST", host)


def test_a_port_that_is_taken_is_named(inside: Command) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        one_line(inside("serve", "--port", port), port, "--port")


def test_help_and_version_are_there_at_once(command: Command) -> None:
    best = 9.0
    for _ in range(2):
        started = time.perf_counter()
        done = command("--help")
        best = min(best, time.perf_counter() - started)
        assert done.returncode == 0
        assert all(word in done.stdout for word in ("serve", "add", "search", "ask", "verify"))
    assert best < 1.5
    assert command("--version").stdout.startswith("embedsvc, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["add", "a.txt"],
        ["migrate"],
    ],
)
def test_a_command_that_needs_no_model_does_not_import_torch(
    tmp_path: Path, bytecode: dict[str, str], arguments: list[str]
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    program = (
        "import sys\n"
        f"sys.argv = ['embedsvc', *{arguments!r}]\n"
        "from embedsvc.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "light = {'litestar', 'sqlalchemy', 'faiss', 'numpy'} & set(sys.modules)\n"
        "sys.stderr.write(f'HEAVY={sorted(heavy)} LIGHT={sorted(light)}')\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EMBEDSVC_")}
    given = {"EMBEDSVC_EMBEDDING": "hash", "EMBEDSVC_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=kept | bytecode | given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "HEAVY=[]" in done.stderr, done.stderr
    if arguments == ["--help"]:
        assert "LIGHT=[]" in done.stderr


# -- who serves from a home -------------------------------------------------------------------


def test_a_home_knows_who_serves_from_it(tmp_path: Path) -> None:
    assert homes.running(tmp_path) is None
    with homes.served(tmp_path, "http://one", alone=False):
        assert homes.running(tmp_path) == "http://one"
    assert homes.running(tmp_path) is None


def test_the_first_server_is_still_found_when_a_second_one_ends(tmp_path: Path) -> None:
    with homes.served(tmp_path, "http://one", alone=False):
        with homes.served(tmp_path, "http://two", alone=False):
            assert homes.running(tmp_path) in ("http://one", "http://two")
        assert homes.running(tmp_path) == "http://one"


def test_a_second_server_is_refused_where_the_database_cannot_be_shared(tmp_path: Path) -> None:
    with (
        homes.served(tmp_path, "http://one", alone=True),
        pytest.raises(ConfigError, match="another process serves"),
        homes.served(tmp_path, "http://two", alone=True),
    ):
        raise AssertionError("never reached")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"url": 3}', '{"x": 1}'])
def test_a_damaged_lock_file_is_no_reason_to_stop(tmp_path: Path, content: str) -> None:
    with homes.served(tmp_path, "http://one", alone=False):
        (tmp_path / "server.lock").write_text(content)
        found: Any = homes.running(tmp_path)
        assert found is None


def test_a_search_is_filtered_by_keys_and_values_and_explained(
    inside: Command, tmp_path: Path
) -> None:
    lines = [
        {"id": "a", "text": "red fox", "metadata": {"year": 2020, "lang": "en"}},
        {"id": "b", "text": "red cow", "metadata": {"year": 2021, "lang": "en"}},
    ]
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert inside("add", str(file)).returncode == 0

    def found(*options: str) -> list[str]:
        answer = json.loads(inside("search", "red", *options, "--json").stdout)
        return sorted(hit["document_id"] for hit in answer["results"])

    assert found("--mode", "lexical") == ["a", "b"]
    assert found("-f", "year:2020") == ["a"]
    assert found("-f", "lang:en", "-f", '{"year": {"$gt": 2020}}') == ["b"]
    assert found("-f", "lang:de") == []
    one_line(inside("search", "red", "-f", "year"), "--filter", "key:value")
    shown = inside("search", "red", "--explain", "a", "-f", "year:2021").stdout
    assert "a: dropped by filter" in shown
