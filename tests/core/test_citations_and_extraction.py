"""Citations that were checked."""

from embedsvc.core.citations import check
from embedsvc.core.model import Chunk


def chunk(text: str, start: int = 0) -> Chunk:
    return Chunk(1, "d", 0, start, start + len(text), None, text, None, None, {})


def test_a_quote_that_stands_in_the_chunk_is_verified_with_its_offsets() -> None:
    document = "Before. The answer is 42. After."
    found = check(3, "answer is 42", chunk(document[8:25], 8))
    assert (found.marker, found.status) == (3, "verified")
    assert document[found.start : found.end] == "answer is 42"


def test_a_quote_that_differs_by_a_letter_is_not_found() -> None:
    for quote in ("The Answer is 42.", "answer  is 42", "", "Before"):
        found = check(1, quote, chunk("The answer is 42.", 8))
        assert (found.status, found.start, found.end) == ("not_found", None, None)


def test_offsets_count_characters_and_not_bytes() -> None:
    document = "😀😀 é東京 here"
    found = check(1, "東京", chunk(document))
    assert document[found.start : found.end] == "東京"
