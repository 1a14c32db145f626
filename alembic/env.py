"""Run by Alembic: with a connection that the service hands over, or from `alembic` by hand."""

from sqlalchemy import Connection

from alembic import context
from embedsvc.settings import read_settings
from embedsvc.store.database import Database
from embedsvc.store.tables import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    migrate(handed_over)
else:
    database = Database(read_settings().url)
    database.alone(migrate)
    database.close()
