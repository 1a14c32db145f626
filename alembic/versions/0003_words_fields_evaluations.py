"""Lexical search, values of declared fields, judgements and evaluations.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa

from alembic import op
from embedsvc.core.fields import check_fields
from embedsvc.core.lexical import bag
from embedsvc.errors import Conflict, InvalidInput
from embedsvc.store import tables
from embedsvc.store.fields import declare
from embedsvc.store.lexical import create, insert
from embedsvc.store.tables import Number

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE = 1_000


def upgrade() -> None:
    zero = sa.text("0")
    op.add_column(
        "collection", sa.Column("chunks", sa.BigInteger(), nullable=False, server_default=zero)
    )
    op.add_column(
        "collection", sa.Column("words", sa.BigInteger(), nullable=False, server_default=zero)
    )
    op.add_column("chunk", sa.Column("words", sa.Integer(), nullable=False, server_default=zero))
    op.add_column(
        "chunk", sa.Column("terms", sa.LargeBinary(), nullable=False, server_default=sa.text("''"))
    )
    op.create_table(
        "field_value",
        sa.Column("chunk_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("number", Number, nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunk.id"], name=op.f("fk_field_value_chunk_id")),
    )
    op.create_index(op.f("ix_field_value_chunk_id"), "field_value", ["chunk_id"])
    for kind in ("number", "text"):
        op.create_index(
            f"ix_field_value_{kind}", "field_value", ["collection_id", "name", kind, "chunk_id"]
        )
    own = sa.text("metadata IS NOT NULL")
    op.create_index(
        "ix_chunk_own_metadata",
        "chunk",
        ["collection_id"],
        sqlite_where=own,
        postgresql_where=own,
    )
    op.create_table(
        "judgement",
        sa.Column(
            "collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("query_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("document_key", sa.String(length=512), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("relevance", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_judgement_collection_id")
        ),
        sa.PrimaryKeyConstraint(
            "collection_id", "query_hash", "document_key", name=op.f("pk_judgement")
        ),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("collection", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
    )
    create(op.get_bind())
    _index_words()
    _look_at_declared_fields()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE lexical_terms")
    for table in ("lexical", "evaluation", "judgement", "field_value"):
        op.drop_table(table)
    op.drop_index("ix_chunk_own_metadata", "chunk")
    for table in ("chunk", "collection"):
        op.drop_column(table, "words")
    op.drop_column("chunk", "terms")
    op.drop_column("collection", "chunks")


def _index_words() -> None:
    """Index the words of the chunks that are there."""
    connection = op.get_bind()
    found = sa.text(
        "SELECT chunk.id, chunk.collection_id, chunk.text, document.title FROM chunk "
        "JOIN document ON document.id = chunk.document_id "
        "WHERE chunk.id > :after ORDER BY chunk.id LIMIT :page"
    )
    after = 0
    while rows := connection.execute(found, {"after": after, "page": PAGE}).all():
        bags = [bag(row.title or "", row.text) for row in rows]
        connection.execute(
            sa.text("UPDATE chunk SET words = :words, terms = :terms WHERE id = :id"),
            [
                {"id": row.id, "words": one.words, "terms": one.packed()}
                for row, one in zip(rows, bags, strict=True)
            ],
        )
        insert(connection, [(r.id, r.collection_id, b) for r, b in zip(rows, bags, strict=True)])
        after = rows[-1].id
    connection.execute(
        sa.text(
            "UPDATE collection SET "
            "chunks = (SELECT count(*) FROM chunk WHERE collection_id = collection.id), "
            "words = (SELECT coalesce(sum(words), 0) FROM chunk "
            "WHERE collection_id = collection.id)"
        )
    )


def _look_at_declared_fields() -> None:
    """Until now they were only written down; one that what is stored does not fit is forgotten."""
    connection = op.get_bind()
    collection = tables.collection.c
    for row in connection.execute(sa.select(collection.id, collection.fields)).all():
        kept = {}
        for name, kind in row.fields.items():
            try:
                check_fields({name: kind})
                with connection.begin_nested():
                    declare(connection, row.id, {}, {name: kind})
            except (Conflict, InvalidInput):
                continue
            kept[name] = kind
        if kept != row.fields:
            connection.execute(
                sa.update(tables.collection).where(collection.id == row.id).values(fields=kept)
            )
