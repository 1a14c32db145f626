"""A fake that needs nothing: says what it is told, word by word. Deterministic, for tests."""

import re
from collections.abc import AsyncGenerator
from typing import Literal

from embedsvc.chat._named import window_of
from embedsvc.chat._text import messages_of
from embedsvc.chat._windows import UNKNOWN
from embedsvc.core.model import Prompt
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.core.tokens import approximate_starts
from embedsvc.errors import InvalidInput
from embedsvc.ports import Delta, Generation
from embedsvc.settings import Settings

_WORD = re.compile(r"\s*\S+\s*")


def destination(spec: Spec, settings: Settings) -> str | None:
    """Nothing is sent anywhere."""
    del spec, settings
    return None


def create(spec: Spec, settings: Settings) -> "Echo":
    """`echo`."""
    del settings
    refuse_options(spec, {"window": None})
    if spec.model:
        raise InvalidInput(f"{spec}: echo has no models; write echo")
    return Echo(window_of(spec) or UNKNOWN)


class Echo:
    """Answers with the last message of the user."""

    name = "echo"
    kind: Literal["chat"] = "chat"
    remote = False

    def __init__(self, window: int = UNKNOWN) -> None:
        self.window = window

    async def stream(self, prompt: Prompt, options: Generation) -> AsyncGenerator[Delta, None]:
        """The last message of the user, a word in each piece; a word counts as a token."""
        messages = messages_of(prompt)
        asked = [message.content for message in messages if message.role == "user"]
        words = _WORD.findall(asked[-1]) if asked else []
        said = words[: options.max_tokens]
        read = sum(len(approximate_starts(message.content)) for message in messages)
        for word in said:
            yield Delta(word)
        yield Delta("", read, len(said), "stop" if said == words else "length")

    async def aclose(self) -> None:
        """Nothing to let go of."""
