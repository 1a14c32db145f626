"""What an evaluation of answers is asked for, checked: questions by id, what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from embedsvc.core.answer_metrics import Gold
from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Chunking, Grounding
from embedsvc.core.preparing import MOST_ID, check_text
from embedsvc.errors import InvalidInput, TooLarge
from embedsvc.ports import Generation
from embedsvc.services.answers import Expansion, Question
from embedsvc.services.candidates import Mode
from embedsvc.services.copies import Otherwise
from embedsvc.services.evaluation_request import Asked, described

MOST_ANSWERED = 50_000
MOST_GOLDS = 100
MOST_GOLD = 20_000
MOST_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """One way to answer. What is left out is as in a plain question to the collection.

    With another embedding, dimensions or chunking the documents are copied into a collection of
    that kind.
    """

    name: str = ""
    model: str | None = None
    grounding: Grounding | None = None
    limit: int | None = None
    mode: Mode | None = None
    filter: Mapping[str, Any] | None = None
    expansion: Expansion | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    embedding: str | None = None
    dimensions: int | None = None
    chunking: Chunking | None = None

    @property
    def other(self) -> Otherwise:
        """How its documents differ from those of the collection."""
        return Otherwise(self.embedding, self.dimensions, self.chunking)

    @property
    def described(self) -> str:
        """What it is, such as `openai:gpt-4o, strict, 4 sources`."""
        parts = [
            self.model or "the default model",
            self.grounding or "",
            "" if self.limit is None else f"{self.limit} source{'s' * (self.limit != 1)}",
            self.mode or "",
            "" if self.filter is None else "filtered",
            "" if self.expansion is None else self.expansion,
            "" if self.temperature is None else f"temperature {self.temperature:g}",
            "" if self.max_tokens is None else f"{self.max_tokens} tokens",
            *described(self.other),
        ]
        return ", ".join(part for part in parts if part)

    def called(self, name: str) -> "AnswerConfig":
        """The same by another name."""
        return replace(self, name=name)

    def using(self, model: str) -> "AnswerConfig":
        """The same with that model."""
        return replace(self, model=model)

    def question(self, text: str) -> Question:
        """The question to ask: by itself, and kept nowhere."""
        plain = Question(text)
        return replace(
            plain,
            model=self.model,
            history=(),
            limit=plain.limit if self.limit is None else self.limit,
            where=None if self.filter is None else parse_filter(self.filter),
            mode=self.mode,
            grounding=self.grounding or plain.grounding,
            options=Generation(self.temperature, self.max_tokens),
            expansion=self.expansion or plain.expansion,
            record=False,
        )


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """What is known of a query; one that is not answerable, or has no answers, must get none."""

    query_id: str
    answers: Sequence[str] = ()
    document_ids: Sequence[str] = ()
    answerable: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Answers to evaluate."""

    collection: str
    queries: Sequence[Asked]
    answers: Sequence[GoldAnswer]
    configs: Sequence[AnswerConfig] = ()
    metrics: Sequence[str] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """What is kept of a request: all but its queries and answers, which are counted."""

    configs: Sequence[AnswerConfig]
    metrics: Sequence[str]
    seed: int
    queries: int
    answerable: int
    subject: Literal["answers"] = "answers"


def golds_of(texts: Mapping[str, str], answers: Sequence[GoldAnswer]) -> dict[str, Gold]:
    """What is known, by query and in their order. Raises InvalidInput, TooLarge."""
    if not answers:
        raise InvalidInput("answers: the list is empty; send at least one")
    found: dict[str, Gold] = {}
    for number, one in enumerate(answers):
        place = f"answers[{number}]"
        if one.query_id not in texts:
            raise InvalidInput(f"{place}.query_id: no query has the id {one.query_id[:80]!r}")
        if one.query_id in found:
            raise InvalidInput(
                f"{place}.query_id: {one.query_id[:80]!r} comes twice; send all its answers in one",
                code="duplicate_id",
            )
        found[one.query_id] = _gold(one, place)
    return {query: found[query] for query in texts if query in found}


def check_count(queries: int, configs: int) -> None:
    """Refuse what asks more than a result holds. Raises InvalidInput."""
    count = queries * configs
    if count > MOST_ANSWERED:
        raise InvalidInput(
            f"queries: {queries} with answers in {configs} configurations are {count} questions; "
            f"at most {MOST_ANSWERED} are allowed: send fewer configurations or queries, or "
            "several evaluations"
        )


def told_of_answers(queries: int, golds: int) -> list[str]:
    """What the figures do not tell of the queries."""
    missing = queries - golds
    have, are = ("query has", "is") if missing == 1 else ("queries have", "are")
    return [f"{missing} {have} no entry in answers and {are} not asked"] if missing else []


def _gold(one: GoldAnswer, place: str) -> Gold:
    if len(one.answers) > MOST_GOLDS:
        raise TooLarge(f"{place}.answers: {len(one.answers)}; at most {MOST_GOLDS} are allowed")
    for number, text in enumerate(one.answers):
        _check(f"{place}.answers[{number}]", text, MOST_GOLD)
    if len(one.document_ids) > MOST_DOCUMENTS:
        told = f"{place}.document_ids: {len(one.document_ids)}; at most {MOST_DOCUMENTS}"
        raise TooLarge(f"{told} are allowed")
    for number, document in enumerate(one.document_ids):
        _check(f"{place}.document_ids[{number}]", document, MOST_ID)
    if one.answerable and not one.answers:
        raise InvalidInput(
            f"{place}.answers: the list is empty, and answerable is true; send a gold answer, or "
            "answerable false for a question that must get none"
        )
    answerable = bool(one.answers) if one.answerable is None else one.answerable
    return Gold(tuple(one.answers), frozenset(one.document_ids), answerable)


def _check(place: str, text: str, most: int) -> None:
    check_text(place, text)
    if not text.strip():
        raise InvalidInput(f"{place}: it is empty")
    if len(text) > most:
        raise InvalidInput(f"{place}: {len(text)} characters; at most {most} are allowed")
