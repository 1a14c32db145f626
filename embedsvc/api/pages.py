"""Cursors of pages that go from the newest to the oldest: a time and an id."""

import re

from embedsvc.errors import InvalidInput

Place = tuple[int, str]
"""Where a page begins: before this time in microseconds and this id."""


def cursor_of(place: Place | None) -> str | None:
    """What a client sends back for the page that begins there; None after the last page."""
    return None if place is None else f"{place[0]}-{place[1]}"


def before(cursor: str, pattern: "re.Pattern[str]") -> Place | None:
    """The place that a cursor names, by the groups of `pattern`; None for the first page.

    Raises InvalidInput.
    """
    if not cursor:
        return None
    found = pattern.fullmatch(cursor)
    if found is None or int(found[1]) >= 2**63:
        raise InvalidInput(f"cursor: {cursor!r} is not a cursor; send what next_cursor gave")
    return int(found[1]), found[2]
