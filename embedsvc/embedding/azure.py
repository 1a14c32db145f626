"""Azure OpenAI, by the name of a deployment: azure:text-embedding-3-small."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
