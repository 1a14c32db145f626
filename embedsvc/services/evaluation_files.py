"""Queries with judgements from files: a folder in the layout of BEIR, or one CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from embedsvc.errors import InvalidInput
from embedsvc.services.evaluation_request import Asked, Qrel

QRELS = ("qrels.tsv", "qrels/test.tsv")
COLUMNS = ("query", "document_id", "relevance")

_DELIMITERS = ",;\t"
_HEADS = frozenset({"query-id", "query_id", "qid", "query"})


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries, each with a judgement, and what was judged."""

    queries: Sequence[Asked]
    qrels: Sequence[Qrel]

    def first(self, count: int | None) -> "Judged":
        """Only so many queries, the first ones; None: all."""
        queries = self.queries[:count]
        kept = {query.id for query in queries}
        return Judged(queries, [one for one in self.qrels if one.query_id in kept])


class _Row(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    text: str


def read_judged(path: Path) -> Judged:
    """A folder with queries.jsonl and qrels.tsv (or qrels/test.tsv), or a CSV file.

    Raises InvalidInput naming the file and the line.
    """
    if not path.is_dir():
        return _csv(path)
    found = [path / name for name in QRELS if (path / name).is_file()]
    if not found:
        raise InvalidInput(f"{path}: there is neither {QRELS[0]} nor {QRELS[1]} in it")
    texts = _queries(path / "queries.jsonl")
    qrels = _Qrels()
    for place, fields in _tsv(found[0]):
        query, *_, document, relevance = fields
        if query not in texts:
            raise InvalidInput(f"{place}: no query has the id {query!r}")
        qrels.add(place, query, document, relevance)
    return qrels.judged(texts)


class _Qrels:
    """Judgements as they are read; the same twice is one, and two that differ are refused."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Qrel] = {}

    def add(self, place: str, query: str, document: str, relevance: str) -> None:
        if not document:
            raise InvalidInput(f"{place}: the id of the document is empty")
        try:
            value = max(0, int(relevance))  # some sets have -1 for what is worse than nothing
        except ValueError as error:
            raise InvalidInput(f"{place}: relevance {relevance!r} is not a whole number") from error
        made = Qrel(query, document, value)
        if self._found.setdefault((query, document), made) != made:
            raise InvalidInput(f"{place}: {document!r} is judged twice for {query!r}, differently")

    def judged(self, texts: dict[str, str]) -> Judged:
        asked = {one.query_id for one in self._found.values()}
        queries = [Asked(query, text) for query, text in texts.items() if query in asked]
        return Judged(queries, list(self._found.values()))


def _queries(file: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = msgspec.json.decode(line, type=_Row)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidInput(f"{place}: not a query with _id and text: {error}") from error
        if row.id in texts:
            raise InvalidInput(f"{place}: the id {row.id!r} comes twice")
        texts[row.id] = row.text
    return texts


def _tsv(file: Path) -> Iterator[tuple[str, list[str]]]:
    """The fields of each line: three, or the four of TREC, whose second says nothing."""
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        fields = [part.strip() for part in line.split("\t")]
        if fields == [""] or (number == 1 and fields[0].lower() in _HEADS):
            continue
        place = f"{file}, line {number}"
        if len(fields) not in (3, 4):
            raise InvalidInput(
                f"{place}: {len(fields)} fields; use query-id, corpus-id and score with a tab "
                "between them"
            )
        yield place, fields


def _csv(file: Path) -> Judged:
    qrels, texts = _Qrels(), dict[str, str]()
    for place, row in csv_rows(file, COLUMNS):
        query = row["query"]
        if not query:
            raise InvalidInput(f"{place}: the query is empty")
        texts[query] = query
        qrels.add(place, query, row["document_id"], row["relevance"])
    return qrels.judged(texts)


def csv_rows(
    file: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV with these columns, each with its place; what is optional may be missing.

    Raises InvalidInput naming the line.
    """
    text = text_of(file)
    delimiter = _delimiter(file, next(io.StringIO(text, newline=""), ""), columns, optional)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    heads: list[str] = []
    try:
        for row in reader:
            place = f"{file}, line {reader.line_num}"
            if not heads:
                heads = _normal(row)
                continue
            if not any(field.strip() for field in row):
                continue
            if len(row) != len(heads):
                told = f"{len(row)} fields, and the first line has {len(heads)}"
                raise InvalidInput(f"{place}: {told}")
            found = {head: field.strip() for head, field in zip(heads, row, strict=True)}
            yield place, {name: found.get(name, "") for name in (*columns, *optional)}
    except csv.Error as error:
        raise InvalidInput(f"{file}, line {reader.line_num}: {error}") from error


def _delimiter(file: Path, header: str, columns: Sequence[str], optional: Sequence[str]) -> str:
    """What stands between the columns. Raises InvalidInput when one is missing."""
    missing = set(columns)
    for delimiter in _DELIMITERS:
        absent = set(columns) - set(_normal(next(csv.reader([header], delimiter=delimiter), [])))
        if not absent:
            return delimiter
        missing = min(missing, absent, key=len)
    names = ", ".join(name for name in columns if name in missing)
    raise InvalidInput(
        f"{file}, line 1: no column {names}; the columns are {', '.join((*columns, *optional))}"
    )


def _normal(row: Sequence[str]) -> list[str]:
    return [field.strip().lower() for field in row]


def text_of(file: Path) -> str:
    """What is in the file, its line ends as they are. Raises InvalidInput.

    Texts may hold U+2028: `splitlines` would cut there.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return stream.read()
    except OSError as error:
        raise InvalidInput(f"{file}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: it is not UTF-8, at byte {error.start}") from error
