"""text-generation-webui, on this machine unless TEXTGEN_BASE_URL says otherwise: textgen:MODEL."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
