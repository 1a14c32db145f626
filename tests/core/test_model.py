"""Values that every layer shares: hashes that tell documents apart, names of spaces, tokens."""

import numpy as np

from embedsvc.core.model import Prepared, Space, content_hash
from embedsvc.core.tokens import approximate_starts, words


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
