"""SIGKILL at random moments and at each named step of a write and of a snapshot.

After every death: the start succeeds, no acknowledged write is lost, no acknowledged delete is
back, the index equals SQL, and every document is found by its own text.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

LONG = bool(os.environ.get("SOAK"))
STEPS = [
    "ingest:before-write",
    "write:statements",
    "write:before-commit",
    "write:committed",
    "index:page",
    "index:merged",
    "snapshot:written",
    "snapshot:renamed",
    "snapshot:segments",
    "snapshot:manifest",
]
KILLS = (
    [(step, count) for step in STEPS for count in (1, 3, 7)] + [("", 0)] * 20
    if LONG
    else [
        ("write:before-commit", 9),
        ("write:committed", 7),
        ("snapshot:written", 3),
        ("snapshot:renamed", 4),
        ("", 0),
    ]
)
CLIENTS = 4
SECONDS_ALIVE = 40.0
PATH = "/v1/collections/crash"
VICTIM = Path(__file__).with_name("victim.py")


class Ledger:
    """What the clients know: the text that was acknowledged last, and what was under way.

    Each client has documents of its own, so the order of writes to one document is known.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, str | None] = {}
        self.under_way: dict[str, str | None] = {}

    def begin(self, document: str, text: str | None) -> None:
        self.under_way[document] = text

    def done(self, document: str) -> None:
        self.acknowledged[document] = self.under_way.pop(document)

    def allowed(self, document: str) -> set[str | None]:
        allowed = {self.acknowledged.get(document)}
        if document in self.under_way:
            allowed.add(self.under_way[document])
        return allowed


@contextmanager
def server(home: Path, *die_at: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home.parent / "server.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, str(VICTIM), str(home), str(port), *die_at],
            stderr=sink,
            stdout=sink,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process, log)
        yield url, process
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None and process.returncode != -signal.SIGKILL:
            raise AssertionError(f"the server did not start:\n{log.read_text()[-3000:]}")
        try:
            if process.poll() is not None or httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not answer within a minute")


def write_until_it_dies(url: str, ledger: Ledger, seed: int) -> None:
    """Add, replace and delete documents, one request after the other, until nobody answers."""
    chance = random.Random(seed)
    deadline = time.monotonic() + SECONDS_ALIVE
    mine = [f"{seed % CLIENTS}/{n}" for n in range(25)]
    with httpx.Client(base_url=url, timeout=20) as http:
        while time.monotonic() < deadline:
            document = chance.choice(mine)
            known = ledger.acknowledged.get(document)
            text = None if known and chance.random() < 0.3 else f"{document} {chance.random()}"
            ledger.begin(document, text)
            try:
                if text is None:
                    answer = http.delete(f"{PATH}/documents/{document}")
                    assert answer.status_code in (204, 404), answer.text
                else:
                    body = {"documents": [{"id": document, "text": text}]}
                    answer = http.post(f"{PATH}/documents", json=body)
                    assert answer.json()["documents"][0]["status"] == "indexed", answer.text
                if chance.random() < 0.2:
                    http.post(f"{PATH}/search", json={"query": document})
            except httpx.TransportError:
                return
            ledger.done(document)


def stored(url: str) -> dict[str, str]:
    """Every document that the service has, with its text."""
    with httpx.Client(base_url=url, timeout=30) as http:
        listed = http.get(f"{PATH}/documents", params={"limit": 1000})
        if listed.status_code == 404:
            return {}
        ids = [document["id"] for document in listed.json()["documents"]]
        return {
            i: http.get(f"{PATH}/documents/{i}", params={"include": "text"}).json()["text"]
            for i in ids
        }


def check(url: str, ledger: Ledger) -> None:
    found = stored(url)
    for document in {*ledger.acknowledged, *ledger.under_way, *found}:
        assert found.get(document) in ledger.allowed(document), document
    if not found:
        return
    with httpx.Client(base_url=url, timeout=30) as http:
        assert http.get("/readyz").status_code in (200, 503)
        report = http.post(f"{PATH}/verify").json()
        assert report["ok"], report
        assert report["chunks"] == len(found)
        for mode in ("dense", "lexical"):
            queries = [{"query": text, "limit": 1, "mode": mode} for text in found.values()]
            answer = http.post(f"{PATH}/search", json={"queries": queries[:100]}).json()
            for document, hits in zip(found, answer["results"], strict=False):
                assert hits[0]["document_id"] == document
                if mode == "dense":
                    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    # what a check has seen is settled: the next death cannot undo it
    ledger.acknowledged = {d: found.get(d) for d in {*ledger.acknowledged, *ledger.under_way}}
    ledger.under_way = {}


@pytest.mark.timeout(3600 if LONG else 300)
def test_no_kill_loses_an_acknowledged_write(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    ledger = Ledger()
    deaths = 0
    for number, (step, count) in enumerate(KILLS):
        die_at = (step, str(count)) if step else ()
        with server(home, *die_at) as (url, process):
            clients = [
                threading.Thread(
                    target=write_until_it_dies, args=(url, ledger, CLIENTS * number + client)
                )
                for client in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            if not step:
                time.sleep(random.Random(number).uniform(0.2, 3))
                process.send_signal(signal.SIGKILL)
            for client in clients:
                client.join()
            deaths += process.poll() == -signal.SIGKILL
        with server(home) as (url, process):
            check(url, ledger)
    assert deaths == len(KILLS), "a step was never reached: the test does not test it"
    assert any((home / "index").rglob("*.manifest")), "no snapshot was ever written"
