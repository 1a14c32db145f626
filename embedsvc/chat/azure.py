"""Azure OpenAI, by the name of a deployment: azure:gpt-4o."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
