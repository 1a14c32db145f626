"""A streamed answer over a model that takes half a second to its first token: what we add to it.

    .venv/bin/python benchmarks/streaming.py
    .venv/bin/python benchmarks/streaming.py --questions 5 --streams 4

The model is a server of OpenAI's protocol on this machine: 500 ms to the first token, then a token
every 20 ms, 100 of them. It and the clients are processes of their own. In turns, question by
question of xquad/en (all its paragraphs are indexed, the default embedding): a search, the model
asked directly, and the question asked with `stream`. Then 16 questions at once, and the model asked
16 times at once, against one alone.

Targets: the first token comes within 1.2 times search and 500 ms; 16 streams at once take no more
than 1.1 times one alone, beside what the model itself takes longer.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
from common import (
    Child,
    Server,
    Target,
    print_table,
    print_targets,
    read_documents,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import Api, encode, search_path

FIRST_S = 0.5
NEXT_S = 0.02
TOKENS = 100
QUESTIONS = 20
STREAMS = 16
ROUNDS = 3
SOURCES = 8

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


# The model


def loopback_model() -> Callable[[], int]:
    """For `Child`: starts the model's server; the function gives its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_converse, "127.0.0.1", 0))
    Thread(target=loop.run_forever, daemon=True).start()
    port = server.sockets[0].getsockname()[1]
    return lambda: port


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(line for line in head.split("\r\n") if line.startswith("content-length"))
            await reader.readexactly(int(length.partition(":")[2]))
            await _speak(writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _speak(writer: asyncio.StreamWriter) -> None:
    """The words of an answer at the model's pace, kept by the clock."""
    began = time.perf_counter()
    writer.write(HEAD)
    for number in range(TOKENS):
        due = began + FIRST_S + number * NEXT_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        word = "word. " if number % 12 == 11 else "word "
        _send(writer, {"delta": {"content": word}, "index": 0, "finish_reason": None})
        await writer.drain()
    _send(writer, {"delta": {}, "index": 0, "finish_reason": "stop"})
    writer.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


def _send(writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "loopback"}
    writer.write(_chunk(b"data: " + json.dumps({**body, "choices": [choice]}).encode() + b"\n\n"))


def _chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


# The clients


@dataclass(frozen=True)
class Streamed:
    """Seconds to the first text, and to the end."""

    first: float
    whole: float


def streaming_clients() -> Callable[[str, Sequence[bytes], bytes], list[Streamed]]:
    """For `Child`: POST all bodies at once; text is what follows `mark` in a line."""
    runner = asyncio.Runner()
    client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=64))

    async def one(url: str, body: bytes, mark: bytes) -> Streamed:
        start = time.perf_counter()
        first = 0.0
        headers = {"Content-Type": "application/json"}
        async with client.stream("POST", url, content=body, headers=headers) as answer:
            answer.raise_for_status()
            async for content in answer.aiter_bytes():
                if not first and mark in content:
                    first = time.perf_counter() - start
        return Streamed(first, time.perf_counter() - start)

    async def all_of(url: str, bodies: Sequence[bytes], mark: bytes) -> list[Streamed]:
        return list(await asyncio.gather(*(one(url, body, mark) for body in bodies)))

    return lambda url, bodies, mark: runner.run(all_of(url, bodies, mark))


@dataclass(frozen=True)
class Ways:
    """How the model is asked: directly, and through the service."""

    clients: Child
    model: str
    service: str

    def directly(self, count: int) -> list[Streamed]:
        """The model, so many times at once."""
        body = {"model": "loopback", "stream": True, "messages": [{"role": "user", "content": "?"}]}
        return self.clients.call(self.model, [encode(body)] * count, b'"content"')

    def through(self, questions: Sequence[str]) -> list[Streamed]:
        """The service, all questions at once."""
        bodies = [encode({"question": q, "limit": SOURCES, "stream": True}) for q in questions]
        return self.clients.call(self.service, bodies, b"event: delta")


# The measurements


def one_by_one(api: Api, ways: Ways, questions: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of a search, to the model's first token, and to ours, question by question."""
    taken: dict[str, list[float]] = {"search": [], "model": [], "service": []}
    for question in questions:
        start = time.perf_counter()
        api.call("POST", search_path("c"), {"query": question, "limit": SOURCES})
        taken["search"].append(time.perf_counter() - start)
        taken["model"].append(ways.directly(1)[0].first)
        taken["service"].append(ways.through([question])[0].first)
    return taken


def at_once(ways: Ways, questions: Sequence[str], count: int, rounds: int) -> dict[str, float]:
    """Median seconds of a whole stream: alone and `count` at once, directly and through us."""
    found: dict[str, list[float]] = {}

    def note(name: str, streams: Sequence[Streamed]) -> None:
        found.setdefault(name, []).extend(stream.whole for stream in streams)

    for number in range(rounds):
        some = [questions[(number * count + n) % len(questions)] for n in range(count)]
        note("model_1", ways.directly(1))
        note("service_1", ways.through(some[:1]))
        note("model_n", ways.directly(count))
        note("service_n", ways.through(some))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    _, queries, _ = read_set("xquad/en")
    questions = list(queries.values())[:: max(1, len(queries) // arguments.questions)]
    questions = questions[: arguments.questions]
    with Child(loopback_model) as model, Child(streaming_clients) as clients:
        base = f"http://127.0.0.1:{model.call()}/v1"
        settings = {
            "EMBEDSVC_CHAT": "openai:loopback",
            "OPENAI_BASE_URL": base,
            "OPENAI_API_KEY": "none",
        }
        with Server(settings) as server:
            api = Api(server.url)
            api.add("c", read_documents("xquad/en"))
            asking = f"{server.url}/v1/collections/c/ask"
            ways = Ways(clients, f"{base}/chat/completions", asking)
            ways.through(questions[:2])  # what the first question loads
            first = one_by_one(api, ways, questions)
            whole = at_once(ways, questions, arguments.streams, arguments.rounds)
    show(first, whole, arguments)


def show(
    first: dict[str, list[float]], whole: dict[str, float], arguments: argparse.Namespace
) -> None:
    """Tables, targets, and the result file."""
    medians = {name: statistics.median(seconds) for name, seconds in first.items()}
    print_table(
        ["seconds, median", "value"],
        [
            ["a search", f"{medians['search']:.3f}"],
            ["first token of the model", f"{medians['model']:.3f}"],
            ["first token of the service", f"{medians['service']:.3f}"],
            ["whole stream, model alone", f"{whole['model_1']:.3f}"],
            ["whole stream, service alone", f"{whole['service_1']:.3f}"],
            [f"whole stream, model, {arguments.streams} at once", f"{whole['model_n']:.3f}"],
            [f"whole stream, service, {arguments.streams} at once", f"{whole['service_n']:.3f}"],
        ],
    )
    slower = whole["service_n"] / whole["service_1"]
    own = whole["model_n"] / whole["model_1"]
    targets = [
        Target(
            "first token / (search + 500 ms)",
            medians["service"] / (medians["search"] + FIRST_S),
            most=1.2,
        ),
        Target(f"{arguments.streams} at once / alone, beside the model", slower / own, most=1.1),
    ]
    print_targets(targets)
    trial = arguments.questions < QUESTIONS or arguments.streams < STREAMS
    path = write_result(
        "streaming-trial" if trial else "streaming",
        {
            "options": vars(arguments),
            "first_token_s": medians,
            "whole_s": whole,
            "targets": [target.as_row() for target in targets],
        },
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
