"""Chains of language models: who answers, who stands in, what is paid, and who is let go."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from wire.openai import busy, error
from wire.openai_chat import OllamaChat, OpenAIChat, VllmChat
from wire.server import BreaksOff, FallsSilent, Reply, Reset, Stall

from embedsvc.app import create_chat_model
from embedsvc.core.model import Message
from embedsvc.core.spec import Spec
from embedsvc.core.tokens import estimated_tokens
from embedsvc.errors import (
    Forbidden,
    InvalidInput,
    MissingDependency,
    MissingKey,
    NotFound,
    PromptTooLong,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
    QuotaExhausted,
    UnknownProvider,
)
from embedsvc.ports import Delta, Generation
from embedsvc.services import llms as module
from embedsvc.services import retrying
from embedsvc.services.llms import Chain, Ended, LLMs, Said, parse_chain
from embedsvc.services.models import Models
from embedsvc.services.retrying import Retrying
from embedsvc.services.usage import Meter, Prices, read_prices
from embedsvc.settings import Settings

Run = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.02)


@dataclass(eq=False)
class Scripted:
    """A model that says what its script has, one list a call: texts, deltas, seconds, errors."""

    name: str = "scripted:m"
    script: list[Sequence[Any]] = field(default_factory=list)
    remote: bool = True
    kind: Literal["chat", "completion"] = "chat"
    window: int = 1_000
    asked: list[Any] = field(default_factory=list)
    closed: int = 0
    ended: int = 0
    closing: float = 0
    """Seconds that it takes."""

    async def stream(self, prompt: Any, options: Generation) -> AsyncIterator[Delta]:
        self.asked.append((prompt, options))
        try:
            for item in self.script.pop(0) if self.script else ["fine"]:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    yield item if isinstance(item, Delta) else Delta(item)
        finally:
            self.ended += 1

    async def aclose(self) -> None:
        self.closed += 1
        await asyncio.sleep(self.closing)


class NoStore:
    """What counts are written to: nothing is in these tests."""


PRICES = Prices("2025-12-01", chat={"one:m": (2.0, 10.0)}, free=frozenset({"two"}))


def llms_of(*models: Scripted, attempt: float = 5, prices: Prices = PRICES) -> LLMs:
    known = {model.name: model for model in models}

    async def create(spec: Spec) -> Any:
        if str(spec) not in known:
            raise UnknownProvider(f"no chat is called {spec.provider!r}")
        return known[str(spec)]

    meter = Meter(NoStore(), prices)  # type: ignore[arg-type]
    return LLMs(create, Retrying(attempt, attempt * 3), meter, models[0].name)


async def told(llms: LLMs, spec: str | None = None, **given: Any) -> tuple[str, Ended]:
    return await llms.say(await llms.chain(spec), given.pop("prompt", "hello"), **given)


def counts(llms: LLMs) -> dict[str, tuple[int, float]]:
    """Tokens and dollars that were metered, by model."""
    rows = llms._meter._counts.values()
    return {row.model: (row.tokens, row.cost_usd) for row in rows}


# -- chains -------------------------------------------------------------------------------------


def test_a_chain_is_its_links_in_their_order(run: Run) -> None:
    one, two = Scripted("one:m"), Scripted("two:m")

    async def work() -> Chain:
        return await llms_of(one, two).chain(" two:m ,one:m, extractive ")

    chain = run(work())
    assert chain.models == (two, one)
    assert chain.extractive
    assert chain.spec == "two:m,one:m,extractive"


def test_extractive_alone_is_a_chain_without_models(run: Run) -> None:
    chain = run(llms_of(Scripted()).chain("extractive"))
    assert (list(chain.models), chain.extractive) == ([], True)


def test_nothing_named_means_the_default(run: Run) -> None:
    one = Scripted("one:m")
    assert run(told(llms_of(one)))[1].model == "one:m"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "link 1 of '' is empty"),
        ("a:m,", "link 2 of 'a:m,' is empty"),
        ("a:m,,b:m", "link 2"),
        ("a:m, a:m", "names a:m twice"),
        ("a:m?x=1&y=2,a:m?y=2&x=1", "twice"),
        ("extractive,a:m", "extractive is not the last link"),
        ("extractive:big", "extractive has no models"),
        ("extractive?k=1", "extractive has no option"),
        (",".join(f"a:{n}" for n in range(9)), "more than 8 links"),
        ("x," * 100_000, "more than 8 links"),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused_in_words(spec: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        parse_chain(spec)
    assert len(caught.value.detail) < 300


def test_an_unknown_link_names_what_is_always_there(run: Run) -> None:
    with pytest.raises(UnknownProvider, match="extractive"):
        run(llms_of(Scripted("one:m")).chain("one:m,nobody:m"))


def test_a_chain_of_no_model_cannot_write(run: Run) -> None:
    with pytest.raises(InvalidInput, match="extractive names no language model"):
        run(told(llms_of(Scripted()), "extractive"))


# -- who answers --------------------------------------------------------------------------------

PASSING = [
    ProviderBusy("busy"),
    ProviderTimeout("late"),
    ProviderWrong("wrong"),
    ProviderError(""),
    QuotaExhausted("nothing left"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_the_next_link_stands_in_at_once_for_what_may_pass(run: Run, error: Exception) -> None:
    one, two = Scripted("one:m", [[error]]), Scripted("two:m", [["hello"]])
    started = time.monotonic()
    text, ended = run(told(llms_of(one, two), "one:m,two:m"))
    assert time.monotonic() - started < 1
    assert (text, ended.model) == ("hello", "two:m")
    assert len(one.asked) == 1
    (passed,) = ended.degraded
    assert passed.startswith("one:m: ")


@pytest.mark.parametrize("error", [ProviderRejected("no"), ProviderDenied("no"), MissingKey("no")])
def test_a_wrong_request_is_not_asked_elsewhere(run: Run, error: Exception) -> None:
    one, two = Scripted("one:m", [[error]]), Scripted("two:m")
    with pytest.raises(type(error)):
        run(told(llms_of(one, two), "one:m,two:m"))
    assert not two.asked


def test_after_the_first_word_nobody_stands_in(run: Run) -> None:
    one, two = Scripted("one:m", [["He", ProviderBusy("busy")]]), Scripted("two:m")
    llms = llms_of(one, two)

    async def work() -> list[Any]:
        heard: list[Any] = []

        async def listen() -> None:
            async for piece in llms.stream(await llms.chain("one:m,two:m"), "hello"):
                heard.append(piece)

        with pytest.raises(ProviderBusy):
            await listen()
        return heard

    assert run(work()) == [Said("He", "one:m")]
    assert not two.asked
    read, written = estimated_tokens("hello"), estimated_tokens("He")
    assert counts(llms)["one:m"] == (read + written, pytest.approx(2e-6 * read + 10e-6 * written))


def test_the_last_link_is_asked_again_until_it_answers(run: Run) -> None:
    two = Scripted("two:m", [[ProviderError("down")], [ProviderBusy("", retry_after=0)], ["yes"]])
    one = Scripted("one:m", [[ProviderError("down")]])
    text, ended = run(told(llms_of(one, two), "one:m,two:m"))
    assert (text, len(one.asked), len(two.asked)) == ("yes", 1, 3)
    assert ended.model == "two:m"


def test_when_all_fail_the_last_error_is_raised(run: Run) -> None:
    one = Scripted("one:m", [[ProviderBusy("first")]])
    two = Scripted("two:m", [[ProviderDenied("second")]])
    with pytest.raises(ProviderDenied, match="second"):
        run(told(llms_of(one, two), "one:m,two:m"))


def test_a_busy_provider_is_passed_over_until_it_wants_to_be_asked(run: Run) -> None:
    one = Scripted("one:m", [[ProviderBusy("busy", retry_after=0.3)]])
    two = Scripted("two:m")
    llms = llms_of(one, two)

    async def work() -> None:
        await told(llms, "one:m,two:m")
        _, ended = await told(llms, "one:m,two:m")
        assert ended.model == "two:m"
        assert "to be asked again" in ended.degraded[0]
        assert len(one.asked) == 1
        await asyncio.sleep(0.3)
        assert (await told(llms, "one:m,two:m"))[1].model == "one:m"

    run(work())


def test_a_model_that_is_busy_keeps_no_other_model_of_its_provider_waiting(run: Run) -> None:
    one = Scripted("one:m", [[ProviderBusy("its limit of the day", retry_after=3_000)]])
    other = Scripted("one:n", [["fine"]])
    text, ended = run(told(llms_of(one, other), "one:m,one:n"))
    assert (text, ended.model) == ("fine", "one:n")


def test_a_single_model_waits_at_its_gate(run: Run) -> None:
    one = Scripted("one:m", [[ProviderBusy("busy", retry_after=0.3)]])
    started = time.monotonic()
    assert run(told(llms_of(one)))[0] == "fine"
    assert 0.3 <= time.monotonic() - started < 3


def test_a_first_word_that_never_comes_is_a_timeout(run: Run) -> None:
    one = Scripted("one:m", [[Delta(""), 60.0, "x"]] * 3)
    started = time.monotonic()
    with pytest.raises(ProviderTimeout):
        run(told(llms_of(one, attempt=0.2)))
    assert time.monotonic() - started < 2
    assert one.ended == len(one.asked)


def test_a_late_first_word_makes_room_for_the_next_link(run: Run) -> None:
    one, two = Scripted("one:m", [[60.0]]), Scripted("two:m")
    _, ended = run(told(llms_of(one, two, attempt=0.2), "one:m,two:m"))
    assert (ended.model, one.ended) == ("two:m", 1)


def test_an_answer_that_stops_is_a_timeout(run: Run) -> None:
    one = Scripted("one:m", [["a", 60.0, "b"]])
    with pytest.raises(ProviderTimeout, match=r"one:m stopped in its answer for 0\.2 seconds"):
        run(told(llms_of(one, attempt=0.2)))
    assert one.ended == 1


def test_a_model_on_this_machine_takes_its_time_and_is_asked_once(run: Run) -> None:
    one = Scripted("one:m", [[0.3, "a", 0.3, "b"], [ProviderError("broken")]], remote=False)
    llms = llms_of(one, attempt=0.1)
    assert run(told(llms))[0] == "ab"
    with pytest.raises(ProviderError, match="broken"):
        run(told(llms))
    assert len(one.asked) == 2


def test_an_answer_without_a_word_ends_as_it_is(run: Run) -> None:
    one = Scripted("one:m", [[Delta("", 3, 7, "length")]])
    text, ended = run(told(llms_of(one)))
    assert (text, ended.finish, ended.completion_tokens) == ("", "length", 7)


@pytest.mark.parametrize("script", [[TimeoutError()], ["a", TimeoutError()]])
def test_a_model_on_this_machine_that_times_out_is_an_error_of_ours(
    run: Run, script: list[Any]
) -> None:
    one = Scripted("one:m", [script], remote=False)
    with pytest.raises(ProviderTimeout, match="one:m did not answer in time"):
        run(told(llms_of(one)))


@pytest.mark.parametrize("pieces", [["one t", "wo th", "ree"], ["one two three"]])
def test_an_answer_ends_before_a_stop_text_that_the_model_overlooks(
    run: Run, pieces: list[str]
) -> None:
    one = Scripted("one:m", [[*pieces, Delta("", 5, 9, "length"), 60.0]])
    text, ended = run(told(llms_of(one), options=Generation(stop=("two", "X"))))
    assert (text, ended.finish, one.ended) == ("one ", "stop", 1)


def test_what_may_become_a_stop_text_and_does_not_is_said(run: Run) -> None:
    one = Scripted("one:m", [["one t", "w"]])
    assert run(told(llms_of(one), options=Generation(stop=("two",))))[0] == "one tw"


# -- what is asked ------------------------------------------------------------------------------


def test_prompt_and_options_reach_the_model(run: Run) -> None:
    one = Scripted("one:m")
    options = Generation(0.5, 7, 0.9, ("END",))
    prompt = [Message("user", "hi")]
    run(told(llms_of(one), prompt=prompt, options=options))
    assert one.asked == [(prompt, options)]


def test_each_model_gets_a_prompt_of_its_own(run: Run) -> None:
    one, two = Scripted("one:m", [[ProviderBusy("")]]), Scripted("two:m", window=5)

    def prompt(model: Any) -> str:
        return f"{model.window} tokens"

    run(told(llms_of(one, two), "one:m,two:m", prompt=prompt))
    assert (one.asked[0][0], two.asked[0][0]) == ("1000 tokens", "5 tokens")


# -- what is paid -------------------------------------------------------------------------------


def test_tokens_and_cost_are_those_of_the_provider(run: Run) -> None:
    one = Scripted("one:m", [["a", Delta("b", 1_000, None), Delta("", None, 200, "stop")]])
    llms = llms_of(one)
    ended = run(told(llms))[1]
    assert (ended.prompt_tokens, ended.completion_tokens, ended.estimated) == (1_000, 200, False)
    assert ended.cost_usd == pytest.approx(2e-6 * 1_000 + 10e-6 * 200)
    assert counts(llms) == {"one:m": (1_200, ended.cost_usd)}


def test_what_nobody_counted_is_estimated_and_says_so(run: Run) -> None:
    text = "international, communication? "
    one = Scripted("one:m", [[text[:9], text[9:]]])
    ended = run(told(llms_of(one), prompt=[Message("user", "How are you?")]))[1]
    assert ended.estimated
    assert ended.prompt_tokens == estimated_tokens("How are you?")
    assert ended.completion_tokens == estimated_tokens(text)


def test_a_free_model_costs_nothing_and_an_unknown_price_is_unknown(run: Run) -> None:
    two, three = Scripted("two:m"), Scripted("three:m")
    llms = llms_of(two, three)
    assert run(told(llms, "two:m"))[1].cost_usd == 0
    assert run(told(llms, "three:m"))[1].cost_usd is None


def test_an_answer_that_nobody_heard_to_its_end_is_counted(run: Run) -> None:
    one = Scripted("one:m", [["some words ", "more", 60.0]])
    llms = llms_of(one)

    async def work() -> None:
        async with aclosing(llms.stream(await llms.chain(), "hello")) as said:
            async for _ in said:
                break

    run(work())
    assert one.ended == 1
    read, written = estimated_tokens("hello"), estimated_tokens("some words ")
    cost = pytest.approx(2e-6 * read + 10e-6 * written)
    assert counts(llms) == {"one:m": (read + written, cost)}


def test_prices_of_language_models_are_pairs(tmp_path: Path) -> None:
    prices = read_prices()
    assert prices.chat_cost("openai:gpt-4o", 1_000_000, 100_000) == pytest.approx(3.5)
    assert prices.chat_cost("ollama:anything", 5, 5) == 0
    assert prices.chat_cost("openai:unheard-of", 5, 5) is None
    own = tmp_path / "own.toml"
    own.write_text('date = "2026-01-01"\n[chat]\n"openai:gpt-4o" = [1, 2]\n"acme:x" = [3, 4.5]\n')
    assert read_prices(str(own)).chat_cost("acme:x", 1_000_000, 1_000_000) == 7.5
    own.write_text('date = "2026-01-01"\n[chat]\n"openai:gpt-4o" = [1, 2, 3]\n')
    with pytest.raises(Exception, match="is not a pair"):
        read_prices(str(own))


# -- who is kept --------------------------------------------------------------------------------


def made_by(made: list[Scripted], delay: float = 0) -> LLMs:
    """Models of any name, each noted when it is made."""

    async def create(spec: Spec) -> Any:
        await asyncio.sleep(delay)
        made.append(Scripted(str(spec)))
        return made[-1]

    meter = Meter(NoStore(), PRICES)  # type: ignore[arg-type]
    return LLMs(create, Retrying(), meter, "one:m")


def test_a_model_is_made_once_for_everybody(run: Run) -> None:
    made: list[Scripted] = []
    llms = made_by(made, 0.05)

    async def work() -> None:
        await asyncio.gather(*(llms.chain("one:m") for _ in range(8)))

    run(work())
    assert len(made) == 1


def test_the_longest_unused_models_are_closed_but_none_that_somebody_has(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MODELS", 3)
    made: list[Scripted] = []
    llms = made_by(made)

    async def work() -> None:
        kept = await llms.chain("a:0,a:1")
        for number in range(2, 9):
            await llms.chain(f"a:{number}")
        assert [model.closed for model in made] == [0, 0, 1, 1, 1, 1, 1, 1, 0]
        assert await llms.say(kept, "hello")
        del kept
        await llms.aclose()
        assert [model.closed for model in made] == [1] * 9

    run(work())


def test_a_model_that_is_asked_for_while_others_are_closed_is_not_closed_with_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Scripted] = []
    llms = made_by(made)

    async def work() -> None:
        for name in "abc":
            await llms.chain(f"{name}:m")
        monkeypatch.setattr(module, "MOST_MODELS", 1)
        made[0].closing = 0.05
        closing = asyncio.create_task(llms.chain("d:m"))
        await asyncio.sleep(0.01)
        assert made[0].closed == 1
        kept = await llms.chain("b:m")
        await closing
        assert [model.closed for model in kept.models] == [0]

    run(work())


def test_the_first_link_stays_open_while_the_last_is_built(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MODELS", 1)
    made: list[Scripted] = []
    llms = made_by(made, 0.02)

    async def work() -> None:
        both, _ = await asyncio.gather(llms.chain("a:m,b:m"), llms.chain("c:m"))
        assert [model.closed for model in both.models] == [0, 0]

    run(work())


def test_a_chain_that_cannot_be_built_leaves_no_models_behind(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MODELS", 0)
    one = Scripted("one:m")
    with pytest.raises(UnknownProvider):
        run(llms_of(one).chain("one:m,nobody:m"))
    assert one.closed == 1


def test_a_model_that_cannot_be_closed_fails_no_request(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MODELS", 1)
    made: list[Scripted] = []
    llms = made_by(made)

    async def work() -> None:
        await llms.chain("a:m")
        made[0].closing = "never"  # type: ignore[assignment]  # no seconds
        assert (await llms.chain("b:m")).models == (made[1],)
        assert made[0].closed == 1

    run(work())


def test_closing_ends_the_call_at_once(run: Run) -> None:
    one = Scripted("one:m", [["a", 60.0]])
    llms = llms_of(one)

    async def work() -> None:
        chain = await llms.chain()
        task = asyncio.create_task(llms.say(chain, "hello"))
        await asyncio.sleep(0.05)
        assert one.ended == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.ended == 1

    run(work())


# -- with real clients --------------------------------------------------------------------------


@pytest.fixture
def two() -> Iterator[tuple[VllmChat, OllamaChat]]:
    with VllmChat() as first, OllamaChat() as second:
        first.reply, second.reply = lambda _: "the first", lambda _: "the second"
        yield first, second


def real(two: tuple[OpenAIChat, OpenAIChat], **changed: Any) -> LLMs:
    variables = {**two[0].variables, **two[1].variables}
    settings = replace(Settings(variables=variables, provider_timeout=5), **changed)
    meter = Meter(NoStore(), read_prices())  # type: ignore[arg-type]
    pace = Retrying(settings.provider_timeout, settings.provider_deadline)
    return LLMs(partial(create_chat_model, settings), pace, meter, "vllm:a,ollama:b")


FAULTS = [busy(retry_after="60"), Reply(500, b""), Reset(), BreaksOff(0), Stall(), FallsSilent(1)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_server_in_trouble_is_stood_in_for(
    run: Run, two: tuple[VllmChat, OllamaChat], fault: Any
) -> None:
    two[0].faults.append(fault)

    async def work() -> tuple[str, Ended]:
        llms = real(two, provider_timeout=0.5)
        try:
            return await told(llms)
        finally:
            await llms.aclose()

    text, ended = run(work())
    assert (text.strip(), ended.model, len(ended.degraded)) == ("the second", "ollama:b", 1)
    assert ended.cost_usd == 0


def test_a_prompt_that_a_server_finds_too_long_is_for_the_next_link(
    run: Run, two: tuple[VllmChat, OllamaChat]
) -> None:
    why = (
        "This model's maximum context length is 4096 tokens. However, your messages resulted in "
        "5000 tokens. Please reduce the length of the messages."
    )
    two[0].faults.append(error(400, why, "context_length_exceeded"))
    two[1].faults.append(None)

    async def work() -> tuple[str, Ended]:
        llms = real(two)
        try:
            found = await told(llms)
            two[1].faults.append(error(400, why))
            with pytest.raises(PromptTooLong, match="4096 tokens"):  # nobody else is left
                await told(llms, "ollama:b")
            return found
        finally:
            await llms.aclose()

    text, ended = run(work())
    assert (text.strip(), ended.model) == ("the second", "ollama:b")
    assert "maximum context length is 4096" in ended.degraded[0]
    assert len(two[0].requests) == 1


def test_a_client_that_goes_away_is_noticed_by_the_server(
    run: Run, two: tuple[VllmChat, OllamaChat]
) -> None:
    two[0].between = 60

    async def work() -> None:
        llms = real(two)
        async with aclosing(llms.stream(await llms.chain(), "hello")) as said:
            assert await anext(said) == Said("the", "vllm:a")
        for _ in range(200):
            if two[0].hung_up:
                break
            await asyncio.sleep(0.01)
        await llms.aclose()

    run(work())
    assert len(two[0].hung_up) == 1


def test_sixteen_streams_do_not_wait_for_each_other(
    run: Run, two: tuple[VllmChat, OllamaChat]
) -> None:
    two[0].first, two[0].between = 0.3, 0.1

    async def work() -> float:
        llms = real(two)
        await told(llms)
        started = time.monotonic()
        answers = await asyncio.gather(*(told(llms) for _ in range(16)))
        took = time.monotonic() - started
        assert {text.strip() for text, _ in answers} == {"the first"}
        await llms.aclose()
        return took

    assert run(work()) < 2
    assert two[0].most_at_once == 16


def test_a_missing_package_says_what_to_install(
    run: Run, two: tuple[VllmChat, OllamaChat], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "embedsvc.chat.mistral", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_mistralai", None)
    with pytest.raises(MissingDependency, match=r"pip install 'embedsvc\[mistral\]'"):
        run(real(two).chain("vllm:a,mistral:b"))


def test_offline_refuses_a_chain_of_which_one_link_leaves_the_machine(
    run: Run, two: tuple[VllmChat, OllamaChat]
) -> None:
    llms = real(two, offline=True)
    with pytest.raises(Forbidden, match="openai:gpt-4o would send"):
        run(llms.chain("vllm:a,openai:gpt-4o"))
    assert run(told(llms))[1].model == "vllm:a"
    run(llms.aclose())


def test_echo_says_what_it_is_told_word_by_word(run: Run, two: tuple[VllmChat, OllamaChat]) -> None:
    llms = real(two)
    prompt = [Message("system", "x"), Message("user", "one two\nthree"), Message("assistant", "y")]

    async def work() -> list[Any]:
        chain = await llms.chain("echo")
        return [piece async for piece in llms.stream(chain, prompt, Generation(max_tokens=2))]

    *said, ended = run(work())
    assert [piece.text for piece in said] == ["one ", "two\n"]
    assert (ended.model, ended.finish, ended.cost_usd) == ("echo", "length", 0)
    assert (ended.completion_tokens, ended.estimated) == (2, False)
    run(llms.aclose())


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MissingDependency("pip install 'embedsvc[mistral]'"), "pip install"),
        (Forbidden("EMBEDSVC_OFFLINE"), "EMBEDSVC_OFFLINE"),
        (UnknownProvider("known are a, b"), "see /v1/models"),
    ],
)
def test_a_bare_name_that_is_no_model_says_why(run: Run, error: Exception, why: str) -> None:
    def tell(*_: Any) -> Any:
        raise error

    models = Models(Settings(), None, None, tell)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match=why):
        run(models.meant_chat("mistral"))
