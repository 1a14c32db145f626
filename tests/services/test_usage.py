"""What was embedded and what it cost: added up, and never guessed."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from embedsvc.core.model import Chunking, Collection
from embedsvc.errors import ConfigError, InvalidInput
from embedsvc.services.usage import Meter, Prices, read_prices
from embedsvc.store.store import Store

Run = Callable[[Any], Any]
PRICES = Prices("2026-01-02", {"acme:big": 2.0, "acme:free-tier": 0.0}, frozenset({"local"}))
NOTHING = {"requests": 0, "texts": 0, "tokens": 0, "cost_usd": 0, "unpriced_tokens": 0}


def collection(name: str) -> Collection:
    return Collection(1, name, "acme:big", 1, 2, 0, 0, 0, 0, None, Chunking(), {}, 0)


def own_prices(folder: Path, content: str) -> str:
    file = folder / "prices.toml"
    file.write_text(content, encoding="utf-8")
    return str(file)


# -- prices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "tokens", "cost"),
    [
        ("acme:big", 500_000, 1.0),
        ("acme:big", 0, 0.0),
        ("acme:free-tier", 10**9, 0.0),
        ("local:anything", 10**9, 0.0),
        ("acme:bigger", 1, None),
        ("acme", 1, None),
        ("Local:anything", 1, None),
    ],
)
def test_a_price_is_for_a_million_tokens_and_unknown_stays_unknown(
    model: str, tokens: int, cost: float | None
) -> None:
    assert PRICES.cost(model, tokens) == cost


def test_the_prices_of_the_package_are_dated_and_models_here_are_free() -> None:
    prices = read_prices()
    assert datetime.fromisoformat(prices.date) < datetime.now()
    assert prices.cost("local:all-MiniLM-L6-v2", 10**9) == prices.cost("hash:256", 1) == 0.0
    assert prices.cost("openai:text-embedding-3-small", 1_000_000) == pytest.approx(0.02)
    assert prices.cost("openai:text-embedding-9", 1) is None
    assert all(price >= 0 for price in prices.models.values())
    assert all(":" in model for model in prices.models)


def test_a_file_of_ones_own_comes_before_the_package(tmp_path: Path) -> None:
    file = own_prices(
        tmp_path,
        'date = "2026-05-01"\nfree = ["vllm"]\n[models]\n'
        '"openai:text-embedding-3-small" = 0.01\n"acme:big" = 2\n',
    )
    prices = read_prices(file)
    assert prices.date == "2026-05-01"
    assert prices.cost("openai:text-embedding-3-small", 1_000_000) == pytest.approx(0.01)
    assert prices.cost("acme:big", 1_000_000) == 2.0
    assert prices.cost("vllm:m", 5) == prices.cost("hash", 5) == 0.0
    assert prices.cost("openai:text-embedding-3-large", 10**6) == pytest.approx(0.13)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "KeyError.*date"),
        ("date = [", "cannot be read"),
        ('date = "2026-01-01"\n[models]\n"a:b" = "cheap"', "a price is not a number.*cheap"),
        ('date = "2026-01-01"\nmodels = 3', "is not of the form"),
        ('date = "2026-01-01"\n[models.acme]\nbig = 3', "is not of the form"),
    ],
)
def test_a_file_that_is_wrong_is_refused_naming_it(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"EMBEDSVC_PRICES: .*prices.toml.*{said}"):
        read_prices(own_prices(tmp_path, content))


def test_a_file_that_is_not_there_is_refused_naming_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"EMBEDSVC_PRICES: .*nowhere\.toml"):
        read_prices(str(tmp_path / "nowhere.toml"))


# -- counting, on both databases ------------------------------------------------------------------


def test_counts_add_up_over_flushes_and_processes(run: Run, store: Store) -> None:
    one, two = Meter(store, PRICES), Meter(store, PRICES)

    async def work() -> Any:
        for meter in (one, two):
            for _ in range(3):
                meter.add("acme:big", 1_000, 2, collection("c"))
                await meter.flush()
            meter.add("acme:big", 1_000, 2, collection("c"))
        await two.flush()
        return await one.report(["day", "collection", "model"])

    (line,) = run(work())
    assert line.pop("cost_usd") == pytest.approx(0.016)
    assert line == {
        "day": datetime.now(UTC).date().isoformat(),
        "collection": "c",
        "model": "acme:big",
        "requests": 8,
        "texts": 16,
        "tokens": 8_000,
        "unpriced_tokens": 0,
    }


def test_tokens_without_a_price_are_told_apart_from_free_ones(run: Run, store: Store) -> None:
    meter = Meter(store, PRICES)
    meter.add("acme:big", 1_000_000, 1, None)
    meter.add("acme:unknown", 7, 1, None)
    meter.add("local:m", 11, 1, None)
    lines = {line["model"]: line for line in run(meter.report(["model"]))}
    assert {name: line["unpriced_tokens"] for name, line in lines.items()} == {
        "acme:big": 0,
        "acme:unknown": 7,
        "local:m": 0,
    }
    assert {name: line["cost_usd"] for name, line in lines.items()} == {
        "acme:big": pytest.approx(2.0),
        "acme:unknown": 0,
        "local:m": 0,
    }


def test_sums_can_be_grouped_and_lie_in_order(run: Run, store: Store) -> None:
    meter = Meter(store, PRICES)
    for name in ("b", "a"):
        for model in ("y:m", "x:m"):
            meter.add(model, 5, 1, collection(name))
    meter.add("x:m", 1, 1, None)
    by_collection = run(meter.report(["collection"]))
    assert [(line["collection"], line["tokens"]) for line in by_collection] == [
        ("", 1),
        ("a", 10),
        ("b", 10),
    ]
    assert [line["model"] for line in run(meter.report(["model"]))] == ["x:m", "y:m"]
    both = run(meter.report(["model", "collection"]))
    assert [(line["model"], line["collection"]) for line in both] == [
        ("x:m", ""),
        ("x:m", "a"),
        ("x:m", "b"),
        ("y:m", "a"),
        ("y:m", "b"),
    ]
    assert [line["tokens"] for line in run(meter.report([]))] == [21]


def test_nothing_counted_is_nothing_written(run: Run, store: Store) -> None:
    meter = Meter(store, PRICES)
    run(meter.flush())
    assert run(meter.report(["model"])) == []
    assert run(meter.report([])) == [NOTHING]


def test_an_unknown_group_is_refused(run: Run, store: Store) -> None:
    with pytest.raises(InvalidInput, match="group_by: 'colour'; known are day, collection, model"):
        run(Meter(store, PRICES).report(["day", "colour"]))


def test_a_search_and_an_upload_are_counted_for_their_collection(run: Run, opened: Any) -> None:
    from embedsvc.core.preparing import Draft
    from embedsvc.services.search import Query

    async def work() -> Any:
        async with opened() as service:
            added = await service.ingest.add("c", [Draft("a", text="one two three")])
            assert (added.tokens, added.cost_usd) == (3, 0.0)
            again = await service.ingest.add("c", [Draft("b", text="one two three")])
            assert (again.tokens, again.cost_usd) == (0, 0.0)
            found = await service.search.search("c", [Query(text="four five")])
            assert (found.tokens, found.cost_usd) == (2, 0.0)
            return await service.embedders.meter.report(["collection"])

    lines = {line["collection"]: line for line in run(work())}
    assert (lines["c"]["tokens"], lines["c"]["texts"], lines["c"]["requests"]) == (5, 2, 2)
