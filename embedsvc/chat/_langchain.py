"""LangChain's messages and chunks as ours."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langsmith import tracing_context

from embedsvc.core.model import Message
from embedsvc.ports import Delta, Finish, Generation

_MESSAGES: Mapping[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}
_ENDS: Mapping[str, Finish] = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
}
_ENDS_IN = ("finish_reason", "stop_reason", "stopReason")


def unheard() -> AbstractContextManager[object]:
    """Within this LangChain tells nobody what is said.

    An environment that turns its tracing on would send every prompt to another server.
    """
    return tracing_context(enabled=False)


def as_langchain(messages: Iterable[Message]) -> list[BaseMessage]:
    """The same messages."""
    return [_MESSAGES[message.role](message.content) for message in messages]


def given(options: Generation, **names: str) -> dict[str, Any]:
    """The options that are given, under the names that a client has for them.

    `stop` is LangChain's own, and always called so.
    """
    words = {
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "top_p": options.top_p,
        "stop": list(options.stop) or None,
    }
    return {names.get(name, name): value for name, value in words.items() if value is not None}


async def streamed(
    model: BaseChatModel,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    *,
    sums: bool = True,
) -> AsyncGenerator[Delta, None]:
    """What a chat model writes, to be iterated within `unheard`.

    `sums`: its chunks count what is new in each, as they should.
    """
    counted = Counted(sums)
    async for chunk in model.astream(as_langchain(messages), **options):
        yield counted.delta(chunk)


def streamed_in_thread(
    model: BaseChatModel,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    put: Callable[[Delta], None],
    going_on: Callable[[], bool],
) -> None:
    """The same for a client that blocks, for as long as it is to go on."""
    counted = Counted()
    with unheard():
        chunks: Iterator[Any] = model.stream(as_langchain(messages), **options)
        for chunk in chunks:
            if not going_on():
                return
            put(counted.delta(chunk))


class Counted:
    """Chunks as deltas, with the tokens of the call so far."""

    def __init__(self, sums: bool = True) -> None:
        self._sums = sums
        self._read = 0
        self._written = 0

    def delta(self, chunk: Any) -> Delta:
        """The next one."""
        if not isinstance(chunk, AIMessageChunk):  # a server may call itself by another role
            return Delta(str(chunk.content) if isinstance(chunk.content, str) else "")
        usage = chunk.usage_metadata
        ends = [chunk.response_metadata.get(name) for name in _ENDS_IN]
        finish = next((finish_of(end) for end in ends if end), None)
        if usage is None:
            return Delta(str(chunk.text), finish=finish)
        read, written = usage["input_tokens"], usage["output_tokens"]
        self._read = self._read + read if self._sums else read
        self._written = self._written + written if self._sums else written
        return Delta(str(chunk.text), self._read or None, self._written or None, finish)


def finish_of(reason: object) -> Finish | None:
    """Why an answer ended; None for a reason that is none of these."""
    return _ENDS.get(str(reason).lower())
