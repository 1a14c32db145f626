"""Messages as turns and as one text, and the texts that end an answer."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.chat._text import as_text, turns
from embedsvc.core.model import Message, Speaker
from embedsvc.core.stops import Stops
from embedsvc.errors import InvalidInput

LETTERS = st.text(alphabet="ab\n", max_size=12)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), LETTERS), max_size=8
)


def pieces_of(pieces: Sequence[str], stops: Sequence[str]) -> str:
    looking = Stops(stops)
    return "".join(map(looking.feed, pieces)) + looking.close()


@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS.filter(bool), max_size=3))
def test_an_answer_ends_before_the_first_stop_however_it_is_cut(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    ends = [at for stop in stops if (at := whole.find(stop)) >= 0]
    found = pieces_of(pieces, stops)
    # the stop that is complete first ends it, wherever another one began
    assert whole.startswith(found)
    assert not any(stop in found for stop in stops)
    assert found == whole if not ends else len(found) >= min(ends)


def test_only_what_may_be_a_stop_is_held_back() -> None:
    looking = Stops(["\nUser:"])
    assert looking.feed("Paris.\nU") == "Paris."
    assert looking.feed("nder") == "\nUnder"
    assert looking.feed("\nUser: x") == ""
    assert looking.ended
    assert looking.feed("more") == looking.close() == ""


@given(MESSAGES)
def test_turns_alternate_and_lose_nothing_that_was_said(messages: list[Message]) -> None:
    said = [message.content for message in messages if message.content.strip()]
    try:
        found = turns(messages)
    except InvalidInput:
        assert not any(m.role == "user" and m.content.strip() for m in messages)
        return
    roles: list[Speaker] = [message.role for message in found]
    if roles[0] == "system":
        roles.pop(0)
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    together = "\n".join(message.content for message in found)
    assert all(content in together for content in said)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("as it is ", "as it is "),
        ([Message("user", "Hi")], "User: Hi\nAssistant:"),
        ([Message("system", "S"), Message("user", "Hi")], "S\n\nUser: Hi\nAssistant:"),
        (
            [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Why")],
            "User: Hi\nAssistant: Yes?\nUser: Why\nAssistant:",
        ),
    ],
)
def test_a_completion_model_is_given_one_text(prompt: object, text: str) -> None:
    assert as_text(prompt) == text  # type: ignore[arg-type]
