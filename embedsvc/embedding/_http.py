"""Clients that speak through httpx: their answers are looked at before they see them.

Clients differ in how they wrap an error, and drop what counts here: when to come back, and how many
tokens were billed. So the connection itself raises our errors, which no client knows how to repeat.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import httpx
import msgspec
from numpy.typing import ArrayLike

from embedsvc.errors import ProviderError
from embedsvc.failures import late, of_status, unreachable, wrong
from embedsvc.http import http_client
from embedsvc.settings import Settings

Tokens = Callable[[bytes], int | None]
"""The tokens that an answer says were counted. Raises MsgspecError for what is not an answer."""

Refine = Callable[[ProviderError, int, Any], ProviderError]
"""(error, HTTP status, JSON body or None) → the error, made more exact."""

_KEY_HEADERS = ("authorization", "x-goog-api-key")
_counted: ContextVar[list[int | None]] = ContextVar("counted")


def uncounted(body: bytes) -> None:
    """For providers that do not say how many tokens they counted."""
    msgspec.json.decode(body, type=msgspec.Raw)


def as_they_are(error: ProviderError, status: int, body: Any) -> ProviderError:
    """For providers whose HTTP statuses say all."""
    del status, body
    return error


class Connection:
    """The connections to one provider at `url`, for the client of its SDK.

    `wraps` are the SDK's own errors, for what it finds wrong with an answer. `secret`, and any
    other key that was sent, is masked in whatever the provider says.
    """

    def __init__(
        self,
        provider: str,
        settings: Settings,
        url: str,
        *,
        secret: str | None = None,
        tokens: Tokens = uncounted,
        refine: Refine = as_they_are,
        wraps: tuple[type[Exception], ...] = (),
    ) -> None:
        self._provider = provider
        self._tokens = tokens
        self._refine = refine
        self._wraps = (*wraps, ValueError, TypeError, LookupError, AttributeError)
        self._secrets = [secret]
        self.http = http_client(url, settings, look=self._look)

    async def counted(self, answer: Awaitable[ArrayLike]) -> tuple[ArrayLike, int | None]:
        """The vectors that a call of the SDK gives, and the tokens that were counted for them."""
        counted: list[int | None] = []
        token = _counted.set(counted)
        try:
            rows = await answer
        finally:
            _counted.reset(token)
        told = [count for count in counted if count is not None]
        return rows, sum(told) if told and len(told) == len(counted) else None

    def translate(self, error: Exception) -> Exception | None:
        """An error of the SDK as ours."""
        cause: BaseException | None = error
        while cause is not None:  # SDKs wrap what the connection raises
            if isinstance(cause, ProviderError):
                return cause
            if isinstance(cause, httpx.TimeoutException):
                return late(self._provider)
            if isinstance(cause, httpx.HTTPError):
                return unreachable(self._provider, cause, self._secrets)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, self._wraps):
            return wrong(self._provider, error, secrets=self._secrets)
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def _look(self, response: httpx.Response) -> None:
        body = await response.aread()
        secrets = [*self._secrets, *_sent(response)]
        if not response.is_success:
            said, parsed = _said(body)
            error = of_status(self._provider, response.status_code, said, response.headers, secrets)
            raise self._refine(error, response.status_code, parsed)
        try:
            _counted.get([]).append(self._tokens(body))
        except msgspec.MsgspecError as error:
            raise wrong(response.url.host, error, response.text, secrets) from error


def _sent(response: httpx.Response) -> Sequence[str]:
    """The keys that were sent: an access token is known nowhere else."""
    headers = response.request.headers
    return [headers.get(name, "").removeprefix("Bearer ") for name in _KEY_HEADERS]


def _said(body: bytes) -> tuple[str, Any]:
    """What an error's body says, in any of the forms in use, and the body as JSON or None."""
    text = body.decode(errors="replace")
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return text, None
    found: Any = parsed
    while isinstance(found, dict):
        names = ("error", "message", "detail", "error_description")
        found = next((found[name] for name in names if found.get(name)), None)
    return (found if isinstance(found, str) else text), parsed
