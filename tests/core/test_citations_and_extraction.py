"""Citations that were checked, sentences that were chosen, hashes that tell documents apart."""

import numpy as np

from embedsvc.core.citations import check
from embedsvc.core.extraction import candidates, cosines, rank
from embedsvc.core.model import Chunk, Prepared, Space, content_hash
from embedsvc.core.tokens import approximate_starts, words


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


def test_sentences_that_share_rare_words_come_first() -> None:
    texts = ["The cat sat. The dog ran.", "The quasar shone. The cat slept."]
    found = candidates("Where did the quasar shine?", texts, 10)
    assert found[0].text == "The quasar shone."
    assert found[0].source == 1
    assert len(found) == 4
    assert all(0 <= one.overlap <= 1 for one in found)


def test_at_most_so_many_sentences_are_candidates() -> None:
    assert len(candidates("a", ["One. Two. Three. Four."], 2)) == 2


def test_a_question_or_text_without_words_has_no_overlap_and_no_error() -> None:
    assert [one.overlap for one in candidates("???", ["One. Two."], 5)] == [0.0, 0.0]
    assert candidates("what", ["", " \n"], 5) == []
    assert candidates("what", [], 5) == []


def test_evidence_grows_with_cosine_overlap_and_the_nearness_of_the_chunk() -> None:
    found = candidates("red fox", ["The red fox. A blue whale."], 5)
    order = rank(found, np.array([0.9, 0.1], dtype=np.float32), [0.5])
    assert found[order[0][0]].text == "The red fox."
    assert order[0][1] > order[1][1]
    nearer = rank(found, np.array([0.9, 0.1], dtype=np.float32), [0.9])
    assert nearer[0][1] > order[0][1]


def test_cosines_are_inner_products_of_unit_rows() -> None:
    found = cosines(np.eye(2, dtype=np.float32), np.array([1, 0], dtype=np.float32))
    assert found.tolist() == [1.0, 0.0]


def test_token_starts_ascend_and_never_point_at_white_space() -> None:
    text = "Hello, extraordinarily 12345 東京都 it's_fine 😀\n"
    starts = approximate_starts(text)
    assert (np.diff(starts) > 0).all()
    assert not any(text[i].isspace() for i in starts)
    assert [text[i] for i in starts[:2]] == ["H", ","]
    assert approximate_starts("").tolist() == []


def test_words_are_compared_without_regard_to_case() -> None:
    assert words("Straße, STRASSE! it's") == ["strasse", "strasse", "it", "s"]


def test_the_content_hash_tells_every_part_apart() -> None:
    base = (b"t" * 32, b"c", "title", "url", {"a": 1})
    others = [
        (b"u" * 32, b"c", "title", "url", {"a": 1}),
        (b"t" * 32, b"", "title", "url", {"a": 1}),
        (b"t" * 32, b"c", None, "url", {"a": 1}),
        (b"t" * 32, b"c", "", "url", {"a": 1}),
        (b"t" * 32, b"c", "title", None, {"a": 1}),
        (b"t" * 32, b"c", "url", "title", {"a": 1}),
        (b"t" * 32, b"c", "title", "url", {"a": 2}),
        (b"t" * 32, b"c", "title", "url", {"a": "1"}),
        (b"t" * 32, b"c", "title", "url", {"a": True}),
        (b"t" * 32, b"c", "title", "url", {}),
    ]
    hashes = {content_hash(*one) for one in [base, *others]}
    assert len(hashes) == len(others) + 1


def test_the_order_of_metadata_does_not_matter_to_the_hash() -> None:
    assert content_hash(b"", b"", None, None, {"a": 1, "b": [2]}) == content_hash(
        b"", b"", None, None, {"b": [2], "a": 1}
    )
    document = Prepared("i", "t", None, None, {}, b"x", b"", [])
    assert document.content_hash == content_hash(b"x", b"", None, None, {})


def test_a_space_knows_its_name_and_window() -> None:
    assert Space("hash", "", 3).name == "hash"
    assert Space("local", "m", 3).name == "local:m"
    assert Space("local", "m", 3).window is None
    assert Space("local", "m", 3, max_tokens=256, special_tokens=2).window == 254
