"""A small client of the REST contract, over HTTP or straight into an application."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from embedsvc.errors import EmbedsvcError

_TIMEOUT = httpx.Timeout(5.0, read=600.0, write=600.0)


class ServiceError(EmbedsvcError):
    """The service answered with a problem; `status` is that of HTTP."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail, code=code)
        self.status = status


class Client:
    """The verbs of the service; each answers with the JSON object of the contract."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, api_key: str | None = None) -> AsyncIterator["Client"]:
        """A client of the service at `url`."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        async with httpx.AsyncClient(
            base_url=url, timeout=_TIMEOUT, headers=headers, trust_env=False
        ) as http:
            yield cls(http)

    @classmethod
    @asynccontextmanager
    async def inside(cls, application: Any) -> AsyncIterator["Client"]:
        """A client of an ASGI application that runs in this process."""
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=_TIMEOUT
        ) as http:
            yield cls(http)

    async def info(self) -> dict[str, Any]:
        """GET /v1/info."""
        return await self._call("GET", "/v1/info")

    async def collections(self) -> list[dict[str, Any]]:
        """All collections."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._call("GET", "/v1/collections", params={"cursor": cursor})
            found += page["collections"]
            cursor = page["next_cursor"]
        return found

    async def add(self, collection: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
        """Add or replace documents."""
        return await self._call(
            "POST", f"{_path(collection)}/documents", json={"documents": documents}
        )

    async def add_files(self, collection: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Add or replace files, each a document by its name."""
        parts = [("files", (name, content)) for name, content in files.items()]
        return await self._call("POST", f"{_path(collection)}/files", files=parts)

    async def search(self, collection: str, query: str, **options: Any) -> dict[str, Any]:
        """The chunks nearest to a query."""
        body = {"query": query, **options}
        return await self._call("POST", f"{_path(collection)}/search", json=body)

    async def ask(self, collection: str, question: str, **options: Any) -> dict[str, Any]:
        """An answer with checked citations."""
        body = {"question": question, **options}
        return await self._call("POST", f"{_path(collection)}/ask", json=body)

    async def embed(self, texts: list[str], **options: Any) -> dict[str, Any]:
        """Vectors of texts, by the route of OpenAI's clients."""
        return await self._call("POST", "/v1/embeddings", json={"input": texts, **options})

    async def models(self) -> list[dict[str, Any]]:
        """The models in use."""
        found: list[dict[str, Any]] = (await self._call("GET", "/v1/models"))["data"]
        return found

    async def usage(self, group_by: str) -> dict[str, Any]:
        """What was embedded and what it cost."""
        return await self._call("GET", "/v1/usage", params={"group_by": group_by})

    async def verify(self, collection: str) -> dict[str, Any]:
        """Compare the index with SQL."""
        return await self._call("POST", f"{_path(collection)}/verify")

    async def repair(self, collection: str) -> dict[str, Any]:
        """Build the index anew from SQL."""
        return await self._call("POST", f"{_path(collection)}/repair")

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceError(0, "unreachable", f"the service does not answer: {error}") from error
        if response.is_success:
            found: dict[str, Any] = response.json()
            return found
        raise _error(response)


def _path(collection: str) -> str:
    return f"/v1/collections/{quote(collection, safe='')}"


def _error(response: httpx.Response) -> ServiceError:
    try:
        problem = response.json()
        if "error" in problem:  # OpenAI's shape
            told = problem["error"]
            return ServiceError(response.status_code, told["code"] or told["type"], told["message"])
        return ServiceError(response.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(response.status_code, "unknown", response.text[:200])
