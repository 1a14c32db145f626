"""Speaking to the service over REST, with one client or with many at once."""

import http.client
import json
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_S = 3600
IDLE_S = 2.0
MOST_QUERIES = 100  # that the service takes in one request
ONE_VECTOR = {"chunking": {"strategy": "none"}}  # one vector a document, whatever its length

Json = dict[str, Any]


class Api:
    """The REST API on one connection that is kept open; any answer but 2xx raises."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=TIMEOUT_S
        )
        self._connection.connect()
        self._used = time.monotonic()

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer as it came."""
        if time.monotonic() - self._used > IDLE_S:
            self._connection.close()  # the server may have; the next request opens it again
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        if answer.status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return content

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer to a JSON body."""
        content = self.send(method, path, None if body is None else encode(body))
        return json.loads(content) if content else None

    def create(self, collection: str, settings: Mapping[str, Any] | None = None) -> None:
        """Create a collection."""
        self.call("PUT", f"/v1/collections/{collection}", dict(settings or {}))

    def add(
        self, collection: str, documents: Sequence[Mapping[str, Any]], batch: int = 256
    ) -> list[Json]:
        """Add documents; the answer to each request. Raises when one document failed."""
        answers = []
        for start in range(0, len(documents), batch):
            body = {"documents": documents[start : start + batch]}
            answers.append(self.call("POST", documents_path(collection), body))
            require_added(answers[-1])
        return answers

    def rankings(self, collection: str, queries: Sequence[str], **options: Any) -> list[list[str]]:
        """The ids of the documents found for each query, best first; many queries a request."""
        found: list[list[str]] = []
        for start in range(0, len(queries), MOST_QUERIES):
            asked = [{"query": text, **options} for text in queries[start : start + MOST_QUERIES]]
            answer = self.call("POST", search_path(collection), {"queries": asked})
            found += [[hit["document_id"] for hit in hits] for hits in answer["results"]]
        return found

    def text_of(self, collection: str, document_id: str) -> str:
        """The stored text of a document."""
        path = f"/v1/collections/{collection}/documents/{quote(document_id)}?include=text"
        text: str = self.call("GET", path)["text"]
        return text


def documents_path(collection: str) -> str:
    """Where documents are added; the answer comes when searches find them."""
    return f"/v1/collections/{collection}/documents?wait=searchable"


def search_path(collection: str) -> str:
    """Where a collection is searched."""
    return f"/v1/collections/{collection}/search"


def encode(body: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(body, ensure_ascii=False).encode()


def search_bodies(queries: Sequence[str], limit: int = 10) -> list[bytes]:
    """One dense search for each query."""
    return [encode({"query": text, "limit": limit, "mode": "dense"}) for text in queries]


def require_added(answer: Json) -> None:
    """Raise when a document of the answer was neither indexed nor known as it is."""
    failed = [one for one in answer["documents"] if one["status"] not in ("indexed", "unchanged")]
    if failed:
        raise RuntimeError(f"not indexed: {failed[:3]}")


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def latencies(api: Api, path: str, bodies: Sequence[bytes]) -> list[float]:
    """Seconds of each POST, one after the other on one connection."""
    return [timed(lambda body=body: api.send("POST", path, body)) for body in bodies]


# Many clients


@dataclass(frozen=True)
class Load:
    """Bodies to POST by `clients` threads, each taking the next one when it has its answer.

    Ends when all are sent, or after `seconds` where that is given.
    """

    url: str
    path: str
    bodies: Sequence[bytes]
    clients: int
    seconds: float | None = None


@dataclass(frozen=True)
class Answered:
    """Seconds of each request, and of all together."""

    latencies: Sequence[float]
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.latencies) / self.seconds


def load_generator() -> Callable[[Load], Answered]:
    """For `Child`: the clients are a process of their own, with threads and connections."""
    return put_load


def put_load(load: Load) -> Answered:
    """Send it; the clock runs from when all clients are connected. Raises the first failure."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in load.bodies:
        waiting.put(body)
    apis = [Api(load.url) for _ in range(load.clients)]
    with ThreadPoolExecutor(load.clients) as threads:
        start = time.perf_counter()
        clients = [threads.submit(_client, api, load, waiting) for api in apis]
        taken = [one for client in clients for one in client.result()]
        return Answered(taken, time.perf_counter() - start)


def _client(api: Api, load: Load, waiting: "queue.SimpleQueue[bytes]") -> list[float]:
    end = float("inf") if load.seconds is None else time.perf_counter() + load.seconds
    taken: list[float] = []
    while time.perf_counter() < end:
        try:
            body = waiting.get_nowait()
        except queue.Empty:
            break
        taken += latencies(api, load.path, [body])
    return taken
