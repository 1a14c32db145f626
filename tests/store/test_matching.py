"""Which chunks and documents a filter finds: what plain Python says, declared fields or not."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from alembic.config import Config
from filter_oracle import SCALARS, VALUES, gather, holds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from alembic import command
from embedsvc.core.fields import misfit
from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Chunking, Collection, FieldType, Space
from embedsvc.errors import Conflict, InvalidInput
from embedsvc.settings import Settings
from embedsvc.store import tables as t
from embedsvc.store.database import Database
from embedsvc.store.fields import KEPT
from embedsvc.store.matching import FEW, matching
from embedsvc.store.store import FieldsChanged, Store

Run = Callable[[Any], Any]
Make = Callable[..., Any]
LONG = bool(os.environ.get("FUZZ"))

SPACE = Space("test", "two", 2)
FIELDS: Mapping[str, FieldType] = {
    "n": "integer",
    "x": "number",
    "s": "string",
    "b": "boolean",
    "t": "datetime",
    "a.b": "integer",
    "é😀": "string",
    "q.'\"": "datetime",
}
TIMES = frozenset(name for name, kind in FIELDS.items() if kind == "datetime")
OTHERS = ["u", "v", "u.a", "v.a.b", "zzz"]

INTEGERS = st.one_of(
    st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**62, 2.0**62, 2**63 - 1, -(2**63), 1.0, -0.0]),
    st.integers(-3, 3),
)
NUMBERS = st.one_of(
    INTEGERS,
    st.sampled_from([0.5, 0.1 + 0.2, 0.3, 1 / 3, 1e300, 5e-324, 2.0**63, 1e20, 1e16, 10**16]),
    st.floats(allow_nan=False, allow_infinity=False),
)
STRINGS = st.one_of(
    st.sampled_from(
        ["", "a", "ab", "A", "é", "東", "😀", "\uffff", "%", "_", "\\", "'", "2024-05-31"]
    ),
    st.sampled_from(
        [(KEPT - 1) * "a", KEPT * "a", KEPT * "a" + "a", KEPT * "a" + "b", KEPT * "😀" + "a"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
)
MOMENTS = st.one_of(
    st.sampled_from(
        [
            "2024-05-31",
            "2024-05-31T00:00:00Z",
            "2024-05-31t02:00:00.0+02:00",
            "2024-05-31T00:00:00.000001z",
            "2024-05-31 00:00:00.9999999Z",
            "2024-05-30T23:59:59.999999-00:00",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01",
            "9999-12-31T23:59:59.999999999999Z",
            "2024-02-29T12:30:00.123456-14:00",
        ]
    ),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
)
TYPED: Mapping[FieldType, st.SearchStrategy[Any]] = {
    "integer": INTEGERS,
    "number": NUMBERS,
    "string": STRINGS,
    "boolean": st.booleans(),
    "datetime": MOMENTS,
}


@dataclass(frozen=True)
class Case:
    """Documents with the metadata of their chunks, filters, and when the fields are declared."""

    documents: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any] | None]]]
    filters: Sequence[Any]
    patched: Mapping[str, Any] | None
    declared_later: bool


@st.composite
def metadata(draw: Any) -> Mapping[str, Any]:
    """Metadata that fits the declared fields, with a dotted one as a key or as a path."""
    made: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from([*FIELDS, "u", "v"]), unique=True, max_size=6)):
        if name not in FIELDS:
            made[name] = draw(VALUES)
            continue
        typed = st.one_of(st.none(), TYPED[FIELDS[name]])
        value = draw(st.one_of(typed, TYPED[FIELDS[name]], st.lists(typed, max_size=3)))
        outer, _, inner = name.partition(".")
        if inner and draw(st.booleans()):
            made[outer] = {inner: value}
            continue
        made[name] = value
        if inner and draw(st.booleans()):
            made[outer] = {inner: "the key stands before the path"}
    return made


class Filters:
    """Draws filters on declared and other fields; values of declared ones have their types."""

    def __init__(self, draw: Any, there: Sequence[Any]) -> None:
        self.draw = draw
        self.there = [one for one in there if not isinstance(one, int) or abs(one) < 2**63]

    def tree(self, depth: int) -> Any:
        match self.pick(["leaf", "leaf", "leaf", "$and", "$or", "$not"] if depth else ["leaf"]):
            case "leaf":
                return {(name := self.pick([*FIELDS, *FIELDS, *OTHERS])): self.condition(name)}
            case "$not":
                return {"$not": self.tree(depth - 1)}
            case word:
                return {word: [self.tree(depth - 1) for _ in range(self.pick([1, 2, 3]))]}
        raise AssertionError

    def condition(self, name: str) -> Any:
        match self.pick(["operation", "operation", "plain", "both", "$not"]):
            case "operation":
                return self.operation(name)
            case "plain":
                return self.value(name)
            case "both":
                return self.operation(name) | self.operation(name)
        return {"$not": self.operation(name)}

    def operation(self, name: str) -> Any:
        words = ["$eq", "$ne", "$in", "$nin", "$exists", "$contains"]
        ordered = [] if FIELDS.get(name) == "boolean" else ["$gt", "$gte", "$lt", "$lte"]
        match self.pick(words + ordered):
            case "$exists":
                return {"$exists": self.pick([True, False])}
            case "$in" | "$nin" as word:
                return {word: [self.value(name) for _ in range(self.pick([0, 1, 2, 3]))]}
            case word:
                value = self.value(name)
                while word in ordered and (value is None or isinstance(value, bool)):
                    value = self.value(name)
                return {word: value}

    def value(self, name: str) -> Any:
        """One that fits the field: null now and then, and most often one that is there."""
        where_from = self.pick(["there", "there", "new", "null"])
        if where_from == "null":
            return None
        if where_from == "there":
            kind = FIELDS.get(name)
            fitting = [one for one in self.there if kind is None or fits(kind, one)]
            if fitting:
                return self.pick(fitting)
        return self.draw(TYPED[FIELDS[name]] if name in FIELDS else SCALARS)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.draw(st.integers(0, len(choices) - 1))]


def fits(kind: FieldType, value: Any) -> bool:
    return value is not None and misfit("", kind, value) is None


@st.composite
def cases(draw: Any) -> Case:
    own = st.lists(st.one_of(st.none(), metadata()), min_size=1, max_size=3)
    documents = draw(st.lists(st.tuples(metadata(), own), min_size=1, max_size=6))
    patched = draw(st.one_of(st.none(), metadata()))
    there = gather([documents, patched])
    asked = [Filters(draw, there).tree(3) for _ in range(draw(st.integers(1, 6)))]
    return Case(documents, asked, patched, draw(st.booleans()))


@pytest.fixture
def quick(url: str) -> Iterator[Database]:
    """A database that does not wait for the disk."""
    opened = Database(url, synchronous="off")
    yield opened
    opened.close()


def make_collection(run: Run, store: Store, fields: Mapping[str, FieldType]) -> Collection:
    name = f"c{uuid4().hex}"
    made: Collection = run(
        store.create_collection(name, "test:two", SPACE, Chunking(), None, fields)
    )[0]
    return made


def chunk_ids(database: Database, collection: Collection) -> dict[tuple[str, int], int]:
    """The id of each chunk by its document and ordinal."""
    query = (
        select(t.document.c.key, t.chunk.c.ordinal, t.chunk.c.id)
        .join(t.chunk, t.chunk.c.document_id == t.document.c.id)
        .where(t.chunk.c.collection_id == collection.id)
    )
    return database.alone(lambda tx: {(row[0], row[1]): row[2] for row in tx.execute(query)})


@settings(
    max_examples=2_000 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cases())
def test_chunks_and_documents_are_found_as_python_finds_them(
    run: Run, quick: Database, prepared: Make, case: Case
) -> None:
    store = Store(quick)
    collection = make_collection(run, store, {} if case.declared_later else FIELDS)
    documents = [
        prepared(f"d{n}", *(f"{n} {m}" for m in range(len(own))), metadata=outer, own=own)
        for n, (outer, own) in enumerate(case.documents)
    ]
    run(store.replace(collection, documents))
    rows = [(f"d{n}", outer, own) for n, (outer, own) in enumerate(case.documents)]
    if case.patched is not None:
        run(store.patch(collection.name, "d0", None, case.patched))
        rows[0] = ("d0", case.patched, rows[0][2])
    if case.declared_later:
        collection = run(store.update_collection(collection.name, None, FIELDS))
    ids = chunk_ids(quick, collection)
    for raw in case.filters:
        where = parse_filter(raw)

        def agrees(outer: Any, own: Any = None, where: Any = where) -> bool:
            return holds(where, (outer, own), TIMES)

        chunks = [
            ids[key, n]
            for key, outer, own in rows
            for n, one in enumerate(own)
            if agrees(outer, one)
        ]
        for few in (FEW, 1):
            look = partial(matching, collection_id=collection.id, where=where, few=few)
            assert quick.alone(look).tolist() == sorted(chunks), (raw, few)
        listed, _ = run(store.documents(collection.name, 0, 99, where))
        assert [one.id for one in listed] == [key for key, outer, _ in rows if agrees(outer)], raw


# -- the same, point by point ---------------------------------------------------------------------


@pytest.fixture
def rows_of(database: Database) -> Callable[[], int]:
    """How many values of declared fields there are."""
    query = select(func.count()).select_from(t.field_value)
    return lambda: database.alone(lambda tx: tx.execute(query).scalar_one())


@pytest.fixture
def found(run: Run, store: Store) -> Callable[..., int]:
    """`found(collection, filter)`: how many chunks match."""
    return lambda collection, raw: len(run(store.matching(collection, parse_filter(raw))))


def test_the_rows_of_a_chunk_go_with_it(
    run: Run, store: Store, prepared: Make, rows_of: Callable[[], int]
) -> None:
    collection = make_collection(run, store, {"n": "integer", "tags": "string"})
    one = prepared("one", "a", "b", metadata={"n": 1, "tags": ["x", "y"], "other": 5})
    run(store.replace(collection, [one, prepared("two", "c", metadata={"n": None})]))
    assert rows_of() == 2 * 4 + 1
    run(store.replace(collection, [prepared("one", "a", metadata={"n": 1})]))
    assert rows_of() == 2
    run(store.patch(collection.name, "one", None, {"n": [1, 2]}))
    assert rows_of() == 4
    run(store.patch(collection.name, "one", "another title", None))
    assert rows_of() == 4
    run(store.delete_documents(collection.name, ["one"], None))
    assert rows_of() == 1
    run(store.delete_collection(collection.name))
    while run(store.sweep()):
        pass
    assert rows_of() == 0


def test_fields_are_declared_changed_and_taken_back_when_documents_are_there(
    run: Run, store: Store, prepared: Make, rows_of: Callable[[], int], found: Callable[..., int]
) -> None:
    collection = make_collection(run, store, {})
    documents = [
        prepared(f"d{n}", "a", "b", metadata={"n": n, "at": "2024-05-31"}) for n in range(9)
    ]
    run(store.replace(collection, documents))
    name, midnight = collection.name, {"at": {"$gte": "2024-05-31T01:00:00+01:00"}}
    assert found(collection, midnight) == 0
    declared = run(store.update_collection(name, None, {"n": "integer", "at": "datetime"}))
    assert declared.version > collection.version
    assert (rows_of(), found(declared, midnight), found(declared, {"n": {"$lt": 3}})) == (36, 18, 6)
    wider = run(store.update_collection(name, None, {"n": "number"}))
    assert (rows_of(), found(wider, {"n": {"$lt": 2.5}})) == (18, 6)
    assert run(store.update_collection(name, "text", {"n": "number"})).version == wider.version
    run(store.update_collection(name, None, {}))
    assert rows_of() == 0


def test_what_does_not_fit_a_new_type_is_named_and_nothing_changes(
    run: Run, store: Store, prepared: Make, rows_of: Callable[[], int]
) -> None:
    collection = make_collection(run, store, {"n": "integer"})
    documents = [
        prepared("good", "a", metadata={"n": 1, "year": 2024}),
        prepared("bad", "b", "c", metadata={"year": "abc"}, own=[{"year": 1}, None]),
        prepared("worse", "d", metadata={"year": 1}, own=[{"year": [1, {}]}]),
    ]
    run(store.replace(collection, documents))
    run(store.enqueue(collection, [(prepared("waits", "e", metadata={"year": 1.5}), b"{}")]))
    with pytest.raises(Conflict) as caught:
        run(store.update_collection(collection.name, "new", {"n": "number", "year": "integer"}))
    assert caught.value.code == "field_does_not_fit"
    for word in ("fields.year", "3 documents", "'bad'", "'abc' is not an integer"):
        assert word in caught.value.detail
    now = run(store.collection(collection.name))
    assert (now.fields, now.description, rows_of()) == ({"n": "integer"}, None, 1)


def test_documents_that_were_checked_against_other_fields_are_not_written(
    run: Run, store: Store, prepared: Make
) -> None:
    before = make_collection(run, store, {})
    run(store.update_collection(before.name, None, {"n": "integer"}))
    bad = prepared("bad", "a", metadata={"n": "x"})
    for write in (store.replace(before, [bad]), store.enqueue(before, [(bad, b"{}")])):
        with pytest.raises(FieldsChanged) as caught:
            run(write)
        assert caught.value.transient
    assert run(store.documents(before.name, 0, 9, None)) == ([], None)


def test_a_patch_that_does_not_fit_changes_nothing(run: Run, store: Store, prepared: Make) -> None:
    collection = make_collection(run, store, {"n": "integer"})
    run(store.replace(collection, [prepared("d", "a", metadata={"n": 1})]))
    with pytest.raises(InvalidInput, match=r"metadata\.n: 'x' is not an integer"):
        run(store.patch(collection.name, "d", None, {"n": "x"}))
    assert run(store.documents(collection.name, 0, 9, None))[0][0].metadata == {"n": 1}


def test_a_filter_of_another_type_is_refused_at_every_door(
    run: Run, store: Store, prepared: Make
) -> None:
    collection = make_collection(run, store, {"n": "integer"})
    run(store.replace(collection, [prepared("d", "a", metadata={"n": 1})]))
    where = parse_filter({"$or": [{"u": 1}, {"n": {"$in": [1, "2"]}}]})
    doors = (
        store.matching(collection, where),
        store.documents(collection.name, 0, 9, where),
        store.delete_documents(collection.name, None, where),
    )
    for door in doors:
        with pytest.raises(InvalidInput) as caught:
            run(door)
        assert caught.value.code == "invalid_filter"
        assert caught.value.detail.startswith("filter.$or[1].n.$in: '2' is not an integer")
    assert run(store.counts(collection.id)) == (1, 1)


def test_strings_of_any_length_can_be_declared(
    run: Run, store: Store, prepared: Make, found: Callable[..., int]
) -> None:
    collection = make_collection(run, store, {"s": "string"})
    long = "東😀" * 10_000
    run(store.replace(collection, [prepared("d", "a", metadata={"s": [long, "short"]})]))
    for raw, count in (
        ({"s": long}, 1),
        ({"s": long[:-1]}, 0),
        ({"s": {"$gt": long[:KEPT]}}, 1),
        ({"s": {"$lte": long[:KEPT]}}, 1),
        ({"s": {"$contains": long}}, 1),
        ({"s": {"$contains": "sho"}}, 0),
    ):
        assert found(collection, raw) == count, str(raw)[:50]


@pytest.mark.parametrize(
    "fields", [{"n": "integer"}, {"n": "integer", "x": "number", "$a": "string"}]
)
def test_fields_that_were_only_written_down_are_looked_at_by_the_migration(
    run: Run, database: Database, prepared: Make, fields: Any, found: Callable[..., int]
) -> None:
    """What does not fit is no longer declared, so that filters find it as before."""
    store = Store(database)
    collection = make_collection(run, store, {})
    run(store.replace(collection, [prepared("d", "a", "b", metadata={"n": 5, "x": "no number"})]))

    def step(tx: Any) -> None:
        config = Config()
        config.set_main_option("script_location", str(Settings().shipped / "alembic"))
        config.attributes["connection"] = tx
        command.downgrade(config, "0002")
        tx.execute(update(t.collection).values(fields=fields))
        command.upgrade(config, "head")

    database.alone(step)
    now = run(store.collection(collection.name))
    assert now.fields == {"n": "integer"}
    assert (found(now, {"n": {"$gt": 4}}), found(now, {"x": "no number"})) == (2, 2)
