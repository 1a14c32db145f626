"""vLLM, on this machine unless VLLM_BASE_URL says otherwise: vllm:MODEL."""

from embedsvc.chat._openai import create, destination

__all__ = ["create", "destination"]
