"""The rules of the house that a reader cannot see at a glance."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "embedsvc"
FILES = sorted(PACKAGE.rglob("*.py"))
ENVIRONMENT = {"environ", "getenv", "putenv", "environb"}


def name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


@pytest.fixture(params=FILES, ids=name)
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def test_modules_import_only_what_is_below_them() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_environment_is_read_in_the_settings_alone(file: Path) -> None:
    for node in nodes(file):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            parent_call = ast.unparse(node)
            if name(file) == "settings.py":
                continue
            assert name(file) == "embedding/local.py", f"{name(file)} uses {parent_call}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not ENVIRONMENT & {alias.name for alias in node.names}


def test_the_local_backend_only_turns_the_network_off() -> None:
    """It tells Hugging Face's libraries to stay offline, and CTranslate2 the processor; no more."""
    for node in nodes(PACKAGE / "embedding" / "local.py"):
        if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func):
            assert ast.unparse(node.func) in ("os.environ.update", "os.environ.setdefault")
            names = [keyword.arg for keyword in node.keywords]
            names += [ast.literal_eval(argument) for argument in node.args[:1]]
            assert all(str(name).startswith(("HF_", "CT2_")) for name in names)


def test_no_file_names_an_absolute_path(file: Path) -> None:
    docstrings = {
        id(node.body[0].value)
        for node in nodes(file)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes(file):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                continue
            for start in (
                "/home/",
                "/work",
                "/tmp",
                "/usr/",
                "/etc/",
                "/var/",
                "/opt/",
                "/root",
                "C:\\",
            ):
                assert not node.value.startswith(start), f"{name(file)}: {node.value!r}"


def test_nothing_is_printed(file: Path) -> None:
    for node in nodes(file):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name(file)}, line {node.lineno}"


def test_alembic_is_no_package() -> None:
    """With an __init__.py it would shadow the library."""
    assert not list((PACKAGE.parent / "alembic").rglob("__init__.py"))
