"""What the doors for a talk and for a text have in common: who answers, and what comes of it.

A model is either `collection:NAME`, which answers from documents with checked citations, or a
language model, to which a request is passed through. Both become the same few events.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from embedsvc.api.errors import status_of
from embedsvc.api.openai.errors import as_openai
from embedsvc.api.schema import (
    Answered,
    CitationOut,
    HitOut,
    JsonObject,
    MaxTokens,
    Mode,
    ModelName,
    Request,
    Stop,
    Temperature,
    TopP,
    UnsupportedOut,
    citation_out,
    source_out,
    stops,
    unsupported_out,
)
from embedsvc.core.citations import Citation
from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Message, Prompt
from embedsvc.errors import (
    EmbedsvcError,
    InvalidInput,
    MissingDependency,
    MissingKey,
    UnknownProvider,
)
from embedsvc.ports import Finish, Generation
from embedsvc.services.answers import (
    Answer,
    AnswerUsage,
    Expansion,
    Grounding,
    Question,
    Sources,
    State,
)
from embedsvc.services.ask import check_question
from embedsvc.services.llms import EXTRACTIVE, Chain, Ended
from embedsvc.services.models import COLLECTION, not_found
from embedsvc.services.service import Service

_LONGEST_SHOWN = 60

# -- what is asked --------------------------------------------------------------------------------


class StreamOptions(Request):
    """What comes with a stream besides the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class AnsweringIn(Request, kw_only=True):
    """What both doors read. The fields from `grounding` on are ours, and for collections alone.

    What would change an answer and is not built is refused, unless it says what holds anyway.
    """

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    stop: Stop | None = None
    user: str | None = None
    n: Any = None
    seed: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    grounding: Grounding | None = None
    filter: JsonObject | None = None
    limit: int | None = None
    mode: Mode | None = None
    expansion: Expansion | None = None
    conversation_id: str | None = None


OURS = ("grounding", "filter", "limit", "mode", "expansion", "conversation_id")

NEUTRAL: Mapping[str, Sequence[object]] = {
    "n": [1],
    "seed": [],
    "frequency_penalty": [0],
    "presence_penalty": [0],
    "logit_bias": [{}],
    "logprobs": [False],
}
"""Values, besides null, with which a field changes nothing."""


def refuse_unbuilt(data: AnsweringIn, neutral: Mapping[str, Sequence[object]]) -> None:
    """Refuse a field that would change the answer if it were not passed over in silence."""
    for name, values in neutral.items():
        given = getattr(data, name)
        if given is None or given in values:
            continue
        shown = msgspec.json.encode(given).decode()[:_LONGEST_SHOWN]
        known = " or ".join(msgspec.json.encode(value).decode() for value in values)
        raise InvalidInput(
            f"{name}: {shown} is not supported; leave it out"
            + (f", or send {known}" * bool(known)),
            code="not_supported",
        )


# -- what happens ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """The first event; sources and `query`, the question as searched, of a collection."""

    sources: Sequence[HitOut] | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class Cited:
    """A checked citation, and where its marker stands in the text."""

    citation: Citation
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The last event; `answer` is that of a collection."""

    model: str
    usage: AnswerUsage
    finish: Finish
    answer: Answer | None = None


Event = Begun | str | Cited | Ending


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as both doors understand it: the turns, instructions beside them, a prompt."""

    turns: Sequence[Message]
    system: str | None
    prompt: Prompt
    place: str


async def answering(
    service: Service, data: AnsweringIn, asked: Asked, most: int | None
) -> AsyncGenerator[Event, None]:
    """The events of an answer. Raises what is wrong with the request before the first one."""
    options = Generation(data.temperature, most, data.top_p, stops(data.stop))
    speaking = await service.models.meant_chat(data.model)
    chain = await _chain(service, data.model, speaking.spec)
    if speaking.collection is None:
        _check_plain(chain, data)
        return _passed_through(service, chain, asked.prompt, options)
    question = _question(data, asked, chain, options)
    return _from_collection(service, speaking.collection.name, question)


async def _chain(service: Service, name: str, spec: str | None) -> Chain:
    try:
        return await service.llms.chain(spec)
    except UnknownProvider as error:
        raise not_found(name, error.detail) from error
    except (InvalidInput, MissingKey, MissingDependency) as error:
        detail = error.detail.removeprefix("model: ")
        raise InvalidInput(f"model: {detail}", code=error.code) from error


def _check_plain(chain: Chain, data: AnsweringIn) -> None:
    if not chain.models:
        raise InvalidInput(
            f"model: {EXTRACTIVE} quotes documents and writes nothing of its own; name a "
            f"collection, as {COLLECTION}NAME",
            code="not_supported",
        )
    for name in OURS:
        if getattr(data, name) is not None:
            raise InvalidInput(
                f"{name}: only for an answer from documents; name a collection as the model, "
                f"{COLLECTION}NAME, or leave it out",
                code="not_supported",
            )


def _question(data: AnsweringIn, asked: Asked, chain: Chain, options: Generation) -> Question:
    """The last turn as a question; a client that sends its turns keeps the talk itself."""
    before = asked.turns[:-1]
    question = Question(
        text=asked.turns[-1].content,
        model=chain.spec,
        conversation_id=data.conversation_id,
        history=None if data.conversation_id is not None and not before else before,
        where=None if data.filter is None else parse_filter(data.filter),
        mode=data.mode,
        grounding=data.grounding or "normal",
        options=options,
        system=asked.system if chain.models else None,
        expansion=data.expansion or "none",
    )
    if data.limit is not None:
        question = replace(question, limit=data.limit)
    try:
        check_question(question)
    except InvalidInput as error:
        if error.detail.startswith(("question", "history", "system")):
            raise InvalidInput(f"{asked.place}: {error.detail}", code=error.code) from error
        raise
    return question


async def _from_collection(
    service: Service, name: str, question: Question
) -> AsyncGenerator[Event, None]:
    text = ""
    async with aclosing(service.ask.stream(name, question)) as events:
        async for event in events:
            match event:
                case Sources():
                    yield Begun([source_out(hit) for hit in event.hits], event.query)
                case str():
                    text += event
                    yield event
                case Citation():
                    yield _cited(event, text)
                case Answer():
                    yield Ending(event.model, event.usage, event.finish, event)


async def _passed_through(
    service: Service, chain: Chain, prompt: Prompt, options: Generation
) -> AsyncGenerator[Event, None]:
    begun = False
    async with aclosing(service.llms.stream(chain, prompt, options)) as said:
        async for one in said:
            if not begun:
                begun = True
                yield Begun()
            if isinstance(one, Ended):
                usage = AnswerUsage(
                    one.prompt_tokens, one.completion_tokens, one.cost_usd, one.estimated
                )
                yield Ending(one.model, usage, one.finish or "stop")
            else:
                yield one.text


def _cited(citation: Citation, text: str) -> Cited:
    marker = f"[{citation.marker}]"
    start = text.rfind(marker)
    return Cited(citation, start, start + len(marker)) if start >= 0 else _at_end(citation, text)


def _at_end(citation: Citation, text: str) -> Cited:
    return Cited(citation, len(text), len(text))


# -- what is answered -----------------------------------------------------------------------------


class UrlCitation(Answered):
    """A citation as OpenAI has it: where its marker stands in the text."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(Answered):
    """A checked citation: in OpenAI's shape, and with the fields that it has everywhere here."""

    type: Literal["url_citation"]
    url_citation: UrlCitation
    marker: int
    document_id: str | None
    chunk_id: str | None
    title: str | None
    url: str | None
    page: int | None
    start: int | None
    end: int | None
    quote: str
    status: Literal["verified", "unsupported", "not_found"]


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
    state: State | UnsetType = UNSET
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
        url=out.url or "",
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

END = b"data: [DONE]\n\n"


def event_line(data: object) -> bytes:
    """One event of a stream."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def error_line(error: EmbedsvcError) -> bytes:
    """An error in the middle of a stream."""
    return event_line(as_openai(status_of(error), error.code, error.detail))
