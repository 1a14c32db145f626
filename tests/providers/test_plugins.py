"""What is told when the package of an adapter is not installed."""

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from embedsvc import plugins
from embedsvc.errors import MissingDependency
from embedsvc.providers import OPENAI_SERVERS

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
EXTRAS = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]


SPEAKERS: list[tuple[plugins.Kind, str]] = [
    (kind, name)
    for kind in ("embedding", "chat")
    for name in sorted(OPENAI_SERVERS)
    if name in plugins.names(kind)
]


@pytest.mark.parametrize(("kind", "name"), SPEAKERS)
def test_servers_of_openais_protocol_need_its_extra(
    monkeypatch: pytest.MonkeyPatch, kind: plugins.Kind, name: str
) -> None:
    monkeypatch.delitem(sys.modules, f"embedsvc.{kind}.{name}", raising=False)
    monkeypatch.delitem(sys.modules, f"embedsvc.{kind}._openai", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_openai", None)  # as if it were not installed
    with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[openai\]'"):
        plugins.load(kind, name)


def test_every_server_of_openais_protocol_has_an_adapter() -> None:
    assert {name for _, name in SPEAKERS} == OPENAI_SERVERS.keys()


@pytest.mark.parametrize("kind", ["embedding", "chat"])
def test_every_extra_that_is_named_is_there(kind: plugins.Kind) -> None:
    known = set(plugins.names(kind)) - {"hash", "echo"}
    assert {plugins.EXTRAS.get((kind, name), name) for name in known} <= EXTRAS.keys()
    assert set(plugins.EXTRAS.values()) <= EXTRAS.keys()
    for kind, name in plugins.EXTRAS:
        assert kind in get_args(plugins.Kind)
        import_module(f"embedsvc.{kind}.{name}")
