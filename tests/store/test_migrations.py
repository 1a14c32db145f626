"""The schema: made step by step, the same as the tables, and never touched when it is newer."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import inspect, text

from alembic import command
from embedsvc.core.model import Space
from embedsvc.errors import ConfigError
from embedsvc.settings import Settings
from embedsvc.store import tables
from embedsvc.store.database import Database
from embedsvc.store.migrations import HEAD, ensure_current, migrate, revision
from embedsvc.store.store import Store

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
    ours = {name for name in names if not name.startswith("lexical_")}  # FTS5 keeps its own
    assert ours == {*tables.metadata.tables, "alembic_version", "lexical"}


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Any) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, _kind, _parents: (
                    not str(name).startswith(("lexical", "ix_lexical"))
                ),
            },
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


# -- from 0001 ------------------------------------------------------------------------------------

LOCAL = Space("local", "all-MiniLM-L6-v2", 384, "53aa", 256, "mean_tokens", special_tokens=2)
OLD = [LOCAL, Space("hash", "256", 256)]


def alembic(database: Database, step: str, revision_: str) -> None:
    """`alembic upgrade` or `downgrade` to a revision."""

    def work(connection: Any) -> None:
        config = Config()
        config.set_main_option("script_location", str(ALEMBIC))
        config.attributes["connection"] = connection
        getattr(command, step)(config, revision_)

    database.alone(work)


def identity_at_0001(space: Space) -> str:
    """As the version wrote it that had no options."""
    known = asdict(space)
    known.pop("options")
    return json.dumps(known, sort_keys=True)


@pytest.fixture
def old(new: Database) -> Database:
    """A database of 0001 with two spaces, and a vector in each."""
    alembic(new, "upgrade", "0001")

    def fill(tx: Any) -> None:
        for number, space in enumerate(OLD, 1):
            tx.execute(
                text("INSERT INTO space (identity, created_at) VALUES (:identity, 5)"),
                {"identity": identity_at_0001(space)},
            )
            tx.execute(
                text("INSERT INTO vector (space_id, key, data) VALUES (:id, :key, :data)"),
                {"id": number, "key": bytes(32), "data": bytes(4)},
            )

    new.alone(fill)
    return new


def identities(database: Database) -> list[str]:
    found: list[str] = database.alone(
        lambda tx: list(tx.execute(text("SELECT identity FROM space ORDER BY id")).scalars())
    )
    return found


def test_a_database_of_0001_is_refused_until_it_is_migrated(old: Database) -> None:
    with pytest.raises(ConfigError, match=r"at revision 0001, .*embedsvc migrate"):
        ensure_current(old, ALEMBIC)
    assert migrate(old, ALEMBIC) == "0001"
    ensure_current(old, ALEMBIC)


def test_spaces_of_0001_are_those_that_run_in_fp32(run: Any, old: Database) -> None:
    """So their vectors are found again, and never mixed with those of int8."""
    migrate(old, ALEMBIC)
    store = Store(old)
    wanted = [replace(LOCAL, options="precision=fp32"), OLD[1]]
    found = [run(store.space(number)) for number in (1, 2)]
    assert [known.space for known in found] == wanted
    assert [known.canaries for known in found] == [None, None]
    assert [run(store.space_id(space)) for space in wanted] == [1, 2], "no new row is made"
    assert len(identities(old)) == 2
    vectors = old.alone(lambda tx: tx.execute(text("SELECT space_id FROM vector")).all())
    assert sorted(row[0] for row in vectors) == [1, 2]


def test_going_back_to_0001_loses_the_options_alone(old: Database) -> None:
    before = identities(old)
    migrate(old, ALEMBIC)
    assert identities(old) != before
    alembic(old, "downgrade", "0001")
    assert revision(old) == "0001"
    assert identities(old) == before
    columns = old.alone(lambda tx: {c["name"] for c in inspect(tx).get_columns("space")})
    assert columns == {"id", "identity", "created_at"}
    assert not old.alone(lambda tx: inspect(tx).has_table("usage"))
    assert migrate(old, ALEMBIC) == "0001"


def test_vectors_that_0001_would_take_for_others_stop_the_way_back(run: Any, old: Database) -> None:
    """The database is left as it was."""
    migrate(old, ALEMBIC)
    int8 = replace(LOCAL, options="backend=ctranslate2&precision=int8")
    run(Store(old).space_id(int8))
    with pytest.raises(CommandError, match=r"all-MiniLM-L6-v2 with .*precision=int8"):
        alembic(old, "downgrade", "0001")
    assert revision(old) == HEAD
    assert len(identities(old)) == 3


def test_all_the_way_back_nothing_is_left(new: Database) -> None:
    migrate(new, ALEMBIC)
    alembic(new, "downgrade", "base")
    left = new.alone(lambda tx: set(inspect(tx).get_table_names()))
    assert left <= {"alembic_version", "sqlite_sequence"}
