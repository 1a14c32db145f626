"""Follow-up questions without a language model."""

import pytest

from embedsvc.core.followups import depends, stand_alone
from embedsvc.core.model import Message

PARIS = Message("user", "What is the capital of France?")
SAID = Message("assistant", "Paris is the capital of France. [1]")


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("And its population?", "France: its population?"),
        ("Who won it?", "France: Who won it?"),
        ("Why?", "What is the capital of France? Why?"),
        ("And the population?", "What is the capital of France? And the population?"),
        ("What about Germany?", "What is the capital of Germany?"),
        ("And the United Kingdom?", "What is the capital of United Kingdom?"),
        ("Und wie groß ist sie?", "France: wie groß ist sie?"),
        ("¿Y su alcalde?", "France: su alcalde?"),
        ("Et son maire ?", "What is the capital of France? Et son maire ?"),
        ("How tall are they?", "France: How tall are they?"),
    ],
)
def test_a_question_that_needs_the_former_one_gets_what_it_needs(question: str, alone: str) -> None:
    assert depends(question)
    assert stand_alone(question, [PARIS, SAID]) == alone


@pytest.mark.parametrize(
    ("talk", "question", "alone"),
    [
        (
            ["How many moons does Saturn have?", "And Mars?"],
            "And Mercury?",
            "How many moons does Mercury have?",
        ),
        (
            ["How many moons does Saturn have?"],
            "And who is the CEO of Acme?",
            "And who is the CEO of Acme?",
        ),
        (
            ["When did Maria Keller join Acme?"],
            "And when did she leave it?",
            "Maria Keller, Acme: when did she leave it?",
        ),
        (
            ["When did Maria Keller join Acme?", "And when did she leave it?"],
            "And how many employees does it have?",
            "Maria Keller, Acme: how many employees does it have?",
        ),
        (
            ["When did Maria Keller join Acme?"],
            "And Tom Keller?",
            "When did Tom Keller join Acme?",
        ),
        (["Wie viele Monde hat der Saturn?"], "Und Mars?", None),
        (["how many moons does saturn have"], "and mars", None),
    ],
)
def test_what_was_asked_before_does_not_drown_what_is_asked_now(
    talk: list[str], question: str, alone: str | None
) -> None:
    history = [Message("user", asked) for asked in talk]
    assert stand_alone(question, history) == (alone or f"{talk[-1]} {question}")


@pytest.mark.parametrize(
    "question",
    [
        "How many people live in Berlin?",
        "Wann wurde der Eiffelturm gebaut?",
        "¿Cuándo se construyó la torre Eiffel en París?",
        "When did Albert Einstein publish his theory of relativity?",
        "Qui a construit la tour Eiffel à Paris ?",
        "And who wrote the first novel about detectives?",
    ],
)
def test_a_question_that_stands_alone_stays_as_it_is(question: str) -> None:
    assert stand_alone(question, [PARIS, SAID]) == question


def test_a_row_of_follow_ups_goes_back_to_the_question_that_stands_alone() -> None:
    history = [PARIS, SAID, Message("user", "And its population?"), SAID]
    found = stand_alone("Why?", history)
    assert found == "France: its population? Why?"


def test_without_history_nothing_is_added_and_a_long_past_is_cut() -> None:
    assert stand_alone("Why?", []) == "Why?"
    long = stand_alone("Why?", [Message("user", "x" * 5_000)])
    assert len(long) < 1_100
