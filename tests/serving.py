"""Start the real server on a free port: as a user does, or quicker, in this process."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import uvicorn

from embedsvc import home as homes
from embedsvc.app import build_service, create_app
from embedsvc.home import running
from embedsvc.settings import Settings


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


@contextmanager
def served_here(settings: Settings) -> Iterator[str]:
    """The address of the application on a real socket, in a thread: nothing is loaded again.

    Commands with the same home find it there.
    """
    application = create_app(build_service(settings), warm=False)
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, server_header=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        with homes.served(settings.home, url, alone=False):
            thread.start()
            try:
                httpx.get(f"{url}/healthz", timeout=60).raise_for_status()
                yield url
            finally:
                server.should_exit = True
                thread.join(30)
