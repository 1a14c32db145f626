"""/v1/completions, as OpenAI's older clients ask: a text in, a text out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from litestar import Request as Received
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from embedsvc.api.openai.answering import (
    NEUTRAL,
    AnsweringIn,
    Asked,
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
from embedsvc.api.schema import Answered
from embedsvc.api.streaming import Streamed, gone, unless_gone
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
        chunk = partial(CompletionOut, object="text_completion")
        return await Pieces(head, chunk, _piece).streamed(request, data, events)
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


def _piece(event: Event) -> TextChoiceOut:
    return TextChoiceOut(
        index=0,
        text=event if isinstance(event, str) else "",
        finish_reason=event.finish if isinstance(event, Ending) else None,
        logprobs=None,
        annotations=[annotation(event)] if isinstance(event, Cited) else UNSET,
    )


ROUTES = [completions]
