"""The model around a client: what all providers behind a network share.

A provider's own file knows its client and how its errors read; here are the rest: errors in our
words, a completion model's end, and options that a model turns out not to take.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from embedsvc.chat._named import Named
from embedsvc.chat._text import ends
from embedsvc.core.model import Prompt
from embedsvc.core.prompting import reserved, tokens_of
from embedsvc.core.stops import Stops
from embedsvc.errors import EmbedsvcError, ProviderRejected
from embedsvc.failures import wrong
from embedsvc.ports import Delta, Generation

log = structlog.get_logger(__name__)

Translate = Callable[[Exception], Exception | None]
"""An error of a client as one of ours; None for one that is not the provider's."""

_LEAST = 16
"""Tokens of an answer, even if the prompt seems to fill the window: it is only estimated."""

_PARAMETER = re.compile(
    r"\b(temperature|top_?p|max_tokens|max_completion_tokens|stream_options|stop(?:_?sequences)?)\b",
    re.IGNORECASE,
)
_SPELT = {"topp": "top_p", "stop_sequences": "stop", "stopsequences": "stop"}
_NOT_TAKEN = re.compile(
    r"unsupported|not support|n['o]t (?:allow|permit)|deprecated|only the default"
    r"|unrecognized|unknown|extra (?:inputs|fields)|unexpected",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Asking:
    """A request: what is asked, and which parameters the model was seen to refuse."""

    prompt: Prompt
    options: Generation
    refused: frozenset[str]


Speak = Callable[[Asking], AsyncGenerator[Delta, None]]
"""One call of a client. Counts in its deltas are of the call so far."""


class RemoteModel:
    """A language model behind a provider's API."""

    remote = True

    def __init__(
        self,
        named: Named,
        speak: Speak,
        translate: Translate,
        close: Callable[[], Awaitable[None]],
        refused: frozenset[str] = frozenset(),
    ) -> None:
        self.name = named.name
        self.kind = named.kind
        self.window = named.window
        self._speak = speak
        self._translate = translate
        self._close = close
        self._refused = refused

    async def stream(self, prompt: Prompt, options: Generation) -> AsyncGenerator[Delta, None]:
        """One call; another one for each parameter that the model turns out not to take.

        Raises ProviderError.
        """
        options = self._limited(prompt, options)
        while True:
            asking = Asking(prompt, options, self._refused)
            begun = False
            try:
                async with aclosing(self._call(asking)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except ProviderRejected as error:
                if begun or not self._learnt(error, asking):
                    raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._close()

    def _limited(self, prompt: Prompt, options: Generation) -> Generation:
        """With the room that is kept for an answer to messages, where nobody says how long it is.

        Of a completion their servers write 16 to 100 tokens by themselves; so they still do of a
        bare text.
        """
        if self.kind == "chat" or isinstance(prompt, str) or options.max_tokens is not None:
            return options
        left = self.window - sum(tokens_of(message.content) for message in prompt)
        return replace(options, max_tokens=max(_LEAST, min(reserved(self.window), left)))

    async def _call(self, asking: Asking) -> AsyncGenerator[Delta, None]:
        try:
            async with (
                aclosing(self._speak(asking)) as spoken,
                aclosing(until(spoken, ends(self.kind, asking.prompt))) as deltas,
            ):
                silent = True
                async for delta in deltas:
                    silent = silent and delta == Delta()
                    yield delta
        except EmbedsvcError:
            raise
        except Exception as error:
            ours = self._translate(error)
            if ours is None:
                raise
            raise ours from error
        if silent:
            raise wrong(self.name.partition(":")[0], "the stream ended without a word")

    def _learnt(self, error: ProviderRejected, asking: Asking) -> bool:
        """Whether the model refuses a parameter that was sent, and now is known to."""
        found = _PARAMETER.search(error.detail)
        if found is None or not _NOT_TAKEN.search(error.detail):
            return False
        name = _SPELT.get(found[1].lower(), found[1].lower())
        if name in asking.refused or not _was_sent(name, asking):
            return False
        log.info("llm_parameter_refused", model=self.name, parameter=name)
        self._refused = self._refused | {name}
        return True


def taken(asking: Asking) -> Generation:
    """The options without those that the model refuses; max_tokens has two names, and stays."""
    options = asking.options
    if "temperature" in asking.refused:
        options = replace(options, temperature=None)
    if "top_p" in asking.refused:
        options = replace(options, top_p=None)
    if "stop" in asking.refused:
        options = replace(options, stop=())
    return options


def _was_sent(name: str, asking: Asking) -> bool:
    """Whether the request had it: an error may speak of parameters that nobody sent."""
    options = asking.options
    renamed = "max_tokens" in asking.refused
    return {
        "temperature": options.temperature is not None,
        "top_p": options.top_p is not None,
        "stop": bool(options.stop),
        "max_tokens": options.max_tokens is not None and not renamed,
        "max_completion_tokens": options.max_tokens is not None and renamed,
        "stream_options": True,  # whatever is asked
    }[name]


async def until(
    deltas: AsyncIterator[Delta], stops: tuple[str, ...]
) -> AsyncGenerator[Delta, None]:
    """The deltas up to the first stop text, which ends them."""
    looking = Stops(stops)
    async for delta in deltas:
        text = looking.feed(delta.text)
        if looking.ended:
            yield replace(delta, text=text, finish="stop")
            return
        if text or replace(delta, text="") != Delta():
            yield replace(delta, text=text)
    if rest := looking.close():
        yield Delta(rest)
