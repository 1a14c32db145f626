"""What the tests over HTTP share."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from embedsvc.app import build_service, create_app
from embedsvc.services.service import Service
from embedsvc.settings import Settings


class Web:
    """The whole application over ASGI, in a thread with a loop of its own as a server has it."""

    def __init__(self, settings: Settings, *, warm: bool = False) -> None:
        self.service: Service = build_service(settings)
        self._application = create_app(self.service, warm=warm)
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._started.wait(60)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        transport = httpx.ASGITransport(app=self._application, raise_app_exceptions=False)
        async with (
            self._application.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as self._client,
        ):
            self._started.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        request = self._client.request(method, path, **options)
        return asyncio.run_coroutine_threadsafe(request, self._loop).result(60)

    def add(self, *documents: dict[str, Any], to: str = "c", **options: Any) -> Any:
        """Add documents; the JSON of the answer."""
        answer = self(
            "POST", f"/v1/collections/{to}/documents", json={"documents": documents}, **options
        )
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def search(self, to: str = "c", **body: Any) -> Any:
        answer = self("POST", f"/v1/collections/{to}/search", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def _started() -> Iterator[Callable[..., Web]]:
    started: list[Web] = []

    def start(settings: Settings, **options: Any) -> Web:
        started.append(Web(settings, **options))
        return started[-1]

    yield start
    for web in started:
        web.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Web]]:
    """`serve(settings)`: an application of a test's own."""
    yield from _started()


@pytest.fixture(scope="module")
def module_serve() -> Iterator[Callable[..., Web]]:
    """As `serve`, for all tests of a file."""
    yield from _started()


@pytest.fixture
def web(serve: Callable[..., Web], settings: Settings) -> Web:
    return serve(settings)


@pytest.fixture(scope="module")
def shared(module_settings: Settings) -> Iterator[Web]:
    """One application for the tests of a file that do not care what else is in it."""
    made = Web(module_settings)
    yield made
    made.close()


@pytest.fixture(scope="module")
def either(either_module_settings: Settings) -> Iterator[Web]:
    """As `shared`, on both kinds of database."""
    made = Web(either_module_settings)
    yield made
    made.close()


@pytest.fixture
def problem() -> Callable[..., Any]:
    """`problem(response, status, code, words…)`: it is a problem document as RFC 9457 has them."""

    def check(response: httpx.Response, status: int, code: str | None = None, *words: str) -> Any:
        assert response.status_code == status, response.text
        assert response.headers["content-type"].startswith("application/problem+json")
        found = response.json()
        assert {"type", "title", "status", "detail", "code"} <= set(found)
        assert found["status"] == status
        assert found["title"]
        assert found["code"] == found["code"].lower().replace(" ", "_")
        if code is not None:
            assert found["code"] == code
        for word in words:
            assert word in found["detail"], found["detail"]
        for secret in ("Traceback", "SELECT", "sqlalchemy", "/work/", "site-packages"):
            assert secret not in response.text
        return found

    return check
