"""How a model is named: `provider:model?option=value&…`, such as `local:all-MiniLM-L6-v2`."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlencode

from embedsvc.errors import InvalidInput

LONGEST = 512


@dataclass(frozen=True, slots=True)
class Spec:
    """A model as somebody named it. `dimensions` is None where the model shall choose."""

    provider: str
    model: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    dimensions: int | None = None

    def __str__(self) -> str:
        name = f"{self.provider}:{self.model}" if self.model else self.provider
        return f"{name}?{urlencode(sorted(self.options.items()))}" if self.options else name

    def overlaid(self, options: str) -> "Spec":
        """The same model with these options, written as in a spec, in the place of its own."""
        return replace(self, options={**self.options, **dict(parse_qsl(options))})


def parse_spec(text: str, dimensions: int | None = None) -> Spec:
    """Read a spec. Raises InvalidInput naming what is wrong with it."""
    if len(text) > LONGEST:
        raise InvalidInput(f"{text[:40]!r}…: {len(text)} characters; a spec has at most {LONGEST}")
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise InvalidInput(f"{text!r}: a spec has no line breaks and no control characters")
    name, _, query = text.partition("?")
    provider, _, model = name.partition(":")
    try:
        pairs = parse_qsl(query, True, bool(query), max_num_fields=16)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r}: options are written provider:model?name=value&name=value"
        ) from error
    options = dict(pairs)
    if len(options) != len(pairs):
        raise InvalidInput(f"{text!r}: an option comes twice")
    return Spec(provider, model, options, dimensions)


def refuse_options(spec: Spec, known: Mapping[str, object] | None = None) -> None:
    """Refuse an option that the backend does not have. Raises InvalidInput."""
    for name in spec.options:
        if name not in (known or {}):
            have = f"known are {', '.join(sorted(known))}" if known else "it has none"
            raise InvalidInput(f"{spec}: {spec.provider} has no option {name!r}; {have}")
