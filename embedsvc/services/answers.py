"""A question and its answer, as they pass between those who ask, answer and keep them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedsvc.core.citations import Citation
from embedsvc.core.filters import Filter
from embedsvc.core.model import Message, Prompt
from embedsvc.core.reading import Unsupported
from embedsvc.ports import Finish, Generation
from embedsvc.services.candidates import Mode
from embedsvc.services.search import Hit

State = Literal["answered", "no_answer"]
Grounding = Literal["strict", "normal"]
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


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """Tokens of all calls of language models; `cost_usd` is None where a price is not known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """What was found, and the texts that it was searched with; `query` is the question itself."""

    hits: Sequence[Hit]
    query: str
    queries: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `text` carries markers such as [1], one a citation.

    `unsupported` are claims in it without a verified citation. `evidence`: how likely the sources
    answer, where that was looked at. `prompt` is what the model was given.
    """

    text: str
    state: State
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
