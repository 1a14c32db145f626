"""Start the real server as a user does, on a free port."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from embedsvc.home import running


@contextmanager
def served(home: Path, *, ready: bool = True, **settings: str) -> Iterator[str]:
    """The address of `embedsvc serve` on that home, once it is healthy (or ready)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EMBEDSVC_")}
    environment |= {"EMBEDSVC_SAMPLES": "0", **settings}
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "embedsvc", "serve", "--home", str(home), "--port", "0"],
            env=environment,
            stderr=sink,
            stdout=sink,
        )
    try:
        yield _address(home, process, log, "/readyz" if ready else "/healthz")
    finally:
        process.terminate()
        process.wait(30)


def _address(home: Path, process: "subprocess.Popen[bytes]", log: Path, path: str) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
        url = running(home)
        try:
            if url and httpx.get(f"{url}{path}", timeout=5).status_code == 200:
                return url
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not answer:\n{log.read_text()[-3000:]}")
