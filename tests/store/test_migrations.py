"""The schema: made step by step, the same as the tables, and never touched when it is newer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from embedsvc.errors import ConfigError
from embedsvc.settings import Settings
from embedsvc.store import tables
from embedsvc.store.database import Database
from embedsvc.store.migrations import HEAD, ensure_current, migrate, revision

ALEMBIC = Settings().shipped / "alembic"


@pytest.fixture
def new(databases: Any) -> Any:
    """A database without tables."""
    opened = Database(databases.empty())
    yield opened
    opened.close()


def test_a_new_database_has_no_revision_and_gets_all_tables(new: Database) -> None:
    assert revision(new) is None
    ensure_current(new, ALEMBIC)
    assert revision(new) == HEAD
    names = new.alone(lambda connection: set(inspect(connection).get_table_names()))
    assert names == {*tables.metadata.tables, "alembic_version"}


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Any) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found: list[Any] = compare_metadata(context, tables.metadata)
        return found

    assert database.alone(differences) == []


def test_migrating_a_current_database_changes_nothing(database: Database) -> None:
    assert migrate(database, ALEMBIC) == HEAD
    ensure_current(database, ALEMBIC)
    assert revision(database) == HEAD


def test_migrating_says_what_it_was_before(new: Database) -> None:
    assert migrate(new, ALEMBIC) is None
    assert migrate(new, ALEMBIC) == HEAD


def test_the_newest_file_is_the_head() -> None:
    files = sorted(file.name for file in (ALEMBIC / "versions").glob("[0-9]*.py"))
    assert files[-1].split("_")[0] == HEAD


@pytest.mark.parametrize("door", [ensure_current, migrate])
def test_a_database_of_a_newer_version_is_refused_in_words(database: Database, door: Any) -> None:
    database.alone(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(ConfigError, match=f"newer embedsvc .*9999.*{HEAD}"):
        door(database, ALEMBIC)
    assert revision(database) == "9999"


def test_an_older_database_is_only_changed_by_the_migrate_command(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "alembic"
    shutil.copytree(ALEMBIC, folder)
    (folder / "versions" / "0000_older.py").write_text("")
    database.alone(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '0000'")))
    with pytest.raises(ConfigError, match="embedsvc migrate"):
        ensure_current(database, folder)
    assert revision(database) == "0000"


def test_a_chunk_id_is_never_used_again(database: Database) -> None:
    """An index may still hold the old one."""
    if not database.is_sqlite:
        pytest.skip("a PostgreSQL identity never goes back")
    sql = database.alone(
        lambda tx: tx.execute(text("SELECT sql FROM sqlite_master WHERE name = 'chunk'")).scalar()
    )
    assert "AUTOINCREMENT" in str(sql)
