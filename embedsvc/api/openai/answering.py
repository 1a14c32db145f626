"""What the doors for a talk and for a text have in common: what is asked, and who answers.

A model is either `collection:NAME`, which answers from documents with checked citations, or a
language model, to which a request is passed through. Both become the same few events, which
`answering_out` writes down.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from embedsvc.api.schema import (
    HitOut,
    JsonObject,
    MaxTokens,
    Mode,
    ModelName,
    Request,
    Stop,
    Temperature,
    TopP,
    source_out,
    stops,
)
from embedsvc.core.citations import Citation
from embedsvc.core.filters import parse_filter
from embedsvc.core.model import Grounding, Message, Prompt
from embedsvc.errors import InvalidInput, MissingDependency, MissingKey, UnknownProvider
from embedsvc.ports import Finish, Generation
from embedsvc.services.answers import (
    Answer,
    AnswerUsage,
    Expansion,
    Question,
    Sources,
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
                yield Ending(one.model, usage, one.finish or "length")
            else:
                yield one.text


def _cited(citation: Citation, text: str) -> Cited:
    marker = f"[{citation.marker}]"
    start = text.rfind(marker)
    return Cited(citation, start, start + len(marker)) if start >= 0 else _at_end(citation, text)


def _at_end(citation: Citation, text: str) -> Cited:
    return Cited(citation, len(text), len(text))
