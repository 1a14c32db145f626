"""Questions with their answers from files: a folder with qa.jsonl, or one CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from embedsvc.errors import InvalidInput
from embedsvc.services.answer_request import GoldAnswer
from embedsvc.services.evaluation_files import csv_rows, text_of
from embedsvc.services.evaluation_request import Asked

FILE = "qa.jsonl"
COLUMNS = ("question", "answer")
OPTIONAL = ("document_id", "answerable")

_WORDS = {"": None, "true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Answered:
    """Questions, each with what is known of it."""

    queries: Sequence[Asked]
    answers: Sequence[GoldAnswer]

    def first(self, count: int | None) -> "Answered":
        """Only so many questions, the first ones; None: all."""
        return Answered(self.queries[:count], self.answers[:count])


class _Span(msgspec.Struct):
    text: str


class _Row(msgspec.Struct):
    id: str
    question: str
    answers: list[str | _Span] = msgspec.field(default_factory=list)
    doc_ids: list[str] = msgspec.field(default_factory=list)
    answerable: bool | None = None


def read_answered(path: Path) -> Answered:
    """A folder with qa.jsonl, or a CSV file. Raises InvalidInput naming the file and the line."""
    return _jsonl(path / FILE) if path.is_dir() else _csv(path)


def _jsonl(file: Path) -> Answered:
    queries: list[Asked] = []
    answers: list[GoldAnswer] = []
    known: set[str] = set()
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = msgspec.json.decode(line, type=_Row)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidInput(
                f"{place}: not a question with id, question, answers, doc_ids, answerable: {error}"
            ) from error
        if row.id in known:
            raise InvalidInput(f"{place}: the id {row.id!r} comes twice")
        known.add(row.id)
        texts = [one if isinstance(one, str) else one.text for one in row.answers]
        queries.append(Asked(row.id, row.question))
        answers.append(GoldAnswer(row.id, _once(texts), _once(row.doc_ids), row.answerable))
    return Answered(queries, answers)


@dataclass(slots=True)
class _Known:
    """What the rows of one question say."""

    answers: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    answerable: bool | None = None


def _csv(file: Path) -> Answered:
    """The rows of a question are its answers; the question is its own id."""
    found: dict[str, _Known] = {}
    for place, row in csv_rows(file, COLUMNS, OPTIONAL):
        question, word = row["question"], row["answerable"].lower()
        if not question:
            raise InvalidInput(f"{place}: the question is empty")
        if word not in _WORDS:
            raise InvalidInput(f"{place}: answerable {row['answerable']!r}; use true or false")
        known = found.setdefault(question, _Known())
        if _WORDS[word] is not None and known.answerable not in (None, _WORDS[word]):
            raise InvalidInput(
                f"{place}: {question!r} is answerable in one row, and not in another"
            )
        known.answerable = known.answerable if _WORDS[word] is None else _WORDS[word]
        known.answers += [row["answer"]] if row["answer"] else []
        known.documents += [row["document_id"]] if row["document_id"] else []
    return Answered(
        [Asked(question, question) for question in found],
        [
            GoldAnswer(question, _once(one.answers), _once(one.documents), one.answerable)
            for question, one in found.items()
        ],
    )


def _once(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))
