"""Requests counted and timed for Prometheus, by route and never by what was asked."""

import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
REQUESTS = Counter(
    "embedsvc_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY
)
SECONDS = Histogram(
    "embedsvc_request_seconds",
    "Time from the request to the end of its answer.",
    ["method", "route"],
    registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)


def measured(app: ASGIApp) -> ASGIApp:
    """An ASGI middleware that counts and times every request."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        started = time.perf_counter()
        status = [500]
        await app(scope, receive, _watch(send, status))
        route = str(scope.get("path_template") or "unknown")
        method = str(scope["method"])
        REQUESTS.labels(method, route, status[0]).inc()
        SECONDS.labels(method, route).observe(time.perf_counter() - started)

    return middleware


def _watch(send: Send, status: list[int]) -> Send:
    async def watching(message: Message) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
        await send(message)

    return watching
