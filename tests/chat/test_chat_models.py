"""One suite over all language models behind an API: their clients against real sockets."""

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import pytest
from wire.anthropic import Anthropic
from wire.bedrock_chat import BedrockChat, event
from wire.google_chat import GeminiChat, VertexChat
from wire.huggingface_chat import HuggingFaceChat, HuggingFaceText
from wire.llms import KEY, LLM, sse
from wire.mistral_chat import MistralChat
from wire.openai_chat import (
    AzureChat,
    AzureCompletions,
    GitHubChat,
    GroqChat,
    LmStudioChat,
    LocalAIChat,
    OllamaChat,
    OpenAIChat,
    OpenAICompletions,
    TextGenChat,
    VllmChat,
)
from wire.server import BreaksOff, FallsSilent, Garbled, Reply, Reset, Stall, html

from embedsvc.app import create_chat_model
from embedsvc.core.model import Message
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.errors import (
    Forbidden,
    InvalidInput,
    MissingKey,
    PromptTooLong,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
)
from embedsvc.failures import of_status
from embedsvc.ports import Delta, Generation
from embedsvc.settings import Settings

KINDS: list[type[LLM]] = [
    OpenAIChat,
    OpenAICompletions,
    AzureChat,
    Anthropic,
    GeminiChat,
    VertexChat,
    MistralChat,
    BedrockChat,
    HuggingFaceChat,
    HuggingFaceText,
]
PRESETS: list[type[LLM]] = [
    AzureCompletions,
    GitHubChat,
    GroqChat,
    OllamaChat,
    LmStudioChat,
    LocalAIChat,
    VllmChat,
    TextGenChat,
]
CLIENTS: list[type[LLM]] = [
    OpenAIChat,
    Anthropic,
    GeminiChat,
    MistralChat,
    BedrockChat,
    HuggingFaceText,
]
"""One for each client: the others are the same with another address, or another body."""

NAME = attrgetter("__name__")
SAYING = "Grüße aus 東京, where « it » rains 🌧️ today."
TALK = [
    Message("system", "Be brief."),
    Message("user", "What is the capital?"),
    Message("assistant", "Of what?"),
    Message("user", 'Of France, <b>&amp;</b> "please"'),
]
AS_TEXT = """\
Be brief.

User: What is the capital?
Assistant: Of what?
User: Of France, <b>&amp;</b> "please"
Assistant:"""


@pytest.fixture(autouse=True, scope="module")
def _no_credentials_elsewhere() -> Iterator[None]:
    """SDKs look into the environment, and ask the cloud that they may run in.

    It also asks LangChain to tell another server everything that is said.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("CLOUDSDK_CONFIG", "/nowhere")
        yield


@dataclass
class Speaking:
    """A fake provider and the model that talks with it."""

    fake: LLM
    model: Any
    run: Callable[[Any], Any]

    def say(self, prompt: Any = "hello", **options: Any) -> list[Delta]:
        return self.run(said(self.model, prompt, **options))


async def said(model: Any, prompt: Any = "hello", **options: Any) -> list[Delta]:
    return [delta async for delta in model.stream(prompt, Generation(**options))]


def create(fake: LLM, timeout: float = 20, spec: str = "") -> Any:
    settings = Settings(variables=fake.variables, provider_timeout=timeout)
    return create_chat_model(settings, parse_spec(spec or fake.spec))


@contextmanager
def speaking_with(kind: type[LLM]) -> Iterator[Speaking]:
    with kind() as fake, asyncio.Runner() as runner:
        model = runner.run(create(fake))
        yield Speaking(fake, model, runner.run)
        runner.run(model.aclose())


@pytest.fixture(scope="module")
def _opened() -> Iterator[Callable[[type[LLM]], Speaking]]:
    """A provider and its model, which all tests share."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(speaking_with(kind)))


@pytest.fixture(params=KINDS, ids=NAME)
def speaking(request: pytest.FixtureRequest, _opened: Callable[[type[LLM]], Speaking]) -> Speaking:
    """A model of each provider, unless the test asks for fewer; the fake begins anew."""
    shared = _opened(request.param)
    fake, new = shared.fake, request.param()
    if isinstance(new, VertexChat):
        new._account.remove()
    for name in ("reply", "first", "between", "before"):
        setattr(fake, name, getattr(new, name))
    for found in (fake.requests, fake.hung_up, fake.faults):
        found.clear()
    return shared


each_client = pytest.mark.parametrize("speaking", CLIENTS, ids=NAME, indirect=True)
two_families = pytest.mark.parametrize(
    "speaking", [OpenAIChat, BedrockChat], ids=NAME, indirect=True
)


@pytest.fixture
def fake(speaking: Speaking) -> LLM:
    return speaking.fake


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


# -- good days ----------------------------------------------------------------------------------


def test_an_answer_comes_in_pieces(speaking: Speaking, fake: LLM) -> None:
    fake.reply = lambda _messages: SAYING
    deltas = speaking.say(TALK)
    assert text_of(deltas).strip() == SAYING
    assert len([delta for delta in deltas if delta.text]) == len(SAYING.split())
    assert [delta.finish for delta in deltas if delta.finish] == ["stop"]
    assert len(fake.talks) == 1


@each_client
def test_pieces_arrive_as_they_are_written(speaking: Speaking, fake: LLM) -> None:
    speaking.say()  # connections are open
    fake.between = 0.05

    async def times() -> list[float]:
        started = time.monotonic()
        return [
            time.monotonic() - started
            async for delta in speaking.model.stream("hello", Generation())
            if delta.text
        ]

    first, *_, last = speaking.run(times())
    assert last - first > 0.2


def test_tokens_are_those_that_the_provider_counted(speaking: Speaking, fake: LLM) -> None:
    last = [delta for delta in speaking.say(TALK) if delta.completion_tokens is not None][-1]
    assert last.completion_tokens == 6
    read = sum(len(message["content"].split()) for message in fake.talks[0].messages)
    assert last.prompt_tokens == (None if isinstance(fake, HuggingFaceText) else read)


def test_messages_reach_the_wire_letter_by_letter(speaking: Speaking, fake: LLM) -> None:
    speaking.say(TALK)
    (talk,) = fake.talks
    given = [(message["role"], message["content"]) for message in talk.messages]
    if fake.completes:
        assert given == [("user", AS_TEXT)]
    else:
        assert given == [(message.role, message.content) for message in TALK]
    assert talk.key == KEY


@each_client
def test_a_bare_text_is_sent_as_it_is(speaking: Speaking, fake: LLM) -> None:
    speaking.say("Once upon\na time ")
    (talk,) = fake.talks
    assert [dict(message) for message in talk.messages] == [
        {"role": "user", "content": "Once upon\na time "}
    ]


def test_options_reach_the_wire(speaking: Speaking, fake: LLM) -> None:
    deltas = speaking.say(temperature=0.25, top_p=0.5, max_tokens=3, stop=("ZZ", "\n\n"))
    (talk,) = fake.talks
    assert (talk.temperature, talk.top_p, talk.max_tokens) == (0.25, 0.5, 3)
    assert list(talk.stop) == ["ZZ", "\n\n"]
    assert text_of(deltas).split() == ["Paris", "is", "the"]
    assert [delta.finish for delta in deltas if delta.finish] == ["length"]


def test_what_nobody_asks_for_is_left_to_the_model(speaking: Speaking, fake: LLM) -> None:
    speaking.say()
    (talk,) = fake.talks
    assert (talk.temperature, talk.top_p, list(talk.stop)) == (None, None, [])
    assert talk.max_tokens == (4_096 if isinstance(fake, Anthropic) else None)


@pytest.mark.parametrize("speaking", [OpenAICompletions, HuggingFaceText], ids=NAME, indirect=True)
def test_a_completion_model_has_room_for_a_whole_answer(speaking: Speaking, fake: LLM) -> None:
    """Without a number their servers end it after 16 to 100 tokens."""
    speaking.say(TALK)
    speaking.say(TALK, max_tokens=7)
    speaking.say("a bare text, which is left to the server")
    assert [talk.max_tokens for talk in fake.talks] == [1_024, 7, None]


def test_the_room_for_a_completion_is_what_the_window_has_beside_the_prompt(
    run: Callable[[Any], Any],
) -> None:
    long = [Message("user", "the word of " * 33)]

    async def work() -> None:
        for window in (128, 4_096):
            model = await create(fake, spec=f"vllm:m?kind=completion&window={window}")
            for prompt in (TALK, long, long * 2):
                await said(model, prompt)
            await model.aclose()

    class Completing(VllmChat, OpenAICompletions):
        word = OpenAICompletions.word
        closing = OpenAICompletions.closing

    with Completing() as fake:
        run(work())
    small, large = fake.talks[:3], fake.talks[3:]
    assert [talk.max_tokens for talk in large] == [1_024] * 3
    assert (small[0].max_tokens, small[2].max_tokens) == (32, 16)
    assert small[1].max_tokens is not None
    assert 16 < small[1].max_tokens < 32


@each_client
def test_a_temperature_of_zero_is_sent(speaking: Speaking, fake: LLM) -> None:
    speaking.say(temperature=0.0)
    assert fake.talks[0].temperature == 0


@each_client
def test_streams_at_the_same_time_keep_apart_and_do_not_wait(speaking: Speaking, fake: LLM) -> None:
    fake.reply = lambda messages: f"you said {messages[-1]['content']} indeed"
    fake.first = 0.2

    async def together() -> list[list[Delta]]:
        return await asyncio.gather(*(said(speaking.model, f"n{n}") for n in range(16)))

    started = time.monotonic()
    answers = speaking.run(together())
    assert time.monotonic() - started < 16 * 0.2 / 2
    for number, deltas in enumerate(answers):
        assert text_of(deltas).strip() == f"you said n{number} indeed"


# -- going away ---------------------------------------------------------------------------------


async def hangs_up(fake: LLM) -> float:
    """Seconds until the provider sees that nobody listens."""
    started = time.monotonic()
    while not fake.hung_up:
        await asyncio.sleep(0.005)
        assert time.monotonic() - started < 5, "the request goes on"
    return time.monotonic() - started


@each_client
@pytest.mark.parametrize("where", ["before", "first"])
def test_cancelling_before_the_first_word_ends_the_request(
    speaking: Speaking, fake: LLM, where: str
) -> None:
    setattr(fake, where, 60)

    async def work() -> None:
        task = asyncio.create_task(said(speaking.model))
        await asyncio.sleep(0.1)
        assert len(fake.talks) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await hangs_up(fake) < 1

    speaking.run(work())


@each_client
def test_closing_in_the_middle_ends_the_request(speaking: Speaking, fake: LLM) -> None:
    fake.between = 0.1
    fake.reply = lambda _messages: "word " * 600

    async def work() -> None:
        async with aclosing(speaking.model.stream("hello", Generation())) as deltas:
            async for delta in deltas:
                if delta.text:
                    break
        assert await hangs_up(fake) < 1

    speaking.run(work())
    fake.hung_up.clear()
    fake.between, fake.reply = 0, lambda _messages: "still here"
    assert text_of(speaking.say()).strip() == "still here"


# -- bad days -----------------------------------------------------------------------------------


def failed(speaking: Speaking, fault: Any) -> ProviderError:
    """The error of one call that meets the fault, once it is sure that there was one request."""
    fake = speaking.fake
    if isinstance(fake, VertexChat) and not any(fake.requests):
        speaking.say()  # with its access token
        fake.requests.clear()
    fake.faults.append(fault)
    with pytest.raises(ProviderError) as caught:
        speaking.say()
    assert len(fake.talks) == 1, "the SDK tried again by itself"
    assert KEY not in caught.value.detail
    assert KEY not in str(caught.value)
    return caught.value


def test_a_request_that_is_refused_is_one_of_our_errors(speaking: Speaking, fake: LLM) -> None:
    error = failed(speaking, fake.error(400, f"the key {KEY} says no 400"))
    assert type(error) is ProviderRejected
    assert "says no 400" in error.detail


TOO_LONG = {
    OpenAIChat: "This model's maximum context length is 128000 tokens. However, you sent 130000.",
    Anthropic: "prompt is too long: 201000 tokens > 200000 maximum",
    GeminiChat: "The input token count (1200000) exceeds the maximum number of tokens allowed (1).",
    MistralChat: "Prompt contains 40000 tokens, too large for model with 32768 maximum context "
    "length",
    BedrockChat: "Input is too long for requested model.",
    HuggingFaceText: "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
}


@each_client
def test_a_prompt_that_is_too_long_is_known_by_what_the_provider_says(
    speaking: Speaking, fake: LLM
) -> None:
    said = TOO_LONG[type(fake)]
    error = failed(speaking, fake.error(400, said))
    assert type(error) is PromptTooLong
    assert not error.transient
    assert said[:40] in error.detail


@pytest.mark.parametrize(
    "said",
    [
        "maximum model length is 4096, and the prompt has 5000 tokens",
        "the request exceeds the available context size. try increasing it",
        "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000",
        "Request body too large for gpt-4o model. Max size: 8000 tokens.",
        "Please reduce the length of the messages or completion.",
        "the input length exceeds the context length",
    ],
)
def test_a_prompt_that_is_too_long_is_known_in_other_words_too(said: str) -> None:
    assert type(of_status("x", 413, said)) is PromptTooLong
    assert type(of_status("x", 500, said)) is ProviderError


@two_families
@pytest.mark.parametrize(
    ("status", "kind", "transient"), [(403, ProviderDenied, False), (500, ProviderError, True)]
)
def test_an_http_error_is_one_of_ours(
    speaking: Speaking, fake: LLM, status: int, kind: type[ProviderError], transient: bool
) -> None:
    error = failed(speaking, fake.error(status, f"the key {KEY} says no {status}"))
    assert type(error) is kind
    assert error.transient is transient
    assert f"says no {status}" in error.detail


def test_a_key_that_is_none_is_denied(speaking: Speaking, fake: LLM) -> None:
    assert type(failed(speaking, fake.denied(f"Incorrect key {KEY}"))) is ProviderDenied


@each_client
def test_over_the_limit_says_when_to_come_back(speaking: Speaking, fake: LLM) -> None:
    error = failed(speaking, fake.busy(7))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after == 7


@each_client
@pytest.mark.parametrize(
    "fault", [html(), BreaksOff(2), Garbled(0, b"")], ids=["page", "breaks", "garbage"]
)
def test_a_wrong_stream_is_a_passing_failure_of_the_provider(
    speaking: Speaking, fault: Any
) -> None:
    if isinstance(fault, Garbled):
        fault = Garbled(0, speaking.fake.garbage)
    assert failed(speaking, fault).transient


@two_families
@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        html(502),
        Reply(200, b"", {"Content-Type": "text/event-stream"}),
        Reply(200, b"{}"),
        BreaksOff(0),
    ],
    ids=["reset", "bad gateway", "nothing", "no stream", "no words"],
)
def test_trouble_is_a_passing_failure_of_the_provider(speaking: Speaking, fault: Any) -> None:
    assert failed(speaking, fault).transient


@each_client
def test_an_answer_that_is_late_or_stops_is_a_timeout(speaking: Speaking, fake: LLM) -> None:
    async def work() -> list[Any]:
        model = await create(fake, timeout=0.25)
        if isinstance(fake, VertexChat):
            await said(model)
        fake.faults.extend([Stall(), FallsSilent(2)])
        try:
            return await asyncio.gather(said(model), said(model), return_exceptions=True)
        finally:
            await model.aclose()

    assert [type(error) for error in speaking.run(work())] == [ProviderTimeout] * 2


@each_client
def test_the_words_before_a_break_are_not_lost(speaking: Speaking, fake: LLM) -> None:
    fake.between = 0.02  # so that they are there before the break is

    async def work() -> list[str]:
        heard: list[str] = []

        async def listen() -> None:
            async for delta in speaking.model.stream("hello", Generation()):
                heard.append(delta.text)

        with pytest.raises(ProviderError):
            await listen()
        return heard

    if isinstance(fake, VertexChat):
        speaking.say()
    fake.faults.append(BreaksOff(6))  # three of which, at the most, come before the first word
    heard = "".join(speaking.run(work()))
    assert heard.startswith("Paris is")


# -- what is particular -------------------------------------------------------------------------


@pytest.fixture(params=PRESETS, ids=lambda kind: kind.__name__)
def preset(request: pytest.FixtureRequest) -> Iterator[Speaking]:
    with speaking_with(request.param) as opened:
        yield opened


def test_every_preset_finds_its_server_by_its_own_variables(preset: Speaking) -> None:
    deltas = preset.say(TALK, max_tokens=4)
    assert text_of(deltas).strip() == "Paris is the capital"
    (talk,) = preset.fake.talks
    assert (talk.key, talk.max_tokens) == (KEY, 4)
    assert preset.model.name == preset.fake.spec.partition("?")[0]
    counted = [delta.prompt_tokens for delta in deltas if delta.prompt_tokens]
    assert bool(counted) is preset.fake.counts


@pytest.fixture
def openai() -> Iterator[OpenAIChat]:
    with OpenAIChat() as made:
        yield made


async def with_openai(fake: OpenAIChat, spec: str, **options: Any) -> list[Delta]:
    model = await create(fake, spec=spec)
    try:
        return await said(model, TALK, **options)
    finally:
        await model.aclose()


@pytest.mark.parametrize("name", ["o3-mini", "gpt-5", "gpt-5-nano"])
def test_reasoning_models_are_asked_as_they_want_it(
    run: Callable[[Any], Any], openai: OpenAIChat, name: str
) -> None:
    openai.refuses = frozenset({"max_tokens", "temperature"})
    run(with_openai(openai, f"openai:{name}", temperature=0.5, max_tokens=5))
    (request,) = openai.requests
    assert request.json["max_completion_tokens"] == 5


def test_what_a_model_refuses_is_left_out_from_then_on(
    run: Callable[[Any], Any], openai: OpenAIChat
) -> None:
    openai.refuses = frozenset({"max_tokens", "temperature", "stop", "stream_options", "top_p"})

    async def work() -> list[Delta]:
        model = await create(openai, spec="openai:new")
        options = {"temperature": 0.5, "max_tokens": 5, "stop": ("capital",), "top_p": 0.5}
        await said(model, **options)
        assert len(openai.requests) == 6
        deltas = await said(model, **options)
        await model.aclose()
        return deltas

    assert text_of(run(work())).startswith("Paris is the ")  # services/llms.py looks for stops
    assert len(openai.requests) == 7
    assert openai.requests[-1].json["max_completion_tokens"] == 5


def test_a_wrong_value_is_not_taken_for_a_parameter_that_is_refused(
    run: Callable[[Any], Any], openai: OpenAIChat
) -> None:
    openai.faults.append(openai.error(400, "'temperature' must be at most 2, it is 5"))
    with pytest.raises(ProviderRejected, match="at most 2"):
        run(with_openai(openai, "openai:m", temperature=5.0))
    assert len(openai.requests) == 1


def test_an_error_about_what_nobody_sent_teaches_nothing(
    run: Callable[[Any], Any], openai: OpenAIChat
) -> None:
    async def work() -> None:
        model = await create(openai, spec="openai:m")
        openai.faults.append(openai.error(400, "top_p: unknown; so says the text of the user"))
        with pytest.raises(ProviderRejected, match="so says"):
            await said(model, temperature=0.5)
        await said(model, top_p=0.5)
        await model.aclose()

    run(work())
    assert len(openai.requests) == 2
    assert openai.requests[-1].json["top_p"] == 0.5


def test_a_name_that_makes_no_address_is_refused(run: Callable[[Any], Any]) -> None:
    """No spec has such a name, but names also come from elsewhere."""
    variables = {"GOOGLE_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9"}

    async def work() -> None:
        model = await create_chat_model(Settings(variables=variables), Spec("gemini", "a\nb"))
        with pytest.raises(ProviderRejected, match=r"no address: .*look at the model"):
            await said(model)
        await model.aclose()

    run(work())


def test_a_quota_that_is_spent_is_not_waited_for(
    run: Callable[[Any], Any], openai: OpenAIChat
) -> None:
    inner = {"message": "You exceeded your quota", "code": "insufficient_quota", "type": "x"}
    openai.faults.append(Reply(429, {"error": inner}))
    with pytest.raises(ProviderDenied, match="exceeded"):
        run(with_openai(openai, "openai:m"))


IN_STREAM = {
    OpenAIChat: (sse({"error": {"message": "too much", "code": "rate_limit_exceeded"}}), True),
    VllmChat: (sse({"error": {"message": "no memory", "code": 500, "type": "X"}}), False),
    Anthropic: (
        sse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            event="error",
        ),
        True,
    ),
    BedrockChat: (event("throttlingException", {"message": "slow"}, "exception"), False),
    HuggingFaceText: (sse({"error": "no memory", "error_type": "generation"}), False),
}


@pytest.mark.parametrize("kind", IN_STREAM, ids=lambda kind: kind.__name__)
def test_an_error_in_the_middle_of_a_stream_is_one_of_ours(
    run: Callable[[Any], Any], kind: type[LLM]
) -> None:
    instead, busy = IN_STREAM[kind]

    async def work(fake: LLM) -> ProviderError:
        model = await create(fake)
        fake.faults.append(Garbled(1 + (3 if isinstance(fake, Anthropic) else 1), instead))
        with pytest.raises(ProviderError) as caught:
            await said(model)
        await model.aclose()
        return caught.value

    with kind() as fake:
        error = run(work(fake))
    assert error.transient
    assert isinstance(error, ProviderBusy) is busy


@pytest.mark.parametrize("kind", KINDS, ids=NAME)
def test_a_model_that_is_closed_leaves_no_connection_to_the_garbage_collector(
    run: Callable[[Any], Any], kind: type[LLM]
) -> None:
    async def work() -> None:
        model = await create(fake)
        await said(model)
        fake.faults.append(html(500))
        with pytest.raises(ProviderError):
            await said(model)
        await model.aclose()

    gc.disable()
    try:
        with kind() as fake:
            run(work())
            assert fake.deserted()
    finally:
        gc.enable()


@pytest.mark.parametrize("usage", ["many", 7, [], {"prompt_tokens": "many"}, {"total_tokens": {}}])
def test_counts_that_are_none_cost_no_answer(run: Callable[[Any], Any], usage: Any) -> None:
    said_first = {"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}
    body = sse(said_first) + sse({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"

    async def work() -> list[Delta]:
        model = await create(fake)
        fake.faults.append(Reply(200, body, {"Content-Type": "text/event-stream"}))
        deltas = await said(model)
        await model.aclose()
        return deltas

    with OpenAIChat() as fake:
        deltas = run(work())
    assert "".join(delta.text for delta in deltas) == "Hi."
    assert {delta.prompt_tokens for delta in deltas} == {None}


def test_a_last_chunk_without_a_delta_still_ends_the_answer(run: Callable[[Any], Any]) -> None:
    """As some servers of OpenAI's protocol have it, and an empty list of choices, or null."""
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Hi."}}]},
        {"choices": None},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}},
    ]
    body = b"".join(map(sse, chunks)) + b"data: [DONE]\n\n"

    async def work() -> list[Delta]:
        model = await create(fake)
        fake.faults.append(Reply(200, body, {"Content-Type": "text/event-stream"}))
        deltas = await said(model)
        await model.aclose()
        return deltas

    with OpenAIChat() as fake:
        deltas = run(work())
    assert "".join(delta.text for delta in deltas) == "Hi."
    assert [delta.finish for delta in deltas if delta.finish] == ["length"]
    assert max(delta.prompt_tokens or 0 for delta in deltas) == 7


def test_a_prompt_that_google_blocks_is_rejected(run: Callable[[Any], Any]) -> None:
    with GeminiChat() as fake:
        blocked = sse({"promptFeedback": {"blockReason": "SAFETY"}}, end="\r\n\r\n")
        fake.faults.append(Reply(200, blocked, {"Content-Type": "text/event-stream"}))

        async def work() -> None:
            model = await create(fake)
            with pytest.raises(ProviderRejected, match="SAFETY"):
                await said(model)
            await model.aclose()

        run(work())


def test_messages_are_put_in_turns_for_providers_that_want_it(run: Callable[[Any], Any]) -> None:
    untidy = [
        Message("assistant", "Welcome!"),
        Message("system", "One."),
        Message("user", "a"),
        Message("user", ""),
        Message("user", "b"),
        Message("system", "Two."),
    ]
    with Anthropic() as fake:

        async def work() -> None:
            model = await create(fake)
            await said(model, untidy)
            with pytest.raises(InvalidInput, match="nothing is asked"):
                await said(model, [Message("system", "x"), Message("user", " ")])
            await model.aclose()

        run(work())
        (talk,) = fake.talks
    assert [dict(message) for message in talk.messages] == [
        {"role": "system", "content": "You said before: Welcome!\n\nOne.\n\nTwo."},
        {"role": "user", "content": "a\n\nb"},
    ]


def test_a_completion_model_does_not_go_on_with_what_the_user_says(
    run: Callable[[Any], Any],
) -> None:
    with OpenAICompletions() as fake:
        fake.reply = lambda _messages: " Paris.\nUser: And of Spain?\nAssistant: Madrid."
        assert text_of(run(with_openai(fake, fake.spec))) == " Paris."


# -- before anything is sent --------------------------------------------------------------------


def made(run: Callable[[Any], Any], spec: str, **variables: str) -> Any:
    settings = Settings(variables=variables)
    model = run(create_chat_model(settings, parse_spec(spec)))
    run(model.aclose())
    return model


@pytest.mark.parametrize(
    ("spec", "variable"),
    [
        ("openai:gpt-4o", "OPENAI_API_KEY"),
        ("azure:x", "AZURE_OPENAI_ENDPOINT"),
        ("github:x", "GITHUB_TOKEN"),
        ("groq:x", "GROQ_API_KEY"),
        ("anthropic:x", "ANTHROPIC_API_KEY"),
        ("gemini:x", "GOOGLE_API_KEY"),
        ("vertex:x", "GOOGLE_CLOUD_PROJECT"),
        ("mistral:x", "MISTRAL_API_KEY"),
        ("bedrock:amazon.x", "AWS_REGION"),
        ("huggingface:x", "HF_TOKEN"),
        ("huggingface:x?kind=completion", "HF_TOKEN"),
    ],
)
def test_a_missing_key_is_named(run: Callable[[Any], Any], spec: str, variable: str) -> None:
    with pytest.raises(MissingKey, match=variable):
        made(run, spec)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("vllm", "which model"),
        ("vllm:m?kind=poem", "use chat or completion"),
        ("vllm:m?window=lots", "a number of tokens"),
        ("vllm:m?window=1", "128 or more"),
        ("vllm:m?colour=red", "no option 'colour'; known are kind, window"),
        ("anthropic:m?kind=completion", "no option 'kind'"),
        ("huggingface:../x", "no name of a model"),
        ("echo:x", "echo has no models"),
        ("echo?kind=chat", "no option 'kind'"),
    ],
)
def test_a_wrong_spec_is_refused_in_words(run: Callable[[Any], Any], spec: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        made(run, spec, HF_TOKEN=KEY, ANTHROPIC_API_KEY=KEY)


@pytest.mark.parametrize(
    ("spec", "kind", "window"),
    [
        ("openai:gpt-4o-mini", "chat", 128_000),
        ("openai:gpt-3.5-turbo-instruct", "completion", 4_096),
        ("openai:davinci-002", "completion", 16_384),
        ("openai:gpt-4o?window=1000", "chat", 1_000),
        ("vllm:gpt-4o?kind=completion", "completion", 8_192),
        ("ollama:llama3.2", "chat", 4_096),
        ("anthropic:claude-haiku-4-5", "chat", 200_000),
        ("anthropic:claude-sonnet-5-5", "chat", 1_000_000),
        ("anthropic:claude-new", "chat", 200_000),
        ("gemini:gemini-2.5-flash", "chat", 1_048_576),
    ],
)
def test_kind_and_window_are_known_or_said(
    run: Callable[[Any], Any], spec: str, kind: str, window: int
) -> None:
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"), KEY)
    model = made(run, spec, **keys)
    assert (model.kind, model.window, model.remote) == (kind, window, True)


ELSEWHERE = [
    "openai",
    "anthropic",
    "gemini",
    "vertex",
    "mistral",
    "bedrock",
    "groq",
    "github",
    "huggingface",
]


@pytest.mark.parametrize("provider", ELSEWHERE)
def test_offline_refuses_what_leaves_the_machine(run: Callable[[Any], Any], provider: str) -> None:
    with pytest.raises(Forbidden, match="EMBEDSVC_OFFLINE"):
        run(create_chat_model(Settings(offline=True), parse_spec(f"{provider}:x")))


def test_offline_leaves_servers_on_this_machine(run: Callable[[Any], Any]) -> None:
    for spec in ("ollama:x", "vllm:x", "lmstudio:x", "localai:x", "textgen:x", "echo"):
        run(run(create_chat_model(Settings(offline=True), parse_spec(spec))).aclose())


def test_nobody_else_is_told_what_is_said(
    run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, openai: OpenAIChat
) -> None:
    """LangChain's tracing sends prompts to another server when the environment says so."""
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from langsmith.utils import get_env_var, get_tracer_project

    with OpenAIChat() as tracing:
        monkeypatch.setenv("LANGSMITH_TRACING", "true")
        for prefix in ("LANGSMITH", "LANGCHAIN"):
            monkeypatch.setenv(f"{prefix}_TRACING_V2", "true")
            monkeypatch.setenv(f"{prefix}_ENDPOINT", tracing.address)
            monkeypatch.setenv(f"{prefix}_API_KEY", "lsv2_none")
        get_env_var.cache_clear()
        get_tracer_project.cache_clear()
        try:
            run(with_openai(openai, "openai:m"))
            wait_for_all_tracers()  # they would be sent from a thread
        finally:
            get_env_var.cache_clear()
        assert not tracing.requests
    assert os.environ["LANGSMITH_TRACING"] == "true"


@each_client
def test_clients_write_no_logs_of_their_own(
    speaking: Speaking, fake: LLM, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        failed(speaking, fake.error(500, "down"))
    assert not caplog.records
