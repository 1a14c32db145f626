"""The database: how it is opened, read consistently and written durably.

Writes of a process go through one thread and share commits: while one commit waits for the disk,
the next writes queue up and go into the next commit together. A commit is the only place where
something becomes true.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)

from embedsvc.errors import ConfigError, EmbedsvcError, MissingDependency, StorageFull, Unavailable
from embedsvc.ports import Step, no_step

T = TypeVar("T")
Work = Callable[[Connection], T]

SAFE_SQLITE = (3, 51, 3)
"""Older ones can corrupt a WAL that several connections checkpoint at once."""

GROUP = 256
"""Most writes in one commit."""

READERS = 4
BUSY_SECONDS = 30
_PAGE_SIZE = 8192
_ATTEMPTS = 5
_RETRIED = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock
_NO_PRIVILEGE = "42501"


@dataclass(frozen=True, slots=True)
class _Write:
    order: str
    work: Work[Any]
    future: "Future[Any]"


class Database:
    """One SQL database. `read` and `write` are the only doors; both take a function of a
    connection, which may run more than once and must have no other effect.
    """

    def __init__(self, url: str, *, synchronous: str = "full", on_step: Step = no_step) -> None:
        self.url = _parse(url)
        self._on_step = on_step
        self._engine = _engine(self.url, synchronous)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sql-read")
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="sql-write", daemon=True)
        self._writer.start()
        self._closed = False
        self.commits = 0

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite (else PostgreSQL)."""
        return self._engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one consistent snapshot of the database."""
        if self._closed:
            raise Unavailable("the database is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    async def write(self, work: Work[T], order: str = "") -> T:
        """Run `work` in a transaction; when this returns, its effect is on disk.

        Writes that wait at the same time are committed together, sorted by `order` (name what
        is locked first), so that two processes lock in the same order. An error of one write
        undoes that write alone. Raises StorageFull when the disk is, Unavailable when locked.
        """
        if self._closed:
            raise Unavailable("the database is closed")
        future: Future[T] = Future()
        self._queue.put(_Write(order, work, future))
        return await asyncio.wrap_future(future)

    def alone(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own, now, in this thread: for migrations."""
        return self._transaction(lambda connection: work(connection))

    def close(self) -> None:
        """Finish the writes that wait, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    def _read(self, work: Work[T]) -> T:
        with _translated(), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                return work(connection)

    def _write_all(self) -> None:
        while (group := self._next_group()) is not None:
            live = [write for write in group if write.future.set_running_or_notify_cancel()]
            if live:
                self._commit(sorted(live, key=lambda write: write.order))

    def _next_group(self) -> list[_Write] | None:
        group: list[_Write] = []
        while len(group) < GROUP:
            try:
                write = self._queue.get(block=not group)
            except queue.Empty:
                break
            if write is None:
                if not group:
                    return None
                self._queue.put(None)
                break
            group.append(write)
        return group

    def _commit(self, group: Sequence[_Write]) -> None:
        """Commit the group; if the database itself objects, each write gets its own commit."""
        try:
            outcomes = self._transaction(lambda connection: self._run(connection, group))
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting caller gets it
            gone = isinstance(error, Unavailable) and not isinstance(error, _Contended)
            for write in group:
                if gone or len(group) == 1:  # locked or gone: so it would be for each by itself
                    write.future.set_exception(error)
                else:
                    self._commit([write])
            return
        self._on_step("write:committed")
        for write, (value, problem) in zip(group, outcomes, strict=True):
            if problem is None:
                write.future.set_result(value)
            else:
                write.future.set_exception(problem)

    def _run(
        self, connection: Connection, group: Sequence[_Write]
    ) -> list[tuple[Any, EmbedsvcError | None]]:
        outcomes: list[tuple[Any, EmbedsvcError | None]] = []
        for write in group:
            savepoint = connection.begin_nested()
            try:
                outcomes.append((write.work(connection), None))
                savepoint.commit()
            except EmbedsvcError as error:
                savepoint.rollback()
                outcomes.append((None, error))
            self._on_step("write:statements")
        self._on_step("write:before-commit")
        return outcomes

    def _transaction(self, work: Work[T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                with _translated(), self._engine.connect() as connection:
                    connection = connection.execution_options(immediate=True)
                    with connection.begin():
                        result = work(connection)
                    self.commits += 1
                    return result
            except DBAPIError as error:
                if not _may_pass(error):
                    raise
                if attempt == _ATTEMPTS - 1:
                    raise _Contended(
                        f"the database refused a write {_ATTEMPTS} times, as others wrote at the "
                        "same moment; send it again"
                    ) from error
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")


class _Contended(Unavailable):
    """Others wrote the same at the same moment, again and again."""


class _translated:
    """Turns what the driver says about space and locks into our own errors, without SQL text."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, DBAPIError):
            return
        words = str(error.orig).lower()
        if "disk is full" in words or "no space left" in words:
            raise StorageFull("no space left on the disk of the database") from error
        if "database is locked" in words:
            raise Unavailable(
                f"the database was locked for {BUSY_SECONDS} seconds by another process"
            ) from error
        if "not a database" in words or "malformed" in words:
            raise ConfigError(
                f"the file of the database is damaged or is no database: {_first_line(words)}"
            ) from error
        if isinstance(error, OperationalError) and not _may_pass(error):
            raise Unavailable(f"the database does not answer: {_first_line(words)}") from error
        if isinstance(error, InternalError) or _state(error) == _NO_PRIVILEGE:  # it is read-only
            raise Unavailable(f"the database refuses: {_first_line(words)}") from error


def _first_line(words: str) -> str:
    return words.strip().splitlines()[0] if words.strip() else "no reason given"


def _may_pass(error: DBAPIError) -> bool:
    return _state(error) in _RETRIED


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "EMBEDSVC_DATABASE_URL is not a URL; use sqlite:///FILE or postgresql://…"
        ) from error
    name = parsed.get_backend_name()
    if name == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    if name in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(f"EMBEDSVC_DATABASE_URL names {name!r}; use sqlite:/// or postgresql://")


def _engine(url: URL, synchronous: str) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, synchronous)
    try:
        return create_engine(
            url, pool_size=READERS + 1, max_overflow=2, pool_pre_ping=True, hide_parameters=True
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingDependency(
            "PostgreSQL needs the package psycopg: pip install 'embedsvc[postgres]'"
        ) from error


def sqlite_library() -> ModuleType:
    """The newest SQLite there is: that of the pysqlite3 wheel, else Python's own."""
    try:
        from pysqlite3 import dbapi2
    except ModuleNotFoundError:
        from sqlite3 import dbapi2
    return dbapi2


def sqlite_may_be_shared() -> bool:
    """Whether several processes may safely write one SQLite file here."""
    return tuple(sqlite_library().sqlite_version_info) >= SAFE_SQLITE


def _sqlite(url: URL, synchronous: str) -> Engine:
    if url.database in {None, "", ":memory:"}:
        raise ConfigError("EMBEDSVC_DATABASE_URL must name a file: sqlite:///FILE")
    file = Path(str(url.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the folder {file.parent}: {error.strerror}") from error
    engine = create_engine(
        url,
        module=sqlite_library(),
        connect_args={"check_same_thread": False, "isolation_level": None},
        pool_size=READERS + 1,
        max_overflow=2,
        hide_parameters=True,  # errors and logs never show the texts of documents
    )

    @event.listens_for(engine, "connect")
    def _open(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}",
            f"page_size={_PAGE_SIZE}",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            "cache_size=-32768",
            "journal_size_limit=67108864",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred BEGIN that writes later fails at once when another process wrote meanwhile.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.execute(text("BEGIN IMMEDIATE" if immediate else "BEGIN"))

    return engine
