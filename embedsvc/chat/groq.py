"""Groq: groq:llama-3.3-70b-versatile; its key in GROQ_API_KEY."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
