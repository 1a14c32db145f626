"""Settings: who wins, what is refused, and the names that are tolerated."""

from pathlib import Path
from typing import Any

import pytest

from embedsvc.errors import ConfigError
from embedsvc.settings import Settings, describe, read_settings


def read(folder: Path, environment: dict[str, str] | None = None, **overrides: Any) -> Settings:
    return read_settings(environment or {}, folder, **overrides)


def test_the_command_line_wins_over_the_environment_over_dotenv_over_toml(tmp_path: Path) -> None:
    assert read(tmp_path).port == 8000
    (tmp_path / "embedsvc.toml").write_text("port = 1\n")
    assert read(tmp_path).port == 1
    (tmp_path / ".env").write_text("EMBEDSVC_PORT=2\nOTHER=x\n")
    assert read(tmp_path).port == 2
    assert read(tmp_path, {"EMBEDSVC_PORT": "3"}).port == 3
    assert read(tmp_path, {"EMBEDSVC_PORT": "3"}, port=4).port == 4
    assert read(tmp_path, {"EMBEDSVC_PORT": "3"}, port=None).port == 3


def test_sources_are_put_together_name_by_name(tmp_path: Path) -> None:
    (tmp_path / "embedsvc.toml").write_text('host = "::1"\nsamples = false\nport = 1\n')
    (tmp_path / ".env").write_text("EMBEDSVC_INDEX=exact\n")
    found = read(tmp_path, {"EMBEDSVC_PORT": "3"}, home=Path("/h"))
    assert (found.host, found.samples, found.index, found.port) == ("::1", False, "exact", 3)
    assert found.home == Path("/h")
    assert found.url == "sqlite:////h/embedsvc.db"
    assert read(tmp_path, {"EMBEDSVC_DATABASE_URL": "postgresql://x/y"}).url == "postgresql://x/y"


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    assert read(tmp_path, {"HOME": "/x", "PATH": "/y"}) == Settings()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("EMBEDSVC_PROT", "EMBEDSVC_PORT"),
        ("EMBEDSVC_DATABASE", "EMBEDSVC_DATABASE_URL"),
        ("EMBEDSVC_EMBEDDINGS", "EMBEDSVC_EMBEDDING"),
        ("EMBEDSVC_MAX_BODY", "EMBEDSVC_MAX_BODY_MB"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(
    tmp_path: Path, name: str, near: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, {name: "1"})
    assert name in caught.value.detail
    assert f"did you mean {near}?" in caught.value.detail


@pytest.mark.parametrize("source", ["environment", ".env", "embedsvc.toml"])
def test_the_source_of_an_unknown_name_is_named(tmp_path: Path, source: str) -> None:
    environment = {}
    if source == "environment":
        environment = {"EMBEDSVC_ZZZ": "1"}
    else:
        (tmp_path / source).write_text("EMBEDSVC_ZZZ=1" if source == ".env" else "zzz = 1")
    with pytest.raises(ConfigError, match=f"{source} sets the unknown EMBEDSVC_ZZZ"):
        read(tmp_path, environment)


def test_what_tests_and_benchmarks_read_is_tolerated(tmp_path: Path) -> None:
    assert read(tmp_path, {"EMBEDSVC_DATA": "/data"}) == Settings()


def test_an_empty_variable_is_as_good_as_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"EMBEDSVC_PORT": "", "EMBEDSVC_NOPE": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("SAMPLES", "maybe"),
        ("SAMPLES", "2"),
        ("LOG_LEVEL", "loud"),
        ("SYNCHRONOUS", "off"),
        ("THREADS", "-1"),
        ("MAX_BODY_MB", "-5"),
        ("MAX_DOCUMENTS", "many"),
    ],
)
def test_a_bad_value_is_an_error_that_names_variable_and_value(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, {f"EMBEDSVC_{name}": value})
    assert f"EMBEDSVC_{name}" in caught.value.detail
    assert value in caught.value.detail


@pytest.mark.parametrize(
    "line", ["port = 80.5", "port = true", "port = [1]", "host = 5", "samples = 3"]
)
def test_a_value_of_another_type_in_the_file_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "embedsvc.toml").write_text(line)
    with pytest.raises(ConfigError, match="EMBEDSVC_"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"port =", b"\xff\xfe", b"[[", b"port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "embedsvc.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"embedsvc\.toml is not valid TOML"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("False", False)],
)
def test_booleans_have_several_words(tmp_path: Path, value: str, expected: bool) -> None:
    assert read(tmp_path, {"EMBEDSVC_SAMPLES": value}).samples is expected


def test_every_setting_is_described() -> None:
    rows = describe()
    assert ("EMBEDSVC_PORT", "8000", "port to listen on") in rows
    assert all(name.startswith("EMBEDSVC_") and about for name, _, about in rows)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 3  # type: ignore[misc]


def test_the_shipped_files_are_found() -> None:
    assert (Settings().shipped / "alembic" / "env.py").is_file()
