"""Documents: checked, cut, and each chunk given the address of its vector."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.model import Chunking, Space, Truncated
from embedsvc.core.preparing import (
    MOST_ID,
    MOST_METADATA,
    MOST_TITLE,
    TITLE_SHARE,
    Cut,
    Draft,
    DraftChunk,
    check_labels,
    key_of_text,
    key_of_vector,
    prepare,
)
from embedsvc.core.tokens import approximate_starts
from embedsvc.core.vectors import to_blob
from embedsvc.errors import EmbedsvcError, InvalidInput, TooLarge

SPACE = Space("hash", "4", 4)
WHOLE = Chunking()
SMALL = Space("small", "", 4, max_tokens=22, special_tokens=2)


def cut(draft: Draft, chunking: Chunking = WHOLE, space: Space = SPACE) -> Cut:
    return prepare(draft, chunking, space, approximate_starts, 10_000)


def refused(draft: Draft) -> EmbedsvcError:
    with pytest.raises(EmbedsvcError) as caught:
        cut(draft)
    assert isinstance(caught.value, InvalidInput | TooLarge)
    return caught.value


def test_a_text_becomes_chunks_that_stand_in_it() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(50))
    found = cut(Draft("d", text=text), Chunking(size=20))
    document = found.document
    assert len(document.pieces) > 5
    assert all(text[piece.start : piece.end] == piece.text for piece in document.pieces)
    assert document.text_hash == sha256(text.encode()).digest()
    assert found.texts == {piece.key: piece.text for piece in document.pieces}
    assert all(piece.key == key_of_text(piece.text) for piece in document.pieces)
    assert all(found.tokens[key] == len(approximate_starts(t)) for key, t in found.texts.items())


def test_ready_made_chunks_stand_in_the_text_of_their_document() -> None:
    given_ = [DraftChunk("one"), DraftChunk("two", {"page": 2}), DraftChunk("one")]
    document = cut(Draft("d", chunks=given_)).document
    assert [p.text for p in document.pieces] == ["one", "two", "one"]
    assert all(document.text[p.start : p.end] == p.text for p in document.pieces)
    assert document.pieces[1].metadata == {"page": 2}


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (Draft("d", text=""), "text: "),
        (Draft("d", text=" \n\t"), "text: "),
        (Draft("d"), "text: "),
        (Draft("d", text="a", chunks=[DraftChunk("b")]), "text: "),
        (Draft("d", chunks=[]), "chunks: "),
        (Draft("d", chunks=[DraftChunk("a"), DraftChunk(" ")]), "chunks[1].text: "),
        (Draft("d", text="a\0b"), "text: "),
        (Draft("d", text="a\ud800b"), "text: "),
        (Draft("d", text="\udc00"), "text: "),
        (Draft("d", chunks=[DraftChunk("a\0")]), "chunks[0].text: "),
        (Draft("d", chunks=[DraftChunk("a\ud800")]), "chunks[0].text: "),
        (Draft("d", chunks=[DraftChunk("a", {"k": "\0"})]), "chunks[0].metadata: "),
        (Draft("", text="a"), "id: "),
        (Draft("x" * (MOST_ID + 1), text="a"), "id: "),
        (Draft("a\0", text="a"), "id: "),
        (Draft("a\ud800", text="a"), "id: "),
        (Draft("d", text="a", title="a\0"), "title: "),
        (Draft("d", text="a", title="\udfff"), "title: "),
        (Draft("d", text="a", url="\0"), "url: "),
        (Draft("d", text="a", metadata={"k": "\0"}), "metadata: "),
        (Draft("d", text="a", metadata={"k\0": 1}), "metadata: "),
        (Draft("d", text="a", metadata={"k": [{"i": "a\0b"}]}), "metadata: "),
        (Draft("d", text="a", metadata={"k": "\ud800"}), "metadata: "),
        (Draft("d", text="a", metadata={"\udc00": 1}), "metadata: "),
        (Draft("d", text="a", vectors=[[1, 2, 3]]), "vectors: "),
        (Draft("d", text="a", vectors=[[1, 2, 3, float("nan")]]), "vectors: "),
        (Draft("d", text="a", vectors=[[0, 0, 0, 0]]), "vectors: "),
        (Draft("d", text="a", vectors=[]), "vectors: "),
        (Draft("d", text="a", vectors=[[1, 2, 3, 4]] * 2), "vectors: "),
        (Draft("d", chunks=[DraftChunk("a")], vectors=[[1, 2, 3, 4]] * 2), "vectors: "),
    ],
)
def test_what_cannot_be_stored_is_refused_naming_the_field(draft: Draft, field: str) -> None:
    assert refused(draft).detail.startswith(field)


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (Draft("d", text="a" * 10_001), "text: 10001 characters"),
        (Draft("d", chunks=[DraftChunk("a" * 5_000)] * 3), "text: "),
        (Draft("d", text="a", title="t" * (MOST_TITLE + 1)), "title: "),
        (Draft("d", text="a", url="u" * (MOST_TITLE + 1)), "url: "),
        (Draft("d", text="a", metadata={"k": "v" * MOST_METADATA}), "metadata: "),
        (
            Draft("d", chunks=[DraftChunk("a", {"k": "v" * MOST_METADATA})]),
            "chunks[0].metadata: ",
        ),
    ],
)
def test_what_is_too_large_is_refused_naming_the_limit(draft: Draft, field: str) -> None:
    error = refused(draft)
    assert isinstance(error, TooLarge)
    assert error.detail.startswith(field)
    assert "at most" in error.detail


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_metadata_that_is_nested_without_end_is_refused_in_words(depth: int) -> None:
    """Python's encoder gives up at some depth, and SQLite at 1,000."""
    assert refused(Draft("d", text="a", metadata={"k": nested(depth)})).detail.startswith(
        "metadata"
    )


def test_the_longest_id_and_title_are_accepted() -> None:
    found = cut(Draft("x" * MOST_ID, text="a", title="t" * MOST_TITLE, url="u" * MOST_TITLE))
    assert found.document.id == "x" * MOST_ID


def test_a_backslash_u0000_spelt_out_is_not_a_nul_character() -> None:
    check_labels(Draft("d", text="a", metadata={"k": "\\u0000"}))


def test_text_that_is_not_ascii_is_kept_as_it_is() -> None:
    text = "Žluťoučký kůň 東京 😀 \u202e \ufeff"
    document = cut(Draft("ключ/😀", text=text, title="τίτλος", metadata={"ключ": "值"})).document
    assert (document.text, document.title, document.metadata) == (text, "τίτλος", {"ключ": "值"})


def test_same_text_and_title_have_the_same_address() -> None:
    one = cut(Draft("a", text="hello", title="T", metadata={"x": 1})).document.pieces[0].key
    two = cut(Draft("b", text="hello", title=" T ", url="u")).document.pieces[0].key
    assert one == two


def test_another_title_is_another_address() -> None:
    keys = {
        cut(Draft("a", text="hello", title=title)).document.pieces[0].key
        for title in (None, "T", "U")
    }
    assert len(keys) == 3


def test_a_ready_made_vector_never_shares_an_address_with_a_text() -> None:
    plain = cut(Draft("a", text="hello")).document.pieces[0].key
    ready = cut(Draft("a", text="hello", vectors=[[1, 0, 0, 0]]))
    assert ready.texts == {}
    key = ready.document.pieces[0].key
    assert key != plain
    row = ready.vectors[key]
    assert key == key_of_vector(to_blob(row))
    np.testing.assert_allclose(row, [1, 0, 0, 0])


@given(st.binary(max_size=64))
def test_no_text_is_addressed_as_a_vector_of_the_same_bytes(blob: bytes) -> None:
    assert key_of_text(blob.decode("latin-1")) != key_of_vector(blob)


def test_two_documents_with_the_same_ready_vector_share_it() -> None:
    one = cut(Draft("a", text="hello", vectors=[[2, 0, 0, 0]])).document.pieces[0].key
    two = cut(Draft("b", text="other", vectors=[[5, 0, 0, 0]])).document.pieces[0].key
    assert one == two


def test_a_text_with_a_ready_vector_stays_one_chunk() -> None:
    text = "One sentence. " * 300
    assert len(cut(Draft("a", text=text, vectors=[[1, 0, 0, 0]])).document.pieces) == 1


def test_another_ready_vector_is_a_change_of_the_document() -> None:
    def content(*vectors: list[float]) -> bytes:
        chunks = [DraftChunk("x"), DraftChunk("x"), DraftChunk("x")]
        return cut(Draft("a", chunks=chunks, vectors=vectors)).document.content_hash

    a, b = [1.0, 0, 0, 0], [0, 1.0, 0, 0]
    assert content(a, b, a) == content(a, b, a)
    assert content(a, b, a) != content(b, a, a)
    assert content(a, b, a) != content(a, b, b)


def test_other_chunks_of_the_same_text_are_a_change_of_the_document() -> None:
    one = cut(Draft("a", chunks=[DraftChunk("x\n\ny")])).document
    two = cut(Draft("a", chunks=[DraftChunk("x"), DraftChunk("y")])).document
    plain = cut(Draft("a", text="x\n\ny")).document
    labelled = cut(Draft("a", chunks=[DraftChunk("x"), DraftChunk("y", {"p": 1})])).document
    assert one.text == two.text == plain.text
    assert len({d.content_hash for d in (one, two, plain, labelled)}) == 4


def test_the_title_is_read_by_the_model_before_every_chunk() -> None:
    found = cut(Draft("a", text="One here. Two there.", title=" The title "), Chunking(size=3))
    assert len(found.texts) == 2
    assert all(text.startswith("The title\n") for text in found.texts.values())
    assert [piece.text for piece in found.document.pieces] == ["One here.", "Two there."]


def test_a_long_title_takes_a_share_of_the_window_and_no_more() -> None:
    title = " ".join(f"word{n}" for n in range(200))
    found = cut(Draft("a", text="One here.", title=title), Chunking(size=20), SMALL)
    header = next(iter(found.texts.values())).partition("\n")[0]
    assert 0 < len(approximate_starts(header)) <= 20 // TITLE_SHARE
    assert found.document.title == title
    assert found.truncated == ()


@pytest.mark.parametrize(
    "space", [SPACE, replace(SMALL, max_tokens=258)], ids=["endless", "window"]
)
def test_a_long_title_does_not_cut_a_text_into_crumbs(space: Space) -> None:
    text = "word " * 400
    title = "title " * 40
    plain = cut(Draft("a", text=text), Chunking(size=40), space).document.pieces
    titled = cut(Draft("a", text=text, title=title), Chunking(size=40), space).document.pieces
    assert len(titled) <= 2 * len(plain)


@given(st.integers(1, 60), st.integers(0, 30), st.integers(1, 40))
def test_no_chunk_is_truncated_whatever_the_title(words: int, title: int, size: int) -> None:
    draft = Draft("a", text="word " * words, title="t " * title)
    assert cut(draft, Chunking(size=min(size, 20)), SMALL).truncated == ()


def test_chunks_longer_than_the_model_reads_are_told_one_by_one() -> None:
    long = DraftChunk("word " * 30)
    found = cut(Draft("a", chunks=[DraftChunk("short"), long, long]), space=SMALL)
    assert found.truncated == (Truncated(1, 30, 20), Truncated(2, 30, 20))
    titled = cut(Draft("a", chunks=[long], title="Of words"), space=SMALL)
    assert titled.truncated == (Truncated(0, 32, 20),)
    whole = cut(Draft("a", text="word " * 30), Chunking(strategy="none"), SMALL)
    assert whole.truncated == (Truncated(0, 30, 20),)


def test_a_truncated_chunk_is_kept_whole_and_addressed_by_what_is_read() -> None:
    words = [f"word{n % 10}" for n in range(30)]
    (piece,) = cut(Draft("a", chunks=[DraftChunk(" ".join(words))]), space=SMALL).document.pieces
    assert piece.text == " ".join(words)
    read = " ".join(words[:10]) + " "  # each is two tokens
    assert piece.key == key_of_text(read)
    changed = cut(Draft("a", chunks=[DraftChunk(" ".join([*words[:10], "other"]))]), space=SMALL)
    assert changed.document.pieces[0].key == piece.key, "the model reads the same of both"


def test_a_text_that_is_too_long_is_an_error_where_that_is_wanted() -> None:
    chunks = [DraftChunk("short"), DraftChunk("word " * 21)]
    with pytest.raises(TooLarge, match=r"chunks\[1\].text: 21 tokens, .* reads 20") as caught:
        cut(Draft("a", chunks=chunks), Chunking(too_long="error"), SMALL)
    assert caught.value.code == "text_too_long"
    fits = cut(Draft("a", chunks=chunks[:1]), Chunking(too_long="error"), SMALL)
    assert len(fits.document.pieces) == 1
    cut(Draft("a", text="word " * 100), Chunking(too_long="error"), SMALL)  # cut into chunks


def test_a_chunk_that_is_too_long_is_split_where_that_is_wanted() -> None:
    chunks = [DraftChunk("short"), DraftChunk("word " * 50, {"page": 2})]
    found = cut(Draft("a", chunks=chunks), Chunking(too_long="split"), SMALL)
    assert found.truncated == ()
    assert [piece.metadata for piece in found.document.pieces] == [None] + [{"page": 2}] * 3
    assert "".join(piece.text for piece in found.document.pieces).count("word") == 50


@pytest.mark.parametrize("policy", ["truncate", "split", "error"])
def test_ready_made_vectors_are_of_the_whole_text_whatever_the_policy(policy: Any) -> None:
    draft = Draft("a", text="word " * 100, vectors=[[1, 0, 0, 0]])
    found = cut(draft, Chunking(too_long=policy), SMALL)
    assert [piece.text for piece in found.document.pieces] == ["word " * 99 + "word"]
    assert found.truncated == ()


_WORDS = st.sampled_from(["a", "be", "extraordinarily", "東京都", "3.14", "End.", "Why?", "x" * 70])
_TEXTS = st.lists(_WORDS, min_size=1, max_size=60).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(_TEXTS, st.lists(_TEXTS, min_size=1, max_size=4)),
    st.integers(1, 40),
    st.sampled_from(["sentences", "tokens", "none"]),
    st.sampled_from(["truncate", "split", "error"]),
    st.sampled_from(["", "A title", "t " * 40]),
)
def test_whatever_is_too_long_chunks_stand_in_the_text_and_keys_tell_what_is_read(
    text: Any, size: int, strategy: Any, policy: Any, title: str
) -> None:
    chunks = None if isinstance(text, str) else [DraftChunk(one) for one in text]
    draft = Draft("a", text=text if chunks is None else None, chunks=chunks, title=title)
    refused = ""
    try:
        found = cut(draft, Chunking(size, 0, strategy, policy), SMALL)
    except TooLarge as error:
        refused = error.code
    if refused:
        assert (policy, refused) == ("error", "text_too_long")
        return
    document = found.document
    assert all(document.text[p.start : p.end] == p.text for p in document.pieces)
    covered = {at for p in document.pieces for at in range(p.start, p.end)}
    assert all(document.text[at].isspace() for at in set(range(len(document.text))) - covered)
    cut_short = {told.index for told in found.truncated}
    assert policy == "truncate" or not cut_short
    for number, piece in enumerate(document.pieces):
        read = found.texts[piece.key]
        assert piece.key == key_of_text(read)
        assert len(approximate_starts(read)) == found.tokens[piece.key] <= SMALL.window
        own = read[len(title.strip()) + 1 :] if title == "A title" else read.rpartition("\n")[2]
        assert piece.text.startswith(own)
        assert (own != piece.text) == (number in cut_short)


def test_labels_alone_can_be_checked() -> None:
    check_labels(Draft("d", title="t", metadata={"a": 1}))
    with pytest.raises(InvalidInput, match="metadata"):
        check_labels(Draft("d", metadata={"a": "\0"}))
