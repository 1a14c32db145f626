"""LocalAI: localai:text-embedding-ada-002, by the name in its configuration."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
