"""What is searched for a question: alone, or with the talk before it, or in other words too."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from embedsvc.core import prompting
from embedsvc.core.followups import stand_alone
from embedsvc.core.inert import inert
from embedsvc.core.model import Collection, Message, Prompt
from embedsvc.core.prompting import NoRoom, Room
from embedsvc.core.thinking import spoken
from embedsvc.core.visible import Visible
from embedsvc.errors import ProviderError, ProviderRejected
from embedsvc.ports import ChatModel, Generation
from embedsvc.services.answers import Expansion
from embedsvc.services.llms import Chain, Ended, LLMs, may_pass

MOST_VARIANTS = 3
LONGEST = 8_000
"""Characters of what a model may write: the longest question, and names in the place of words."""

MOST_WRITTEN = 4_000
"""Tokens of it, thoughts among them; there are models that write no more than 4,096."""

LEAST_WRITTEN = 500
"""A model in whose window there is no room for so many is not asked for a rewriting."""

MOST_HISTORY = 16_000
"""Tokens of the talk, the last ones, of which addresses may be shown again."""

_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,2}[.):])\s+")
_QUOTED = re.compile(r'"([^"]*)"|“([^“”]*)”|„([^„“”]*)[“”]|«([^«»]*)»')


@dataclass(frozen=True, slots=True)
class SearchTexts:
    """What is searched: the question so that it stands alone, other questions, a passage.

    `shown` are all of them, in this order, as they can go out: what a model wrote is inert.
    """

    query: str
    shown: Sequence[str]
    others: Sequence[str] = ()
    passage: str | None = None
    calls: Sequence[Ended] = ()
    warnings: Sequence[str] = ()


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
        """The words to search with. Raises ProviderDenied, ConfigError."""
        by_rule = stand_alone(question, history)
        query = await self._rewritten(question, history) or by_rule
        others: list[str] = []
        passage = None
        if expansion == "multi_query":
            said = await self._said(_asking(prompting.VARIANTS, query), "other wordings")
            others = [line for line in _lines(said) if line.casefold() != query.casefold()]
        elif expansion == "hyde":
            passage = await self._said(_asking(prompting.PASSAGE, query), "a passage") or None
        others = others[:MOST_VARIANTS]
        own = [question, *_asked(history)]
        first = query if query in (question, by_rule) else _shown(query, own)
        written = [*others, *([] if passage is None else [passage])]
        shown = [first, *(_shown(text, own) for text in written)]
        return SearchTexts(query, shown, others, passage, self.calls, self.warnings)

    async def _rewritten(self, question: str, history: Sequence[Message]) -> str:
        """The question as a model rewrites it; nothing without a talk or a model that can."""
        if not history or not self.chain.models:
            return ""
        most = _most_written(self.chain.models)

        def prompt(model: ChatModel) -> Prompt:
            return prompting.rewriting(question, history, Room.of(model.window, most))

        return _unquoted(await self._said(prompt, "the question with the talk before it"))

    async def _said(self, prompt: Prompt | Callable[[ChatModel], Prompt], wanted: str) -> str:
        """What a model says, whole and without what hides in it; else nothing, and a warning.

        A model that refuses this prompt may still answer from the sources.
        """
        most = _most_written(self.chain.models)
        options = Generation(max_tokens=most)
        try:
            text, ended = await self.llms.say(self.chain, prompt, options, self.collection)
        except (ProviderError, NoRoom) as error:
            if not (may_pass(error) or isinstance(error, ProviderRejected)):
                raise
            return self._without(wanted, error.detail)
        self.calls.append(ended)
        found = Visible().feed(spoken(text)).strip()
        if ended.finish == "length":
            return self._without(wanted, f"the model did not finish within {most} tokens")
        if len(found) > LONGEST:
            told = f"the model wrote {len(found)} characters; at most {LONGEST} are searched"
            return self._without(wanted, told)
        return found or self._without(wanted, "the model said nothing")

    def _without(self, wanted: str, why: str) -> str:
        self.warnings.append(f"{wanted} could not be written: {why}")
        return ""


def _most_written(models: Iterable[ChatModel]) -> int:
    """Tokens that models may write: half of the smallest window that is not too small anyway."""
    halves = (model.window // 2 for model in models)
    return min(MOST_WRITTEN, min((n for n in halves if n >= LEAST_WRITTEN), default=LEAST_WRITTEN))


def _asked(history: Sequence[Message]) -> list[str]:
    """What the user said before: of a long talk the end."""
    kept, _ = prompting.newest(history, MOST_HISTORY)
    return [message.content for message in kept if message.role == "user"]


def _shown(text: str, own: Sequence[str]) -> str:
    """What a model wrote, as it can go out: addresses stay that the user wrote.

    They are looked for only where the text may have one: that takes time in a long talk.
    """
    return inert(text, own if ":" in text or "www" in text.casefold() else ())


def _asking(rules: str, question: str) -> tuple[Message, Message]:
    return Message("system", rules), Message("user", question)


def _lines(text: str) -> list[str]:
    """Lines with words, without the marks of a list and quotation marks around them."""
    plain = (_unquoted(_LIST_MARK.sub("", line.strip())) for line in text.splitlines())
    return list(dict.fromkeys(line for line in plain if line))


def _unquoted(text: str) -> str:
    """The text without quotation marks around all of it; others are its own."""
    found = _QUOTED.fullmatch(text)
    return text if found is None else next(filter(None, found.groups()), "").strip()
