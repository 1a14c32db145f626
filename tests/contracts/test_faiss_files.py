"""The snapshot of the FAISS index: what is damaged is set aside, and never an answer."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedsvc.core.model import Change
from embedsvc.index import faiss
from embedsvc.index.faiss import Limits
from embedsvc.ports import Step, no_step

Run = Callable[[Any], Any]
DIMENSIONS = 8
TINY = Limits(seal=4, fan_in=4, approximate=10_000, dead_share=0.3, exact_within=3)


def make(folder: Path, on_step: Step = no_step, name: str = "i", dimensions: int = 8) -> Any:
    return faiss.create(name, dimensions, folder, on_step, TINY)


def add(version: int, first: int, vectors: Any) -> Change:
    ids = np.arange(first, first + len(vectors), dtype=np.int64)
    return Change(version, ids, vectors, np.empty(0, np.int64))


@pytest.fixture
def folder(tmp_path: Path, run: Run, rows: Any) -> Path:
    """Two snapshots: of version 1 with 10 vectors, and of version 2 with 20."""
    index = make(tmp_path / "i")
    for version in (1, 2):
        run(index.apply(add(version, version * 10, rows(10, DIMENSIONS, version))))
        run(index.save())
    run(index.aclose())
    assert len(list((tmp_path / "i").glob("*.manifest"))) == 2
    return tmp_path / "i"


def manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.manifest"))


def segments(manifest: Path) -> list[str]:
    body = json.loads(json.loads(manifest.read_text())["body"])
    return [entry["name"] for entry in body["segments"]]


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def opens_at(run: Run, folder: Path) -> tuple[int, list[int], list[str]]:
    index = make(folder)
    found = run(index.version()), run(index.ids()).tolist(), list(run(index.info()).degraded)
    run(index.aclose())
    return found


OLD, NEW = list(range(10, 20)), list(range(10, 30))


def test_the_newest_snapshot_is_opened(run: Run, folder: Path) -> None:
    assert opens_at(run, folder) == (2, NEW, [])


def damage(content: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "noise": b"\xff\xfe\x00" * 40,
        "null": b"null",
        "list": b"[]",
        "object": b"{}",
        "number": b'{"sha256": "x", "body": 3}',
        "text": b'"hello"',
        "longer": content + b" trailing",
        "deep": b"[" * 100_000,
    }


@pytest.mark.parametrize("how", sorted(damage(b"")))
def test_a_damaged_manifest_is_set_aside_and_the_older_one_serves(
    run: Run, folder: Path, how: str
) -> None:
    newest = manifests(folder)[-1]
    newest.write_bytes(damage(newest.read_bytes())[how])
    version, ids, degraded = opens_at(run, folder)
    assert (version, ids) == (1, OLD)
    assert len(degraded) == 1
    assert newest.name in degraded[0]
    assert not newest.exists()
    assert newest.with_suffix(".damaged").exists()


@pytest.mark.parametrize("at", [10, 60, 150, -10])
def test_a_flipped_bit_in_a_manifest_is_noticed(run: Run, folder: Path, at: int) -> None:
    flip(manifests(folder)[-1], at)
    assert opens_at(run, folder)[:2] == (1, OLD)


@pytest.mark.parametrize("at", [0, 20, 40, 100, 200, -1])
def test_a_flipped_bit_in_a_segment_is_noticed(run: Run, folder: Path, at: int) -> None:
    old, new = manifests(folder)
    name = next(name for name in segments(new) if name not in segments(old))
    flip(folder / f"{name}.segment", at)
    version, ids, degraded = opens_at(run, folder)
    assert (version, ids) == (1, OLD)
    assert "checksum" in degraded[0]


def test_a_segment_that_is_missing_or_cut_is_noticed(run: Run, folder: Path) -> None:
    old, new = manifests(folder)
    file = folder / f"{next(n for n in segments(new) if n not in segments(old))}.segment"
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    assert opens_at(run, folder)[:2] == (1, OLD)
    file.unlink()
    new.with_suffix(".damaged").replace(new)
    assert opens_at(run, folder)[:2] == (1, OLD)


def test_when_nothing_is_good_the_index_begins_empty_and_says_why(run: Run, folder: Path) -> None:
    for file in folder.glob("*.segment"):
        file.unlink()
    version, ids, degraded = opens_at(run, folder)
    assert (version, ids) == (0, [])
    assert len(degraded) == 2


def test_a_new_snapshot_ends_the_complaint(run: Run, folder: Path, rows: Any) -> None:
    manifests(folder)[-1].write_bytes(b"")
    index = make(folder)
    run(index.apply(add(2, 20, rows(10, DIMENSIONS, 2))))
    run(index.save())
    assert list(run(index.info()).degraded) == []
    run(index.aclose())
    assert opens_at(run, folder) == (2, NEW, [])


@pytest.mark.parametrize("other", [{"name": "other"}, {"dimensions": 9}])
def test_a_snapshot_of_another_index_is_not_taken(
    run: Run, folder: Path, other: dict[str, Any]
) -> None:
    index = make(folder, **other)
    assert run(index.version()) == 0
    assert "belongs to another" in run(index.info()).degraded[0]
    run(index.aclose())


def test_two_snapshots_are_kept_and_no_file_more(run: Run, folder: Path, rows: Any) -> None:
    index = make(folder)
    for version in range(3, 9):
        run(index.apply(add(version, version * 10, rows(10, DIMENSIONS, version))))
        run(index.save())
    run(index.aclose())
    assert len(manifests(folder)) == 2
    named = {name for manifest in manifests(folder) for name in segments(manifest)}
    assert {file.stem for file in folder.glob("*.segment")} == named
    assert not list(folder.glob("*.part"))


def test_a_segment_is_written_once(run: Run, folder: Path, rows: Any) -> None:
    before = {f.name: f.stat().st_mtime_ns for f in folder.glob("*.segment")}
    index = make(folder)
    run(index.apply(add(3, 30, rows(2, DIMENSIONS, 3))))
    run(index.save())
    run(index.aclose())
    after = {f.name: f.stat().st_mtime_ns for f in folder.glob("*.segment")}
    assert after.items() > before.items()


@pytest.mark.parametrize("step", ["snapshot:written", "snapshot:renamed", "snapshot:segments"])
def test_a_disk_that_fails_while_saving_costs_no_snapshot_and_no_answer(
    run: Run, folder: Path, rows: Any, step: str
) -> None:
    failing = [True]

    def on_step(name: str) -> None:
        if failing[0] and name == step:
            raise OSError(28, "No space left on device")

    index = make(folder, on_step)
    run(index.apply(add(3, 30, rows(10, DIMENSIONS, 3))))
    run(index.save())
    assert "snapshot not written" in run(index.info()).degraded[0]
    assert len(run(index.ids())) == 30
    assert opens_at(run, folder)[0] in (2, 3)
    failing[0] = False
    run(index.apply(add(4, 40, rows(10, DIMENSIONS, 4))))
    run(index.save())
    assert list(run(index.info()).degraded) == []
    run(index.aclose())
    assert opens_at(run, folder) == (4, list(range(10, 50)), [])


def test_a_folder_that_cannot_be_read_is_no_reason_to_stop(run: Run, tmp_path: Path) -> None:
    (tmp_path / "i").write_text("a file where a folder should be")
    assert opens_at(run, tmp_path / "i")[:2] == (0, [])


def test_a_reset_while_a_snapshot_is_written_leaves_no_old_snapshot(
    run: Run, tmp_path: Path, rows: Any
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def on_step(name: str) -> None:
        if name == "snapshot:segments":
            began.set()
            go_on.wait(10)

    async def work() -> None:
        index = make(tmp_path / "i", on_step)
        await index.apply(add(5, 1, rows(20, DIMENSIONS)))
        saving = asyncio.create_task(index.save())
        await asyncio.to_thread(began.wait, 10)
        resetting = asyncio.create_task(index.reset())
        await asyncio.sleep(0.2)
        go_on.set()
        await asyncio.gather(saving, resetting)
        assert await index.version() == 0
        await index.aclose()

    run(work())
    assert opens_at(run, tmp_path / "i")[:2] == (0, [])


def test_two_processes_may_share_the_folder(run: Run, folder: Path, rows: Any) -> None:
    one, two = make(folder), make(folder)
    run(one.version())
    run(two.version())
    for version in (3, 4, 5):
        for index in (one, two):
            run(index.apply(add(version, version * 10, rows(10, DIMENSIONS, version))))
            run(index.save())
            assert list(run(index.info()).degraded) == []
    run(one.aclose())
    run(two.aclose())
    assert opens_at(run, folder) == (5, list(range(10, 60)), [])
