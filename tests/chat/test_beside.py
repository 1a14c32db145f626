"""Streams beside their reader end with it, and so do connections that are only being made."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from botocore.awsrequest import AWSHTTPConnection

from embedsvc.chat._beside import AHEAD, in_task
from embedsvc.chat._sockets import Call, _Connection
from embedsvc.ports import Delta


def test_a_source_is_closed_before_its_reader_goes_on(run: Callable[[Any], Any]) -> None:
    ended: list[str] = []

    async def source() -> AsyncGenerator[Delta, None]:
        try:
            for _ in range(AHEAD * 2):  # more than waits for a slow reader
                yield Delta("word")
        finally:
            await asyncio.sleep(0.02)
            ended.append("ended")

    async def work() -> None:
        async with aclosing(in_task(source)) as deltas:
            async for _ in deltas:
                await asyncio.sleep(0.01)
                break
        assert ended == ["ended"]

    run(work())


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


def connection_to(listening: socket.socket) -> Any:
    return _Connection("127.0.0.1", listening.getsockname()[1])


def test_who_hangs_up_before_there_is_a_connection_never_gets_one(
    listening: socket.socket,
) -> None:
    call = Call()
    call.hang_up()
    connection = connection_to(listening)
    with call.begun(), pytest.raises(ConnectionAbortedError):
        connection.request("GET", "/")
    assert connection.sock is None


def test_who_hangs_up_while_it_is_being_made_sends_nothing(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Call()
    connect = AWSHTTPConnection.connect

    def slowly(self: Any) -> None:
        call.hang_up()
        connect(self)

    monkeypatch.setattr(AWSHTTPConnection, "connect", slowly)
    with call.begun(), pytest.raises(ConnectionAbortedError):
        connection_to(listening).request("GET", "/")
    made, _ = listening.accept()
    with made:
        made.settimeout(5)
        assert made.recv(100) == b""
