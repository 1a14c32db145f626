"""What a spec says of any language model: its kind, how much it reads, and its name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from embedsvc.chat._windows import known_window
from embedsvc.core.spec import Spec, refuse_options
from embedsvc.errors import InvalidInput

Kind = Literal["chat", "completion"]

LEAST_WINDOW = 128
MOST_WINDOW = 100_000_000
_OPTIONS: Mapping[str, object] = {"kind": None, "window": None}


@dataclass(frozen=True, slots=True)
class Named:
    """A model as a spec names it, its options read."""

    spec: Spec
    kind: Kind
    window: int

    @property
    def name(self) -> str:
        """`provider:model`, without options."""
        return f"{self.spec.provider}:{self.spec.model}"

    def told(self, profile: Mapping[str, Any] | None) -> "Named":
        """With what LangChain's own list of models says, where the spec does not say it."""
        window = (profile or {}).get("max_input_tokens")
        if not window or "window" in self.spec.options:
            return self
        return replace(self, window=int(window))


def untaken(profile: Mapping[str, Any] | None) -> frozenset[str]:
    """The parameters that a model does not take, by LangChain's list."""
    takes = (profile or {}).get("temperature") is not False
    return frozenset() if takes else frozenset({"temperature", "top_p"})


def named(spec: Spec, *, kind: Kind = "chat", kinds: tuple[Kind, ...] = ("chat",)) -> Named:
    """Read the options that all models have: `kind`, if there are several, and `window`.

    `kind` is what the model is unless the spec says otherwise. Raises InvalidInput.
    """
    refuse_options(spec, _OPTIONS if len(kinds) > 1 else {"window": None})
    if not spec.model:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    return Named(spec, kind_of(spec) or kind, window_of(spec) or known_window(spec))


def kind_of(spec: Spec) -> Kind | None:
    """The kind that the spec asks for. Raises InvalidInput for another word."""
    asked = spec.options.get("kind")
    if asked is None:
        return None
    if asked in get_args(Kind):
        return cast(Kind, asked)
    raise InvalidInput(f"{spec}: kind is {asked!r}; use chat or completion")


def window_of(spec: Spec) -> int | None:
    """The context window that the spec gives, in tokens. Raises InvalidInput."""
    asked = spec.options.get("window")
    if asked is None:
        return None
    if not asked.isascii() or not asked.isdecimal() or len(asked) > 9:
        raise InvalidInput(f"{spec}: window is {asked!r}; use a number of tokens, such as 8192")
    if not LEAST_WINDOW <= int(asked) <= MOST_WINDOW:
        raise InvalidInput(f"{spec}: window is {asked}; use {LEAST_WINDOW} or more")
    return int(asked)
