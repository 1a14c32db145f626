"""docs/embedding.md: its worked example works as it stands, and its tables leave nothing out."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wire.server import Reply, Request, Server

from embedsvc import plugins
from embedsvc.core.preparing import Draft
from embedsvc.embedding.local import PRECISIONS
from embedsvc.services.search import Query
from embedsvc.settings import Settings

PAGE = (Path(__file__).parent.parent / "docs" / "embedding.md").read_text(encoding="utf-8")


def handle(request: Request) -> Reply:
    """What the invented provider of the example answers."""
    assert request.headers["authorization"] == "Bearer acme-key"
    rows = []
    for text in request.json["texts"]:
        seed = sum(ord(letter) * 31**n for n, letter in enumerate(text[:40])) % 2**32
        rows.append(np.random.default_rng(seed).standard_normal(512).tolist())
    return Reply(200, {"vectors": rows})


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The package of the example, installed as a package is: with an entry point."""
    code, project = (
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "toml")
    )
    assert code is not None
    assert project is not None
    group, line = re.findall(r'"(embedsvc\.embedding)"\]\n(.*)\n', project.group(1))[0]
    with Server(handle) as server:
        package = tmp_path / "site" / "acme_embeddings"
        package.mkdir(parents=True)
        written = code.group(1).replace("https://api.acme.example", server.url)
        (package / "__init__.py").write_text(written)
        about = tmp_path / "site" / "acme_embeddings-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embeddings\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        importlib.invalidate_caches()
        yield server
        sys.modules.pop("acme_embeddings", None)


def test_the_backend_of_the_example_embeds_documents_and_questions(
    run: Callable[[Any], Any], opened: Any, settings: Settings, acme: Server
) -> None:
    mine = replace(settings, embedding="acme:small", variables={"ACME_API_KEY": "acme-key"})

    async def work() -> None:
        async with opened(of=mine) as service:
            acme.faults.append(Reply(429, b"", {"Retry-After": "0"}))
            drafts = [Draft("a", text="one thing"), Draft("b", text="another matter")]
            added = await service.ingest.add("c", drafts)
            assert [one.status for one in added.documents] == ["indexed", "indexed"]
            found = await service.search.search("c", [Query("another matter", limit=1)])
            assert found.hits[0][0].chunk.document_id == "b"
            collection = await service.collections.get("c")
            assert (collection.embedding, collection.dimensions) == ("acme:small", 512)

    run(work())
    kinds = {request.json["kind"] for request in acme.requests}
    assert kinds == {"document", "query"}


def test_every_backend_of_the_package_is_in_the_table() -> None:
    for name in plugins.names("embedding"):
        assert f"`{name}:" in PAGE or f"`{name}`" in PAGE, name


def test_every_runtime_and_precision_is_in_the_table() -> None:
    for name, precisions in PRECISIONS.items():
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        for precision in precisions:
            assert f"`{precision}`" in line
