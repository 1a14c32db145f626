"""Clients of Cohere, Jina and text-embeddings-inference rerank here unchanged."""

from collections.abc import Callable, Iterator
from typing import Any

import cohere
import httpx
import pytest

DOCUMENTS = ["a parrot sings", "ships sail on the sea", "the sea is deep and ships sink"]
QUERY = "ships sail on the sea"
DOORS = ["/v1/rerank", "/v2/rerank", "/rerank"]
TINY = "local:tiny-reranker"


@pytest.fixture
def transport() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


# -- Cohere's own clients -----------------------------------------------------------------------


def test_coheres_second_client(url: str, transport: httpx.Client) -> None:
    client = cohere.ClientV2("unused", base_url=url, httpx_client=transport)
    answer = client.rerank(model="cosine", query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [result.index for result in answer.results] == [1, 2]
    scores = [result.relevance_score for result in answer.results]
    assert scores[0] == pytest.approx(1)
    assert 0 < scores[1] < scores[0]
    assert answer.id
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "2"
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.search_units == 1


def test_coheres_second_client_with_all_its_options(url: str, transport: httpx.Client) -> None:
    client = cohere.ClientV2("unused", base_url=url, httpx_client=transport)
    long = "ships sail on the sea " + "and nothing else " * 50
    answer = client.rerank(
        model="cosine", query=QUERY, documents=["none", long], max_tokens_per_doc=5, priority=3
    )
    assert answer.results[0].index == 1
    assert answer.results[0].relevance_score > 0.9


def test_coheres_first_client(url: str, transport: httpx.Client) -> None:
    client = cohere.Client("unused", base_url=url, httpx_client=transport)
    answer = client.rerank(
        query=QUERY,
        documents=[DOCUMENTS[0], {"text": DOCUMENTS[1], "id": "7"}],
        return_documents=True,
        max_chunks_per_doc=10,
    )
    assert [result.index for result in answer.results] == [1, 0]
    assert answer.results[0].document is not None
    assert answer.results[0].document.model_dump() == {"text": DOCUMENTS[1], "id": "7"}
    assert answer.results[1].document is not None
    assert answer.results[1].document.text == DOCUMENTS[0]
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "1"


def test_coheres_first_client_with_fields_of_its_own(url: str, transport: httpx.Client) -> None:
    client = cohere.Client("unused", base_url=url, httpx_client=transport)
    answer = client.rerank(
        query="red boat",
        documents=[
            {"text": "red boat", "title": "none", "body": "at all"},
            {"text": "none", "title": "red", "body": "boat"},
        ],
        rank_fields=["title", "body"],
    )
    assert answer.results[0].index == 1


def test_coheres_asynchronous_client(url: str, run: Callable[[Any], Any]) -> None:
    async def ask() -> Any:
        async with httpx.AsyncClient(timeout=60) as http:
            client = cohere.AsyncClientV2("unused", base_url=url, httpx_client=http)
            return await client.rerank(model="cosine", query=QUERY, documents=DOCUMENTS)

    assert [result.index for result in run(ask()).results] == [1, 2, 0]


def test_coheres_client_gets_its_own_errors(url: str, transport: httpx.Client) -> None:
    client = cohere.ClientV2("unused", base_url=url, httpx_client=transport)
    with pytest.raises(cohere.BadRequestError) as caught:
        client.rerank(model="none:x", query=QUERY, documents=DOCUMENTS)
    assert caught.value.body["code"] == "unknown_provider"
    with pytest.raises(cohere.BadRequestError) as caught:
        client.rerank(model="cosine", query="", documents=DOCUMENTS)
    assert "query" in caught.value.body["detail"]


# -- the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_the_shape_of_jina_at_every_door(web: httpx.Client, door: str) -> None:
    body = {"model": "cosine", "query": QUERY, "documents": DOCUMENTS, "top_n": 10}
    answer = web.post(door, json={**body, "return_documents": True})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"id", "model", "results", "meta", "usage"}
    assert found["model"] == "cosine:hash:64"
    assert [result["index"] for result in found["results"]] == [1, 2, 0]
    assert found["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] > 0
    plain = web.post(door, json=body).json()
    assert set(plain["results"][0]) == {"index", "relevance_score"}


def test_the_shape_of_text_embeddings_inference(web: httpx.Client) -> None:
    body = {"query": QUERY, "texts": DOCUMENTS, "raw_scores": False, "truncate": True}
    answer = web.post("/rerank", json={**body, "return_text": True})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [item["index"] for item in found] == [1, 2, 0]
    assert found[0]["score"] == pytest.approx(1)
    assert found[0]["text"] == DOCUMENTS[1]
    assert set(web.post("/rerank", json=body).json()[0]) == {"index", "score"}


def test_another_embedding_can_be_named(web: httpx.Client) -> None:
    body = {"model": "cosine:hash:8", "query": QUERY, "documents": DOCUMENTS}
    answer = web.post("/v1/rerank", json=body)
    assert answer.json()["model"] == "cosine:hash:8"
    assert answer.json()["results"][0]["index"] == 1


def test_equal_documents_keep_their_order(web: httpx.Client) -> None:
    answer = web.post("/v1/rerank", json={"query": "x", "documents": ["same"] * 5})
    assert [result["index"] for result in answer.json()["results"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"query": ""}, 400, "query"),
        ({"query": " \t"}, 400, "query"),
        ({"query": 3}, 400, "query"),
        ({"query": "x" * 20_001}, 400, "query"),
        ({"documents": []}, 400, "documents"),
        ({"documents": None}, 400, "documents"),
        ({"documents": "text"}, 400, "documents"),
        ({"documents": ["a", ""]}, 400, "documents[1]"),
        ({"documents": [3]}, 400, "documents[0]"),
        ({"documents": [{"title": "x"}]}, 400, "documents[0]"),
        ({"documents": [{"text": 3}]}, 400, "documents[0]"),
        ({"documents": ["a"] * 2049}, 413, "documents"),
        ({"top_n": 0}, 400, "top_n"),
        ({"top_n": -1}, 400, "top_n"),
        ({"top_n": 1.5}, 400, "top_n"),
        ({"max_tokens_per_doc": 0}, 400, "max_tokens_per_doc"),
        ({"model": ""}, 400, "model"),
        ({"model": "none:x"}, 400, "none"),
        ({"model": "local:../secret"}, 400, "secret"),
        ({"model": "local:tiny-reranker?x=1"}, 400, "x"),
        ({"model": "cosine:none:x"}, 400, "none"),
        ({"model": "cohere:rerank-v3.5"}, 400, "COHERE_API_KEY"),
        ({"model": "jina:jina-reranker-v2"}, 400, "JINA_API_KEY"),
        ({"unknwon": 1}, 400, "unknwon"),
    ],
)
def test_a_wrong_request_is_refused_in_words(
    web: httpx.Client, door: str, change: Any, status: int, word: str
) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, **change}
    answer = web.post(door, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "x"},
        {"query": "x", "texts": ["a"], "documents": ["a"]},
        {"query": "x", "texts": []},
        {"query": "x", "texts": [""]},
        {"query": "x", "texts": [{"text": "a"}]},
        {"query": "x", "texts": ["a"], "raw_scores": True},
    ],
)
def test_a_wrong_request_in_the_other_shape(web: httpx.Client, body: Any) -> None:
    assert web.post("/rerank", json=body).status_code == 400


# -- a cross-encoder on this machine --------------------------------------------------------------


def test_a_local_cross_encoder(web: httpx.Client) -> None:
    texts = [chr(97 + i % 26) * (1 + i % 7) for i in range(60)]
    body = {"model": TINY, "query": "abc", "documents": texts}
    answer = web.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model"] == TINY
    assert "usage" not in found  # nobody counted
    scores = [result["relevance_score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert len({round(score, 6) for score in scores}) > 10
    assert sorted(result["index"] for result in found["results"]) == list(range(60))
    one = web.post("/v1/rerank", json={**body, "documents": [texts[5]]}).json()["results"][0]
    same = next(result for result in found["results"] if result["index"] == 5)
    assert one["relevance_score"] == pytest.approx(same["relevance_score"], abs=1e-5)


def test_a_pair_that_is_longer_than_the_window_is_cut(web: httpx.Client) -> None:
    body = {"model": TINY, "query": "ab", "documents": ["abcdefghij " * 100, "b"]}
    answer = web.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
