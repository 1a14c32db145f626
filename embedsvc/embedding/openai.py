"""OpenAI: openai:text-embedding-3-small; any server of its protocol at OPENAI_BASE_URL."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
