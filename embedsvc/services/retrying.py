"""The one place where a call of a provider is repeated.

A call has a total time. What may pass is tried again after a growing, random pause; a provider that
says when to come back closes a gate, before which all its callers wait; what will not pass fails at
once.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from embedsvc.errors import ProviderBusy, ProviderError, ProviderTimeout, ProviderWrong

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_GATE = 3_600.0
"""A provider that asks to wait longer is asked again after this, in case it has changed its mind.
"""

FAILURES = 5
"""Failures of one call, other than being busy, after which it is given up before its time."""

WRONG_ANSWERS = 2
"""The same for answers that cannot be right: they are paid for."""


@dataclass(slots=True)
class _Gate:
    opens: float = 0.0  # by time.monotonic
    reason: str = ""


class Retrying:
    """Repeats calls, with one gate a provider. `attempt` and `total` are in seconds."""

    def __init__(self, attempt: float = 60.0, total: float = 180.0) -> None:
        self._attempt = attempt
        self._total = total
        self._gates: dict[str, _Gate] = {}  # of providers that were busy once

    @property
    def attempt(self) -> float:
        """Seconds that one try may last."""
        return self._attempt

    async def once(self, provider: str, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, tried one time and not at all before a closed gate.

        For a caller that can go elsewhere. Raises ProviderError.
        """
        self._refuse_at_gate(provider, time.monotonic())
        try:
            async with asyncio.timeout(self._attempt):
                return await work()
        except TimeoutError as error:
            raise _late(provider, self._attempt) from error
        except ProviderBusy as error:
            self._close(provider, _pause(1, error), error)
            raise

    async def call(
        self,
        provider: str,
        work: Callable[[], Awaitable[T]],
        *,
        at_most: float = math.inf,
        attempt: float | None = None,
        tries: int | None = None,
    ) -> T:
        """What `work` gives, tried until it does, for at most so many seconds.

        It is tried at most `tries` times. `attempt` takes the place of the seconds that one try may
        last; with infinity it is never broken off. Raises the last ProviderError.
        """
        attempt = self._attempt if attempt is None else attempt
        ends = time.monotonic() + min(self._total, at_most)
        failures = wrong = 0
        failed: ProviderError | None = None
        while True:
            await self._pass_gate(provider, ends)
            seconds = max(0.0, min(attempt, ends - time.monotonic()))
            try:
                async with asyncio.timeout(None if attempt == math.inf else seconds):
                    return await work()
            except TimeoutError as error:
                if failed is not None and seconds < attempt:
                    raise failed from error  # the rest of the time was too short to tell
                failed = _late(provider, seconds)
                failed.__cause__ = error
            except ProviderError as error:
                failed = error
            failures += 1
            if not failed.transient or failures == tries:
                raise failed
            wrong += isinstance(failed, ProviderWrong)
            pause = _pause(failures, failed)
            if isinstance(failed, ProviderBusy):
                self._close(provider, pause, failed)
            elif failures >= FAILURES or wrong >= WRONG_ANSWERS or time.monotonic() + pause > ends:
                raise failed
            log.warning(
                "provider_call_repeated",
                provider=provider,
                error=failed.logged,
                pause=round(pause, 2),
            )
            if not isinstance(failed, ProviderBusy):  # else the gate holds it
                await asyncio.sleep(pause)

    def _close(self, provider: str, pause: float, why: ProviderBusy) -> None:
        gate = self._gates.setdefault(provider, _Gate())
        gate.opens = max(gate.opens, time.monotonic() + pause)
        gate.reason = why.detail

    async def _pass_gate(self, provider: str, ends: float) -> None:
        """Wait until the provider may be called. Raises ProviderBusy when that is too late."""
        gate = self._gates.get(provider)
        while gate is not None and (wait := gate.opens - time.monotonic()) > 0:
            self._refuse_at_gate(provider, ends)
            await asyncio.sleep(wait + random.uniform(0, min(0.25, wait / 10)))  # noqa: S311
            gate = self._gates.get(provider)

    def _refuse_at_gate(self, provider: str, ends: float) -> None:
        """Raise ProviderBusy when the provider's gate is still closed at that time."""
        gate = self._gates.get(provider)
        if gate is not None and gate.opens > ends:
            wait = gate.opens - time.monotonic()
            raise ProviderBusy(
                f"{provider} is to be asked again in {max(1, round(wait))} s: {gate.reason}",
                retry_after=wait,
            )


async def all_or_none(works: Iterable[Awaitable[T]]) -> list[T]:
    """All results; when one fails the others are not paid for either. Raises its error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _late(provider: str, seconds: float) -> ProviderTimeout:
    return ProviderTimeout(f"{provider} did not answer within {seconds:.3g} seconds")


def _pause(failures: int, failed: ProviderError) -> float:
    """Seconds until the next try: what the provider says, else random and growing."""
    most = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures)
    own = random.uniform(most / 2, most)  # noqa: S311 - spreads callers, protects nothing
    if not isinstance(failed, ProviderBusy) or failed.retry_after is None:
        return own
    said = min(LONGEST_GATE, failed.retry_after)
    return max(said, min(own, 1.0))  # "at once", again and again, would be a storm
