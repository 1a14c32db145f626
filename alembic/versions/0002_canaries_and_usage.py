"""Canaries of spaces, options in their identity, and what was embedded.

Revision ID: 0002
Revises: 0001
"""

import json

import sqlalchemy as sa
from alembic.util import CommandError

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("space", sa.Column("canaries", sa.LargeBinary(), nullable=True))
    op.create_table(
        "usage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("collection", sa.String(length=63), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("texts", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("unpriced_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "collection", "model", name=op.f("pk_usage")),
    )
    op.execute("DELETE FROM idempotency")  # answers of another form
    _name_options({"local": "precision=fp32"})


def downgrade() -> None:
    _refuse_other_options()
    op.drop_table("usage")
    op.drop_column("space", "canaries")
    _name_options(None)


def _refuse_other_options() -> None:
    """0001 would take vectors in int8 for those in fp32 and mix the two."""
    space = sa.table("space", sa.column("identity"))
    for row in op.get_bind().execute(sa.select(space)):
        identity = json.loads(row.identity)
        if identity["options"] not in ("", "precision=fp32"):
            raise CommandError(
                f"the database holds vectors of {identity['provider']}:{identity['model']} with "
                f"{identity['options']}, which 0001 cannot tell from others: delete that space, "
                "its vectors and its collections first"
            )


def _name_options(precisions: dict[str, str] | None) -> None:
    """Until now a local model always ran in fp32; from here on its space says so."""
    space = sa.table("space", sa.column("id"), sa.column("identity"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(space)).all():
        identity = json.loads(row.identity)
        if precisions is None:
            identity.pop("options", None)
        else:
            identity["options"] = precisions.get(identity["provider"], "")
        connection.execute(
            sa.update(space)
            .where(space.c.id == row.id)
            .values(identity=json.dumps(identity, sort_keys=True))
        )
