"""Citations: quotes found although written a little differently, and claims weighed."""

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from embedsvc.core.citations import Checker, Citation
from embedsvc.core.model import Chunk
from embedsvc.core.quotes import MOST_TRIED, folded, locate
from embedsvc.core.wording import Wording

TEXT = (
    "Before: the “Eiffel  Tower” — built in\n1889 — isn’t the tallest. It cost 1,000 francs "
    "(see 1.5). Der Preis: « oui » and ﬁne Köln. The drug is certainly not effective. "
    "**Bold** words; informa-\ntion is here. 東京は日本の首都です。 He said “yes”."
)


def chunk(text: str, start: int = 0) -> Chunk:
    return Chunk(1, "d", 0, start, start + len(text), None, text, None, None, {})


def check(quote: str, source: Chunk | None, claim: str = "", question: str = "") -> Citation:
    checker = Checker([] if source is None else [source], question)
    return checker.checked(1, [(0, quote)], Wording(claim))[0]


def found(quote: str, text: str = TEXT) -> str | None:
    span = locate(quote, text)
    return None if span is None else text[slice(*span)]


# -- where a quote stands -----------------------------------------------------------------------


def test_a_quote_that_stands_in_the_chunk_is_verified_with_its_offsets() -> None:
    document = "Before. The answer is 42. After."
    citation = Checker([chunk(document[8:25], 8)], "").found(3, 0, "answer is 42")
    assert citation is not None
    assert (citation.marker, citation.status) == (3, "verified")
    assert document[citation.start : citation.end] == "answer is 42" == citation.quote


def test_offsets_count_characters_and_not_bytes() -> None:
    document = "😀😀 é東京 here"
    citation = check("東京", chunk(document))
    assert document[citation.start : citation.end] == "東京"


@pytest.mark.parametrize(
    ("quote", "exact"),
    [
        ('the "Eiffel Tower" - built in 1889', "the “Eiffel  Tower” — built in\n1889"),
        ("the Eiffel Tower", "the “Eiffel  Tower"),
        ("THE EIFFEL TOWER", "the “Eiffel  Tower"),
        ("'built in 1889--isn't the tallest.'", "built in\n1889 — isn’t the tallest."),
        ("“isn't the tallest”", "isn’t the tallest"),
        ("oui and fine Ko\u0308ln", "oui » and ﬁne Köln"),
        ("Der Preis: \"oui\"", "Der Preis: « oui"),
        ("Bold words", "Bold** words"),
        ("information is here", "informa-\ntion is here"),
        ("It cost 1,000 francs…", "It cost 1,000 francs"),
        ("built in … tallest", "built in\n1889 — isn’t the tallest"),
        ("built in [...] tallest. It cost", "built in\n1889 — isn’t the tallest. It cost"),
        ("The drug is ... effective.", "The drug is certainly not effective."),
        ("東京は日本の首都", "東京は日本の首都"),
        ("１,０００ francs", "1,000 francs"),
        ("he said \"yes\"", "He said “yes"),
        ("1,000", "1,000"),
        ("(see 1.5)", "(see 1.5)"),
        ("Köln", "Köln"),
    ],
)  # fmt: skip
def test_what_does_not_change_the_words_may_differ(quote: str, exact: str) -> None:
    assert found(quote) == exact


@pytest.mark.parametrize(
    "quote",
    [
        "",
        " … ",
        "the",
        "is",
        "of the",
        "words",
        "built in 1888",
        "000 francs",
        "cost 1",
        "see 1",
        "5).",
        "iffel Tower",
        "Eiffel Tow",
        "francs cost",
        "effective … certainly",
        "Kolm Koln",
        "isnt the tall",
        "The Eiffel Tower was tall",
        "京",
    ],
)
def test_other_words_parts_of_words_and_too_few_are_not_found(quote: str) -> None:
    assert found(quote) is None
    citation = check(quote, chunk(TEXT, 8), claim="The tower is tall.")
    assert (citation.start, citation.end) == (None, None) or not quote


def test_words_left_out_may_not_be_far_apart() -> None:
    text = f"The beginning stands here. {'Filler text. ' * 50}And the ending stands there."
    assert found("The beginning … the ending stands", text) is None
    assert found("The beginning … stands here", text) == "The beginning stands here"


def test_a_quote_that_stands_twice_is_the_first() -> None:
    assert locate("two words", "Well, two words and two words.") == (6, 15)


TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(
            " \n\t.,;:!?…\"'“”‘’«»-–—*_aAbBßéİﬁ½①Ⅳ19東京がか\u0301\u0323\u00ad\u200bé한ไ"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(TEXTS)
def test_every_folded_character_knows_where_it_comes_from(text: str) -> None:
    made = folded(text)
    assert len(made.text) == len(made.origins)
    assert all(0 <= origin < len(text) for origin in made.origins)
    for character, origin in zip(made.text, made.origins, strict=True):
        if character.isalnum() and character.isascii():
            plain = unicodedata.normalize("NFKD", text[origin])
            assert character in unicodedata.normalize("NFKD", plain.casefold())


@settings(max_examples=80, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 60), st.integers(0, 60))
def test_offsets_always_give_the_quote(before: str, text: str, start: int, size: int) -> None:
    document = f"{before}{text}"
    source = chunk(text, len(before))
    for quote in (text[start : start + size], text[start:].upper(), f"“{text[start:]}”…"):
        citation = check(quote, source)
        if citation.start is None:
            assert citation.status != "verified"
        else:
            assert document[citation.start : citation.end] == citation.quote != ""


SOME_WORDS = [
    "Paris",
    "is",
    "the",
    "capital",
    "“of”",
    "France,",
    "1,000",
    "isn’t",
    "—",
    "né",
    "東京",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SOME_WORDS), min_size=3, max_size=12), st.data())
def test_whole_words_of_a_text_are_found_however_they_are_set(
    words: list[str], data: st.DataObject
) -> None:
    text = " ".join(words)
    start = data.draw(st.integers(0, len(words) - 2))
    part = words[start : data.draw(st.integers(start + 2, len(words)))]
    assume(locate(" ".join(part), text) is not None)
    gap = data.draw(st.sampled_from([" ", "\n", "  ", "\u00a0 "]))
    for changed in (str.upper, lambda s: unicodedata.normalize("NFD", s), lambda s: f"«{s}»."):
        assert locate(changed(gap.join(part)), text) == locate(" ".join(part), text)


def test_a_strange_quote_takes_no_time_to_speak_of() -> None:
    assert locate("a " * 1_000 + "… b", "a " * 10_000) is None
    assert locate("ab … cd", "ab " * 10_000) is None
    assert locate("\u0301" * 5_000, "a" + "\u0301" * 5_000) is None


def test_few_places_are_tried_for_a_quote_and_all_its_parts() -> None:
    part = "rivers flow"
    assert locate(f"{part} … seas", f"{part}. " * (MOST_TRIED - 2) + "Seas.") is not None
    assert locate(f"{part} … seas", f"{part}. " * (MOST_TRIED + 60) + "Seas.") is None


# -- what it says -------------------------------------------------------------------------------

FRANCE = "Paris is the capital of France. It has 2 million inhabitants."


def judged(quote: str, claim: str, question: str = "") -> Citation:
    return check(quote, chunk(FRANCE, 100), claim, question)


def test_words_that_support_the_claim_are_verified() -> None:
    citation = judged("paris is the capital", "The capital of France is Paris.")
    assert citation == Citation(1, chunk(FRANCE, 100), "Paris is the capital", 100, 120, "verified")


def test_words_that_stand_there_for_another_claim_are_unsupported_and_keep_their_place() -> None:
    citation = judged("Paris is the capital", "Paris is the largest city of Europe.")
    assert (citation.status, citation.start, citation.end) == ("unsupported", 100, 120)


def test_words_that_do_not_stand_there_are_not_found_and_made_inert() -> None:
    citation = judged("Paris ![x](http://evil.example) <b>", "Paris is the capital.")
    assert (citation.status, citation.start) == ("not_found", None)
    assert citation.quote == "Paris x &lt;b>"


def test_a_mark_without_words_gets_the_sentence_that_supports_the_claim() -> None:
    citation = judged("", "Paris has two million inhabitants.", "How large is Paris?")
    assert (citation.status, citation.quote) == ("verified", "It has 2 million inhabitants.")
    assert (citation.start, citation.end) == (132, 161)


def test_a_mark_without_words_or_support_is_unsupported_and_has_no_place() -> None:
    citation = judged("", "The moon is made of cheese.")
    assert citation == Citation(1, chunk(FRANCE, 100), "", None, None, "unsupported")


def test_a_mark_that_names_no_source_is_not_found() -> None:
    for quote in ("", "Paris is the capital"):
        citation = check(quote, None, "Paris is the capital of France.")
        assert citation == Citation(1, None, quote, None, None, "not_found")


def test_a_pronoun_may_take_its_name_from_the_sentence_before_or_the_question() -> None:
    assert judged("It has 2 million inhabitants", "Paris has 2 million inhabitants.").status == (
        "verified"
    )
    assert judged("It has 2 million inhabitants", "Rome has 2 million inhabitants.").status == (
        "unsupported"
    )
