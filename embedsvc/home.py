"""The home folder's lock: who serves from it, and under which address."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedsvc.errors import ConfigError

_FILE = "server.lock"


@contextmanager
def served(home: Path, url: str, *, alone: bool) -> Iterator[None]:
    """Hold the home while serving at `url`; with `alone` refuse a second process.

    The lock goes with the process, however it ends.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(home / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"EMBEDSVC_HOME: cannot write to {home}: {error.strerror}") from error
    try:
        if not _lock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            raise ConfigError(
                f"another process serves from {home}, and the SQLite library here is too old to "
                "share a file safely: install pysqlite3, or set EMBEDSVC_DATABASE_URL to PostgreSQL"
            )
        first = alone or _lock(handle, fcntl.LOCK_EX)  # then nobody else is there
        _write(handle, [url] if first else [*_read(handle), url])
        _lock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        try:
            yield
        finally:
            _write(handle, [other for other in _read(handle) if other != url])
    finally:
        os.close(handle)


def running(home: Path) -> str | None:
    """The address of a service that serves from this home now; None when there is none."""
    try:
        handle = os.open(home / _FILE, os.O_RDWR)
    except OSError:
        return None
    try:
        if _lock(handle, fcntl.LOCK_EX):
            return None
        return next(iter(_read(handle)), None)
    finally:
        os.close(handle)


def _read(handle: int) -> list[str]:
    """The addresses in the file; none where it is damaged."""
    try:
        found = json.loads(os.pread(handle, 65_536, 0))
    except ValueError:
        return []
    return [url for url in found if isinstance(url, str)] if isinstance(found, list) else []


def _write(handle: int, urls: list[str]) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(urls).encode(), 0)


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
