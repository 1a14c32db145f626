"""Streams end whatever happens to those who make their pieces."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from litestar import Request

from embedsvc.api.streaming import Wire, server_sent, unless_gone
from embedsvc.errors import EmbedsvcError, Unavailable

Run = Callable[[Any], Any]
SCOPE: Any = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b""}
WIRE: Wire[str] = Wire(piece=str.encode, error=lambda error: error.code.encode(), end=b"end")


async def patient() -> Any:
    """A client that stays."""
    await asyncio.Event().wait()


async def of_a_stopped_task() -> None:
    """Wait for work that many share, when somebody else ends it."""
    shared = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(shared.cancel)
    await asyncio.shield(shared)


async def pieces(count: int) -> AsyncGenerator[str, None]:
    for number in range(count):
        yield str(number)
    await of_a_stopped_task()


async def sent(made: AsyncGenerator[str, None]) -> bytes:
    found: list[bytes] = []

    async def send(message: Any) -> None:
        found.append(message.get("body", b""))

    request: Any = Request(SCOPE, receive=patient)
    response: Any = await server_sent(request, made, WIRE)
    await response.to_asgi_response()(SCOPE, patient, send)
    return b" ".join(found)


def test_a_stream_whose_work_is_stopped_by_others_ends_as_an_error(run: Run) -> None:
    found = run(asyncio.wait_for(sent(pieces(2)), 10))
    assert found == b" 0 1 unavailable"


def test_what_is_stopped_before_the_first_piece_is_an_error_with_a_status(run: Run) -> None:
    with pytest.raises(Unavailable, match="shut down"):
        run(asyncio.wait_for(sent(pieces(0)), 10))


def test_a_whole_answer_that_is_stopped_by_others_is_an_error_too(run: Run) -> None:
    request: Any = Request(SCOPE, receive=patient)

    async def work() -> None:
        with pytest.raises(EmbedsvcError, match="shut down"):
            await unless_gone(request, of_a_stopped_task())

    run(asyncio.wait_for(work(), 10))
