"""vLLM: vllm:MODEL, at VLLM_BASE_URL."""

from embedsvc.reranking._jina import create, destination

__all__ = ["create", "destination"]
