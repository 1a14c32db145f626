"""The client of Chroma: the model in this process, vectors over HTTP, as Chroma's users do.

Runs in Chroma's own environment. Chroma's own embedding function for sentence-transformers is
used; the server stores the texts too and returns them with each result.
"""

from collections.abc import Sequence

import chromadb
from chromadb.config import Settings
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction
from measure import Document, Job, Search, main


class Chroma:
    def __init__(self, job: Job) -> None:
        host, port = job.url.removeprefix("http://").split(":")
        settings = Settings(anonymized_telemetry=False)
        self._client = chromadb.HttpClient(host=host, port=int(port), settings=settings)
        self._embed = SentenceTransformerEmbeddingFunction(model_name=job.model, device="cpu")
        self._limit = job.limit
        self._corpus = self._create("corpus")

    def warm_up_indexing(self, document: Document) -> None:
        self._create("warm-up").add(ids=[document.id], documents=[document.text])

    def index(self, documents: Sequence[Document], batch: int) -> None:
        for start in range(0, len(documents), batch):
            part = documents[start : start + batch]
            self._corpus.add(ids=[d.id for d in part], documents=[d.text for d in part])
        if self._corpus.count() != len(documents):
            raise RuntimeError(f"{self._corpus.count()} of {len(documents)} documents indexed")

    def connect(self) -> Search:
        # One client object for all threads: its HTTP connections are pooled and kept alive.
        def search(query: str) -> list[str]:
            answer = self._corpus.query(query_texts=[query], n_results=self._limit)
            return answer["ids"][0]

        return search

    def _create(self, name: str) -> chromadb.Collection:
        return self._client.create_collection(
            name, embedding_function=self._embed, configuration={"hnsw": {"space": "cosine"}}
        )


if __name__ == "__main__":
    main(Chroma)
