"""Plain text and Markdown: read as they are, so that offsets are those of the file."""

from embedsvc.errors import InvalidInput
from embedsvc.ports import Loaded

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def create() -> "TextLoader":
    """There is nothing to configure."""
    return TextLoader()


class TextLoader:
    """UTF-8, or UTF-16 with a byte order mark."""

    media_types = frozenset({"text/plain", "text/markdown", "text/x-rst"})
    suffixes = frozenset({".txt", ".text", ".md", ".markdown", ".rst"})

    def load(self, content: bytes) -> Loaded:
        """The text, and its first Markdown heading as title. Raises InvalidInput."""
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"the file is not {encoding} text: byte {error.start} does not belong there"
            ) from error
        return Loaded(text, _heading(text))


def _heading(text: str) -> str | None:
    """The Markdown heading that the text begins with."""
    line = text.lstrip().partition("\n")[0].strip()
    return line.strip("#").strip() or None if line.startswith("# ") else None
