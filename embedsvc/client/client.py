"""A small client of the REST contract, over HTTP or straight into an application."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
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

    async def explain(
        self, collection: str, query: str, document_id: str, **options: Any
    ) -> dict[str, Any]:
        """Why a document is where it is in a search, or which stage dropped it."""
        body = {"query": query, "document_id": document_id, **options}
        return await self._call("POST", f"{_path(collection)}/explain", json=body)

    async def ask(self, collection: str, question: str, **options: Any) -> dict[str, Any]:
        """An answer with checked citations."""
        body = {"question": question, **options}
        return await self._call("POST", f"{_path(collection)}/ask", json=body)

    async def ask_stream(
        self, collection: str, question: str, **options: Any
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """The events of an answer as they come, each a name and its data; `done` is the last."""
        body = {"question": question, **options, "stream": True}
        try:
            async with self._http.stream("POST", f"{_path(collection)}/ask", json=body) as response:
                if not response.is_success:
                    await response.aread()
                    raise _error(response)
                async for name, data in _events(response.aiter_bytes()):
                    if name == "error":
                        raise ServiceError(data["status"], data["code"], data["detail"])
                    yield name, data
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    async def answers(self, **wanted: Any) -> dict[str, Any]:
        """A page of what was answered, the newest first."""
        return await self._call("GET", "/v1/answers", params=wanted)

    async def answer(self, answer_id: str) -> dict[str, Any]:
        """An answer as it was given, with its sources and prompt."""
        return await self._call("GET", _place("answers", answer_id))

    async def delete_answer(self, answer_id: str) -> None:
        """Forget an answer."""
        await self._call("DELETE", _place("answers", answer_id))

    async def feedback(
        self, answer_id: str, rating: int, comment: str | None = None
    ) -> dict[str, Any]:
        """Say what you think of an answer: 1 good, -1 bad."""
        body = {"rating": rating} | ({} if comment is None else {"comment": comment})
        return await self._call("POST", f"{_place('answers', answer_id)}/feedback", json=body)

    async def conversations(
        self, collection: str | None = None, limit: int = 100, cursor: str = ""
    ) -> dict[str, Any]:
        """A page of the conversations, the last used first."""
        wanted = {"limit": limit, "cursor": cursor} | _of(collection)
        return await self._call("GET", "/v1/conversations", params=wanted)

    async def conversation(self, conversation_id: str) -> dict[str, Any]:
        """A conversation with its turns."""
        return await self._call("GET", _place("conversations", conversation_id))

    async def delete_conversation(self, conversation_id: str) -> None:
        """Forget a conversation and the answers in it."""
        await self._call("DELETE", _place("conversations", conversation_id))

    async def delete_conversations(self, collection: str | None = None) -> dict[str, Any]:
        """Forget all conversations, or those of a collection."""
        return await self._call("DELETE", "/v1/conversations", params=_of(collection))

    async def duplicates(self, collection: str, **options: Any) -> dict[str, Any]:
        """Documents whose texts are the same, or nearly."""
        return await self._call("POST", f"{_path(collection)}/duplicates", json=options)

    async def topics(self, collection: str, **options: Any) -> dict[str, Any]:
        """What the documents are about."""
        return await self._call("POST", f"{_path(collection)}/topics", json=options)

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

    async def judge(
        self, collection: str, query: str, document_id: str, relevance: int
    ) -> dict[str, Any]:
        """Say how well a document answers a query: 0 not at all, 3 fully."""
        body = {"query": query, "document_id": document_id, "relevance": relevance}
        return await self._call("POST", f"{_path(collection)}/judgements", json=body)

    async def judgements(self, collection: str) -> list[dict[str, Any]]:
        """All judgements of a collection."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._call(
                "GET", f"{_path(collection)}/judgements", params={"cursor": cursor}
            )
            found += page["judgements"]
            cursor = page["next_cursor"]
        return found

    async def delete_judgement(self, collection: str, query: str, document_id: str) -> None:
        """Delete a judgement."""
        asked = {"query": query, "document_id": document_id}
        await self._call("DELETE", f"{_path(collection)}/judgements", params=asked)

    async def start_evaluation(self, collection: str, **options: Any) -> dict[str, Any]:
        """Begin to compare ways to search or to answer; ask for its id until it is done."""
        body = {"collection": collection, **options}
        return await self._call("POST", "/v1/evaluations", json=body)

    async def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        """An evaluation, with its result when it is done."""
        return await self._call("GET", f"/v1/evaluations/{quote(evaluation_id, safe='')}")

    async def delete_evaluation(self, evaluation_id: str) -> None:
        """Cancel an evaluation that is under way; delete one that has ended."""
        await self._call("DELETE", f"/v1/evaluations/{quote(evaluation_id, safe='')}")

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if response.is_success:
            found: dict[str, Any] = response.json() if response.content else {}
            return found
        raise _error(response)


def _path(collection: str) -> str:
    return f"/v1/collections/{quote(collection, safe='')}"


def _place(kind: str, name: str) -> str:
    return f"/v1/{kind}/{quote(name, safe='')}"


def _of(collection: str | None) -> dict[str, str]:
    return {} if collection is None else {"collection": collection}


async def _events(
    content: AsyncIterator[bytes],
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Server-sent events, each a name and its data; lines end with \\n alone, as they are sent."""
    rest, name = b"", ""
    async for part in content:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            kind, _, value = line.partition(b": ")
            if kind == b"event":
                name = value.decode()
            elif kind == b"data":
                yield name, json.loads(value)


def _unreachable(error: httpx.HTTPError) -> ServiceError:
    return ServiceError(0, "unreachable", f"the service does not answer: {error}")


def _error(response: httpx.Response) -> ServiceError:
    try:
        problem = response.json()
        if "error" in problem:  # OpenAI's shape
            told = problem["error"]
            return ServiceError(response.status_code, told["code"] or told["type"], told["message"])
        return ServiceError(response.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(response.status_code, "unknown", response.text[:200])
