"""Language models that answer: one, or a chain in which the next stands in for the one before.

    openai:gpt-4o                                   one
    openai:gpt-4o,ollama:llama3.2,extractive        a chain

`extractive` picks sentences out of the sources without a language model; it is always there, and
nothing can fail in it, so that it is the last link.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import structlog

from embedsvc.core.model import Collection, Prompt
from embedsvc.core.prompting import NoRoom
from embedsvc.core.spec import Spec, parse_spec, refuse_options
from embedsvc.core.stops import Stops
from embedsvc.core.tokens import estimated_tokens
from embedsvc.errors import (
    InvalidInput,
    PromptTooLong,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    UnknownProvider,
)
from embedsvc.ports import ChatModel, Delta, Finish, Generation
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter

log = structlog.get_logger(__name__)

CreateChatModel = Callable[[Spec], Awaitable[ChatModel]]
"""Raises UnknownProvider, MissingDependency, ConfigError, Forbidden when offline."""

Prompting = Prompt | Callable[[ChatModel], Prompt]
"""A prompt, or what makes one for a model: windows differ."""

EXTRACTIVE = "extractive"
AS_IT_LIKES = Generation()
MOST_LINKS = 8
MOST_MODELS = 32
"""Models that are kept: requests can name them, and must not fill the memory with them."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Chain:
    """Models in the order in which they are asked; `extractive`: sentences are picked at the end.

    Its models stay open for as long as somebody has it.
    """

    models: Sequence[ChatModel]
    extractive: bool
    spec: str


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of an answer; `model` is the canonical `provider:model` that wrote it."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How an answer ended. `degraded`: which links were passed over, and why."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    cost_usd: float | None
    finish: Finish | None
    degraded: tuple[str, ...] = ()


class LLMs:
    """The language models in use, each built once."""

    def __init__(
        self, create: CreateChatModel, retrying: Retrying, meter: Meter, default: str
    ) -> None:
        self._create = create
        self._retrying = retrying
        self._meter = meter
        self._default = default
        self._models: OrderedDict[str, ChatModel] = OrderedDict()  # the longest unused first
        self._chains: WeakSet[Chain] = WeakSet()
        self._awaited: Counter[str] = Counter()  # of chains that are being made
        self._creating = asyncio.Lock()

    async def chain(self, spec: str | None = None) -> Chain:
        """The models that `a,b,c` names, built; the default where nothing is named.

        Raises InvalidInput, UnknownProvider, ConfigError, Forbidden when offline.
        """
        specs, extractive = parse_chain(spec or self._default)
        names = [str(each) for each in specs]
        self._awaited.update(names)  # so that nobody closes the first while the last is built
        try:
            models = tuple([await self._built(each) for each in specs])
            words = [*names, EXTRACTIVE] if extractive else names
            made = Chain(models, extractive, ",".join(words))
            self._chains.add(made)
            return made
        finally:
            self._awaited -= Counter(names)
            await _close(self._unused())

    async def stream(
        self,
        chain: Chain,
        prompt: Prompting,
        options: Generation = AS_IT_LIKES,
        collection: Collection | None = None,
    ) -> AsyncGenerator[Said | Ended, None]:
        """Write, piece by piece; `Ended` comes last.

        A model that is busy, down or late before its first word, or whose window is too small for
        the prompt, hands over to the next one; a wrong request does not become right elsewhere.
        Closing the iterator ends the call at once. Raises
        ProviderError: the last one, when all models fail, whose `notes` tell of the others too;
        InvalidInput when there is none.
        """
        call, passed = await self._begin(chain, prompt, options)
        try:
            async with aclosing(self._texts(call)) as texts:
                async for text in texts:
                    yield Said(text, call.model.name)
        finally:
            await call.aclose()
            ended = self._ended(call, collection, passed)  # what was read is paid, heard or not
        yield ended

    async def say(
        self,
        chain: Chain,
        prompt: Prompting,
        options: Generation = AS_IT_LIKES,
        collection: Collection | None = None,
    ) -> tuple[str, Ended]:
        """The whole text. Raises as `stream` does."""
        texts: list[str] = []
        async with aclosing(self.stream(chain, prompt, options, collection)) as said:
            async for piece in said:
                if isinstance(piece, Ended):
                    return "".join(texts), piece
                texts.append(piece.text)
        raise AssertionError("Ended comes last")

    async def aclose(self) -> None:
        """Close every model."""
        models, self._models = list(self._models.values()), OrderedDict()
        await _close(models)

    async def _built(self, spec: Spec) -> ChatModel:
        name = str(spec)
        if name not in self._models:
            async with self._creating:
                if name not in self._models:
                    with extractive_named():
                        self._models[name] = await self._create(spec)
        self._models.move_to_end(name)
        return self._models[name]

    def _unused(self) -> list[ChatModel]:
        """Take out what is more than MOST_MODELS, but nothing that somebody has a chain with."""
        in_use = {id(model) for chain in self._chains for model in chain.models}
        idle = [
            name
            for name, model in self._models.items()
            if id(model) not in in_use and name not in self._awaited
        ]
        more = max(0, len(self._models) - MOST_MODELS)
        return [self._models.pop(name) for name in idle[:more]]

    async def _begin(
        self, chain: Chain, prompt: Prompting, options: Generation
    ) -> "tuple[_Call, tuple[str, ...]]":
        """The first call that has a first word, and the models that were passed over."""
        passed: list[str] = []
        for model in chain.models:
            last = model is chain.models[-1]
            patient = last and not chain.extractive  # nobody stands in
            try:
                return await self._first(model, prompt, options, patient), tuple(passed)
            except (ProviderError, NoRoom) as error:
                passed.append(f"{model.name}: {error.detail}")
                if last or not may_pass(error):
                    _note(error, passed)
                    raise
                log.warning("llm_passed_over", model=model.name, error=error.logged)
        raise InvalidInput(f"model: {chain.spec} names no language model")

    async def _first(
        self, model: ChatModel, prompt: Prompting, options: Generation, patient: bool
    ) -> "_Call":
        """A call with its first word; a patient one is tried again, and its gate awaited."""
        asked = prompt(model) if callable(prompt) else prompt

        async def begin() -> _Call:
            call = _Call(model, asked, model.stream(asked, options), Stops(options.stop))
            try:
                await call.first()
            except BaseException:
                await call.aclose()
                raise
            return call

        if not model.remote:
            return await begin()
        # limits are a model's: its gate stops neither other models nor the provider's embeddings
        if not patient:
            return await self._retrying.once(model.name, begin)
        return await self._retrying.call(model.name, begin, at_most=self._retrying.attempt)

    async def _texts(self, call: "_Call") -> AsyncGenerator[str, None]:
        patience = self._retrying.attempt if call.model.remote else None
        while True:
            if call.said:
                yield call.said[-1]
            try:
                async with asyncio.timeout(patience):
                    if not await call.more():
                        return
            except TimeoutError as error:
                raise ProviderTimeout(
                    f"{call.model.name} stopped in its answer for {patience or 0:.3g} seconds"
                ) from error

    def _ended(
        self, call: "_Call", collection: Collection | None, passed: tuple[str, ...]
    ) -> Ended:
        read = _count(_read_texts(call.prompt)) if call.read is None else call.read
        written = _count(call.said) if call.written is None else call.written
        cost = self._meter.add_chat(call.model.name, read, written, collection)
        return Ended(
            model=call.model.name,
            prompt_tokens=read,
            completion_tokens=written,
            estimated=None in (call.read, call.written),
            cost_usd=cost,
            finish=call.finish,
            degraded=passed,
        )


@dataclass(slots=True, eq=False)
class _Call:
    """One call of a model, and what it has given so far."""

    model: ChatModel
    prompt: Prompt
    deltas: AsyncIterator[Delta]
    stops: Stops
    said: list[str] = field(default_factory=list)
    read: int | None = None
    written: int | None = None
    finish: Finish | None = None
    half: str = ""

    async def first(self) -> None:
        """Wait for the first word, or an end without one."""
        await self.more()

    async def more(self) -> bool:
        """Wait for more text, the last of `said`; whether there is some. Raises ProviderError."""
        while not self.stops.ended:
            try:
                delta = await anext(self.deltas, None)
            except TimeoutError as error:  # of the model itself
                raise ProviderTimeout(f"{self.model.name} did not answer in time") from error
            if delta is None:
                return self._heard(self.stops.close())
            if self._heard(self._noted(delta)):
                return True
        return False

    def _noted(self, delta: Delta) -> str:
        """Take note of the counts; the text that can be passed on."""
        if delta.prompt_tokens is not None:
            self.read = delta.prompt_tokens
        if delta.completion_tokens is not None:
            self.written = delta.completion_tokens
        paired, self.half = _paired(self.half + delta.text)
        text = self.stops.feed(paired)
        self.finish = "stop" if self.stops.ended else delta.finish or self.finish
        return text

    def _heard(self, text: str) -> bool:
        if text:
            self.said.append(text)
        return bool(text)

    async def aclose(self) -> None:
        """End the call."""
        close = getattr(self.deltas, "aclose", None)
        if close is not None:  # an iterator of another kind has nothing to close
            await close()


async def _close(models: Iterable[ChatModel]) -> None:
    """Close them; that one cannot be closed is nobody's failure."""
    models = list(models)
    ends = await asyncio.gather(*(model.aclose() for model in models), return_exceptions=True)
    for model, end in zip(models, ends, strict=True):
        if end is not None:
            log.warning("llm_not_closed", model=model.name, error=repr(end)[:200])


def may_pass(error: ProviderError | NoRoom) -> bool:
    """Whether another model may do better: this one is busy, down, unpaid, or has no room."""
    return isinstance(error, NoRoom | PromptTooLong | QuotaExhausted) or error.transient


def notes(error: ProviderError | NoRoom) -> Sequence[str]:
    """Which models of a chain failed, and why, when this is the error of the last one."""
    return getattr(error, "__notes__", ())


def _note(error: ProviderError | NoRoom, passed: Iterable[str]) -> None:
    for reason in passed:
        error.add_note(reason)


@contextmanager
def extractive_named() -> Iterator[None]:
    """An error about an unknown provider also says what is always there."""
    try:
        yield
    except UnknownProvider as error:
        raise UnknownProvider(f"{error.detail}; always there is {EXTRACTIVE}") from error


def links(text: str) -> list[str]:
    """The links of `a,b,c`, as they are written. Raises InvalidInput for an empty one."""
    found = [link.strip() for link in text.split(",", MOST_LINKS)]
    if len(found) > MOST_LINKS:
        raise InvalidInput(f"model: more than {MOST_LINKS} links in {text[:80]!r}; name fewer")
    for number, link in enumerate(found, start=1):
        if not link:
            raise InvalidInput(f"model: link {number} of {text!r} is empty; write a,b,c")
    return found


def parse_chain(text: str) -> tuple[list[Spec], bool]:
    """The models of `a,b,c`, and whether `extractive` comes last. Raises InvalidInput."""
    specs: list[Spec] = []
    for link in links(text):
        spec = parse_spec(link)
        if spec.provider == EXTRACTIVE:
            refuse_options(spec)
        if str(spec) in map(str, specs):
            raise InvalidInput(f"model: {text!r} names {link} twice; name it once")
        specs.append(spec)
    for spec in specs:
        if spec.provider == EXTRACTIVE:
            _check_extractive(spec, text, last=spec is specs[-1])
    extractive = specs[-1].provider == EXTRACTIVE
    return specs[:-1] if extractive else specs, extractive


def _check_extractive(spec: Spec, text: str, *, last: bool) -> None:
    if spec.model:
        raise InvalidInput(f"model: {spec}: {EXTRACTIVE} has no models; write {EXTRACTIVE}")
    if not last:
        raise InvalidInput(
            f"model: {EXTRACTIVE} is not the last link of {text!r}; what comes after it would "
            "never be asked: put it last"
        )


def _read_texts(prompt: Prompt) -> Sequence[str]:
    return [prompt] if isinstance(prompt, str) else [message.content for message in prompt]


def _count(texts: Sequence[str]) -> int:
    """Tokens, estimated; of pieces that may cut words in two, as of the whole."""
    return estimated_tokens("".join(texts))


def _paired(text: str) -> tuple[str, str]:
    """The text, and at its end half of a surrogate pair whose other half may still come.

    Some servers cut a character in two; a half without the other is no text, and is replaced.
    """
    end = len(text) - ("\ud800" <= text[-1:] <= "\udbff")
    return text[:end].encode("utf-16", "surrogatepass").decode("utf-16", "replace"), text[end:]
