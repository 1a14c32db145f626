"""Messages as models want them: as turns that alternate, and as one text for completion models."""

from collections.abc import Sequence

from embedsvc.core.model import Message, Prompt, Speaker
from embedsvc.errors import InvalidInput

_LABELS = {"user": "User:", "assistant": "Assistant:"}
ENDS = ("\nUser:", "\nSystem:")
"""Where a completion model goes on with a turn that is not its own."""


def ends(kind: str, prompt: Prompt) -> tuple[str, ...]:
    """The texts that end an answer to a prompt, other than those that are asked for."""
    return ENDS if kind == "completion" and not isinstance(prompt, str) else ()


def messages_of(prompt: Prompt) -> Sequence[Message]:
    """A prompt as messages: a bare text is one of the user."""
    return [Message("user", prompt)] if isinstance(prompt, str) else prompt


def turns(prompt: Prompt) -> list[Message]:
    """At most one system message, at the beginning, then turns by user and assistant in turn.

    Many models take nothing else: what one speaker says in a row becomes one message, empty
    messages go, and what the assistant said before anybody spoke joins what the system says.
    Raises InvalidInput when nothing is asked.
    """
    system: list[str] = []
    found: list[Message] = []
    for message in messages_of(prompt):
        if not message.content.strip():
            continue
        if message.role == "system" or (message.role == "assistant" and not found):
            before = "" if message.role == "system" else "You said before: "
            system.append(before + message.content)
        elif found and found[-1].role == message.role:
            found[-1] = Message(message.role, f"{found[-1].content}\n\n{message.content}")
        else:
            found.append(message)
    if not found:
        raise InvalidInput("messages: nothing is asked in them; send one of the user")
    role: Speaker = "system"
    return [Message(role, "\n\n".join(system)), *found] if system else found


def as_text(prompt: Prompt) -> str:
    """The text that a completion model goes on with.

        what the system says

        User: what is asked
        Assistant: what was answered
        User: what is asked now
        Assistant:

    A bare text stays as it is.
    """
    if isinstance(prompt, str):
        return prompt
    first, *others = turns(prompt)
    lines = [f"{first.content}\n"] if first.role == "system" else [_line(first)]
    return "\n".join([*lines, *map(_line, others), _LABELS["assistant"]])


def _line(message: Message) -> str:
    return f"{_LABELS[message.role]} {message.content}"
