"""boto3's connections, so that a call that waits in a thread can be hung up from another one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

_calls: ContextVar["Call | None"] = ContextVar("calls", default=None)


class Call:
    """One call, made by a thread within `begun`."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._over = False

    @contextmanager
    def begun(self) -> Iterator[None]:
        """While this is open, a request of this thread belongs to the call."""
        token = _calls.set(self)
        try:
            yield
        finally:
            self._connection = None
            _calls.reset(token)

    def takes(self, connection: Any) -> None:
        """The connection that the request goes through. Raises when nobody waits for it."""
        self._connection = connection
        if self._over:
            connection.close()
            raise ConnectionAbortedError("nobody waits for the answer any more")

    def hang_up(self) -> None:
        """End the connection, and whatever waits for it; one that is not there yet never is."""
        self._over = True  # before the look at the socket: one that comes after it sees this
        found = getattr(self._connection, "sock", None)
        if found is not None:
            with suppress(OSError):  # it is closed already
                found.shutdown(socket.SHUT_RDWR)


def can_hang_up(client: Any) -> None:
    """Make the calls of a boto3 client known to `Call`."""
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_SecurePool)


def _taken(connection: Any) -> None:
    if (call := _calls.get()) is not None:
        call.takes(connection)


class _Known:
    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _taken(self)

    def request(self, *args: Any, **named: Any) -> Any:
        _taken(self)
        return super().request(*args, **named)  # type: ignore[misc]


class _Connection(_Known, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Known, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Connection


class _SecurePool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SecureConnection
