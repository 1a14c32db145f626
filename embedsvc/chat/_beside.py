"""Streams that run beside the one who reads them: in a task or thread of their own.

A reader may stop at any moment, in the middle of a word and without a warning. Its half of the
stream then ends the other half, whatever that waits for.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress

from embedsvc.ports import Delta

AHEAD = 256
"""Pieces that may wait for a slow reader."""

Put = Callable[[Delta], None]
Within = Callable[[], AbstractContextManager[object]]


async def in_task(
    source: Callable[[], AsyncGenerator[Delta, None]], within: Within = nullcontext
) -> AsyncGenerator[Delta, None]:
    """What `source()` gives, iterated in a task that ends with this generator.

    The task has context variables of its own; `within()` is open there.
    """
    queue: asyncio.Queue[Delta | None] = asyncio.Queue(AHEAD)

    async def fill() -> None:
        try:
            with within():
                async with aclosing(source()) as deltas:
                    async for delta in deltas:
                        await queue.put(delta)
        finally:
            with suppress(asyncio.QueueFull):  # then the reader is at the task's end before
                queue.put_nowait(None)

    task = asyncio.create_task(fill())
    try:
        while not (task.done() and queue.empty()):
            delta = await queue.get()
            if delta is None:
                break
            yield delta
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def in_thread(
    executor: Executor,
    work: Callable[[Put, threading.Event], None],
    hang_up: Callable[[], None] = lambda: None,
) -> AsyncGenerator[Delta, None]:
    """What `work(put, gone)` puts, in a thread of `executor`.

    When the reader goes, `gone` is set and `hang_up` called, to end what the thread waits for; the
    thread itself is not awaited.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Delta | None] = asyncio.Queue()
    gone = threading.Event()

    def put(delta: Delta) -> None:
        if not gone.is_set():
            loop.call_soon_threadsafe(queue.put_nowait, delta)

    def ended(done: "asyncio.Future[None]") -> None:
        if not done.cancelled():
            done.exception()  # has been seen
        queue.put_nowait(None)

    future = loop.run_in_executor(executor, work, put, gone)
    future.add_done_callback(ended)
    try:
        while (delta := await queue.get()) is not None:
            yield delta
        await future
    finally:
        gone.set()
        if not future.done():
            future.cancel()  # if it waits for its turn
            hang_up()
