"""The database: shared commits, errors that stay where they belong, consistent reads."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError

from embedsvc.errors import ConfigError, Conflict, EmbedsvcError, StorageFull, Unavailable
from embedsvc.store import tables as t
from embedsvc.store.database import Database

Run = Callable[[Any], Any]


def add_space(identity: str) -> Callable[[Any], None]:
    return lambda tx: tx.execute(insert(t.space).values(identity=identity, created_at=1))


def identities(tx: Any) -> list[str]:
    return list(tx.execute(select(t.space.c.identity).order_by(t.space.c.id)).scalars())


def test_a_write_is_there_for_the_next_read(run: Run, database: Database) -> None:
    async def work() -> list[str]:
        await database.write(add_space("a"))
        return await database.read(identities)

    assert run(work()) == ["a"]


def test_writes_at_the_same_time_share_commits(run: Run, database: Database) -> None:
    async def work() -> int:
        before = database.commits
        await asyncio.gather(*(database.write(add_space(f"s{n}")) for n in range(100)))
        return database.commits - before

    commits = run(work())
    assert 1 <= commits < 50
    assert len(run(database.read(identities))) == 100


def test_a_write_that_fails_undoes_itself_and_no_other(run: Run, database: Database) -> None:
    def bad(tx: Any) -> None:
        add_space("half")(tx)
        raise Conflict("no")

    async def work() -> list[Any]:
        writes = [database.write(bad if n == 5 else add_space(f"s{n}")) for n in range(10)]
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = run(work())
    assert [type(o) for o in outcomes].count(Conflict) == 1
    assert isinstance(outcomes[5], Conflict)
    assert sorted(run(database.read(identities))) == [f"s{n}" for n in range(10) if n != 5]


def test_what_the_database_itself_refuses_hits_its_own_write_alone(
    run: Run, database: Database
) -> None:
    async def work() -> list[Any]:
        await database.write(add_space("there"))
        writes = [database.write(add_space("there" if n == 3 else f"s{n}")) for n in range(8)]
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = run(work())
    assert isinstance(outcomes[3], DBAPIError)
    assert [o for n, o in enumerate(outcomes) if n != 3 and isinstance(o, BaseException)] == []
    assert sorted(run(database.read(identities))) == sorted(
        ["there", *(f"s{n}" for n in range(8) if n != 3)]
    )


def test_an_error_of_python_in_a_write_hits_its_own_write_alone(
    run: Run, database: Database
) -> None:
    def bad(_tx: Any) -> None:
        raise ZeroDivisionError

    async def work() -> list[Any]:
        writes = [database.write(bad if n == 1 else add_space(f"s{n}")) for n in range(4)]
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = run(work())
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert len(run(database.read(identities))) == 3


def test_a_write_whose_caller_went_away_before_it_began_is_not_done(
    run: Run, database: Database
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(_tx: Any) -> None:
        began.set()
        go_on.wait(10)

    async def work() -> None:
        first = asyncio.create_task(database.write(slow))
        await asyncio.to_thread(began.wait, 10)
        second = asyncio.create_task(database.write(add_space("late")))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        await database.write(add_space("after"))

    run(work())
    assert run(database.read(identities)) == ["after"]


def test_a_read_sees_one_snapshot_however_long_it_takes(run: Run, database: Database) -> None:
    first, second = threading.Event(), threading.Event()

    def slow(tx: Any) -> tuple[list[str], list[str]]:
        before = identities(tx)
        first.set()
        assert second.wait(10)
        return before, identities(tx)

    async def work() -> tuple[list[str], list[str]]:
        reading = asyncio.create_task(database.read(slow))
        await asyncio.to_thread(first.wait, 10)
        await database.write(add_space("meanwhile"))
        second.set()
        return await reading

    assert run(work()) == ([], [])
    assert run(database.read(identities)) == ["meanwhile"]


def test_a_read_cannot_write_on_postgresql(run: Run, database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no read-only transactions")
    with pytest.raises(Unavailable, match=r"the database refuses: .*read-only"):
        run(database.read(add_space("x")))


def test_a_closed_database_says_so(run: Run, url: str) -> None:
    database = Database(url)
    database.close()
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        run(database.read(identities))
    with pytest.raises(Unavailable, match="closed"):
        run(database.write(add_space("x")))


def test_writes_that_wait_are_finished_before_the_database_closes(run: Run, url: str) -> None:
    database = Database(url)

    async def work() -> None:
        writes = [asyncio.create_task(database.write(add_space(f"s{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(database.close)
        await asyncio.gather(*writes)

    run(work())
    again = Database(url)
    assert len(run(again.read(identities))) == 20
    again.close()


def test_no_error_of_ours_shows_a_statement(run: Run, database: Database) -> None:
    def broken(tx: Any) -> None:
        tx.execute(text("SELECT secret_column FROM no_such_table"))

    for door in (database.read, database.write):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            run(door(broken))
        if isinstance(caught.value, EmbedsvcError):
            assert "SELECT" not in caught.value.detail.upper()


def test_acknowledged_means_on_disk(run: Run, database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("a setting of the PostgreSQL server")
    found = run(
        database.read(
            lambda tx: [
                tx.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("synchronous", "journal_mode", "foreign_keys")
            ]
        )
    )
    assert found == [2, "wal", 1]


def test_a_full_disk_is_named_and_leaves_the_database_usable(
    run: Run, sqlite_databases: Any
) -> None:
    database = Database(sqlite_databases.fresh())

    def limited(tx: Any) -> None:
        pages = tx.execute(text("PRAGMA page_count")).scalar()
        tx.execute(text(f"PRAGMA max_page_count={pages}"))
        for n in range(2_000):
            add_space(f"{n}" + "x" * 500)(tx)

    with pytest.raises(StorageFull, match="no space left"):
        run(database.write(limited))
    assert run(database.read(identities)) == []
    database.close()


def test_a_file_that_is_no_database_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "no.db"
    file.write_bytes(b"this is not a database at all" * 400)
    database = Database(f"sqlite:///{file}")
    try:
        with pytest.raises(EmbedsvcError, match="database"):
            run(database.read(identities))
    finally:
        database.close()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "", "http://x/y"],
)
def test_a_url_that_names_no_database_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="EMBEDSVC_DATABASE_URL"):
        Database(url)


def test_a_server_that_does_not_answer_is_named_without_the_password(run: Run) -> None:
    database = Database("postgresql://someone:hunter2@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable) as caught:
        run(database.read(identities))
    assert "hunter2" not in caught.value.detail
    database.close()


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot create the folder"):
        Database(f"sqlite:///{tmp_path}/file/sub/x.db")


@pytest.mark.parametrize("failures", [2, 100])
def test_a_write_that_others_were_in_the_way_of_is_tried_again_a_few_times(
    run: Run, postgres_databases: Any, failures: int
) -> None:
    database = Database(postgres_databases.fresh())
    tries = 0

    def contended(tx: Connection) -> str:
        nonlocal tries
        tries += 1
        if tries <= failures:
            tx.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"))
        return "done"

    try:
        if failures == 2:
            assert run(database.write(contended)) == "done"
        else:
            with pytest.raises(Unavailable, match="send it again"):
                run(database.write(contended))
        assert tries > 2
    finally:
        database.close()
