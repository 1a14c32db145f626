"""The manual that a new service loads says what the code has."""

import re
from pathlib import Path

from embedsvc.settings import describe

ROOT = Path(__file__).parent.parent
MANUAL = {
    file.name: file.read_text(encoding="utf-8")
    for file in sorted((ROOT / "data" / "samples").glob("*.md"))
}
INTERNAL = {"conflict", "fields_changed", "forbidden", "snapshot_damaged"}
"""Codes that no answer has: of classes that are only raised with a code of the case, or caught."""


def test_every_setting_is_described() -> None:
    for name, default, _ in describe():
        told = rf" \(`?{re.escape(default)}`?\)" if default else ""
        assert re.search(f"`{name}`{told}", MANUAL["operating.md"]), name


def test_every_code_of_an_error_is_described() -> None:
    codes = {
        code
        for file in (ROOT / "embedsvc").rglob("*.py")
        for code in re.findall(r'\bcode ?= ?"([a-z_]+)"', file.read_text(encoding="utf-8"))
    }
    described = set(re.findall(r"`([a-z_]+)` \(\d{3}\)", MANUAL["errors.md"]))
    assert codes - described - INTERNAL == {"unauthorized"}  # it is named as reserved
    assert described - codes == {"not_ready", "method_not_allowed"}  # made in the routes
