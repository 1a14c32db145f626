"""GitHub Models: github:openai/gpt-4o."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
