"""Names of groups of texts: telling words, as they are written, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from embedsvc.core.naming import name_groups

WHALES = [
    "The Whale is the largest animal; whales eat krill in the ocean.",
    "A blue whale dives deep. Krill swarms feed the Whales of the sea.",
    "Whales sing in the sea, and every whale knows its song; see page 12.",
]
BREAD = [
    "Bread is baked of flour and water in an oven; see page 14.",
    "The bakery bakes bread with flour, salt and yeast.",
    "Sourdough bread needs flour, time and a hot oven.",
]


def named(groups: list[list[str]], most: int = 5) -> list[list[str]]:
    return [[term.term for term in terms] for terms in name_groups(groups, most)]


def test_each_group_is_named_by_its_own_words() -> None:
    whales, bread = named([WHALES, BREAD])
    assert whales[0] == "whale"
    assert "krill" in whales
    assert bread[:2] == ["bread", "flour"]


def test_a_plural_is_counted_with_its_singular() -> None:
    whales = named([WHALES, BREAD], 50)[0]
    assert sum(term.lower() in ("whale", "whales") for term in whales) == 1


def test_stop_words_numbers_and_what_is_everywhere_are_left_out() -> None:
    texts = [["the blue sky 2020"], ["the blue sea 2021"], ["the blue house 7"], ["the blue dog"]]
    assert named(texts) == [["sky"], ["sea"], ["house"], ["dog"]]


def test_words_that_are_everywhere_name_a_group_that_has_no_others() -> None:
    assert named([["red car"] * 5, ["red car", "blue boat"]])[0] == ["car", "red"]


def test_words_are_written_as_they_mostly_are() -> None:
    groups = [
        ["NASA flew. NASA landed. nasa", "Öl und Straßen"],
        ["bread", "Brot und brot und Brot"],
    ]
    space, bread = named(groups)
    assert "NASA" in space
    assert "Straßen" in space
    assert "Brot" in bread
    assert "und" not in space + bread


def test_codes_and_compounds_are_words() -> None:
    assert {"COVID-19", "anti-inflammatory"} <= set(
        named([["COVID-19 is treated with anti-inflammatory drugs"], ["bread"]])[0]
    )


def test_scripts_without_spaces_have_names() -> None:
    assert "智能" in named([["人工智能改变世界"], ["今天天气很好"]], 20)[0]


def test_weights_begin_at_one_and_fall() -> None:
    for terms in name_groups([WHALES, BREAD], 6):
        weights = [term.weight for term in terms]
        assert weights[0] == 1.0
        assert weights == sorted(weights, reverse=True)
        assert weights[-1] > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=40), max_size=4), max_size=4))
def test_any_texts_can_be_named(groups: list[list[str]]) -> None:
    found = name_groups(groups, 3)
    assert len(found) == len(groups)
    assert all(len(terms) <= 3 for terms in found)
    assert found == name_groups(groups, 3)
