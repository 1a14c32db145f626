"""The full text index of chunks inside the database: FTS5 of SQLite, a GIN index of PostgreSQL.

It finds candidates; their scores come from the bags of terms beside the chunks (core/lexical.py),
so both databases rank alike. Every term is indexed with the number of its collection before it
(`12cheart`): what a term costs and counts is that of its collection alone, in one index for all.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, bindparam, text

from embedsvc.core.lexical import Bag
from embedsvc.core.model import Ids

MOST_HELD = 20_001
"""PostgreSQL counts the chunks that hold a term only so far: it has to look at each."""

_TABLES = {
    "sqlite": (
        "CREATE VIRTUAL TABLE lexical USING fts5("
        "terms, content='', contentless_delete=1, tokenize='ascii')",
        "CREATE VIRTUAL TABLE lexical_terms USING fts5vocab('lexical', 'row')",
    ),
    "postgresql": (
        "CREATE TABLE lexical (chunk_id BIGINT PRIMARY KEY, terms TSVECTOR NOT NULL)",
        "CREATE INDEX ix_lexical_terms ON lexical USING gin (terms)",
    ),
}
_INSERT = {
    "sqlite": text("INSERT INTO lexical (rowid, terms) VALUES (:id, :terms)"),
    "postgresql": text(
        "INSERT INTO lexical (chunk_id, terms) "
        "VALUES (:id, array_to_tsvector(CAST(:terms AS text[])))"
    ),
}
_DELETE = {
    "sqlite": text("DELETE FROM lexical WHERE rowid IN :ids").bindparams(
        bindparam("ids", expanding=True)
    ),
    "postgresql": text("DELETE FROM lexical WHERE chunk_id IN :ids").bindparams(
        bindparam("ids", expanding=True)
    ),
}
_HOLDING = {
    "sqlite": text("SELECT doc FROM lexical_terms WHERE term = :term"),
    "postgresql": text(
        "SELECT count(*) FROM (SELECT 1 FROM lexical "
        "WHERE terms @@ CAST(:term AS tsquery) LIMIT :most) AS some"
    ),
}
_BEST = {
    "sqlite": text("SELECT rowid FROM lexical WHERE lexical MATCH :any ORDER BY rank LIMIT :limit"),
    "postgresql": text(
        "SELECT chunk_id FROM lexical WHERE terms @@ CAST(:any AS tsquery) LIMIT :limit"
    ),
}


def create(tx: Connection) -> None:
    """Make the index, empty."""
    for statement in _TABLES[tx.dialect.name]:
        tx.execute(text(statement))


def insert(tx: Connection, chunks: Iterable[tuple[int, int, Bag]]) -> None:
    """Index chunks, each given as (chunk id, collection id, bag)."""
    whole = tx.dialect.name == "sqlite"
    rows = []
    for chunk_id, collection_id, bag in chunks:
        lexemes = {_lexeme(collection_id, term): count for term, count in bag.counts.items()}
        if whole:  # FTS5 counts by itself
            shown: object = " ".join(" ".join([one] * count) for one, count in lexemes.items())
        else:
            shown = list(lexemes)
        rows.append({"id": chunk_id, "terms": shown})
    if rows:
        tx.execute(_INSERT[tx.dialect.name], rows)


def delete(tx: Connection, ids: Sequence[int]) -> None:
    """Forget chunks."""
    if ids:
        tx.execute(_DELETE[tx.dialect.name], {"ids": list(ids)})


def holding(tx: Connection, collection_id: int, terms: Iterable[str]) -> Mapping[str, int]:
    """How many chunks of the collection hold each term; PostgreSQL counts up to MOST_HELD."""
    kind = tx.dialect.name
    found = {}
    for term in terms:
        asked = _lexeme(collection_id, term)
        given = asked if kind == "sqlite" else _quoted(asked)
        bound = {"term": given} | ({} if kind == "sqlite" else {"most": MOST_HELD})
        found[term] = int(tx.execute(_HOLDING[kind], bound).scalar() or 0)
    return found


def best(tx: Connection, collection_id: int, terms: Sequence[str], limit: int) -> Ids:
    """Ids of up to `limit` chunks that hold one of the terms, ascending.

    SQLite takes the best by its own BM25; PostgreSQL, which has none, takes any: ask it for all.
    """
    lexemes = [_lexeme(collection_id, term) for term in terms]
    if tx.dialect.name == "sqlite":
        asked = " OR ".join(f'"{lexeme}"' for lexeme in lexemes)
    else:
        asked = " | ".join(map(_quoted, lexemes))
    found = tx.execute(_BEST[tx.dialect.name], {"any": asked, "limit": limit}).scalars()
    return np.sort(np.fromiter(found, dtype=np.int64))


def _lexeme(collection_id: int, term: str) -> str:
    return f"{collection_id}c{term}"


def _quoted(lexeme: str) -> str:
    """As a tsquery; terms hold letters, digits and marks alone, so nothing needs escaping."""
    return f"'{lexeme}'"
