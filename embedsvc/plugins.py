"""Find an adapter by its name: a file of that name in that folder, else an entry point.

    load("embedding", "local")     embedsvc/embedding/local.py
    load("embedding", "acme")      the entry point `acme` in the group `embedsvc.embedding`

A name that comes with a request is only ever compared with names that exist, so it cannot make
Python import something else.
"""

import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from embedsvc.errors import MissingDependency, UnknownProvider

Kind = Literal["embedding", "reranking", "index", "chat", "loaders"]

_OF_OPENAI = ("azure", "github", "lmstudio", "localai", "ollama", "textgen", "vllm")

EXTRAS: Mapping[tuple[Kind, str], str] = {
    **{("embedding", name): "openai" for name in (*_OF_OPENAI, "infinity", "tei")},
    **{("chat", name): "openai" for name in (*_OF_OPENAI, "groq")},
    ("chat", "transformers"): "local",
}
"""Extras that are not called as the adapter that needs them."""


def names(kind: Kind) -> list[str]:
    """Every adapter of that kind that can be named, sorted."""
    return sorted({*_built_in(kind), *_entry_points(kind)})


def load(kind: Kind, name: str) -> Any:
    """The module (or object) that provides `create`.

    Raises UnknownProvider, with the nearest name, or MissingDependency, with the pip install.
    """
    try:
        if name in _built_in(kind):
            return import_module(f"embedsvc.{kind}.{name}")
        if name in (found := _entry_points(kind)):
            return found[name].load()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("embedsvc"):
            raise
        raise MissingDependency(
            f"{kind} {name!r} needs the package {error.name!r}: "
            f"pip install 'embedsvc[{EXTRAS.get((kind, name), name)}]'"
        ) from error
    known = names(kind)
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise UnknownProvider(f"no {kind} is called {name!r}{hint} known are {', '.join(known)}")


def _built_in(kind: Kind) -> set[str]:
    package = import_module(f"embedsvc.{kind}")
    found = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return {name for name in found if not name.startswith("_")}


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"embedsvc.{kind}")}
