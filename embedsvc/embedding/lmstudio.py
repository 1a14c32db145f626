"""LM Studio's local server: lmstudio:text-embedding-nomic-embed-text-v1.5."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
