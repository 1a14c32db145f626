"""An HTTP server on a real socket that records what it is asked, and misbehaves on demand.

    with Server(handle) as server:            # handle(Request) -> Reply
        server.faults.extend([Reply(503), Reset(), None, Stall()])   # one a request
        server.trouble = lambda request: Stall() if b"poison" in request.body else None
        … call server.url …
        assert len(server.requests) == 5

A fault is a `Reply` that is sent in the place of the right one, or one of the classes below. None
is no fault. `faults` comes first; when it is empty, `trouble` is asked.

A reply whose body is `Streamed` comes in pieces; `hung_up` has the requests whose client went away
before their answer ended.
"""

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client sent. Names of headers are in small letters; `path` is without the query."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Streamed:
    """A body in chunks, as they are taken from `parts`: bytes are sent, seconds are waited.

    `before` are the seconds until even the head of the answer comes.
    """

    parts: Iterable[bytes | float]
    before: float = 0.0
    kind: str = "text/event-stream"


@dataclass(frozen=True)
class Reply:
    """What is sent back: bytes and text as they are, all else as JSON (with NaN, if need be)."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Reset:
    """The connection is reset; with `handled` after the work was done, so that it was paid."""

    handled: bool = False


@dataclass(frozen=True)
class Stall:
    """No answer, ever."""


@dataclass(frozen=True)
class Drip:
    """The right answer, one byte every so many seconds."""

    seconds: float = 0.05


@dataclass(frozen=True)
class Truncated:
    """The first part of the right body, as if it were all of it."""

    part: float = 0.5


@dataclass(frozen=True)
class TooShort:
    """The right body, and a Content-Length that promises more; then the connection ends."""

    missing: int = 100


@dataclass(frozen=True)
class Changed:
    """The right JSON, changed by a function that is given it (or a copy of its own to return)."""

    change: Callable[[Any], Any]


@dataclass(frozen=True)
class BreaksOff:
    """The first chunks of a streamed answer, and then the connection is reset."""

    after: int


@dataclass(frozen=True)
class FallsSilent:
    """The first chunks of a streamed answer, and then no more, ever."""

    after: int


@dataclass(frozen=True)
class Garbled:
    """The first chunks of a streamed answer, then `instead`, and a good end."""

    after: int
    instead: bytes


Fault = (
    Reply
    | Reset
    | Stall
    | Drip
    | Truncated
    | TooShort
    | Changed
    | BreaksOff
    | FallsSilent
    | Garbled
)


def html(status: int = 200) -> Reply:
    """What a proxy says when it means no good."""
    page = "<!DOCTYPE html><html><body><h1>Please sign in</h1></body></html>"
    return Reply(status, page, {"Content-Type": "text/html"})


class Server:
    """Listens on 127.0.0.1 in a thread of its own while the context is open."""

    def __init__(self, handle: Callable[[Request], Reply], port: int = 0) -> None:
        self.handle = handle
        self.port = port
        self.requests: list[Request] = []
        self.faults: deque[Fault | None] = deque()
        self.trouble: Callable[[Request], Fault | None] = lambda _request: None
        self.delay = 0.0
        """Seconds before each answer, so that calls overlap."""
        self.hung_up: list[Request] = []
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What a client takes as its base address."""
        return self.address

    def deserted(self, seconds: float = 5) -> bool:
        """Whether no client holds a connection open any more, at the latest after that time."""
        end = time.monotonic() + seconds
        while self._writers and time.monotonic() < end:
            time.sleep(0.01)
        return not self._writers

    def __enter__(self) -> Any:
        self._loop = asyncio.new_event_loop()
        self._listening = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self.port = self._listening.sockets[0].getsockname()[1]
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def hang_up(self) -> None:
        """Reset every connection, as a process that ends does; for use in a handler or a fault."""
        for writer in self._writers:
            _reset(writer)

    async def _stop(self) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection is kept."""
        request = await _read(reader)
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else self.trouble(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            return await self._answer(request, fault, reader, writer)
        finally:
            self._at_once -= 1

    async def _answer(
        self,
        request: Request,
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if isinstance(fault, Reset):
            if fault.handled:
                self.handle(request)
            _reset(writer)
            return False
        if isinstance(fault, Stall):
            with suppress(ConnectionError):
                await reader.read()  # until the client hangs up
            self.hung_up.append(request)
            return False
        reply = fault if isinstance(fault, Reply) else self.handle(request)
        if isinstance(reply.body, Streamed):
            return await self._stream(request, reply, fault, reader, writer)
        content = reply.content
        length = len(content)
        if isinstance(fault, Changed):
            body = json.loads(content)
            other = fault.change(body)
            content = Reply(body=body if other is None else other).content
            length = len(content)
        if isinstance(fault, Truncated):
            content = content[: int(length * fault.part)]
            length = len(content)
        if isinstance(fault, TooShort):
            length += fault.missing
        headers = {"Content-Type": "application/json", "Content-Length": str(length)}
        writer.write(_head(reply.status, {**headers, **reply.headers}))
        if isinstance(fault, Drip):
            for byte in content:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(fault.seconds)
        else:
            writer.write(content)
        await writer.drain()
        if isinstance(fault, TooShort):
            writer.close()
            return False
        return request.headers.get("connection", "").lower() != "close"

    async def _stream(
        self,
        request: Request,
        reply: Reply,
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """An answer in pieces, for as long as somebody reads it."""
        sending = asyncio.ensure_future(_send(reply, fault, writer))
        watching = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait([sending, watching], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return sending.result()
            self.hung_up.append(request)
            return False
        except ConnectionError:
            self.hung_up.append(request)
            raise
        finally:
            sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Until the client hangs up; reads nothing, which may be the next request."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - tells nobody
        await asyncio.sleep(0.002)


async def _send(reply: Reply, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
    """Send a streamed answer; whether the connection is kept."""
    body: Streamed = reply.body
    await asyncio.sleep(body.before)
    headers = {"Content-Type": body.kind, "Transfer-Encoding": "chunked", **reply.headers}
    writer.write(_head(reply.status, headers))
    sent = 0
    for part in body.parts:
        if isinstance(part, float | int):
            await asyncio.sleep(part)
            continue
        if isinstance(fault, BreaksOff | FallsSilent | Garbled) and sent == fault.after:
            if isinstance(fault, FallsSilent):
                await asyncio.sleep(3_600)
            if isinstance(fault, BreaksOff):
                _reset(writer)
                return False
            part = fault.instead
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        await writer.drain()
        sent += 1
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _read(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query), headers, body)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    known = status in HTTPStatus.__members__.values()
    phrase = HTTPStatus(status).phrase if known else "Other"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST: nothing lingers."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
