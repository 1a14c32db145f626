"""What README.md lists is what the code has."""

import re
from pathlib import Path

from embedsvc.cli import cli
from embedsvc.settings import describe

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_settings_table_is_that_of_the_code() -> None:
    listed = re.findall(r"^\| `(EMBEDSVC_\w+)` \| (?:`(.*?)`)? ?\| (.*?) \|$", README, re.MULTILINE)
    assert listed == describe()


def test_every_command_is_mentioned() -> None:
    for name in cli.commands:
        assert re.search(rf"\b{name}\b", README), name


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
