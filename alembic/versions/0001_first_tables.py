"""The first tables: collections, documents, chunks, vectors, and the work in progress."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "collection_id", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"])

    op.create_table(
        "space",
        sa.Column("id", Id, nullable=False),
        sa.Column("identity", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_space")),
        sa.UniqueConstraint("identity", name=op.f("uq_space_identity")),
    )
    op.create_table(
        "collection",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("embedding", sa.String(length=512), nullable=False),
        sa.Column("space_id", Id, nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("pruned_to", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "chunking",
            Json,
            nullable=False,
        ),
        sa.Column(
            "fields",
            Json,
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_collection_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collection")),
        sa.UniqueConstraint("name", name=op.f("uq_collection_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vector",
        sa.Column("id", Id, nullable=False),
        sa.Column("space_id", Id, nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_vector_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vector")),
        sa.UniqueConstraint("space_id", "key", name=op.f("uq_vector_space_id_key")),
    )
    op.create_table(
        "document",
        sa.Column("id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("text_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("cuts", sa.LargeBinary(length=32), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "metadata",
            Json,
            nullable=False,
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_document_collection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("collection_id", "key", name=op.f("uq_document_collection_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "removal",
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_removal_collection_id")
        ),
        sa.PrimaryKeyConstraint("collection_id", "version", "chunk_id", name=op.f("pk_removal")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chunk",
        sa.Column("id", Id, nullable=False),
        sa.Column("collection_id", Id, nullable=False),
        sa.Column("document_id", Id, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("vector_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "metadata",
            Json,
            nullable=True,
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_chunk_collection_id")
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["document.id"], name=op.f("fk_chunk_document_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunk")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_chunk_collection_id_version_id"), "chunk", ["collection_id", "version", "id"]
    )
    op.create_index(op.f("ix_chunk_document_id_ordinal"), "chunk", ["document_id", "ordinal"])

    op.create_table(
        "pending",
        sa.Column(
            "document_id",
            Id,
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["document.id"], name=op.f("fk_pending_document_id")
        ),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_pending")),
    )
    op.create_index(op.f("ix_pending_claimed_until"), "pending", ["claimed_until"])


def downgrade() -> None:
    for table in (
        "pending",
        "chunk",
        "removal",
        "document",
        "vector",
        "collection",
        "space",
        "idempotency",
    ):
        op.drop_table(table)
