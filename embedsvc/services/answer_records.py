"""Answers as they are written down, and read again however old they are.

What is stored has shapes of its own: what changes in the live ones changes no record. A field that
is added here needs a default, so that records without it can still be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec

from embedsvc.core.citations import Citation, CitationStatus
from embedsvc.core.model import Chunk, Message, Prompt, Speaker
from embedsvc.core.reading import Unsupported
from embedsvc.services.answers import Answer, AnswerUsage
from embedsvc.services.search import Hit, StageScores
from embedsvc.store.answers import Record
from embedsvc.store.store import now


def to_record(conversation_id: str | None, question: str, answer: Answer) -> Record:
    """A new record of an answer."""
    usage = answer.usage
    return Record(
        id=uuid4().hex,
        conversation_id=conversation_id,
        created_at=now(),
        state=answer.state,
        grounding=answer.grounding,
        model=answer.model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        estimated=usage.estimated,
        cost_usd=usage.cost_usd,
        took_ms=answer.took_ms,
        first_token_ms=answer.first_token_ms,
        evidence=answer.evidence,
        question=question,
        text=_storable(answer.text),
        details=msgspec.json.encode(_details(answer)).decode(),
    )


def to_answer(record: Record) -> Answer:
    """The answer of a record that was read with its details."""
    known = msgspec.json.decode(record.details, type=_Details)
    sources = [_to_hit(source) for source in known.sources]
    chunks = {hit.chunk.id: hit.chunk for hit in sources}
    return Answer(
        text=record.text,
        state=record.state,
        citations=[_to_citation(cited, chunks) for cited in known.citations],
        unsupported=[Unsupported(one.start, one.end, one.text) for one in known.unsupported],
        sources=sources,
        model=record.model,
        usage=usage_of(record),
        conversation_id=record.conversation_id,
        query=known.query,
        queries=known.queries,
        version=known.version,
        took_ms=record.took_ms,
        first_token_ms=record.first_token_ms,
        evidence=record.evidence,
        grounding=record.grounding,
        warnings=known.warnings,
        degraded=known.degraded,
        prompt=_to_prompt(known.prompt),
        id=record.id,
    )


def usage_of(record: Record) -> AnswerUsage:
    """What an answer took of tokens."""
    return AnswerUsage(
        record.prompt_tokens, record.completion_tokens, record.cost_usd, record.estimated
    )


# -- what is stored -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cited:
    """A citation, with its chunk by id: the text is among the sources."""

    marker: int
    chunk_id: int | None
    quote: str
    start: int | None
    end: int | None
    status: CitationStatus


@dataclass(frozen=True, slots=True)
class _Claim:
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: int
    document_id: str
    ordinal: int
    start: int
    end: int
    text: str
    page: int | None = None
    title: str | None = None
    url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Scores:
    dense: float | None = None
    lexical: float | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    chunk: _Chunk
    score: float
    scores: _Scores = _Scores()
    highlight: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Turn:
    role: Speaker
    content: str


@dataclass(frozen=True, slots=True)
class _Details:
    """What of an answer is only looked at with the whole."""

    query: str
    queries: Sequence[str]
    version: int
    citations: Sequence[_Cited] = ()
    unsupported: Sequence[_Claim] = ()
    sources: Sequence[_Source] = ()
    prompt: str | Sequence[_Turn] | None = None
    warnings: Sequence[str] = ()
    degraded: Sequence[str] = ()


# -- from an answer -------------------------------------------------------------------------------


def _storable(text: str) -> str:
    """A text of a model as every database can keep it, of the same length."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _details(answer: Answer) -> _Details:
    return _Details(
        query=answer.query,
        queries=answer.queries,
        version=answer.version,
        citations=[_cited(citation) for citation in answer.citations],
        unsupported=[_Claim(o.start, o.end, _storable(o.text)) for o in answer.unsupported],
        sources=[_source(hit) for hit in answer.sources],
        prompt=_prompt(answer.prompt),
        warnings=answer.warnings,
        degraded=answer.degraded,
    )


def _cited(citation: Citation) -> _Cited:
    return _Cited(
        citation.marker,
        None if citation.chunk is None else citation.chunk.id,
        _storable(citation.quote),
        citation.start,
        citation.end,
        citation.status,
    )


def _source(hit: Hit) -> _Source:
    chunk, scores = hit.chunk, hit.scores
    return _Source(
        _Chunk(
            id=chunk.id,
            document_id=chunk.document_id,
            ordinal=chunk.ordinal,
            start=chunk.start,
            end=chunk.end,
            text=chunk.text,
            page=chunk.page,
            title=chunk.title,
            url=chunk.url,
            metadata=dict(chunk.metadata),
        ),
        hit.score,
        _Scores(scores.dense, scores.lexical, scores.rerank),
        hit.highlight,
    )


def _prompt(prompt: Prompt | None) -> str | list[_Turn] | None:
    if prompt is None or isinstance(prompt, str):
        return prompt
    return [_Turn(message.role, message.content) for message in prompt]


# -- to an answer ---------------------------------------------------------------------------------


def _to_citation(cited: _Cited, chunks: dict[int, Chunk]) -> Citation:
    chunk = None if cited.chunk_id is None else chunks.get(cited.chunk_id)
    return Citation(cited.marker, chunk, cited.quote, cited.start, cited.end, cited.status)


def _to_hit(source: _Source) -> Hit:
    chunk, scores = source.chunk, source.scores
    return Hit(
        Chunk(
            id=chunk.id,
            document_id=chunk.document_id,
            ordinal=chunk.ordinal,
            start=chunk.start,
            end=chunk.end,
            page=chunk.page,
            text=chunk.text,
            title=chunk.title,
            url=chunk.url,
            metadata=chunk.metadata,
        ),
        source.score,
        StageScores(scores.dense, scores.lexical, scores.rerank),
        source.highlight,
    )


def _to_prompt(prompt: str | Sequence[_Turn] | None) -> Prompt | None:
    if prompt is None or isinstance(prompt, str):
        return prompt
    return [Message(turn.role, turn.content) for turn in prompt]
