"""Answers that come piece by piece, and clients that go away before the end of theirs.

The pieces are made in a task of their own, which ends as soon as nobody reads any more: so does the
call to a language model in it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from litestar import Request, Response
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.types import ASGIApp, Receive, Scope, Send

from embedsvc.errors import EmbedsvcError, Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

ALIVE_SECONDS = 15.0
"""A stream that is silent for so long sends a comment: proxies close silent connections."""

CLIENT_GONE = 499
"""Nobody reads it; proxies log this number for a request whose client went away."""

EVENT_STREAM = "text/event-stream"
_HEADERS = {
    "content-type": f"{EVENT_STREAM}; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would wait for more
}
_COMMENT = b": alive\n\n"


@dataclass(frozen=True, slots=True)
class Wire(Generic[T]):
    """How a stream is written: a piece, an error, and what comes after the last piece."""

    piece: Callable[[T], bytes]
    error: Callable[[EmbedsvcError], bytes]
    end: bytes = b""


async def unless_gone(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None, and the work is cancelled, when the client goes away before."""
    return await _unless_gone(request.receive, work)


def gone() -> Response[Any]:
    """The answer to a client that is not there any more."""
    return Response(b"", status_code=CLIENT_GONE, media_type="text/plain")


async def server_sent(
    request: Request[Any, Any, Any], made: AsyncGenerator[T, None], wire: Wire[T]
) -> Response[Any]:
    """A stream of server-sent events; what goes wrong before the first piece is raised."""
    pieces = _Pieces(made)
    try:
        first = await unless_gone(request, pieces.next())
    except BaseException:
        await pieces.aclose()
        raise
    if first is None:
        await pieces.aclose()
        return gone()
    return _ServerSent(wire, first, pieces)


@dataclass
class Streamed(Operation):
    """An operation whose good answer may be a stream of server-sent events, for OpenAPI."""

    def __post_init__(self) -> None:
        """Add the media type to what was found out of the route."""
        good = (self.responses or {}).get("200")
        if isinstance(good, OpenAPIResponse) and good.content is not None:
            good.content[EVENT_STREAM] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.cancelled():  # not by us
            raise _stopped()
        return working.result() if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Pieces(Generic[T]):
    """What a generator makes, made in a task of its own."""

    def __init__(self, made: AsyncGenerator[T, None]) -> None:
        self._ready: asyncio.Queue[T | Exception] = asyncio.Queue(1)
        self._task = asyncio.create_task(self._make(made))

    async def next(self) -> T:
        """The next piece. Raises StopAsyncIteration at the end, and what the generator raises."""
        found = await self._ready.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def aclose(self) -> None:
        """End the generator where it is."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _make(self, made: AsyncGenerator[T, None]) -> None:
        end: Exception = StopAsyncIteration()
        try:
            async with aclosing(made):
                async for piece in made:
                    await self._ready.put(piece)
        except Exception as error:  # noqa: BLE001 - whoever reads the pieces gets it
            end = error
        except asyncio.CancelledError:
            if _is_ended():
                raise
            end = _stopped()
        await self._ready.put(end)


def _is_ended() -> bool:
    """Whether the task that runs was cancelled, and not something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _stopped() -> Unavailable:
    return Unavailable("the service stopped this answer; it is being shut down")


class _ServerSent(Response[Any]):
    """Sends the pieces for as long as there is somebody who reads them."""

    def __init__(self, wire: Wire[T], first: T, pieces: _Pieces[T]) -> None:
        super().__init__(b"", status_code=200, media_type=EVENT_STREAM)
        self._wire: Wire[Any] = wire
        self._first = first
        self._pieces: _Pieces[Any] = pieces

    def to_asgi_response(self, *_arguments: Any, **_options: Any) -> ASGIApp:  # type: ignore[override]
        """The response itself: nothing about it is known before it is sent."""
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _unless_gone(receive, self._send_all(scope["path"], send))
        finally:
            await self._pieces.aclose()

    async def _send_all(self, path: str, send: Send) -> None:
        async def write(content: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        await write(self._wire.piece(self._first))
        try:
            while True:
                await write(self._wire.piece(await self._next(write)))
        except StopAsyncIteration:
            await write(self._wire.end, more=False)
        except EmbedsvcError as error:
            log.error("stream_failed", path=path, code=error.code, error=error.logged)
            await write(self._wire.error(error), more=False)
        except Exception as error:
            log.error("unexpected_error", path=path, exc_info=error)
            told = EmbedsvcError("an unexpected error; the log of the service has it")
            await write(self._wire.error(told), more=False)

    async def _next(self, write: Callable[[bytes], Coroutine[Any, Any, None]]) -> Any:
        """The next piece, with comments for as long as there is none."""
        coming = asyncio.create_task(self._pieces.next())
        try:
            while not (await asyncio.wait({coming}, timeout=ALIVE_SECONDS))[0]:
                await write(_COMMENT)
            return coming.result()
        finally:
            coming.cancel()
