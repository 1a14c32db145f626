"""Connections to providers whose clients speak through httpx: answers are seen before a client is.

Clients differ in how they wrap an error, and drop what counts here, such as when to come back. So
the connection itself raises our errors, which no client knows how to repeat.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from embedsvc.errors import ProviderError, ProviderRejected
from embedsvc.failures import late, of_status, shown, unreachable, wrong
from embedsvc.http import http_client
from embedsvc.settings import Settings

Refine = Callable[[ProviderError, int, Any], ProviderError]
"""(error, HTTP status, JSON body or None) → the error, made more exact."""

_KEY_HEADERS = ("authorization", "x-goog-api-key", "x-api-key", "api-key")


def as_they_are(error: ProviderError, status: int, body: Any) -> ProviderError:
    """For providers whose HTTP statuses say all."""
    del status, body
    return error


class Connection(ABC):
    """The connections to one provider at `url`, for the client of its SDK.

    `wraps` are the SDK's own errors, for what it finds wrong with an answer. `secret`, and any
    other key that was sent, is masked in whatever the provider says. There are at most `most`
    connections at once. `library` is the HTTP library of the SDK.
    """

    def __init__(
        self,
        provider: str,
        settings: Settings,
        url: str,
        *,
        secret: str | None = None,
        refine: Refine = as_they_are,
        wraps: tuple[type[Exception], ...] = (),
        most: int | None = 100,
        library: Any = httpx,
    ) -> None:
        self.provider = provider
        self._refine = refine
        self._wraps = (*wraps, ValueError, TypeError, LookupError, AttributeError)
        self._secrets = [secret]
        self._library = library
        self.http = http_client(url, settings, look=self._look, most=most, library=library)

    def translate(self, error: Exception) -> Exception | None:
        """An error of the SDK as ours; None for one that is not the provider's."""
        cause: BaseException | None = error
        while cause is not None:  # SDKs wrap what the connection raises
            if isinstance(cause, ProviderError):
                return cause
            if isinstance(cause, self._library.TimeoutException):
                return late(self.provider)
            if isinstance(cause, self._library.HTTPError):
                return unreachable(self.provider, cause, self._secrets)
            if type(cause).__name__ == "InvalidURL":  # of httpx or httpx2: an SDK may mix them
                said = shown(str(cause), self._secrets)
                return ProviderRejected(f"{self.provider}: no address: {said}; look at the model")
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, self._wraps):
            return wrong(self.provider, error, secrets=self._secrets)
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    @abstractmethod
    async def answered(self, response: httpx.Response, secrets: Sequence[str | None]) -> None:
        """Look at a successful answer; its body has not been read. Raises ProviderError."""

    async def _look(self, response: httpx.Response) -> None:
        secrets = [*self._secrets, *_sent(response)]
        if response.is_success:
            await self.answered(response, secrets)
            return
        said, parsed = _said(await response.aread())
        error = of_status(self.provider, response.status_code, said, response.headers, secrets)
        raise self._refine(error, response.status_code, parsed)


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
