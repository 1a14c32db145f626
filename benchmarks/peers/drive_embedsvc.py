"""The client of embedsvc: its native REST API, one document one vector, dense search."""

from collections.abc import Sequence
from typing import Any

import httpx
from measure import Document, Job, Search, main

TIMEOUT_S = 1800


class Embedsvc:
    def __init__(self, job: Job) -> None:
        self._url = f"{job.url}/v1/collections"
        self._limit = job.limit
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self._create("corpus")

    def warm_up_indexing(self, document: Document) -> None:
        self._create("warm-up")
        self._add("warm-up", [document])

    def index(self, documents: Sequence[Document], batch: int) -> None:
        for start in range(0, len(documents), batch):
            self._add("corpus", documents[start : start + batch])

    def connect(self) -> Search:
        client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

        def search(query: str) -> list[str]:
            # The peers' searches are dense only; the service's default is hybrid.
            body = {"query": query, "limit": self._limit, "mode": "dense"}
            answer = client.post(f"{self._url}/corpus/search", json=body)
            answer.raise_for_status()
            return [result["document_id"] for result in answer.json()["results"]]

        return search

    def _create(self, collection: str) -> None:
        settings = {"chunking": {"strategy": "none"}}
        self._client.put(f"{self._url}/{collection}", json=settings).raise_for_status()

    def _add(self, collection: str, documents: Sequence[Document]) -> None:
        answer = self._client.post(
            f"{self._url}/{collection}/documents",
            params={"wait": "searchable"},
            json={"documents": [{"id": d.id, "text": d.text} for d in documents]},
        )
        answer.raise_for_status()
        _require_indexed(answer.json()["documents"])


def _require_indexed(documents: Sequence[dict[str, Any]]) -> None:
    failed = [document for document in documents if document["status"] != "indexed"]
    if failed:
        raise RuntimeError(f"not indexed: {failed[:3]}")


if __name__ == "__main__":
    main(Embedsvc)
