"""vLLM: vllm:intfloat/e5-mistral-7b-instruct."""

from embedsvc.embedding._openai import create, destination

__all__ = ["create", "destination"]
