"""A question and its answer, as they pass between those who ask, answer and keep them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from embedsvc.core.citations import Citation
from embedsvc.core.filters import Filter
from embedsvc.core.model import AnswerState, Grounding, Message, Prompt
from embedsvc.core.reading import Unsupported
from embedsvc.ports import Finish, Generation
from embedsvc.services.candidates import Mode
from embedsvc.services.search import Hit

Expansion = Literal["none", "multi_query", "hyde"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how. Without a `model` the default one answers.

    Without `record` nothing is kept of question and answer.
    """

    text: str
    model: str | None = None
    conversation_id: str | None = None
    history: Sequence[Message] | None = None
    limit: int = 8
    where: Filter | None = None
    mode: Mode | None = None
    grounding: Grounding = "normal"
    options: Generation = Generation()
    system: str | None = None
    expansion: Expansion = "none"
    record: bool = True


class Call(Protocol):
    """What a call of a language model took, or several did."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the model read."""

    @property
    def completion_tokens(self) -> int:
        """Tokens that it wrote."""

    @property
    def cost_usd(self) -> float | None:
        """Their price; None where it is not known."""

    @property
    def estimated(self) -> bool:
        """Whether the tokens are."""


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """Tokens of all calls of language models; `cost_usd` is None where a price is not known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False

    @classmethod
    def of(cls, calls: Iterable[Call]) -> "AnswerUsage":
        """What all of them took together."""
        known = list(calls)
        costs = [call.cost_usd for call in known]
        return cls(
            prompt_tokens=sum(call.prompt_tokens for call in known),
            completion_tokens=sum(call.completion_tokens for call in known),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            estimated=any(call.estimated for call in known),
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """What was found, and the texts that it was searched with; `query` is the question itself.

    They are as they can be shown: what a model wrote of them is inert.
    """

    hits: Sequence[Hit]
    query: str
    queries: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `text` carries markers such as [1], one a citation.

    `unsupported` are claims in it without a verified citation. `evidence`: how likely the sources
    answer, where that was looked at. `prompt` is what the model was given. In `query`, `queries`
    and `prompt` a question that a model wrote is inert.
    """

    text: str
    state: AnswerState
    citations: Sequence[Citation]
    unsupported: Sequence[Unsupported]
    sources: Sequence[Hit]
    model: str
    usage: AnswerUsage
    conversation_id: str | None
    query: str
    queries: Sequence[str]
    version: int
    took_ms: float
    first_token_ms: float | None
    evidence: float | None
    grounding: Grounding
    warnings: Sequence[str] = ()
    degraded: Sequence[str] = ()
    prompt: Prompt | None = None
    id: str | None = None
    finish: Finish = "stop"


Event = Sources | str | Citation | Answer
"""What a stream of an answer is made of: sources, text, citations, and the whole at the end."""
