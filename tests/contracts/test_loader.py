"""The loaders: bytes in, text out, or a refusal in words."""

import time

import pytest

from embedsvc import plugins
from embedsvc.errors import InvalidInput
from embedsvc.ports import Loader

LOADERS = [plugins.load("loaders", name).create() for name in plugins.names("loaders")]


@pytest.fixture
def text() -> Loader:
    made: Loader = plugins.load("loaders", "text").create()
    return made


@pytest.mark.parametrize("loader", LOADERS, ids=plugins.names("loaders"))
def test_a_loader_says_what_it_reads(loader: Loader) -> None:
    assert loader.media_types
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in loader.suffixes)


@pytest.mark.parametrize("loader", LOADERS, ids=plugins.names("loaders"))
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80\x81", b"\xc3", b"\x00\xff" * 9])
def test_a_loader_refuses_noise_in_words(loader: Loader, content: bytes) -> None:
    with pytest.raises(InvalidInput):
        loader.load(content)


@pytest.mark.parametrize(
    "content",
    ["Žluť 😀", "\r\nlines\r\n", "tabs\tand  spaces ", ""],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_comes_back_as_it_was_written(text: Loader, content: str, encoding: str) -> None:
    assert text.load(content.encode(encoding)).text == content


def test_utf_16_of_both_byte_orders_is_read(text: Loader) -> None:
    assert text.load(b"\xff\xfe" + "hé".encode("utf-16-le")).text == "hé"
    assert text.load(b"\xfe\xff" + "hé".encode("utf-16-be")).text == "hé"


@pytest.mark.parametrize(
    "content", [b"abc\xffdef", b"\xef\xbb\xbf\xff", b"\xff\xfea", "é".encode("latin-1")]
)
def test_invalid_bytes_are_refused_with_their_place(text: Loader, content: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"byte [0-9]+"):
        text.load(content)


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("# The title\n\nText", "The title"),
        ("\n\n#  Spaced  ##\nText", "Spaced"),
        ("Text\n# Not first", None),
        ("#hashtag", None),
        ("## Second level", None),
        ("", None),
    ],
)
def test_the_first_heading_is_the_title(text: Loader, content: str, title: str | None) -> None:
    loaded = text.load(content.encode())
    assert loaded.title == title
    assert loaded.text == content


def test_a_strange_heading_takes_no_more_than_a_moment(text: Loader) -> None:
    content = "# " + "a " * 5_000 + "#" * 5_000 + " x\n"
    started = time.perf_counter()
    assert text.load(content.encode()).text == content
    assert time.perf_counter() - started < 0.3
