"""Follow-up questions without a language model."""

import pytest

from embedsvc.core.followups import depends, stand_alone
from embedsvc.core.model import Message

PARIS = Message("user", "What is the capital of France?")
SAID = Message("assistant", "Paris is the capital of France. [1]")


@pytest.mark.parametrize(
    "question",
    [
        "And its population?",
        "Who won it?",
        "Why?",
        "What about Germany?",
        "Und wie groß ist sie?",
        "¿Y su alcalde?",
        "Et son maire ?",
        "How tall are they?",
    ],
)
def test_a_question_that_needs_the_former_one_gets_it(question: str) -> None:
    assert depends(question)
    assert stand_alone(question, [PARIS, SAID]) == f"{PARIS.content} {question}"


@pytest.mark.parametrize(
    "question",
    [
        "How many people live in Berlin?",
        "Wann wurde der Eiffelturm gebaut?",
        "¿Cuándo se construyó la torre Eiffel en París?",
        "When did Albert Einstein publish his theory of relativity?",
        "Qui a construit la tour Eiffel à Paris ?",
    ],
)
def test_a_question_that_stands_alone_stays_as_it_is(question: str) -> None:
    assert stand_alone(question, [PARIS, SAID]) == question


def test_a_row_of_follow_ups_goes_back_to_the_question_that_stands_alone() -> None:
    history = [PARIS, SAID, Message("user", "And its population?"), SAID]
    found = stand_alone("Why?", history)
    assert found == "What is the capital of France? And its population? Why?"


def test_without_history_nothing_is_added_and_a_long_past_is_cut() -> None:
    assert stand_alone("Why?", []) == "Why?"
    long = stand_alone("Why?", [Message("user", "x" * 5_000)])
    assert len(long) < 1_100
