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


@pytest.mark.parametrize("name", sorted(OPENAI_SERVERS))
def test_servers_of_openais_protocol_need_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delitem(sys.modules, f"embedsvc.embedding.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "embedsvc.embedding._openai", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_openai", None)  # as if it were not installed
    with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[openai\]'"):
        plugins.load("embedding", name)


def test_every_extra_that_is_named_is_there() -> None:
    known = set(plugins.names("embedding")) - {"hash"}
    assert {plugins.EXTRAS.get(("embedding", name), name) for name in known} <= EXTRAS.keys()
    assert set(plugins.EXTRAS.values()) <= EXTRAS.keys()
    for kind, name in plugins.EXTRAS:
        assert kind in get_args(plugins.Kind)
        import_module(f"embedsvc.{kind}.{name}")
