"""text-generation-webui with its API switched on: textgen:all-mpnet-base-v2."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
