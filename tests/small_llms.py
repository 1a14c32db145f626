"""Small language models with random weights: what they say is nonsense, and always the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WINDOW = 128
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TEMPLATE
)
_TEXTS = [
    "Paris is the capital of France, and Grüße come from 東京.",
    "User: What is the capital? Assistant: the quick brown fox jumps over the lazy dog.",
] * 4
_SIZES: Mapping[str, Mapping[str, Any]] = {
    "LlamaForCausalLM": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": WINDOW,
    },
    "GPT2LMHeadModel": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": WINDOW},
}


def make_llm(
    folder: Path, name: str = "LlamaForCausalLM", template: str | None = TEMPLATE, **changed: Any
) -> Path:
    """Save a model as transformers does; without a template it is a completion model."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = _tokenizer()
    tokenizer.chat_template = template
    kind = getattr(transformers, name)
    config = kind.config_class(
        vocab_size=len(tokenizer),
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **{**_SIZES[name], **changed},
    )
    folder.mkdir(parents=True)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer.train_from_iterator(
        _TEXTS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=WINDOW
    )
