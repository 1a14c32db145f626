"""What is searched for a question: alone, or with the talk before it, or in other words too."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embedsvc.core import prompting
from embedsvc.core.followups import stand_alone
from embedsvc.core.inert import inert
from embedsvc.core.model import Collection, Message, Prompt
from embedsvc.core.prompting import NoRoom, Room
from embedsvc.core.thinking import spoken
from embedsvc.errors import ProviderError
from embedsvc.ports import ChatModel, Generation
from embedsvc.services.answers import Expansion
from embedsvc.services.llms import Chain, Ended, LLMs, may_pass

MOST_VARIANTS = 3
LONGEST_QUERY = 2_000
_WRITTEN = Generation(max_tokens=500)
_NUMBER = re.compile(r"^\s*(?:[-*•]|\d+[.):])\s*")


@dataclass(frozen=True, slots=True)
class SearchTexts:
    """What is searched: the question so that it stands alone, other questions, a passage."""

    query: str
    others: Sequence[str] = ()
    passage: str | None = None
    calls: Sequence[Ended] = ()
    warnings: Sequence[str] = ()

    @property
    def queries(self) -> list[str]:
        """All texts that are searched."""
        return [self.query, *self.others, *([] if self.passage is None else [self.passage])]


@dataclass(slots=True)
class Rewriting:
    """Finds the words for one question; a model that fails costs the better words alone."""

    llms: LLMs
    chain: Chain
    collection: Collection
    calls: list[Ended] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    async def words(
        self, question: str, history: Sequence[Message], expansion: Expansion
    ) -> SearchTexts:
        """The words to search with. Raises ProviderRejected, ConfigError."""
        query = await self._stand_alone(question, history) if history else question
        others: list[str] = []
        passage = None
        if expansion == "multi_query":
            said = await self._said(_asking(prompting.VARIANTS, query), query, "other wordings")
            others = [line for line in _lines(said) if line.casefold() != query.casefold()]
        elif expansion == "hyde":
            passage = (
                await self._said(_asking(prompting.PASSAGE, query), query, "a passage")
            ) or None
        return SearchTexts(query, others[:MOST_VARIANTS], passage, self.calls, self.warnings)

    async def _stand_alone(self, question: str, history: Sequence[Message]) -> str:
        by_rule = stand_alone(question, history)
        if not self.chain.models:
            return by_rule

        def prompt(model: ChatModel) -> Prompt:
            return prompting.rewriting(question, history, Room.of(model.window, 500))

        said = await self._said(prompt, question, "the question with the talk before it")
        return next(iter(_lines(said)), by_rule)

    async def _said(
        self, prompt: Prompt | Callable[[ChatModel], Prompt], asked: str, wanted: str
    ) -> str:
        """What a model says, made inert: it goes out with the answer."""
        try:
            text, ended = await self.llms.say(self.chain, prompt, _WRITTEN, self.collection)
        except (ProviderError, NoRoom) as error:
            if not may_pass(error):
                raise
            self.warnings.append(f"{wanted} could not be written: {error.detail}")
            return ""
        self.calls.append(ended)
        found = inert(spoken(text), [asked]).strip()[:LONGEST_QUERY]
        if not found:
            self.warnings.append(f"{wanted} could not be written: the model said nothing")
        return found


def _asking(rules: str, question: str) -> tuple[Message, Message]:
    return Message("system", rules), Message("user", question)


def _lines(text: str) -> list[str]:
    """Lines with words, without numbers and quotation marks around them."""
    plain = (_NUMBER.sub("", line).strip().strip('"“”') for line in text.splitlines())
    return list(dict.fromkeys(line for line in plain if line))
