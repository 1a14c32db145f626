"""/v1/chat/completions, as OpenAI's clients talk: with a collection, or with a language model."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from litestar import Request as Received
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from embedsvc.api.openai.answering import (
    NEUTRAL,
    AnsweringIn,
    Asked,
    Begun,
    Cited,
    Ending,
    Event,
    answering,
    refuse_unbuilt,
)
from embedsvc.api.openai.answering_out import (
    Annotation,
    AnsweredOut,
    Head,
    Pieces,
    UsageOut,
    annotation,
    usage_out,
    whole,
)
from embedsvc.api.openai.errors import documented
from embedsvc.api.schema import Answered, MaxTokens, Request
from embedsvc.api.streaming import Streamed, gone, unless_gone
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
        chunk = partial(ChunkOut, object="chat.completion.chunk")
        return await Pieces(head, chunk, _piece).streamed(request, data, events)
    found = await unless_gone(request, whole(events))
    if found is None:
        return gone()
    message = MessageOut(
        role="assistant",
        content=found.text,
        refusal=None,
        annotations=list(found.annotations),
        id=_answer_id(found.ending),
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


def _piece(event: Event) -> DeltaChoiceOut:
    finish = event.finish if isinstance(event, Ending) else None
    return DeltaChoiceOut(index=0, delta=_delta(event), finish_reason=finish, logprobs=None)


def _delta(event: Event) -> DeltaOut:
    match event:
        case Begun():
            return DeltaOut(role="assistant", content="")
        case str():
            return DeltaOut(content=event)
        case Cited():
            return DeltaOut(annotations=[annotation(event)])
        case Ending():
            return DeltaOut(id=_answer_id(event))


def _answer_id(ending: Ending) -> str | UnsetType:
    """The id of an answer from a collection, where it is kept."""
    answer = ending.answer
    return UNSET if answer is None or answer.id is None else answer.id


ROUTES = [chat_completions]
