"""GitHub Models: github:openai/text-embedding-3-small."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
