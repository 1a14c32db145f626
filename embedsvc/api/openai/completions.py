"""/v1/completions, as OpenAI's older clients ask: a text in, a text out."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from litestar import Request as Received
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

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
from embedsvc.api.schema import Answered
from embedsvc.api.streaming import Streamed, Wire, gone, server_sent, unless_gone
from embedsvc.core.model import Message
from embedsvc.errors import InvalidInput
from embedsvc.ports import Finish
from embedsvc.services.service import Service


class CompletionIn(AnsweringIn, kw_only=True):
    """A text that is to be continued; of a collection it is a question."""

    prompt: str | list[str]
    best_of: Any = None
    echo: Any = None
    suffix: Any = None


_NEUTRAL: Mapping[str, Sequence[object]] = {
    **NEUTRAL,
    "best_of": [1],
    "echo": [False],
    "suffix": [""],
}


class TextChoiceOut(Answered):
    """The one answer, or a piece of it; `annotations` are the checked citations."""

    index: int
    text: str
    finish_reason: Finish | None
    logprobs: None
    annotations: list[Annotation] | UnsetType = UNSET


class CompletionOut(AnsweredOut, kw_only=True):
    """A whole answer, or in a stream a piece of one."""

    object: Literal["text_completion"]
    choices: list[TextChoiceOut]
    usage: UsageOut | UnsetType | None = UNSET


@post(
    "/v1/completions",
    operation_id="create_completion",
    operation_class=Streamed,
    tags=["openai"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def completions(
    data: JSONBody[CompletionIn],
    request: Received[Any, Any, Any],
    service: NamedDependency[Service],
) -> Response[CompletionOut]:
    """Continue a text. Models are named as for `/v1/chat/completions`; of a collection the text is
    a question, and the citations are `annotations` of the choice.
    """
    refuse_unbuilt(data, _NEUTRAL)
    events = await answering(service, data, _asked(data), data.max_tokens)
    head = Head.of("cmpl", data.model)
    if data.stream:
        with_usage = data.stream_options is not None and bool(data.stream_options.include_usage)
        wire: Wire[Event] = Wire(lambda event: _lines(event, head, with_usage), error_line, END)
        return await server_sent(request, events, wire)
    found = await unless_gone(request, whole(events))
    if found is None:
        return gone()
    choice = TextChoiceOut(
        index=0,
        text=found.text,
        finish_reason=found.ending.finish,
        logprobs=None,
        annotations=list(found.annotations),
    )
    out = CompletionOut(
        **head.fields(),
        **found.fields,
        object="text_completion",
        choices=[choice],
        usage=usage_out(found.ending.usage),
    )
    return Response(out)


def _asked(data: CompletionIn) -> Asked:
    prompt = data.prompt
    if not isinstance(prompt, str):
        if len(prompt) != 1:
            raise InvalidInput(
                f"prompt: {len(prompt)} texts; send one a request", code="not_supported"
            )
        prompt = prompt[0]
    return Asked([Message("user", prompt)], None, prompt, "prompt")


def _lines(event: Event, head: Head, with_usage: bool) -> bytes:
    """An event of an answer as chunks."""
    match event:
        case Begun():
            return _line(head, with_usage, "", more=begun_fields(event))
        case str():
            return _line(head, with_usage, event)
        case Cited():
            return _line(head, with_usage, "", annotations=[annotation(event)])
        case Ending():
            last = _line(head, with_usage, "", event.finish, more=ending_fields(event))
            return last + (_usage_line(head, event) if with_usage else b"")


def _line(
    head: Head,
    with_usage: bool,
    text: str,
    finish: Finish | None = None,
    annotations: list[Annotation] | UnsetType = UNSET,
    more: Mapping[str, Any] = {},
) -> bytes:
    choice = TextChoiceOut(
        index=0, text=text, finish_reason=finish, logprobs=None, annotations=annotations
    )
    usage = None if with_usage else UNSET
    return event_line(
        CompletionOut(
            **head.fields(), **more, object="text_completion", choices=[choice], usage=usage
        )
    )


def _usage_line(head: Head, ending: Ending) -> bytes:
    usage = usage_out(ending.usage)
    return event_line(
        CompletionOut(**head.fields(), object="text_completion", choices=[], usage=usage)
    )


ROUTES = [completions]
