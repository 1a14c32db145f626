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
from embedsvc.core.vectors import inside

MOST_HELD = 20_001
"""PostgreSQL counts the chunks that hold a term only so far: it has to look at each. Commoner ones
weigh as if no more held them.
"""

MOST_UNRANKED = 50_000
"""So many chunks that hold one very common word are scored on PostgreSQL."""

LOOKED_AT = {"sqlite": 10_000, "postgresql": 5_000}
"""About how many chunks are looked at for one query: the rarest of its words choose them."""

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
    "sqlite": text("SELECT term, doc FROM lexical_terms WHERE term IN :lexemes").bindparams(
        bindparam("lexemes", expanding=True)
    ),
    "postgresql": text(
        "SELECT asked.term, (SELECT count(*) FROM (SELECT 1 FROM lexical "
        "WHERE terms @@ CAST(quote_literal(asked.term) AS tsquery) LIMIT :most) AS held) "
        "FROM unnest(CAST(:lexemes AS text[])) AS asked(term)"
    ),
}
_BEST = text("SELECT rowid FROM lexical WHERE lexical MATCH :any ORDER BY rank LIMIT :limit")
_ANY = text("SELECT chunk_id FROM lexical WHERE terms @@ CAST(:any AS tsquery) LIMIT :limit")
_ANY_WITHIN = text(
    "SELECT chunk_id FROM lexical WHERE terms @@ CAST(:any AS tsquery) "
    "AND chunk_id = ANY(CAST(:within AS bigint[])) LIMIT :limit"
)


_WIDEN = 8
_ALL = 2**62


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
    lexemes = {_lexeme(collection_id, term): term for term in terms}
    if not lexemes:
        return {}
    kind = tx.dialect.name
    asked = {"lexemes": list(lexemes)} | ({} if kind == "sqlite" else {"most": MOST_HELD})
    counted = {row[0]: int(row[1]) for row in tx.execute(_HOLDING[kind], asked)}
    return {term: counted.get(lexeme, 0) for lexeme, term in lexemes.items()}


def best(
    tx: Connection,
    collection_id: int,
    terms: Sequence[str],
    limit: int,
    within: Ids | None,
    share: float = 1.0,
) -> Ids:
    """Ids of chunks that hold one of the terms; with `within`, ascending, only of those.

    SQLite gives the `limit` best by its own BM25. PostgreSQL, which has none, gives all, up to
    MOST_UNRANKED where `limit` is not more: they are to be scored. `share` of all chunks are
    within: a guess how many to read.
    """
    lexemes = [_lexeme(collection_id, term) for term in terms]
    if tx.dialect.name == "postgresql":
        asked = {
            "any": " | ".join(map(_quoted, lexemes)),
            "limit": max(limit, MOST_UNRANKED),
        }
        if within is None:
            return np.fromiter(tx.execute(_ANY, asked).scalars(), dtype=np.int64)
        found = tx.execute(_ANY_WITHIN, asked | {"within": within.tolist()}).scalars()
        return np.fromiter(found, dtype=np.int64)
    any_of = " OR ".join(f'"{lexeme}"' for lexeme in lexemes)
    most = limit if within is None else int(2 * limit / max(share, 1e-9)) + 1
    while True:
        found = tx.execute(_BEST, {"any": any_of, "limit": min(most, _ALL)}).scalars()
        ids = np.fromiter(found, dtype=np.int64)
        allowed = ids if within is None else ids[inside(ids, within)]
        if len(allowed) >= limit or len(ids) < most:
            return allowed[:limit]
        most *= _WIDEN


def _lexeme(collection_id: int, term: str) -> str:
    return f"{collection_id}c{term}"


def _quoted(lexeme: str) -> str:
    """As a tsquery; terms hold letters, digits and marks alone, so nothing needs escaping."""
    return f"'{lexeme}'"
