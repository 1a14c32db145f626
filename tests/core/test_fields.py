"""Declared fields: what fits them, and where metadata has them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsvc.core.fields import MISSING, microseconds, misfit, value_of


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "a", "5"], [5, True, {}, ["a", 1], [["a"]]]),
        ("integer", [0, -(2**63), 2**63 - 1, 1.0, -0.0], [2**63, 1.5, True, "1", 1e300, {}]),
        ("number", [0, 1.5, 1e300, 10**20, 5e-324], [True, "1", 10**400, float("inf"), {}]),
        ("boolean", [True, False], [0, 1, "true", {}]),
        ("datetime", ["2024-05-31", "2024-05-31T12:00:00Z"], [5, "5", "2024", True, {}]),
    ],
)
def test_a_value_fits_its_type_or_is_named(kind: Any, good: Any, bad: Any) -> None:
    for value in [*good, None, [], good, [None, good[0]]]:
        assert misfit("metadata.a", kind, value) is None
    for value in bad:
        wrong = misfit("metadata.a", kind, value)
        assert wrong is not None
        assert wrong.startswith("metadata.a")
        assert f" is not a {kind}" in wrong or f" is not an {kind}" in wrong


def test_a_value_is_found_in_the_chunk_before_the_document_and_by_its_key_before_its_path() -> None:
    assert value_of("a", {"a": 1}, {"a": 2}) == 1
    assert value_of("a", None, {"a": 2}) == 2
    assert value_of("a", {"a": None}, {"a": 2}) is None
    assert value_of("a", {}, {}) is MISSING
    assert value_of("a.b", {"a": {"b": 1}}, {"a.b": 2}) == 1
    assert value_of("a.b", {"a": {"b": 1}, "a.b": 2}) == 2
    assert value_of("a.b.c", {"a": {"b": [{"c": 1}]}}) is MISSING
    assert value_of("a..b", {"a": {"": {"b": 1}}}) is MISSING


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-31T24:00:00Z",
        "2024-02-30",
        "2024-5-31",
        "2024-05-31T00:00:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2024-05-31T00:00:00+15:00",
        "12:00:00Z",
        "",
        "２024-05-31",
        5,
        None,
    ],
)
def test_what_is_no_time_is_not_taken_for_one(text: Any) -> None:
    assert microseconds(text) is None


@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
def test_a_time_is_the_same_in_every_zone(at: datetime, minutes: int) -> None:
    utc = at.replace(tzinfo=UTC)
    if not datetime(2, 1, 1) < at < datetime(9998, 1, 1):
        return
    there = (utc + timedelta(minutes=minutes)).replace(tzinfo=None)
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    written = f"{there.isoformat()}{sign}{size // 60:02d}:{size % 60:02d}"
    assert microseconds(written) == microseconds(utc.isoformat().replace("+00:00", "Z"))
