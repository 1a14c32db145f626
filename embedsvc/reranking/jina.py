"""Jina: jina:jina-reranker-v2-base-multilingual; its key in JINA_API_KEY."""

from embedsvc.reranking._jina import create, destination

__all__ = ["create", "destination"]
