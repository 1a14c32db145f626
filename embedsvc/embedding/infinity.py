"""Infinity: infinity:michaelfeil/bge-small-en-v1.5."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
