"""Bring a database to the schema of this version of embedsvc, or say why that cannot be done."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from embedsvc.errors import ConfigError
from embedsvc.store.database import Database

HEAD = "0004"
"""The newest revision in alembic/versions; a test compares the two."""

_LOCK = 0x656D6265  # any number, the same for every process: a PostgreSQL advisory lock


def revision(database: Database) -> str | None:
    """The revision that the database is at; None when it is new."""
    return database.alone(_revision)


def migrate(database: Database, folder: Path) -> str | None:
    """Upgrade to HEAD; return the revision it was at before. Raises ConfigError when newer."""

    def work(connection: Connection) -> str | None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = _revision(connection)
        if before != HEAD:
            _upgrade(connection, folder, before)
        return before

    return database.alone(work)


def ensure_current(database: Database, folder: Path) -> None:
    """Create the tables of a new database. Raises ConfigError when it is older or newer."""
    found = revision(database)
    if found is None:
        migrate(database, folder)
    elif found != HEAD:
        _refuse_newer(found, folder)
        raise ConfigError(
            f"the database is at revision {found}, this version needs {HEAD}: "
            "run `embedsvc migrate` (after a backup)"
        )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, folder: Path, before: str | None) -> None:
    from alembic.config import Config

    from alembic import command

    if before is not None:
        _refuse_newer(before, folder)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_newer(found: str, folder: Path) -> None:
    known = {file.name.split("_")[0] for file in (folder / "versions").glob("*.py")}
    if found not in known:
        raise ConfigError(
            f"the database was written by a newer embedsvc (revision {found}; this version "
            f"knows {HEAD}): install that version, or use another database"
        )
