"""Ollama, on this machine unless OLLAMA_HOST says otherwise: ollama:llama3.2."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
