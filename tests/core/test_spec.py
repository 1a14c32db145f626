"""Names of models: read as they are written, and written as they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.spec import LONGEST, Spec, parse_spec, refuse_options
from embedsvc.errors import InvalidInput

_NAME = st.text(
    st.characters(codec="utf-8", exclude_characters="?:", exclude_categories=["Cc", "Cs"]),
    max_size=12,
)
_OPTIONS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("hash", Spec("hash")),
        ("hash:64", Spec("hash", "64")),
        ("local:all-MiniLM-L6-v2", Spec("local", "all-MiniLM-L6-v2")),
        ("ollama:nomic-embed-text:latest", Spec("ollama", "nomic-embed-text:latest")),
        ("huggingface:BAAI/bge-m3", Spec("huggingface", "BAAI/bge-m3")),
        (
            "local:m?backend=onnx&precision=int8",
            Spec("local", "m", {"backend": "onnx", "precision": "int8"}),
        ),
        ("local:m?task=a+b%26c", Spec("local", "m", {"task": "a b&c"})),
        ("local:m?task=", Spec("local", "m", {"task": ""})),
        ("local:m?", Spec("local", "m")),
        ("", Spec("")),
    ],
)
def test_a_spec_is_a_provider_a_model_and_options(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@given(_NAME, _NAME, _OPTIONS)
def test_what_is_written_is_read_again(provider: str, model: str, options: dict[str, str]) -> None:
    spec = Spec(provider, model, options)
    assert parse_spec(str(spec)) == spec


def test_options_are_written_in_one_order() -> None:
    one, two = parse_spec("local:m?b=2&a=1"), parse_spec("local:m?a=1&b=2")
    assert str(one) == str(two) == "local:m?a=1&b=2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local:m?backend", "'local:m.backend': options are written provider:model"),
        ("local:m?a=1&a=2", "'local:m.a=1&a=2': an option comes twice"),
        ("local:m?&", "options are written"),
        ("local:m?" + "&".join(f"o{n}=1" for n in range(17)), "options are written"),
        ("gemini:a\nb", "no line breaks"),
        ("openai:gpt\0", "no control characters"),
        ("x" * (LONGEST + 1), f"{LONGEST + 1} characters; a spec has at most {LONGEST}"),
    ],
)
def test_what_is_no_spec_is_refused_naming_it(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_spec(text)


def test_options_of_a_space_take_the_place_of_those_asked_for() -> None:
    spec = parse_spec("local:m?backend=onnx&precision=fp32", 10)
    assert spec.overlaid("precision=int8&backend=ctranslate2") == parse_spec(
        "local:m?backend=ctranslate2&precision=int8", 10
    )
    assert spec.overlaid("") == spec


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    refuse_options(parse_spec("local:m?backend=onnx"), {"backend": 1, "precision": 2})
    with pytest.raises(InvalidInput, match="no option 'bakend'; known are backend, precision"):
        refuse_options(parse_spec("local:m?bakend=onnx"), {"precision": 1, "backend": 2})
    with pytest.raises(InvalidInput, match="hash has no option 'size'; it has none"):
        refuse_options(parse_spec("hash?size=1"))
