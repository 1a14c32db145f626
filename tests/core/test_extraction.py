"""Which sentences answer a question: exact places in the text, and what speaks for each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.expectation import expected, offers
from embedsvc.core.extraction import (
    Asked,
    Choice,
    Passage,
    ask,
    candidates,
    choose,
    content_terms,
)
from embedsvc.core.lexical import Statistics
from embedsvc.core.statements import LONGEST, read
from embedsvc.core.tokens import words

TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from(" \n\t.!?-*•#`1)ab"), st.characters()), max_size=300
)


def asked(question: str, **holding: int) -> Asked:
    """In a collection of 1,000 chunks."""
    return ask(question, Statistics(1_000, 50.0, holding))


def passage(text: str, document: str = "d", start: int = 0, cosine: float | None = None) -> Passage:
    return Passage(document, start, read(text), cosine)


def chosen(question: str, passages: list[Passage]) -> Choice:
    """What is chosen by words alone: all vectors are at a right angle to the question."""
    wanted = asked(question)
    found = candidates(wanted, passages, 50)
    rows = np.eye(len(found) + 1, dtype=np.float32)
    return choose(wanted, passages, found, rows[:-1], rows[-1])


def quoted(question: str, *texts: str) -> list[str]:
    passages = [passage(text, document=str(i)) for i, text in enumerate(texts)]
    return [one.sentence.text for one in chosen(question, passages).quoted]


# -- sentences that can be quoted -----------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_every_sentence_stands_in_the_text_where_it_says(text: str) -> None:
    last = 0
    for sentence in read(text).sentences:
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.text == sentence.text.strip()
        assert 0 < len(sentence.text) <= LONGEST
        assert sentence.start >= last
        last = sentence.end


def test_the_mark_of_a_list_item_is_left_out_by_moving_the_start() -> None:
    text = "Steps:\n- Open the lid.\n  2) Press *start*.\n1990 was a good year."
    assert [s.text for s in read(text).sentences] == [
        "Steps:",
        "Open the lid.",
        "Press *start*.",
        "1990 was a good year.",
    ]


def test_headings_and_code_say_nothing_by_themselves() -> None:
    text = "# Install\n\nRun the tool.\n\n```sh\nembed --all\n\nnow\n```\nIt ends.\n\n```\nbye\n```"
    assert [s.text for s in read(text).sentences if s.says] == ["Run the tool.", "It ends."]
    assert [s.text for s in read("```one``` is inline.").sentences if s.says] == []


def test_a_sentence_that_is_too_long_is_cut_at_lines_and_words() -> None:
    text = "word " * 500 + "\n" + "x" * 1500
    pieces = [s.text for s in read(text).sentences]
    assert "".join("".join(piece.split()) for piece in pieces) == "".join(text.split())
    assert all(len(piece) <= LONGEST for piece in pieces)
    assert set(" ".join(pieces[:3]).split()) == {"word"}


# -- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many legs has a spider?", "number"),
        ("Wie lange dauert die Fahrt?", "number"),
        ("¿Cuánto cuesta el billete?", "number"),
        ("Combien de places compte le théâtre ?", "number"),
        ("In what year did it open?", "time"),
        ("Wann wurde die Brücke gebaut?", "time"),
        ("who wrote the report", "name"),
        ("¿Dónde nació?", "name"),
        ("Why is the sky blue?", "reason"),
        ("When and where did it open?", "time"),
        ("What is a heat pump?", None),
        ("Showhow", None),
    ],
)
def test_the_first_question_word_says_what_is_expected(question: str, kind: str | None) -> None:
    found = expected(question)
    assert (found.kind if found else None) == kind


def test_a_sentence_offers_what_the_question_does_not_name_itself() -> None:
    known = frozenset(words("When did the 1908 Games in London begin?"))
    assert offers("They began in July.", "time", known)
    assert offers("They began on the 27th.", "time", known)
    assert not offers("The 1908 Games began late.", "time", known)
    assert offers("Twelve of them.", "number", known)
    assert not offers("Some of them.", "number", known)
    assert offers("It was opened by Edward.", "name", known)
    assert not offers("The Games of London.", "name", known)
    assert offers("It rained because of that.", "reason", known)
    assert not offers("It rained.", "reason", known)


def test_a_question_is_its_content_words_by_their_rarity() -> None:
    found = asked("What is the mass of a quasar?", mass=300, quasar=2)
    assert set(found.weights) == {"mass", "quasa"}
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.share({"quasa", "other"}) == found.weights["quasa"] > 0.8


def test_a_word_that_no_chunk_holds_does_not_outweigh_one_that_a_chunk_holds() -> None:
    assert asked("quasar mass", quasar=0, mass=1).weights == {"quasa": 0.5, "mass": 0.5}


def test_endings_of_words_do_not_count() -> None:
    held = read("Press the button that was pressed.").terms
    assert asked("pressing").share(held) == 1


def test_a_question_of_stop_words_alone_is_made_of_all_its_words() -> None:
    assert content_terms("who are you") == ["who", "are", "you"]
    assert content_terms("???") == []


def test_the_words_that_ask_are_no_content() -> None:
    assert content_terms("How long do I have to wait?") == ["wait"]
    assert content_terms("In what year did the siege end?") == ["siege", "end"]
    assert content_terms("How long?") == ["long"]


def test_a_question_without_words_shares_nothing() -> None:
    assert asked("???").share({"a"}) == 0


# -- the choice -----------------------------------------------------------------------------------


def test_the_sentence_that_holds_the_words_is_chosen_with_its_place() -> None:
    texts = ["The cat sat down. The dog ran.", "Before it. The quasar shone at night. The cat ate."]
    passages = [passage(text, document=str(i)) for i, text in enumerate(texts)]
    first = chosen("Where did the quasar shine?", passages).quoted[0]
    assert (first.source, first.ordinal) == (1, 1)
    assert texts[1][first.sentence.start : first.sentence.end] == "The quasar shone at night."


def test_of_sentences_with_the_same_words_the_one_with_a_number_answers_how_many() -> None:
    text = "The town has many bridges. The town has 14 bridges. The town has fine bridges."
    assert quoted("How many bridges has the town?", text)[0] == "The town has 14 bridges."


def test_nearness_of_the_vector_decides_where_words_are_alike() -> None:
    wanted = asked("red fox")
    passages = [passage("The red fox eats. The red fox sleeps.")]
    found = candidates(wanted, passages, 5)
    question = np.array([1, 0], dtype=np.float32)
    near = np.array([[0.9, 0.44], [0.1, 0.99]], dtype=np.float32)
    for rows, text in ((near, found[0].sentence.text), (near[::-1], found[1].sentence.text)):
        assert choose(wanted, passages, found, rows, question).quoted[0].sentence.text == text


def test_at_most_so_many_sentences_are_candidates_and_the_best_ones() -> None:
    found = candidates(asked("quasar"), [passage("One. Two. A quasar. Four.")], 2)
    assert len(found) == 2
    assert found[0].sentence.text == "A quasar."


def test_a_second_sentence_adds_what_the_first_has_not() -> None:
    text = "The tower was built by Eiffel. Cats sleep. It was finished in spring, the paint in red."
    assert quoted("Who built the tower and which paint?", text) == [
        "The tower was built by Eiffel.",
        "It was finished in spring, the paint in red.",
    ]


def test_one_sentence_is_enough_where_the_others_are_worth_much_less() -> None:
    texts = ("The quasar named Hydra shines brightest.", "Cats sleep. Dogs run.")
    assert quoted("Which quasar shines brightest?", *texts) == [texts[0]]


def test_the_same_words_are_not_quoted_twice() -> None:
    twice = "The quasar shines brightest."
    assert quoted("Which quasar shines brightest?", twice, twice) == [twice]


def test_chunks_that_overlap_do_not_quote_one_place_twice() -> None:
    document = "The dim quasar shines; it is far away. Next."
    passages = [passage(document[:37], start=0), passage(document[8:], start=8)]
    found = chosen("Which quasar shines far away?", passages).quoted
    assert [one.sentence.text for one in found if "quasar" in one.sentence.text] == [
        found[0].sentence.text
    ]


def test_texts_without_sentences_have_no_candidates() -> None:
    assert candidates(asked("what"), [passage(""), passage(" \n"), passage("# Title")], 5) == []
    assert candidates(asked("what"), [], 5) == []


# -- the evidence ---------------------------------------------------------------------------------


def test_evidence_is_nearness_and_how_much_more_of_the_words_the_passage_holds() -> None:
    others = [passage("Cats sleep.", document=str(i)) for i in range(7)]
    near, apart = chosen("quasar brightness", [passage("Quasar brightness."), *others]).features
    assert near == 0  # every vector is at a right angle
    assert apart == pytest.approx(0.9)  # all of the question, less what is usual
    assert chosen("quasar brightness", [passage("Quasar size."), *others]).features[1] < 0.5


def test_several_passages_that_answer_do_not_weaken_each_other() -> None:
    answers = [passage("Quasar brightness.", document=f"a{i}") for i in range(3)]
    others = [passage("Cats sleep.", document=str(i)) for i in range(5)]
    alone = chosen("quasar brightness", [answers[0], *others, *others[:2]])
    together = chosen("quasar brightness", [*answers, *others])
    assert together.features[1] == alone.features[1]


def test_two_sentences_that_each_hold_a_part_are_nearer_than_either() -> None:
    wanted = asked("alpha beta")
    passages = [passage("Alpha. Beta.")]
    found = candidates(wanted, passages, 5)
    question = np.array([0.6, 0.8], dtype=np.float32)
    features = choose(wanted, passages, found, np.eye(2, dtype=np.float32), question).features
    assert features[0] == pytest.approx(1, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_evidence_is_finite_whatever_the_texts(texts: list[str], question: str) -> None:
    passages = [passage(text, document=str(i)) for i, text in enumerate(texts)]
    wanted = asked(question)
    found = candidates(wanted, passages, 10)
    if not found:
        return
    rows = np.ones((len(found), 3), dtype=np.float32) / np.sqrt(3)
    choice = choose(wanted, passages, found, rows, rows[0])
    assert np.isfinite(choice.features).all()
    assert 1 <= len(choice.quoted) <= 2
