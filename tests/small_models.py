"""Small models of several architectures, with random weights and a tokenizer trained here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = [
    "Paris is the capital of France.",
    "bread",
    "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.",
    "A model reads tokens, and makes a vector of them.",
    "Ærøskøbing!",
    "the fox and the dog " * 30,
]
"""Of very different lengths, so that all but one are padded; the last is longer than any window."""

_CORPUS = [*TEXTS, "query: passage: search_document: Represent this sentence for searching"] * 3
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
WIDTH = 32
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LONGEST = 40

_QWEN = {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": LONGEST}
_DISTIL = {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
_CONFIGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertModel", {"hidden_size": WIDTH, "max_position_embeddings": LONGEST, **LAYERS}),
    "xlm-roberta": (
        "XLMRobertaModel",
        # not 0 as elsewhere: positions of this family begin after that of the padding
        {"hidden_size": WIDTH, "max_position_embeddings": LONGEST + 2, "pad_token_id": 1, **LAYERS},
    ),
    "distilbert": ("DistilBertModel", {"max_position_embeddings": LONGEST, **_DISTIL}),
    "qwen3": ("Qwen3Model", {"hidden_size": WIDTH, **LAYERS, **_QWEN}),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model consists of; the folder of one is made by `make`."""

    architecture: str = "bert"
    pooling: str | Sequence[str] = "mean"
    dense: int | None = None
    normalize: bool = False
    prompts: Mapping[str, str] | None = None
    longest: int | None = LONGEST
    lower: bool = False
    seed: int = 0


def make(folder: Path, recipe: Recipe) -> None:
    """Save a model as sentence-transformers does."""
    import torch
    import transformers

    torch.manual_seed(recipe.seed)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = _tokenizer(recipe)
    name, sizes = _CONFIGS[recipe.architecture]
    model_class = getattr(transformers, name)
    config = model_class.config_class(
        vocab_size=len(tokenizer), initializer_range=0.3, **{"pad_token_id": 0, **sizes}
    )
    folder.mkdir(parents=True)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [("Transformer", "", {}), ("Pooling", "1_Pooling", _pooling(recipe))]
    if recipe.dense is not None:
        modules.append(("Dense", "2_Dense", _dense(folder / "2_Dense", recipe.dense)))
    if recipe.normalize:
        modules.append(("Normalize", "3_Normalize", {}))
    for _, path, inner in modules:
        if path:
            (folder / path).mkdir(exist_ok=True)
            write(folder / path / "config.json", inner)
    write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path, _) in enumerate(modules)
        ],
    )
    if recipe.longest is not None or recipe.lower:
        limits = {"max_seq_length": recipe.longest, "do_lower_case": recipe.lower}
        write(folder / "sentence_bert_config.json", limits)
    if recipe.prompts is not None:
        write(folder / "config_sentence_transformers.json", {"prompts": recipe.prompts})


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def _pooling(recipe: Recipe) -> dict[str, Any]:
    chosen = recipe.pooling
    return {
        "embedding_dimension": WIDTH,
        "pooling_mode": chosen if isinstance(chosen, str) else list(chosen),
        "include_prompt": True,
    }


def _dense(folder: Path, features: int) -> dict[str, Any]:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {"linear.weight": torch.randn(features, WIDTH), "linear.bias": torch.randn(features)}
    save_file(weights, folder / "model.safetensors")
    return {
        "in_features": WIDTH,
        "out_features": features,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }


def _tokenizer(recipe: Recipe) -> Any:
    """Word pieces; texts end with [SEP], and in encoders begin with [CLS]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if recipe.architecture == "xlm-roberta":
        special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not recipe.lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        [text.lower() for text in _CORPUS],
        trainers.WordPieceTrainer(vocab_size=240, special_tokens=special, show_progress=False),
    )
    form = "$A [SEP]" if recipe.architecture == "qwen3" else "[CLS] $A [SEP]"
    ids = [(token, special.index(token)) for token in ("[CLS]", "[SEP]") if token in form]
    tokenizer.post_processor = processors.TemplateProcessing(single=form, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST,
        padding_side="left" if recipe.architecture == "qwen3" else "right",
        **_SPECIAL,
    )


def reference(folder: Path, texts: Sequence[str], **chosen: Any) -> Any:
    """What sentence-transformers itself makes of the texts, of unit length."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    rows = model.encode(
        list(texts), normalize_embeddings=True, show_progress_bar=False, batch_size=4, **chosen
    )
    return np.asarray(rows)


RECIPES = {
    "bert-mean": Recipe(),
    "bert-cls": Recipe(pooling="cls", normalize=True, seed=1),
    "bert-max": Recipe(pooling="max", seed=2),
    "xlmr-mean": Recipe("xlm-roberta", seed=3),
    "distilbert-mean": Recipe("distilbert", seed=4),
    "bert-dense": Recipe(dense=24, normalize=True, seed=5),
    "bert-two-poolings": Recipe(pooling=("cls", "mean"), seed=6),
    "bert-weighted": Recipe(pooling="weightedmean", seed=7),
    "qwen3-last": Recipe("qwen3", "lasttoken", normalize=True, seed=8),
    "bert-cased": Recipe(lower=True, seed=9),
    "bert-unlimited": Recipe(longest=None, seed=10),
    "xlmr-unlimited": Recipe("xlm-roberta", longest=None, seed=11),
    "prompted": Recipe(prompts={"query": "search the fox: ", "passage": "the dog: "}, seed=12),
    "e5-small-x": Recipe(seed=13),
    "bge-tiny-en": Recipe(pooling="cls", seed=14),
    "nomic-embed-tiny": Recipe(prompts={"query": "", "document": ""}, seed=15),
    "e5-with-its-own": Recipe(prompts={"query": "ask ", "document": "tell "}, seed=16),
}
