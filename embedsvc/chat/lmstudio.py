"""LM Studio's server, on this machine unless LMSTUDIO_BASE_URL says otherwise: lmstudio:MODEL."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
