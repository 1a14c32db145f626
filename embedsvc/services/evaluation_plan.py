"""An evaluation that is checked and ready to run, whatever it measures."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from embedsvc.services.answer_measuring import AnswerResult
from embedsvc.services.answer_request import AnswerSummary
from embedsvc.services.evaluation_request import Summary
from embedsvc.services.measuring import Result

Subject = Literal["search", "answers"]
"""What is measured."""

Advance = Callable[[int], None]
"""Called with how much more is done."""

AnySummary = Summary | AnswerSummary
AnyResult = Result | AnswerResult


@dataclass(frozen=True, slots=True)
class Plan:
    """What is kept of the request, of how many steps the work is, and the work itself."""

    collection: str
    summary: AnySummary
    total: int
    work: Callable[[Advance], Awaitable[AnyResult]]
