"""The client of txtai's REST API: /add fills a buffer, /index embeds it and writes the index."""

from collections.abc import Sequence

import httpx
from measure import Document, Job, Search, main

TIMEOUT_S = 1800


class Txtai:
    def __init__(self, job: Job) -> None:
        self._url = job.url
        self._limit = job.limit
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def warm_up_indexing(self, document: Document) -> None:
        # /index makes the index anew, so this document is gone after the next one.
        self.index([document], batch=1)

    def index(self, documents: Sequence[Document], batch: int) -> None:
        for start in range(0, len(documents), batch):
            rows = [{"id": d.id, "text": d.text} for d in documents[start : start + batch]]
            self._client.post(f"{self._url}/add", json=rows).raise_for_status()
        self._client.get(f"{self._url}/index").raise_for_status()
        self._require_count(len(documents))

    def connect(self) -> Search:
        client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

        def search(query: str) -> list[str]:
            parameters: dict[str, str | int] = {"query": query, "limit": self._limit}
            answer = client.get(f"{self._url}/search", params=parameters)
            answer.raise_for_status()
            return [result["id"] for result in answer.json()]

        return search

    def _require_count(self, expected: int) -> None:
        count = self._client.get(f"{self._url}/count").raise_for_status().json()
        if count != expected:
            raise RuntimeError(f"{count} documents are indexed, not {expected}")


if __name__ == "__main__":
    main(Txtai)
