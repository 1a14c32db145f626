"""What was embedded, by day, collection and model, over HTTP."""

from datetime import UTC, datetime
from typing import Any


def add(web: Any, collection: str, *texts: str) -> Any:
    documents = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    return web(
        "POST", f"/v1/collections/{collection}/documents", json={"documents": documents}
    ).json()


def test_what_was_embedded_is_summed_by_collection_and_model(web: Any) -> None:
    added = add(web, "counted", "one two three", "four five")
    assert added["usage"] == {"tokens": 5, "cost_usd": 0.0}
    web("POST", "/v1/collections/counted/search", json={"query": "six seven"})
    lines = web("GET", "/v1/usage").json()["usage"]
    mine = next(line for line in lines if line["collection"] == "counted")
    assert mine["model"] == "hash:256"
    assert (mine["tokens"], mine["texts"], mine["requests"]) == (7, 3, 2)
    assert (mine["cost_usd"], mine["unpriced_tokens"]) == (0.0, 0)


def test_nothing_is_counted_for_what_is_not_embedded_again(web: Any) -> None:
    add(web, "again", "the same text")
    before = web("GET", "/v1/usage", params={"group_by": "collection"}).json()["usage"]
    added = add(web, "again", "the same text")
    assert added["usage"]["tokens"] == 0
    assert web("GET", "/v1/usage", params={"group_by": "collection"}).json()["usage"] == before


def test_the_report_says_how_old_its_prices_are_and_can_be_grouped_by_day(web: Any) -> None:
    add(web, "daily", "some text")
    found = web("GET", "/v1/usage", params={"group_by": "day"}).json()
    assert found["prices_date"].startswith("20")
    assert [line["day"] for line in found["usage"]] == [datetime.now(UTC).date().isoformat()]
    assert "collection" not in found["usage"][0]
    assert len(web("GET", "/v1/usage", params={"group_by": ""}).json()["usage"]) == 1


def test_an_unknown_group_is_refused_with_the_known_ones(web: Any) -> None:
    answer = web("GET", "/v1/usage", params={"group_by": "colour"})
    assert answer.status_code == 400
    assert "'colour'" in answer.json()["detail"]
    assert "collection" in answer.json()["detail"]
