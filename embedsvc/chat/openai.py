"""OpenAI, or a server of its protocol at OPENAI_BASE_URL: openai:gpt-4o."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
