"""text-embeddings-inference: tei, the one model that it serves, at TEI_BASE_URL."""

from embedsvc.reranking._jina import create, destination

__all__ = ["create", "destination"]
