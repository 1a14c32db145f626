"""OpenAI's own client and LangChain's talk with collections and models, streamed and whole."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from serving import served_here
from wire.openai_chat import OpenAIChat
from wire.server import BreaksOff

from embedsvc.client.client import Client, ServiceError
from embedsvc.settings import Settings

TEXT = "The Eiffel Tower was finished in 1889. It is 330 metres tall."
QUESTION = "When was the Eiffel Tower finished?"
SAID = 'It was finished in 1889 [1 "finished in 1889"]. It is green [2 "it is green"].'
TOWERS = "collection:towers"
TALK = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def llm() -> Iterator[OpenAIChat]:
    with OpenAIChat() as made:
        yield made


@pytest.fixture(scope="module")
def url(module_settings: Settings, llm: OpenAIChat) -> Iterator[str]:
    """A real server, whose default is the fake model."""
    chat = "openai:gpt-4o,extractive"
    settings = replace(module_settings, embedding="hash:64", chat=chat, variables=llm.variables)
    with served_here(settings) as address:
        document = {"id": "tower", "text": TEXT, "title": "Tower", "url": "https://t.example"}
        httpx.post(
            f"{address}/v1/collections/towers/documents", json={"documents": [document]}
        ).raise_for_status()
        yield address


@pytest.fixture(scope="module")
def web(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as made:
        yield made


@pytest.fixture(autouse=True)
def usual(llm: OpenAIChat) -> None:
    llm.reply = lambda _messages: SAID
    llm.first = llm.between = 0.0
    llm.requests.clear()
    llm.hung_up.clear()


def check_annotations(content: str, annotations: Any) -> None:
    """The first is of the document, the second of nothing; both stand at their markers."""
    first, second = annotations
    for number, one in enumerate((first, second), start=1):
        assert one["type"] == "url_citation"
        place = one["url_citation"]
        assert content[place["start_index"] : place["end_index"]] == f"[{number}]"
        assert one["marker"] == number
    assert first["url_citation"]["url"] == first["url"] == "https://t.example"
    assert first["url_citation"]["title"] == first["title"] == "Tower"
    assert (first["status"], first["document_id"]) == ("verified", "tower")
    assert TEXT[first["start"] : first["end"]] == first["quote"] == "finished in 1889"
    assert second["status"] == "not_found"


# -- from a collection: OpenAI's client -----------------------------------------------------------


def test_a_collection_answers_with_annotations(client: openai.OpenAI, web: httpx.Client) -> None:
    answer = client.chat.completions.create(model=TOWERS, messages=TALK)  # type: ignore[arg-type]
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert choice.message.content is not None
    assert choice.message.content.startswith("It was finished in 1889 [1]")
    assert choice.message.annotations is not None
    typed = choice.message.annotations[0].url_citation
    assert choice.message.content[typed.start_index : typed.end_index] == "[1]"
    check_annotations(
        choice.message.content, [one.model_dump() for one in choice.message.annotations]
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens > answer.usage.completion_tokens > 0
    more = answer.model_extra
    assert more is not None
    assert (answer.model, more["answered_by"]) == (TOWERS, "openai:gpt-4o")
    assert (more["state"], more["query"]) == ("answered", QUESTION)
    assert more["sources"][0]["text"] == TEXT
    (claim,) = more["unsupported"]
    assert claim["text"].startswith("It is green")
    kept = web.get(f"/v1/answers/{more['answer_id']}").json()
    assert kept["answer"] == choice.message.content
    assert kept["conversation_id"] is None, "the client keeps the talk itself"


def test_a_stream_brings_annotations_as_they_are_checked(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=TOWERS,
            messages=TALK,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert first.model_extra["sources"][0]["document_id"] == "tower"
    content, annotations = "", []
    for chunk in middle:
        delta = chunk.choices[0].delta
        assert chunk.choices[0].finish_reason is None
        content += delta.content or ""
        found = (delta.model_extra or {}).get("annotations", [])
        annotations += found
        for one in found:
            assert content[: one["url_citation"]["end_index"]].endswith(f"[{one['marker']}]")
    check_annotations(content, annotations)
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert last.model_extra["state"] == "answered"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_asynchronous_client_streams_many_at_once(url: str) -> None:
    async def one(client: openai.AsyncOpenAI) -> tuple[str, int]:
        stream = await client.chat.completions.create(
            model=TOWERS,
            messages=TALK,
            stream=True,  # type: ignore[arg-type]
        )
        content, cited = "", 0
        async for chunk in stream:
            content += chunk.choices[0].delta.content or ""
            cited += len((chunk.choices[0].delta.model_extra or {}).get("annotations", []))
        return content, cited

    async def many() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client:
            return await asyncio.gather(*(one(client) for _ in range(8)))

    found = asyncio.run(many())
    assert set(found) == {(found[0][0], 2)}


def test_a_client_that_closes_its_stream_leaves_the_model(
    client: openai.OpenAI, llm: OpenAIChat, web: httpx.Client
) -> None:
    llm.reply = lambda _messages: "word " * 2_000
    llm.between = 0.02
    for model in (TOWERS, "openai:gpt-4o"):
        llm.hung_up.clear()
        stream = client.chat.completions.create(model=model, messages=TALK, stream=True)  # type: ignore[call-overload]
        for number, _ in enumerate(stream):
            if number == 3:
                break
        stream.close()
        for _ in range(200):
            if llm.hung_up:
                break
            web.get("/healthz")
        assert len(llm.hung_up) == 1


def test_messages_are_question_history_and_instructions(
    client: openai.OpenAI, llm: OpenAIChat
) -> None:
    client.chat.completions.create(
        model=TOWERS,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look at the tower."}]},
            {"role": "assistant", "content": "I did.", "refusal": None},
            {"role": "developer", "content": "In English."},
            {"role": "user", "content": QUESTION},
        ],
        max_completion_tokens=77,
        max_tokens=99,
        temperature=0.5,
        stop="END",
    )
    *_, talk = llm.talks
    assert [message["role"] for message in talk.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert "Be brief.\n\nIn English." in talk.messages[0]["content"]
    assert [message["content"] for message in talk.messages[1:3]] == [
        "Look at the tower.",
        "I did.",
    ]
    assert (talk.max_tokens, talk.temperature, list(talk.stop)) == (77, 0.5, ["END"])


def test_our_own_fields_are_those_of_a_question(client: openai.OpenAI, web: httpx.Client) -> None:
    def ask(**body: Any) -> Any:
        answer = client.chat.completions.create(
            model=body.pop("model", TOWERS),
            messages=TALK,
            extra_body=body,  # type: ignore[arg-type]
        )
        return answer.model_extra

    asked = web.post("/v1/collections/towers/ask", json={"question": "x", "model": "echo"}).json()
    talk = asked["conversation_id"]
    assert ask(conversation_id=talk)["conversation_id"] == talk
    assert web.get(f"/v1/conversations/{talk}").json()["turns"] == 4
    assert ask(filter={"year": 2020})["sources"] == []
    found = ask(model=f"{TOWERS}/extractive", mode="lexical", limit=1, grounding="strict")
    assert found["answered_by"] == "extractive"
    assert ask(model=f"{TOWERS}/echo", grounding="normal")["answered_by"] == "echo"
    assert ask(model=f"{TOWERS}/gpt-4o,extractive")["answered_by"] == "openai:gpt-4o"


def test_the_extractive_answerer_passes_over_instructions(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=f"{TOWERS}/extractive",
        messages=[{"role": "system", "content": "You are helpful."}, *TALK],  # type: ignore[list-item]
        temperature=0.7,
    )
    assert answer.choices[0].message.content


# -- from a collection: our own client ------------------------------------------------------------


def test_our_own_client_streams_the_events(url: str) -> None:
    """A line separator of Unicode in a source is no end of an event."""

    async def work() -> list[tuple[str, Any]]:
        async with Client.connect(url) as client:
            await client.add("lines", [{"id": "b", "text": "Before\u2028after."}])
            events = [one async for one in client.ask_stream("lines", QUESTION, model="echo")]
            with pytest.raises(ServiceError, match="nobody"):
                await anext(client.ask_stream("lines", QUESTION, model="nobody:x"))
            return events

    events = asyncio.run(work())
    assert events[0][1]["sources"][0]["text"] == "Before\u2028after."
    assert {name for name, _ in events[1:-1]} >= {"delta"}
    text = "".join(data["text"] for name, data in events if name == "delta")
    assert (events[-1][0], events[-1][1]["answer"]) == ("done", text)


# -- from a collection: LangChain -----------------------------------------------------------------


class Citing(ChatOpenAI):
    """LangChain's own class leaves out what it does not know: this one keeps the annotations."""

    def _convert_chunk_to_generation_chunk(self, chunk: Any, *rest: Any) -> Any:
        made = super()._convert_chunk_to_generation_chunk(chunk, *rest)
        for choice in chunk.get("choices") or []:
            if made is not None and (found := choice["delta"].get("annotations")):
                made.message.additional_kwargs["annotations"] = found
        return made


def test_langchain_streams_from_a_collection(url: str, web: httpx.Client) -> None:
    chat = ChatOpenAI(model=TOWERS, base_url=f"{url}/v1", api_key="unused", temperature=0)  # type: ignore[arg-type]
    talk = [SystemMessage("Be brief."), HumanMessage("Look."), AIMessage("Yes.")]
    whole: Any = None
    pieces = 0
    for chunk in chat.stream([*talk, HumanMessage(QUESTION)]):
        whole = chunk if whole is None else whole + chunk
        pieces += 1
    assert pieces > 3
    assert whole.content.startswith("It was finished in 1889 [1]")
    kept = web.get(f"/v1/answers/{whole.id}").json()
    assert kept["answer"] == whole.content, "the id of the message is that of the answer"
    assert [one["status"] for one in kept["citations"]] == ["verified", "not_found"]
    answer = chat.invoke(QUESTION)
    assert answer.content == whole.content
    assert web.get(f"/v1/answers/{answer.id}").json()["question"] == QUESTION
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_langchain_has_the_annotations_with_six_lines(url: str) -> None:
    chat = Citing(model=TOWERS, base_url=f"{url}/v1", api_key="unused")  # type: ignore[arg-type]
    chunks = list(chat.stream(QUESTION))
    annotations = [
        one for chunk in chunks for one in chunk.additional_kwargs.get("annotations", [])
    ]
    check_annotations("".join(str(chunk.content) for chunk in chunks), annotations)


def test_langchain_completes_from_a_collection_and_from_a_model(url: str) -> None:
    def model(name: str) -> OpenAI:
        return OpenAI(model=name, base_url=f"{url}/v1", api_key="unused", max_retries=0)  # type: ignore[arg-type]

    assert "".join(model(TOWERS).stream(QUESTION)).startswith("It was finished in 1889 [1]")
    assert model("echo").invoke("hello there") == "hello there"


# -- texts ----------------------------------------------------------------------------------------


def test_a_completion_from_a_collection_has_annotations_too(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=TOWERS, prompt=[QUESTION], max_tokens=100)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    check_annotations(choice.text, choice.model_extra["annotations"])
    content, annotations, chunks = "", [], []
    for chunk in client.completions.create(
        model=TOWERS, prompt=QUESTION, stream=True, stream_options={"include_usage": True}
    ):
        chunks.append(chunk)
        for piece in chunk.choices:
            content += piece.text
            annotations += (piece.model_extra or {}).get("annotations", [])
    check_annotations(content, annotations)
    assert content == choice.text
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert answer.model_extra["answer_id"] != chunks[-2].model_extra["answer_id"]


def test_a_completion_goes_to_a_model_as_it_is(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="echo", prompt="one two three", max_tokens=2)
    assert answer.choices[0].text.strip() == "one two"
    assert answer.choices[0].finish_reason == "length"


# -- a model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai:gpt-4o", "gpt-4o"])
def test_any_other_name_is_a_model_that_gets_the_messages(
    client: openai.OpenAI, llm: OpenAIChat, name: str
) -> None:
    talk = [
        {"role": "developer", "content": "Be brief."},
        *TALK,
        {"role": "assistant", "content": "When?"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    answer = client.chat.completions.create(model=name, messages=talk)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == SAID, "as it is"
    assert answer.choices[0].message.annotations == []
    assert answer.model_extra == {"answered_by": "openai:gpt-4o"}
    (sent,) = llm.talks
    assert [(m["role"], m["content"]) for m in sent.messages] == [
        ("system", "Be brief."),
        ("user", QUESTION),
        ("assistant", "When?"),
        ("user", "a\nb"),
    ]
    chunks = client.chat.completions.create(model=name, messages=talk, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID


def test_the_links_of_the_default_are_models(
    client: openai.OpenAI, opened: Any, settings: Settings, run: Any
) -> None:
    here = {model.id: model.model_extra for model in client.models.list()}
    for name in ("openai:gpt-4o", "extractive"):
        assert (here[name]["type"], here[name]["sends_data_to"]) == ("chat", None)
    assert client.models.retrieve("gpt-4o").id == "openai:gpt-4o"

    async def listed() -> Any:
        remote = replace(settings, chat="openai:gpt-4o, extractive")
        async with opened(of=remote) as service:
            return {model.id: model.sends_data_to for model in await service.models.list()}

    found = run(listed())
    assert (found["openai:gpt-4o"], found["extractive"]) == ("api.openai.com", None)


def test_an_answer_that_was_cut_says_so(client: openai.OpenAI) -> None:
    for model in (TOWERS, "openai:gpt-4o"):
        answer = client.chat.completions.create(model=model, messages=TALK, max_tokens=3)  # type: ignore[arg-type]
        assert answer.choices[0].finish_reason == "length"


# -- what goes wrong ------------------------------------------------------------------------------


def refused(web: httpx.Client, path: str = "chat/completions", **body: Any) -> tuple[int, Any]:
    base = {"model": TOWERS, "messages": TALK} if path.startswith("chat") else {"model": TOWERS}
    answer = web.post(f"/v1/{path}", json=base | body)
    assert answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("collection:nope", 404),
        ("collection:Bad Name", 404),
        ("collection:towers/nope", 404),
        ("collection:towers/nobody:x", 404),
        ("nope", 404),
        ("nobody:gpt", 404),
        ("../x", 404),
        ("extractive", 400),
        ("echo,,echo", 400),
        ("groq:llama", 400),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_cannot_answer_is_named_as_openai_does(
    web: httpx.Client, name: str, status: int, stream: bool
) -> None:
    for path, more in (("chat/completions", {}), ("completions", {"prompt": "x"})):
        found, error = refused(web, path, model=name, stream=stream, **more)
        assert (found, error["param"]) == (status, "model"), error
        assert status != 404 or error["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("seed", 7),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"50256": -100}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "high"),
        ("store", True),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    web: httpx.Client, field: str, value: object
) -> None:
    status, error = refused(web, **{field: value})
    assert (status, error["code"], error["param"]) == (400, "not_supported", field)


def test_what_changes_nothing_is_taken(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(  # type: ignore[call-overload]
        model="echo",
        messages=TALK,
        n=1,
        seed=None,
        frequency_penalty=0.0,
        presence_penalty=0,
        logit_bias={},
        logprobs=False,
        top_logprobs=0,
        response_format={"type": "text"},
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
        modalities=["text"],
        store=False,
        metadata={"run": "1"},
        service_tier="auto",
        user="me",
        extra_body={"functions": [], "safety_identifier": "x", "prompt_cache_key": "y"},
    )
    assert answer.choices[0].message.content == QUESTION
    text = client.completions.create(
        model="echo", prompt="x", n=1, best_of=1, echo=False, suffix="", logprobs=None
    )
    assert text.choices[0].text == "x"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 4_001}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}, *TALK]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}, *TALK]}, "messages"),
        ({"limit": 0}, "limit"),
        ({"filter": {"$no": 1}}, "filter"),
        ({"conversation_id": "0" * 32, "messages": [*TALK, *TALK]}, "messages"),
        ({"model": "echo", "grounding": "strict"}, "grounding"),
        ({"model": "echo", "conversation_id": "x"}, "conversation_id"),
        ({"model": f"{TOWERS}/extractive", "expansion": "hyde"}, "expansion"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_request_names_the_field(web: httpx.Client, body: Any, param: str) -> None:
    for stream in (False, True):
        status, error = refused(web, **(body | {"stream": stream}))
        assert (status, error["type"]) == (400, "invalid_request_error")
        assert error["param"] == param, error


def test_a_wrong_text_names_the_field(web: httpx.Client) -> None:
    for body, param in (
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": "x", "best_of": 2}, "best_of"),
        ({"prompt": "x", "suffix": "end"}, "suffix"),
        ({}, "prompt"),
    ):
        status, error = refused(web, "completions", **body)
        assert (status, error["param"]) == (400, param), error


def test_an_unknown_conversation_is_404(web: httpx.Client) -> None:
    status, error = refused(web, conversation_id="0" * 32)
    assert (status, error["code"]) == (404, "conversation_not_found")


def test_a_model_that_fails_is_the_clients_own_error(
    client: openai.OpenAI, llm: OpenAIChat
) -> None:
    for stream in (False, True):
        llm.faults.append(llm.denied("no"))
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(
                model="openai:gpt-4o",
                messages=TALK,
                stream=stream,  # type: ignore[arg-type]
            )
        assert caught.value.status_code == 502
        assert caught.value.code == "provider_denied"


def collect(stream: Any, heard: list[Any]) -> None:
    for one in stream:
        heard.append(one)


def test_an_error_in_the_middle_ends_the_stream_as_an_error(
    client: openai.OpenAI, llm: OpenAIChat, web: httpx.Client
) -> None:
    llm.reply = lambda _messages: "One two three. " * 50
    for model in ("openai:gpt-4o", TOWERS):
        llm.faults.append(BreaksOff(60))
        heard: list[Any] = []
        stream = client.chat.completions.create(model=model, messages=TALK, stream=True)  # type: ignore[call-overload]
        with pytest.raises(openai.APIError, match="openai"):
            collect(stream, heard)
        assert len(heard) > 1
    llm.faults.append(BreaksOff(60))
    body = {"model": "openai:gpt-4o", "messages": TALK, "stream": True}
    lines = web.post("/v1/chat/completions", json=body).text.strip().split("\n\n")
    assert set(json.loads(lines[-1].removeprefix("data: "))["error"]) == {
        "message",
        "type",
        "param",
        "code",
    }


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "//t.example"])
def test_an_address_that_is_a_program_is_not_offered_as_a_link(
    web: httpx.Client, client: openai.OpenAI, llm: OpenAIChat, address: str
) -> None:
    document = {"id": "tower", "text": TEXT, "url": address}
    web.post("/v1/collections/programs/documents", json={"documents": [document]})
    answer: Any = client.chat.completions.create(
        model="collection:programs", messages=[{"role": "user", "content": QUESTION}]
    )
    found = answer.choices[0].message.model_dump()["annotations"][0]
    assert (found["url_citation"]["url"], found["url"]) == ("", address)
