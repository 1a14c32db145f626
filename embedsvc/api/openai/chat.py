"""/v1/chat/completions, as OpenAI's clients talk: with a collection, or with a language model."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from litestar import Request as Received
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from embedsvc.api.openai.answering import (
    END,
    NEUTRAL,
    Annotation,
    AnsweredOut,
    AnsweringIn,
    Asked,
    Begun,
    Cited,
    Ending,
    Event,
    Head,
    UsageOut,
    annotation,
    answering,
    begun_fields,
    ending_fields,
    error_line,
    event_line,
    refuse_unbuilt,
    usage_out,
    whole,
)
from embedsvc.api.openai.errors import documented
from embedsvc.api.schema import Answered, MaxTokens, Request
from embedsvc.api.streaming import Streamed, Wire, gone, server_sent, unless_gone
from embedsvc.core.model import Message, Speaker
from embedsvc.errors import InvalidInput
from embedsvc.ports import Finish
from embedsvc.services.service import Service

# -- what is asked --------------------------------------------------------------------------------


class PartIn(Struct, kw_only=True):
    """A part of a message; only text is read here."""

    type: str
    text: str | None = None


class MessageIn(Request):
    """A message. What clients send back of an answer, such as `annotations`, is not read."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartIn] | None = None
    name: str | None = None
    id: Any = None
    refusal: Any = None
    annotations: Any = None
    audio: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None
    function_call: Any = None


class ChatIn(AnsweringIn, kw_only=True):
    """A talk. From a collection the last message is answered, and those before it are the history.

    Messages of the system are further instructions; the extractive answerer, which follows none,
    passes them over.
    """

    messages: Annotated[list[MessageIn], Meta(min_length=1, max_length=2_000)]
    max_completion_tokens: MaxTokens | None = None
    top_logprobs: Any = None
    response_format: Any = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    store: Any = None
    metadata: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None


_NEUTRAL: Mapping[str, Sequence[object]] = {
    **NEUTRAL,
    "top_logprobs": [0],
    "response_format": [{"type": "text"}],
    "tools": [[]],
    "tool_choice": ["none", "auto"],
    "functions": [[]],
    "function_call": ["none", "auto"],
    "modalities": [["text"]],
    "audio": [],
    "prediction": [],
    "reasoning_effort": [],
    "verbosity": [],
    "web_search_options": [],
    "store": [False],
    "service_tier": ["auto", "default"],
}

_SPEAKERS: Mapping[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def _asked(data: ChatIn) -> Asked:
    messages = [_message(number, one) for number, one in enumerate(data.messages)]
    turns = [one for one in messages if one.role != "system"]
    if not turns or turns[-1].role != "user":
        raise InvalidInput("messages: the last one is not of the user; there is nothing to answer")
    system = "\n\n".join(one.content for one in messages if one.role == "system")
    return Asked(turns, system or None, messages, "messages")


def _message(number: int, given: MessageIn) -> Message:
    place = f"messages[{number}]"
    for name in ("tool_calls", "function_call"):
        if getattr(given, name):
            raise InvalidInput(f"{place}.{name}: tools are not built", code="not_supported")
    if given.role not in _SPEAKERS:
        raise InvalidInput(
            f"{place}.role: {given.role!r} is not supported; tools are not built",
            code="not_supported",
        )
    return Message(_SPEAKERS[given.role], _text(f"{place}.content", given.content))


def _text(place: str, content: str | list[PartIn] | None) -> str:
    if content is None:
        raise InvalidInput(f"{place}: it is missing; send a text")
    if isinstance(content, str):
        return content
    for number, part in enumerate(content):
        if part.type != "text" or part.text is None:
            raise InvalidInput(
                f"{place}[{number}]: a part of type {part.type[:60]!r} is not read; send text",
                code="not_supported",
            )
    return "\n".join(part.text or "" for part in content)


# -- what is answered -----------------------------------------------------------------------------


class MessageOut(Answered):
    """What was answered; `annotations` are the checked citations, `id` that of the answer."""

    role: Literal["assistant"]
    content: str
    refusal: None
    annotations: list[Annotation]
    id: str | UnsetType = UNSET


class ChoiceOut(Answered):
    """The one answer."""

    index: int
    message: MessageOut
    finish_reason: Finish
    logprobs: None


class ChatOut(AnsweredOut, kw_only=True):
    """A whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChoiceOut]
    usage: UsageOut


class DeltaOut(Answered):
    """What is new: text, or a citation that was checked; at the end the id of the answer."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET
    id: str | UnsetType = UNSET


class DeltaChoiceOut(Answered):
    """A piece of the one answer."""

    index: int
    delta: DeltaOut
    finish_reason: Finish | None
    logprobs: None


class ChunkOut(AnsweredOut, kw_only=True):
    """A piece of an answer; with `include_usage` the last one has the tokens."""

    object: Literal["chat.completion.chunk"]
    choices: list[DeltaChoiceOut]
    usage: UsageOut | UnsetType | None = UNSET


@post(
    "/v1/chat/completions",
    operation_id="create_chat_completion",
    operation_class=Streamed,
    tags=["openai"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def chat_completions(
    data: JSONBody[ChatIn],
    request: Received[Any, Any, Any],
    service: NamedDependency[Service],
) -> Response[ChatOut]:
    """Answer a talk. The model `collection:NAME` answers from that collection, with citations as
    annotations; `collection:NAME/provider:model` lets that model write. Any other name is that of a
    language model, which gets the messages as they are.

    With `conversation_id` the talk is one that is kept here, and only the last message is sent.
    """
    refuse_unbuilt(data, _NEUTRAL)
    most = data.max_completion_tokens or data.max_tokens
    events = await answering(service, data, _asked(data), most)
    head = Head.of("chatcmpl", data.model)
    if data.stream:
        with_usage = data.stream_options is not None and bool(data.stream_options.include_usage)
        wire: Wire[Event] = Wire(lambda event: _lines(event, head, with_usage), error_line, END)
        return await server_sent(request, events, wire)
    found = await unless_gone(request, whole(events))
    if found is None:
        return gone()
    answer = found.ending.answer
    message = MessageOut(
        role="assistant",
        content=found.text,
        refusal=None,
        annotations=list(found.annotations),
        id=UNSET if answer is None or answer.id is None else answer.id,
    )
    choice = ChoiceOut(index=0, message=message, finish_reason=found.ending.finish, logprobs=None)
    out = ChatOut(
        **head.fields(),
        **found.fields,
        object="chat.completion",
        choices=[choice],
        usage=usage_out(found.ending.usage),
    )
    return Response(out)


def _lines(event: Event, head: Head, with_usage: bool) -> bytes:
    """An event of an answer as chunks."""
    match event:
        case Begun():
            delta = DeltaOut(role="assistant", content="")
            return _line(head, with_usage, delta, more=begun_fields(event))
        case str():
            return _line(head, with_usage, DeltaOut(content=event))
        case Cited():
            return _line(head, with_usage, DeltaOut(annotations=[annotation(event)]))
        case Ending():
            answer = event.answer
            delta = DeltaOut(id=UNSET if answer is None or answer.id is None else answer.id)
            last = _line(head, with_usage, delta, event.finish, ending_fields(event))
            return last + (_usage_line(head, event) if with_usage else b"")


def _line(
    head: Head,
    with_usage: bool,
    delta: DeltaOut,
    finish: Finish | None = None,
    more: Mapping[str, Any] = {},
) -> bytes:
    choice = DeltaChoiceOut(index=0, delta=delta, finish_reason=finish, logprobs=None)
    usage = None if with_usage else UNSET
    return event_line(
        ChunkOut(
            **head.fields(), **more, object="chat.completion.chunk", choices=[choice], usage=usage
        )
    )


def _usage_line(head: Head, ending: Ending) -> bytes:
    usage = usage_out(ending.usage)
    return event_line(
        ChunkOut(**head.fields(), object="chat.completion.chunk", choices=[], usage=usage)
    )


ROUTES = [chat_completions]
