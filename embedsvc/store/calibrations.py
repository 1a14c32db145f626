"""Every SQL statement about calibrations: one a space, as JSON."""

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.store import now


class StoredCalibrations:
    """What was learnt about spaces, in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def get(self, space_id: int, version: str) -> str | None:
        """What was learnt from that version of the examples; None when nothing was."""
        query = select(t.calibration.c.body).where(
            t.calibration.c.space_id == space_id, t.calibration.c.version == version
        )
        return await self._db.read(lambda tx: tx.execute(query).scalar())

    async def keep(self, space_id: int, version: str, body: str) -> None:
        """Write it, in the place of another version."""
        row = {"space_id": space_id, "version": version, "body": body, "created_at": now()}
        dialect = sqlite if self._db.is_sqlite else postgresql
        statement = dialect.insert(t.calibration)
        changed = {name: statement.excluded[name] for name in ("version", "body", "created_at")}
        change = statement.on_conflict_do_update(index_elements=["space_id"], set_=changed)
        await self._db.write(lambda tx: tx.execute(change, row))
