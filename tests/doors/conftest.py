"""One real server for the tests of the doors, with a collection and a small reranker."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import served

EMBEDDING = "hash:64"
RERANKER = "tiny-reranker"


@pytest.fixture(scope="session")
def reranker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of random weights, with a vocabulary of letters."""
    import torch
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate([*special, *"abcdefghijklmnopqrstuvwxyz"])}
    vocabulary |= {
        f"##{c}": len(vocabulary) + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=1.0,
    )
    made = tmp_path_factory.mktemp("made")
    BertForSequenceClassification(config).save_pretrained(made)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(made)
    folder = tmp_path_factory.mktemp("reranker") / RERANKER
    CrossEncoder(str(made), local_files_only=True).save_pretrained(str(folder))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, reranker_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("doors")
    (home / "models").mkdir()
    reranker_folder.rename(home / "models" / RERANKER)
    return home


@pytest.fixture(scope="session")
def url(home: Path) -> Iterator[str]:
    with served(
        home,
        EMBEDSVC_EMBEDDING=EMBEDDING,
        EMBEDSVC_MAX_BODY_MB="1",
        OPENAI_API_KEY="",
        COHERE_API_KEY="",
        CO_API_KEY="",
    ) as address:
        body = {"documents": [{"id": "a", "text": "hello"}]}
        httpx.put(f"{address}/v1/collections/other", json={"embedding": "hash:32"})
        httpx.post(f"{address}/v1/collections/other/documents", json=body).raise_for_status()
        yield address


@pytest.fixture(scope="session")
def web(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=120) as client:
        yield client
