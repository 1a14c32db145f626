"""`/ask`, what is kept of it, and clients that go away."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from wire.openai_chat import OpenAIChat
from wire.server import BreaksOff, FallsSilent, Reply

from embedsvc.api import streaming
from embedsvc.settings import Settings

ASK = "/v1/collections/c/ask"
TEXT = "The Eiffel Tower was finished in 1889. It is 330 metres tall."
QUOTED = 'It was finished in 1889 [1 "finished in 1889"].'
QUESTION = "When was the Eiffel Tower finished?"


@pytest.fixture(scope="module")
def llm() -> Iterator[OpenAIChat]:
    with OpenAIChat() as made:
        yield made


@pytest.fixture(autouse=True)
def usual(llm: OpenAIChat) -> None:
    """Every test finds the model as it was."""
    llm.reply = lambda _messages: QUOTED
    llm.first = llm.between = 0.0
    llm.requests.clear()
    llm.hung_up.clear()


@pytest.fixture(scope="module")
def towers(module_serve: Any, module_settings: Settings, llm: OpenAIChat) -> Any:
    """An application with one document, whose default is the fake model."""
    settings = replace(module_settings, chat="openai:gpt-4o", variables=llm.variables)
    made = module_serve(settings)
    made.add({"id": "tower", "text": TEXT, "title": "Tower", "url": "https://t.example"})
    made.add({"id": "x", "text": "other"}, to="other")
    return made


def events(answer: Any) -> list[tuple[str, Any]]:
    """The events of a stream, each a name and its data."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    found = []
    for block in answer.text.removesuffix("\n\n").split("\n\n"):
        first, second = block.split("\n")
        found.append((first.removeprefix("event: "), json.loads(second.removeprefix("data: "))))
    return found


def ask(web: Any, **body: Any) -> Any:
    answer = web("POST", ASK, json={"question": QUESTION} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- an answer ------------------------------------------------------------------------------------


def test_an_answer_has_every_field_of_the_contract(towers: Any) -> None:
    found = ask(towers)
    assert found["answer"] == "It was finished in 1889 [1]."
    assert (found["state"], found["model"], found["grounding"]) == (
        "answered",
        "openai:gpt-4o",
        "normal",
    )
    (citation,) = found["citations"]
    start = TEXT.index("finished in 1889")
    assert citation == {
        "marker": 1,
        "document_id": "tower",
        "chunk_id": citation["chunk_id"],
        "title": "Tower",
        "url": "https://t.example",
        "page": None,
        "start": start,
        "end": start + len("finished in 1889"),
        "quote": "finished in 1889",
        "status": "verified",
    }
    assert found["sources"][0]["text"] == TEXT
    assert found["usage"]["prompt_tokens"] > 100
    assert found["usage"]["cost_usd"] > 0
    assert found["query"] == QUESTION
    assert found["queries"] == [QUESTION]
    assert (found["unsupported"], found["warnings"], found["degraded"]) == ([], [], [])
    assert 0 < found["first_token_ms"] <= found["took_ms"]
    assert len(found["id"]) == len(found["conversation_id"]) == 32


def test_a_stream_says_the_same_piece_by_piece(towers: Any) -> None:
    found = events(towers("POST", ASK, json={"question": QUESTION, "stream": True}))
    names = [name for name, _ in found]
    assert names[0] == "sources"
    assert names[-1] == "done"
    assert set(names[1:-1]) == {"delta", "citation"}
    assert found[0][1]["query"] == QUESTION
    assert found[0][1]["queries"] == [QUESTION]
    whole = found[-1][1]
    assert found[0][1]["sources"] == whole["sources"]
    assert "".join(data["text"] for name, data in found if name == "delta") == whole["answer"]
    assert [data for name, data in found if name == "citation"] == whole["citations"]
    plain = ask(towers)
    timed = {"id", "conversation_id", "took_ms", "first_token_ms"}
    for one in (whole, plain):
        for name in timed:
            one.pop(name)
    assert whole == plain


def test_what_the_model_shall_do_reaches_it(towers: Any, llm: OpenAIChat) -> None:
    ask(towers, temperature=0.5, top_p=0.25, max_tokens=50, stop=["END"], system="Be brief.")
    (talk,) = llm.talks
    assert (talk.temperature, talk.top_p, talk.max_tokens) == (0.5, 0.25, 50)
    assert list(talk.stop) == ["END"]
    assert "Be brief." in talk.messages[0]["content"]
    ask(towers, stop="END", history=[{"role": "user", "content": "Look at towers."}])
    assert [list(talk.stop) for talk in llm.talks[1:]][-1] == ["END"]
    assert any("Look at towers." in message["content"] for message in llm.talks[-1].messages)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**7}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"expansion": "more"}, "expansion"),
        ({"history": [{"role": "system", "content": "x"}]}, "history[0].role"),
        ({"history": [], "conversation_id": "0" * 32}, "history"),
        ({"model": ""}, "model"),
        ({"model": "openai:gpt-4o,,extractive"}, "model"),
        ({"model": "extractive", "expansion": "hyde"}, "expansion"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_question_is_a_problem_that_names_the_field(
    towers: Any, problem: Any, body: Any, named: str, stream: bool
) -> None:
    given = {"question": "x", "stream": stream} | body
    assert problem(towers("POST", ASK, json=given), 400)["detail"].startswith(named)


def test_a_model_that_fails_before_its_first_word_is_an_error_event(
    towers: Any, llm: OpenAIChat, problem: Any
) -> None:
    """The sources are there already; without a stream it is a status."""
    llm.faults.extend([llm.denied("no")] * 2)
    problem(towers("POST", ASK, json={"question": QUESTION}), 502, "provider_denied")
    found = events(towers("POST", ASK, json={"question": QUESTION, "stream": True}))
    assert [name for name, _ in found] == ["sources", "error"]
    assert (found[-1][1]["status"], found[-1][1]["code"]) == (502, "provider_denied")


def test_a_model_that_breaks_off_is_an_error_event_after_the_text(
    towers: Any, llm: OpenAIChat
) -> None:
    before = len(towers("GET", "/v1/answers").json()["answers"])
    llm.reply = lambda _messages: "One two three four five. " * 20
    llm.faults.append(BreaksOff(60))
    found = events(towers("POST", ASK, json={"question": QUESTION, "stream": True}))
    names = [name for name, _ in found]
    assert names[:2] == ["sources", "delta"]
    assert names[-1] == "error"
    assert found[-1][1]["code"].startswith("provider_")
    assert len(towers("GET", "/v1/answers").json()["answers"]) == before, "that is no answer"


def test_a_model_may_write_what_no_database_keeps(towers: Any, llm: OpenAIChat) -> None:
    llm.reply = lambda _messages: 'A NUL \0 here [1 "finished\0"]. And \u2028 there.'
    found = ask(towers)
    kept = towers("GET", f"/v1/answers/{found['id']}").json()
    assert len(kept["answer"]) == len(found["answer"])
    assert kept["citations"] == found["citations"]
    streamed = events(towers("POST", ASK, json={"question": QUESTION, "stream": True}))
    assert streamed[-1][0] == "done"


def test_a_character_that_a_model_cuts_in_two_is_put_together(towers: Any, llm: OpenAIChat) -> None:
    def chunk(text: str, finish: str = "null") -> str:
        choice = f'{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}'
        return f'data: {{"id":"1","created":1,"model":"m","choices":[{choice}]}}\n\n'

    body = chunk(r"Hi \ud83d") + chunk(r"\ude00 you \ud83d.") + chunk(r"\ud83d", '"stop"')
    said = Reply(body=body + "data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})
    llm.faults.extend([said, said])
    assert ask(towers)["answer"].startswith("Hi 😀 you \ufffd.")
    asked = {"model": "openai:gpt-4o", "messages": [{"role": "user", "content": "x"}]}
    answer = towers("POST", "/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == "Hi 😀 you \ufffd."


# -- clients that go away -------------------------------------------------------------------------


def leaving(web: Any, body: Any, when: Callable[[list[bytes]], bool]) -> list[bytes]:
    """Send a request and go away as soon as `when(what was sent)`; what was sent."""
    sent: list[bytes] = []
    content = json.dumps({"question": QUESTION} | body).encode()

    async def call() -> None:
        request = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            if request:
                return request.pop()
            while not when(sent):  # noqa: ASYNC110 - what others do
                await asyncio.sleep(0.005)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": ASK,
            "raw_path": ASK.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        await web._application(scope, receive, send)

    asyncio.run_coroutine_threadsafe(call(), web._loop).result(30)
    return sent


def hung_up(llm: OpenAIChat) -> bool:
    """Whether the model was left within a second."""
    deadline = time.monotonic() + 1
    while not llm.hung_up and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(llm.hung_up) == 1


def test_the_model_is_left_when_the_client_of_a_stream_goes_away(
    towers: Any, llm: OpenAIChat
) -> None:
    llm.reply = lambda _messages: "word " * 1_000
    llm.between = 0.05
    sent = leaving(towers, {"stream": True}, lambda sent: len(sent) > 4)
    assert any(b"event: delta" in part for part in sent)
    assert hung_up(llm)


def test_the_model_is_left_when_the_client_goes_away_before_the_first_word(
    towers: Any, llm: OpenAIChat
) -> None:
    llm.first = 60
    sent = leaving(towers, {"stream": True}, lambda _sent: bool(llm.requests))
    assert not any(b"event: delta" in part for part in sent)
    assert hung_up(llm)


def test_the_model_is_left_when_nobody_waits_for_the_whole_answer(
    towers: Any, llm: OpenAIChat
) -> None:
    before = len(towers("GET", "/v1/answers").json()["answers"])
    llm.faults.append(FallsSilent(3))
    assert b"".join(leaving(towers, {}, lambda _sent: bool(llm.requests))) == b""
    assert hung_up(llm)
    assert len(towers("GET", "/v1/answers").json()["answers"]) == before


def test_a_silent_stream_says_that_it_is_alive(
    towers: Any, llm: OpenAIChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streaming.ALIVE_SECONDS < 30, "before proxies close it"
    monkeypatch.setattr(streaming, "ALIVE_SECONDS", 0.05)
    llm.first = 0.4
    answer = towers("POST", ASK, json={"question": QUESTION, "stream": True})
    parts = answer.text.split("\n\n")
    assert parts.count(": alive") >= 3
    assert parts[0].startswith("event: sources")
    assert parts[-2].startswith("event: done")


# -- what is kept ---------------------------------------------------------------------------------


def test_an_answer_can_be_read_rated_and_deleted(towers: Any, problem: Any) -> None:
    found = ask(towers)
    path = f"/v1/answers/{found['id']}"
    kept = towers("GET", path).json()
    more = {
        "collection": "c",
        "question": QUESTION,
        "rating": None,
        "comment": None,
        "prompt": kept["prompt"],
        "created_at": kept["created_at"],
    }
    assert kept == found | more
    assert [message["role"] for message in kept["prompt"]] == ["system", "user"]
    assert TEXT in kept["prompt"][1]["content"]
    rated = towers("POST", f"{path}/feedback", json={"rating": -1, "comment": "too short"})
    assert (rated.json()["rating"], rated.json()["comment"]) == (-1, "too short")
    listed = towers("GET", "/v1/answers", params={"rating": -1}).json()["answers"]
    assert [one["id"] for one in listed] == [found["id"]]
    assert listed[0] == {name: towers("GET", path).json()[name] for name in listed[0]}
    for body in ({"rating": 0}, {"rating": 1, "comment": "x" * 10_001}, {}):
        problem(towers("POST", f"{path}/feedback", json=body), 400)
    assert towers("DELETE", path).status_code == 204
    for call in (("GET", path), ("DELETE", path)):
        problem(towers(*call), 404, "answer_not_found", found["id"])
    feedback = towers("POST", f"{path}/feedback", json={"rating": 1})
    problem(feedback, 404, "answer_not_found")


def test_a_conversation_goes_on_and_can_be_read_and_deleted(
    towers: Any, llm: OpenAIChat, problem: Any
) -> None:
    first = ask(towers)
    talk = first["conversation_id"]
    llm.reply = lambda messages: (
        "How tall is the Eiffel Tower?" if "Rewrite" in messages[0]["content"] else QUOTED
    )
    second = ask(towers, question="And how tall is it?", conversation_id=talk)
    assert second["conversation_id"] == talk
    assert second["query"] == "How tall is the Eiffel Tower?"
    found = towers("GET", f"/v1/conversations/{talk}").json()
    assert [turn["role"] for turn in found["messages"]] == ["user", "assistant"] * 2
    assert [turn["answer_id"] for turn in found["messages"][1::2]] == [first["id"], second["id"]]
    assert found["messages"][0]["content"] == found["question"] == QUESTION
    assert found["turns"] == 4
    listed = towers("GET", "/v1/conversations", params={"collection": "c", "limit": 1}).json()
    assert listed["conversations"] == [
        {name: value for name, value in found.items() if name != "messages"}
    ]
    answer = towers(
        "POST", "/v1/collections/other/ask", json={"question": "x", "conversation_id": talk}
    )
    problem(answer, 404, "conversation_not_found", "other")
    assert towers("DELETE", f"/v1/conversations/{talk}").status_code == 204
    problem(towers("GET", f"/v1/conversations/{talk}"), 404, "conversation_not_found")
    problem(towers("GET", f"/v1/answers/{second['id']}"), 404, "answer_not_found")


def test_lists_come_in_pages_of_what_was_asked_for(towers: Any, problem: Any) -> None:
    towers("DELETE", "/v1/conversations")
    made = [ask(towers)["id"] for _ in range(3)]
    alone = ask(towers, history=[])
    assert alone["conversation_id"] is None
    for path, name, wanted in (
        ("/v1/answers", "answers", [alone["id"], *made[::-1]]),
        ("/v1/conversations", "conversations", None),
    ):
        first = towers("GET", path, params={"limit": 2, "collection": "c"}).json()
        rest = towers("GET", path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
        ids = [one["id"] for one in (*first[name], *rest[name])]
        assert len(ids) == (4 if wanted else 3)
        assert wanted is None or ids == wanted
        for params in ({"cursor": "x"}, {"limit": 0}, {"limit": 1001}, {"collection": "Bad!"}):
            problem(towers("GET", path, params=params), 400)
        problem(towers("GET", path, params={"collection": "nope"}), 404, "collection_not_found")
    problem(towers("GET", "/v1/answers", params={"state": "maybe"}), 400, None, "state")
    problem(towers("GET", "/v1/answers", params={"rating": "5"}), 400, None, "rating")
    params = {"conversation_id": towers("GET", f"/v1/answers/{made[0]}").json()["conversation_id"]}
    (one,) = towers("GET", "/v1/answers", params=params).json()["answers"]
    assert one["id"] == made[0]
    problem(towers("DELETE", "/v1/conversations", params={"collection": "nope"}), 404)
    gone = towers("DELETE", "/v1/conversations", params={"collection": "other"})
    assert (gone.status_code, gone.json()) == (200, {"deleted": 0})
    assert towers("DELETE", "/v1/conversations").json() == {"deleted": 3}
    left = {one["id"] for one in towers("GET", "/v1/answers").json()["answers"]}
    assert alone["id"] in left
    assert left.isdisjoint(made)


def test_with_no_days_nothing_is_kept(serve: Any, settings: Settings, problem: Any) -> None:
    web = serve(replace(settings, record_days=0))
    web.add({"id": "a", "text": TEXT})
    found = ask(web, model="echo")
    assert (found["id"], found["conversation_id"]) == (None, None)
    assert web("GET", "/v1/answers").json() == {"answers": [], "next_cursor": None}
    answer = web("POST", ASK, json={"question": "x", "conversation_id": "0" * 32})
    problem(answer, 400, "not_supported", "conversation_id", "EMBEDSVC_RECORD_DAYS")
