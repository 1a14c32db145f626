"""What the doors for a talk and for a text have in common: the answer, whole or in pieces."""

import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import msgspec
from litestar import Request, Response
from msgspec import UNSET, UnsetType

from embedsvc.api.errors import status_of
from embedsvc.api.openai.answering import AnsweringIn, Begun, Cited, Ending, Event
from embedsvc.api.openai.errors import as_openai
from embedsvc.api.schema import (
    Answered,
    CitationOut,
    HitOut,
    JsonObject,
    UnsupportedOut,
    citation_out,
    unsupported_out,
)
from embedsvc.api.streaming import Wire, server_sent
from embedsvc.core.model import AnswerState
from embedsvc.errors import EmbedsvcError
from embedsvc.services.answers import AnswerUsage

_FOLLOWED = re.compile(r"https?://", re.IGNORECASE)
"""Addresses that clients make links of; other ones, such as javascript:, stay beside."""


class UrlCitation(Answered):
    """A citation as OpenAI has it: where its marker stands in the text."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(CitationOut, kw_only=True):
    """A checked citation: in OpenAI's shape, and with the fields that it has everywhere here."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class UsageOut(Answered):
    """Tokens, and their price where it is known; `estimated`: the model did not count them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool
    cost_usd: float | UnsetType = UNSET


class AnsweredOut(Answered, kw_only=True):
    """What both doors answer. From `sources` on it is what is known of an answer from documents.

    `model` is as it was asked for, `answered_by` the model that answered.
    """

    id: str
    created: int
    model: str
    answered_by: str | UnsetType = UNSET
    sources: list[HitOut] | UnsetType = UNSET
    query: str | UnsetType = UNSET
    state: AnswerState | UnsetType = UNSET
    answer_id: str | UnsetType | None = UNSET
    conversation_id: str | UnsetType | None = UNSET
    unsupported: list[UnsupportedOut] | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    degraded: list[str] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of an answer begins with."""

    id: str
    created: int
    model: str

    @classmethod
    def of(cls, prefix: str, model: str) -> "Head":
        """A new one."""
        return cls(f"{prefix}-{uuid4().hex}", int(time.time()), model)

    def fields(self) -> JsonObject:
        """For a struct."""
        return {"id": self.id, "created": self.created, "model": self.model}


def begun_fields(begun: Begun) -> JsonObject:
    """What is known before the first word."""
    if begun.sources is None:
        return {}
    return {"sources": list(begun.sources), "query": begun.query}


def ending_fields(ending: Ending) -> JsonObject:
    """What is known at the end."""
    answer = ending.answer
    if answer is None:
        return {"answered_by": ending.model}
    return {
        "answered_by": ending.model,
        "state": answer.state,
        "answer_id": answer.id,
        "conversation_id": answer.conversation_id,
        "unsupported": unsupported_out(answer),
        "warnings": list(answer.warnings),
        "degraded": list(answer.degraded),
    }


def annotation(cited: Cited) -> Annotation:
    """A citation as an annotation."""
    out: CitationOut = citation_out(cited.citation)
    plain = {name: getattr(out, name) for name in out.__struct_fields__}
    place = UrlCitation(
        url=out.url if out.url and _FOLLOWED.match(out.url) else "",
        title=out.title or out.document_id or "",
        start_index=cited.start,
        end_index=cited.end,
    )
    return Annotation(type="url_citation", url_citation=place, **plain)


def usage_out(usage: AnswerUsage) -> UsageOut:
    """Tokens as OpenAI counts them."""
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        estimated=usage.estimated,
        cost_usd=UNSET if usage.cost_usd is None else usage.cost_usd,
    )


@dataclass(frozen=True, slots=True)
class Whole:
    """All events of an answer."""

    text: str
    annotations: Sequence[Annotation]
    ending: Ending
    fields: JsonObject


async def whole(events: AsyncGenerator[Event, None]) -> Whole:
    """The answer when it has ended."""
    text: list[str] = []
    annotations: list[Annotation] = []
    fields: JsonObject = {}
    async with aclosing(events):
        async for event in events:
            match event:
                case Begun():
                    fields = begun_fields(event)
                case str():
                    text.append(event)
                case Cited():
                    annotations.append(annotation(event))
                case Ending():
                    fields |= ending_fields(event)
                    return Whole("".join(text), annotations, event, fields)
    raise AssertionError("an answer has an end")


# -- streams --------------------------------------------------------------------------------------

_END = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Pieces:
    """How a door writes an answer piece by piece: the chunk, and the choice in it, of an event."""

    head: Head
    chunk: Callable[..., AnsweredOut]
    choice: Callable[[Event], Answered]

    async def streamed(
        self,
        request: Request[Any, Any, Any],
        data: AnsweringIn,
        events: AsyncGenerator[Event, None],
    ) -> Response[Any]:
        """The answer as server-sent events; at the end the tokens, where they are wanted."""
        with_usage = data.stream_options is not None and bool(data.stream_options.include_usage)
        wire: Wire[Event] = Wire(lambda event: self._lines(event, with_usage), _error_line, _END)
        return await server_sent(request, events, wire)

    def _lines(self, event: Event, with_usage: bool) -> bytes:
        fields: JsonObject = {"usage": None} if with_usage else {}
        match event:
            case Begun():
                fields |= begun_fields(event)
            case Ending():
                fields |= ending_fields(event)
        lines = self._line([self.choice(event)], fields)
        if with_usage and isinstance(event, Ending):
            lines += self._line([], {"usage": usage_out(event.usage)})
        return lines

    def _line(self, choices: Sequence[Answered], fields: JsonObject) -> bytes:
        return _event_line(self.chunk(**self.head.fields(), **fields, choices=choices))


def _event_line(data: object) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _error_line(error: EmbedsvcError) -> bytes:
    """An error in the middle of a stream."""
    return _event_line(as_openai(status_of(error), error.code, error.detail))
