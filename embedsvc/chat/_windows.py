"""How many tokens prompt and answer of a model have together, where LangChain does not know it."""

from embedsvc.core.spec import Spec

UNKNOWN = 8_192
SMALL = 4_096
"""Ollama and LM Studio give a model this many unless they are told otherwise, and cut silently."""

_BY_SERVER = {"ollama": SMALL, "lmstudio": SMALL, "github": 8_000}
"""Servers with limits of their own, whatever the model could do."""

_OWN_MODELS = frozenset({"localai", "vllm", "textgen", "transformers"})
"""There a name says nothing: models are served as their owner likes."""

_WINDOWS = (
    ("gpt-5-chat", 128_000),
    ("gpt-5", 400_000),
    ("gpt-4.1", 1_000_000),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4", 8_192),
    ("gpt-3.5-turbo-instruct", 4_096),
    ("gpt-3.5-turbo", 16_385),
    ("gpt-oss", 131_072),
    ("davinci-002", 16_384),
    ("babbage-002", 16_384),
    ("o1-mini", 128_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("claude-2.0", 100_000),
    ("claude", 200_000),
    ("gemini", 1_000_000),
    ("mistral-large", 128_000),
    ("mistral-medium", 128_000),
    ("mistral-small", 32_000),
    ("ministral", 128_000),
    ("open-mistral-nemo", 128_000),
    ("codestral", 128_000),
    ("llama-3.1", 128_000),
    ("llama-3.2", 128_000),
    ("llama-3.3", 128_000),
    ("llama3-1", 128_000),
    ("llama3-2", 128_000),
    ("llama3-3", 128_000),
    ("nova-micro", 128_000),
    ("nova-", 300_000),
)
"""By the beginning of a name, the longer one first."""


def known_window(spec: Spec) -> int:
    """The window of a model; a small one where it is not known."""
    if spec.provider in _BY_SERVER:
        return _BY_SERVER[spec.provider]
    if spec.provider in _OWN_MODELS:
        return UNKNOWN
    name = spec.model.lower().rsplit("/", 1)[-1]
    names = (name, *(name.split(".", n)[-1] for n in (1, 2)))  # eu.anthropic.claude-…
    for beginning, tokens in _WINDOWS:
        if any(each.startswith(beginning) for each in names):
            return tokens
    return UNKNOWN
