"""Answers: find sources, let a model (or nobody) speak, check what it says, keep a record.

    question ──▶ words to search with ──▶ sources ──▶ evidence ──▶ text and citations ──▶ record

`stream` is the one way through; `ask` waits for its end.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from embedsvc.core import prompting
from embedsvc.core.citations import Citation
from embedsvc.core.fusion import reciprocal_ranks
from embedsvc.core.inert import inert
from embedsvc.core.model import AnswerState, Collection, Message, Prompt
from embedsvc.core.preparing import check_text
from embedsvc.core.prompting import NoRoom, Prompted, Room
from embedsvc.core.reading import MOST_CITATIONS, MOST_REFERENCES, Reader, Unsupported
from embedsvc.core.thinking import Spoken
from embedsvc.errors import EmbedsvcError, InvalidInput, ProviderError
from embedsvc.ports import ChatModel, Finish
from embedsvc.services.answers import (
    Answer,
    AnswerUsage,
    Event,
    Question,
    Sources,
)
from embedsvc.services.collections import Collections
from embedsvc.services.extractive import Evidence, Extractive
from embedsvc.services.llms import EXTRACTIVE, Chain, Ended, LLMs, may_pass, notes
from embedsvc.services.records import Records, Talk
from embedsvc.services.rewriting import Rewriting, SearchTexts
from embedsvc.services.search import Found, Hit, Query, Search

MOST_SOURCES = 50
MOST_QUESTION = 4_000
MOST_SYSTEM = 20_000
MOST_TURNS = 1_000
MOST_TURN = 200_000
AT_ONCE = 100
"""Characters of a model that are read before others have their turn."""
NO_ANSWER = "The documents do not answer this question."


class Ask:
    """Answers questions from a collection."""

    def __init__(
        self,
        collections: Collections,
        search: Search,
        llms: LLMs,
        extractive: Extractive,
        records: Records,
    ) -> None:
        self._collections = collections
        self._search = search
        self._llms = llms
        self._extractive = extractive
        self._records = records

    async def chain(self, question: Question) -> Chain:
        """Who is to answer, once the question is checked. Raises InvalidInput, ConfigError."""
        check_question(question)
        chain = await self._llms.chain(question.model)
        _check_extractive(chain, question)
        return chain

    async def aclose(self) -> None:
        """Stop what goes on in the background."""
        await self._extractive.aclose()

    async def ask(self, name: str, question: Question) -> Answer:
        """The whole answer at once."""
        async with aclosing(self.stream(name, question)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a stream ends with the whole answer")

    async def stream(self, name: str, question: Question) -> AsyncGenerator[Event, None]:
        """First the sources, then text and citations as they come, then the whole answer.

        What is wrong with the question is raised before the first event; InvalidInput afterwards
        means that no source fits into any model's window. Raises ProviderError.
        """
        started = time.perf_counter()
        chain = await self.chain(question)
        collection = await self._collections.get(name)
        talk = await self._talk(collection, question)
        rewriting = Rewriting(self._llms, chain, collection)
        wording = await rewriting.words(question.text, talk.messages, question.expansion)
        found = await self._search.search(name, _queries(question, wording))
        hits = _merged(found, question.limit)
        yield Sources(hits, wording.shown[0], wording.shown)
        speech = _Speech(question, wording, hits, collection, talk)
        async with aclosing(self._pieces(chain, speech)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str) and speech.first_token_ms is None:
                    speech.first_token_ms = (time.perf_counter() - started) * 1000
                yield piece
        answer = speech.answer(found, (time.perf_counter() - started) * 1000)
        yield await self._kept(collection, talk, question, answer)

    # -- what was said before -------------------------------------------------------------------

    async def _talk(self, collection: Collection, question: Question) -> Talk:
        """The talk before the question: sent along, kept here, or new."""
        if question.history is not None:
            return Talk(None, question.history)
        if question.conversation_id is None and not question.record:
            return Talk(None)
        return await self._records.talk(collection, question.conversation_id)

    async def _kept(
        self, collection: Collection, talk: Talk, question: Question, answer: Answer
    ) -> Answer:
        """The answer with its id, once it is kept; a record that fails costs the record alone."""
        if not question.record:
            return replace(answer, conversation_id=None)
        try:
            kept = await self._records.keep(collection, talk, question.text, answer)
        except EmbedsvcError as error:
            told = f"the answer could not be kept: {error.detail}"
            return replace(answer, conversation_id=None, warnings=[*answer.warnings, told])
        return replace(answer, id=kept, conversation_id=talk.id if kept else None)

    # -- who speaks -----------------------------------------------------------------------------

    async def _pieces(
        self, chain: Chain, speech: "_Speech"
    ) -> AsyncGenerator[str | Citation, None]:
        """Text and citations by a model or from the sentences; NO_ANSWER where there is none."""
        if speech.hits:
            async with aclosing(self._spoken(chain, speech)) as pieces:
                async for piece in pieces:
                    yield piece
        elif chain.models:
            speech.model = chain.models[0].name
        if not speech.texts:
            speech.say(NO_ANSWER)
            speech.state = "no_answer"
            yield NO_ANSWER

    async def _spoken(
        self, chain: Chain, speech: "_Speech"
    ) -> AsyncGenerator[str | Citation, None]:
        strict = speech.question.grounding == "strict"
        evidence = None
        if strict or not chain.models:
            evidence = await self._look(speech)
            if not evidence.enough:
                speech.model = chain.models[0].name if chain.models else EXTRACTIVE
                return
        if chain.models:
            try:
                async with aclosing(self._written(chain, speech, strict)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except (ProviderError, NoRoom) as error:
                if not (chain.extractive and may_pass(error)) or speech.texts:
                    raise
                speech.degraded += [*notes(error), "answered without a language model"]
                speech.prompted = None
        if evidence is None:
            evidence = await self._look(speech)
        for piece in speech.quoted(evidence):
            yield piece

    async def _look(self, speech: "_Speech") -> Evidence:
        found = await self._extractive.look(speech.wording.query, speech.hits, speech.collection)
        speech.evidence = found.probability
        return found

    async def _written(
        self, chain: Chain, speech: "_Speech", strict: bool
    ) -> AsyncGenerator[str | Citation, None]:
        """What a model writes, read and checked as it comes."""
        reader: Reader | None = None
        spoken = Spoken()
        heard = False
        said = self._llms.stream(chain, speech.prompt, speech.question.options, speech.collection)
        async with aclosing(said) as deltas:
            async for delta in deltas:
                if isinstance(delta, Ended):
                    speech.ended(delta)
                    break
                if reader is None:  # what it does with long sources beforehand takes long
                    reader = await asyncio.to_thread(speech.reader, strict)
                text = spoken.feed(delta.text)
                heard = heard or bool(text.strip())
                for start in range(0, len(text), AT_ONCE):
                    for piece in reader.feed(text[start : start + AT_ONCE]):
                        yield speech.take(piece)
                    await asyncio.sleep(0)  # others go on while a long text is read
        if reader is not None:
            for piece in [*reader.feed(spoken.close()), *reader.close()]:
                yield speech.take(piece)
            speech.read(reader)
        if not heard:
            speech.warnings.append(
                "the model said nothing, which is no finding about the documents"
            )


@dataclass(slots=True)
class _Speech:
    """An answer in the making."""

    question: Question
    wording: SearchTexts
    hits: Sequence[Hit]
    collection: Collection
    talk: Talk
    texts: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    unsupported: Sequence[Unsupported] = ()
    state: AnswerState = "answered"
    model: str = EXTRACTIVE
    finish: Finish = "stop"
    evidence: float | None = None
    first_token_ms: float | None = None
    prompted: Prompted | None = None
    calls: list[Ended] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)

    def prompt(self, model: ChatModel) -> Prompt:
        """The prompt for a model, as large as its window."""
        sources = [hit.chunk for hit in self.hits]
        texts = [self.question.text, *(text for s in sources for text in (s.text, s.title or ""))]
        fence = secrets.token_hex(8)
        while not prompting.fits_as_fence(fence, texts):
            fence = secrets.token_hex(8)
        self.prompted = prompting.grounded(
            self.wording.query,
            sources,
            self.talk.messages,
            Room.of(model.window, self.question.options.max_tokens),
            fence,
            self.question.system,
        )
        return self.prompted.messages

    def reader(self, strict: bool) -> Reader:
        """A reader of what the prompt asked for."""
        assert self.prompted is not None
        shown = [self.hits[position].chunk for position in self.prompted.shown]
        return Reader(shown, self.wording.query, strict=strict)

    def say(self, text: str) -> str:
        """Add to the text."""
        self.texts.append(text)
        return text

    def take(self, piece: str | Citation) -> str | Citation:
        """Add a piece."""
        if isinstance(piece, str):
            return self.say(piece)
        self.citations.append(piece)
        return piece

    def quoted(self, evidence: Evidence) -> list[str | Citation]:
        """The sentences of the evidence as an answer, if they are one."""
        if not evidence.enough:
            return []
        pieces: list[str | Citation] = []
        for marker, quote in enumerate(evidence.quotes, start=1):
            chunk = self.hits[quote.source].chunk
            text = f"{inert(quote.text, [chunk.text])} [{marker}]"
            pieces.append(self.say(text if marker == 1 else f" {text}"))
            citation = Citation(marker, chunk, quote.text, quote.start, quote.end, "verified")
            pieces.append(self.take(citation))
        return pieces

    def ended(self, ended: Ended) -> None:
        """Note how a model ended."""
        self.model = ended.model
        self.finish = ended.finish or "length"  # for all one knows
        self.calls.append(ended)
        self.degraded += ended.degraded
        if ended.finish == "length":
            self.warnings.append("the answer reached its most tokens and is cut: raise max_tokens")
        elif ended.finish == "content_filter":
            self.warnings.append("a filter of the model's provider ended the answer: it may be cut")
        elif ended.finish is None:
            self.warnings.append(
                "the model broke off without saying that it has finished: the answer may be cut"
            )

    def read(self, reader: Reader) -> None:
        """Note what the reader found."""
        self.unsupported = reader.unsupported
        if reader.removed:
            told = "1 statement" if reader.removed == 1 else f"{reader.removed} statements"
            self.warnings.append(f"{told} without a verified citation removed")
        if reader.passed_over:
            self.warnings.append(
                f"{reader.passed_over} references passed over: at most {MOST_REFERENCES} in a "
                f"sentence and {MOST_CITATIONS} in an answer are read"
            )

    def answer(self, found: Found, took_ms: float) -> Answer:
        """The whole."""
        calls = [*self.wording.calls, *self.calls]
        passed = [reason for call in self.wording.calls for reason in call.degraded]
        return Answer(
            text="".join(self.texts),
            state=self.state,
            citations=self.citations,
            unsupported=self.unsupported,
            sources=self.hits,
            model=self.model,
            usage=AnswerUsage.of(calls),
            conversation_id=self.talk.id,
            query=self.wording.shown[0],
            queries=self.wording.shown,
            version=found.version,
            took_ms=took_ms,
            first_token_ms=self.first_token_ms,
            evidence=self.evidence,
            grounding=self.question.grounding,
            warnings=[*self.wording.warnings, *self._left_out(), *self.warnings],
            degraded=list(dict.fromkeys([*found.degraded, *passed, *self.degraded])),
            prompt=self._shown_prompt(),
            finish=self.finish,
        )

    def _shown_prompt(self) -> Prompt | None:
        """The prompt as it is kept and shown: a question that a model wrote is inert."""
        if self.prompted is None:
            return None
        asked, shown = self.wording.query, self.wording.shown[0]
        return prompting.with_question(self.prompted.messages, asked, shown)

    def _left_out(self) -> list[str]:
        if self.prompted is None:
            return []
        told = []
        if turns := self.prompted.turns_left_out:
            told.append(f"the oldest {turns} turns of the history did not fit and were left out")
        if missing := len(self.hits) - len(self.prompted.shown):
            told.append(f"{missing} of {len(self.hits)} sources did not fit and were not shown")
        return told


def _queries(question: Question, wording: SearchTexts) -> list[Query]:
    """One search for each text; a passage is looked for by its meaning."""
    plain = Query(wording.query, limit=question.limit, where=question.where, mode=question.mode)
    made = [plain, *(replace(plain, text=other) for other in wording.others)]
    if wording.passage is not None:
        made.append(replace(plain, text=wording.passage, mode=question.mode or "dense"))
    return made


def _merged(found: Found, limit: int) -> list[Hit]:
    """The results of all searches as one list, by reciprocal rank; a chunk comes once."""
    if len(found.hits) == 1:
        return list(found.hits[0])
    known = {hit.chunk.id: hit for hits in reversed(found.hits) for hit in hits}
    order = reciprocal_ranks([[hit.chunk.id for hit in hits] for hits in found.hits])
    return [known[chunk_id] for chunk_id in order[:limit]]


def check_question(question: Question) -> None:
    """Raises InvalidInput naming what is wrong with a question."""
    text = question.text
    check_text("question", text)
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise InvalidInput("question: it is empty")
    if len(text) > MOST_QUESTION:
        raise InvalidInput(f"question: {len(text)} characters; at most {MOST_QUESTION}")
    if not 1 <= question.limit <= MOST_SOURCES:
        raise InvalidInput(f"limit: {question.limit}; use 1 to {MOST_SOURCES}")
    if question.system is not None:
        check_text("system", question.system)
        if len(question.system) > MOST_SYSTEM:
            raise InvalidInput(f"system: {len(question.system)} characters; at most {MOST_SYSTEM}")
    if question.history is not None:
        if question.conversation_id is not None:
            raise InvalidInput("history: send it or conversation_id, not both")
        _check_history(question.history)


def _check_history(history: Sequence[Message]) -> None:
    if len(history) > MOST_TURNS:
        raise InvalidInput(f"history: {len(history)} turns; at most {MOST_TURNS}")
    for number, turn in enumerate(history):
        check_text(f"history[{number}].content", turn.content)
        if turn.role == "system":
            raise InvalidInput(f"history[{number}].role: 'system'; use the field system for that")
        if len(turn.content) > MOST_TURN:
            raise InvalidInput(
                f"history[{number}].content: {len(turn.content)} characters; at most {MOST_TURN}"
            )


def _check_extractive(chain: Chain, question: Question) -> None:
    """Refuse what only a language model can do, rather than to pass it over in silence."""
    if chain.models:
        return
    for name, given in (
        ("system", question.system is not None),
        ("expansion", question.expansion != "none"),
    ):
        if given:
            raise InvalidInput(
                f"{name}: the extractive answerer has no use for it; name a language model with "
                "the field model, or leave it out",
                code="not_supported",
            )
