"""The tables: the truth about collections, documents, chunks and their vectors.

Beside them stands `lexical`, the full text index of chunks (store/lexical.py): each database has
its own kind, so the migrations make it and SQLAlchemy does not know it.

Times are microseconds since 1970, UTC. `alembic/versions` builds the same tables step by step; a
test compares the two.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import JSON, UserDefinedType


class SqliteNumber(UserDefinedType[float]):
    """A number of 64 bits, whole or not, kept and compared as it is."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """The word for it in CREATE TABLE."""
        return "NUMERIC"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigId = BigInteger().with_variant(Integer(), "sqlite")
Number = Numeric(asdecimal=False).with_variant(SqliteNumber(), "sqlite")
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

space = Table(
    "space",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("identity", String(2000), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("canaries", LargeBinary),  # vectors of fixed texts, once the model was first used
)

collection = Table(
    "collection",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("embedding", String(512), nullable=False),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("pruned_to", BigInteger, nullable=False),
    Column("chunks", BigInteger, nullable=False, server_default="0"),  # how many, and
    Column(
        "words", BigInteger, nullable=False, server_default="0"
    ),  # the sum of chunk.words: what BM25 needs
    Column("description", Text),
    Column("chunking", Json, nullable=False),
    Column("fields", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # the id names the folder of snapshots: never used twice
)

document = Table(
    "document",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("key", String(512), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error", Text),
    Column("text_hash", LargeBinary(32), nullable=False),
    Column("cuts", LargeBinary(32), nullable=False),
    Column("content_hash", LargeBinary(32), nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("title", Text),
    Column("url", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("text", Text, nullable=False),  # last: a reader of the others does not page it in
    UniqueConstraint("collection_id", "key"),
    sqlite_autoincrement=True,
)

chunk = Table(
    "chunk",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("document_id", ForeignKey("document.id"), nullable=False),
    Column("version", BigInteger, nullable=False),  # of the write that added it
    Column("ordinal", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    Column("vector_key", LargeBinary(32), nullable=False),
    Column("metadata", Json),
    Column("words", Integer, nullable=False, server_default="0"),
    Column(
        "terms", LargeBinary, nullable=False, server_default=text("''")
    ),  # core.lexical.pack: what `lexical` indexes
    Column("text", Text, nullable=False),
    Index(None, "document_id", "ordinal"),
    Index(None, "collection_id", "version", "id"),
    Index(  # the few that filters have to read beside their documents
        "ix_chunk_own_metadata",
        "collection_id",
        sqlite_where=text("metadata IS NOT NULL"),
        postgresql_where=text("metadata IS NOT NULL"),
    ),
    sqlite_autoincrement=True,  # ids are never used again: an index may hold an old one
)

field_value = Table(
    "field_value",
    metadata,
    # values of declared fields: store/fields.py says how
    Column("chunk_id", ForeignKey("chunk.id"), nullable=False),
    Column("collection_id", BigInteger, nullable=False),
    Column("name", String(255), nullable=False),
    Column("number", Number),  # of booleans 0 and 1, of a datetime microseconds since 1970
    Column("text", Text),
    Index(None, "chunk_id"),
    Index("ix_field_value_number", "collection_id", "name", "number", "chunk_id"),
    Index("ix_field_value_text", "collection_id", "name", "text", "chunk_id"),
)

removal = Table(
    "removal",
    metadata,
    Column("collection_id", ForeignKey("collection.id"), primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("chunk_id", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

vector = Table(
    "vector",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("key", LargeBinary(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("space_id", "key"),
)


def has_vector(space_id: int) -> ColumnElement[bool]:
    """What joins a chunk with its vector in a space."""
    return and_(vector.c.space_id == space_id, vector.c.key == chunk.c.vector_key)


pending = Table(
    "pending",
    metadata,
    Column("document_id", ForeignKey("document.id"), primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),  # the version of the write that asked for it
    Column("attempts", Integer, nullable=False),
    Column("claimed_until", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "claimed_until"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at"),
)

usage = Table(
    "usage",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("collection", String(63), primary_key=True),  # empty: of none
    Column("model", String(512), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("texts", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_usd", Float, nullable=False),
    Column("unpriced_tokens", BigInteger, nullable=False),
)

judgement = Table(
    "judgement",
    metadata,
    Column("collection_id", ForeignKey("collection.id"), primary_key=True),
    Column("query_hash", LargeBinary(32), primary_key=True),
    Column("document_key", String(512), primary_key=True),
    Column("query", Text, nullable=False),
    Column("relevance", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("collection", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("turns", Integer, nullable=False),  # that it ever had: the ordinal of the next one
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "collection_id"),
    Index(None, "updated_at", "id"),
)

message = Table(
    "message",
    metadata,
    Column("conversation_id", ForeignKey("conversation.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("answer_id", String(32), nullable=False),  # of a question too: the answer to it
    Column("created_at", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index(None, "answer_id"),
    Index(None, "created_at"),
)

answer = Table(
    "answer",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("conversation_id", String(32)),
    Column("created_at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("grounding", String(16), nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),  # whether the tokens are
    Column("cost_usd", Float),
    Column("took_ms", Float, nullable=False),
    Column("first_token_ms", Float),
    Column("evidence", Float),
    Column("rating", Integer),
    Column("comment", Text),
    Column("question", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("details", Text, nullable=False),  # sources, citations, prompt …: services/records.py
    Index(None, "created_at", "id"),
    Index(None, "collection_id", "created_at", "id"),
    Index(None, "conversation_id"),
)

calibration = Table(
    "calibration",
    metadata,
    Column("space_id", ForeignKey("space.id"), primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),  # of what it was learnt from
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
