"""LocalAI, on this machine unless LOCALAI_BASE_URL says otherwise: localai:MODEL."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
