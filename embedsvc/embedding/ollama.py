"""Ollama, on this machine unless OLLAMA_HOST says otherwise: ollama:nomic-embed-text."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
