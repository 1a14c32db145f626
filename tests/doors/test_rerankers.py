"""Rerankers behind a network: their own clients and formats, on real sockets, and their faults."""

import json
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wire.server import Changed, Reply, Request, Reset, Server, Stall, Truncated, html

from embedsvc.app import create_reranker
from embedsvc.core.spec import parse_spec
from embedsvc.errors import (
    ConfigError,
    Forbidden,
    InvalidInput,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
    UnknownProvider,
)
from embedsvc.settings import Settings

TEXTS = ["one", "twenty", "three hundred"]
SPECS = ["cohere:rerank-v3.5", "jina:jina-reranker-v2", "tei", "infinity:bge", "vllm:bge"]


def answered(request: Request) -> Reply:
    """The longer a text, the more relevant; in the format of the path and the request."""
    body = request.json
    texts = body.get("documents") or body["texts"]
    scores = [(i, len(text) / 100) for i, text in enumerate(texts)]
    scores.sort(key=lambda item: -item[1])
    if "texts" in body:
        return Reply(body=[{"index": i, "score": score} for i, score in scores])
    results = [{"index": i, "relevance_score": score} for i, score in scores]
    return Reply(body={"id": "x", "results": results, "model": body["model"]})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answered) as made:
        yield made


@pytest.fixture
def reranker_settings(server: Server, settings: Settings) -> Settings:
    return replace(
        settings,
        provider_timeout=2,
        provider_deadline=2,
        variables={
            "CO_API_URL": server.url,
            "COHERE_API_KEY": "co-secret",
            "JINA_BASE_URL": f"{server.url}/v1",
            "JINA_API_KEY": "jina-secret",
            "TEI_BASE_URL": f"{server.url}/v1",
            "INFINITY_BASE_URL": server.url,
            "VLLM_BASE_URL": f"{server.url}/v1",
            "LOCALAI_BASE_URL": f"{server.url}/v1",
        },
    )


@pytest.fixture
def reranked(
    opened: Callable[..., Any], reranker_settings: Settings, run: Callable[[Any], Any]
) -> Callable[..., Any]:
    """`reranked(spec, texts)`: the scores, through the whole service."""

    async def ask(spec: str, texts: list[str]) -> Any:
        async with opened(of=reranker_settings) as service:
            try:
                return await service.rerank.rerank("a question", texts, spec)
            finally:
                await service.rerank.aclose()

    return lambda spec, texts=TEXTS: run(ask(spec, texts))


@pytest.fixture
def once(reranker_settings: Settings, run: Callable[[Any], Any]) -> Callable[..., Any]:
    """`once(spec)`: one call of the adapter, not repeated."""

    @asynccontextmanager
    async def made(spec: str) -> Any:
        reranker = await create_reranker(reranker_settings, parse_spec(spec))
        try:
            yield reranker
        finally:
            await reranker.aclose()

    async def ask(spec: str) -> Any:
        async with made(spec) as reranker:
            return await reranker.rerank("a question", TEXTS)

    return lambda spec: run(ask(spec))


@pytest.mark.parametrize("spec", SPECS)
def test_scores_come_in_the_order_of_the_texts(
    reranked: Callable[..., Any], server: Server, spec: str
) -> None:
    found = reranked(spec)
    np.testing.assert_allclose(found.scores, [len(text) / 100 for text in TEXTS])
    assert found.model == spec
    assert [index for index, _ in found.best(2)] == [2, 1]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("spec", "path", "key"),
    [
        ("cohere:rerank-v3.5", "/v2/rerank", "Bearer co-secret"),
        ("jina:jina-reranker-v2", "/v1/rerank", "Bearer jina-secret"),
        ("tei", "/rerank", None),
        ("infinity:bge", "/rerank", None),
        ("vllm:bge", "/v1/rerank", None),
    ],
)
def test_each_is_asked_where_it_listens(
    reranked: Callable[..., Any], server: Server, spec: str, path: str, key: str | None
) -> None:
    reranked(spec)
    assert server.requests[0].path == path
    assert server.requests[0].headers.get("authorization") == key
    assert server.requests[0].json["query"] == "a question"
    if spec != "tei":
        assert server.requests[0].json["model"] == spec.partition(":")[2]


def test_many_texts_go_in_several_calls(reranked: Callable[..., Any], server: Server) -> None:
    texts = ["x" * (1 + i % 90) for i in range(100)]
    found = reranked("infinity:bge", texts)
    np.testing.assert_allclose(found.scores, [len(text) / 100 for text in texts])
    assert [len(request.json["documents"]) for request in server.requests] == [32, 32, 32, 4]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProviderRejected),
        (401, ProviderDenied),
        (404, ProviderDenied),
        (408, ProviderTimeout),
        (418, ProviderError),
        (422, ProviderRejected),
        (429, ProviderBusy),
        (500, ProviderError),
        (503, ProviderBusy),
    ],
)
def test_a_status_is_an_error_of_ours(
    once: Callable[..., Any], server: Server, spec: str, status: int, error: type[ProviderError]
) -> None:
    headers = {"Retry-After": "7"}
    server.faults.append(Reply(status, {"message": "no, sk-0123456789abcdef"}, headers))
    with pytest.raises(ProviderError) as caught:
        once(spec)
    assert type(caught.value) is error
    assert str(status) in caught.value.detail
    assert "0123456789abcdef" not in caught.value.detail
    if isinstance(caught.value, ProviderBusy):
        assert caught.value.retry_after == 7
    assert len(server.requests) == 1  # the client itself repeats nothing


def renumbered(body: Any) -> Any:
    for item in body if isinstance(body, list) else body["results"]:
        item["index"] = 0
    return body


def shortened(body: Any) -> Any:
    (body if isinstance(body, list) else body["results"]).pop()
    return body


def renamed(body: Any) -> Any:
    return json.loads(json.dumps(body).replace("index", "position"))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(html(), id="html"),
        pytest.param(html(403), id="html 403"),
        pytest.param(Reset(), id="reset"),
        pytest.param(Truncated(), id="truncated"),
        pytest.param(Changed(renumbered), id="renumbered"),
        pytest.param(Changed(shortened), id="shortened"),
        pytest.param(Changed(renamed), id="renamed"),
        pytest.param(Reply(200, "null"), id="null"),
        pytest.param(Reply(200, "[]"), id="empty list"),
        pytest.param(Reply(200, '{"results": null}'), id="null results"),
        pytest.param(
            Reply(200, '{"results": [{"index": "a", "relevance_score": "b"}]}'), id="words"
        ),
        pytest.param(Reply(200, b"\xff\xfe"), id="not utf-8"),
        pytest.param(Reply(204), id="204"),
        pytest.param(Reply(302, "", {"Location": "/elsewhere"}), id="moved"),
    ],
)
def test_a_wrong_answer_is_an_error_of_ours(
    once: Callable[..., Any], server: Server, spec: str, fault: Any
) -> None:
    server.faults.append(fault)
    with pytest.raises(ProviderError) as caught:
        once(spec)
    if "a wrong answer" in caught.value.detail:  # it is paid for, and not asked for five times
        assert isinstance(caught.value, ProviderWrong)


@pytest.mark.parametrize("spec", ["cohere:rerank-v3.5", "jina:jina-reranker-v2"])
@pytest.mark.parametrize("before", [60, 75, 270, 285])
@pytest.mark.parametrize("status", [200, 401])
def test_no_part_of_a_key_is_left_where_a_message_is_cut(
    once: Callable[..., Any], server: Server, spec: str, before: int, status: int
) -> None:
    secret = "co-secret" if spec.startswith("cohere") else "jina-secret"
    server.faults.append(Reply(status, "x" * before + f" {secret} " + "y" * 400))
    with pytest.raises(ProviderError) as caught:
        once(spec)
    assert secret[:5] not in caught.value.detail


@pytest.mark.parametrize("spec", SPECS)
def test_texts_for_this_machine_go_through_no_proxy(
    once: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert len(once(spec)) == len(TEXTS)


def logits(body: Any) -> Any:
    for item in body["results"]:
        item["relevance_score"] = item["relevance_score"] * 10 - 1
    return body


@pytest.mark.parametrize("spec", ["infinity:bge", "vllm:bge", "localai:bge"])
def test_scores_of_any_size_become_relevances_in_the_same_order(
    reranked: Callable[..., Any], server: Server, spec: str
) -> None:
    server.trouble = lambda _request: Changed(logits)
    raw = [len(text) / 10 - 1 for text in TEXTS]
    expected = [1 / (1 + np.exp(-score)) for score in raw]
    np.testing.assert_allclose(reranked(spec).scores, expected)


def test_localai_never_gives_relevances(reranked: Callable[..., Any]) -> None:
    raw = [len(text) / 100 for text in TEXTS]
    expected = [1 / (1 + np.exp(-score)) for score in raw]
    np.testing.assert_allclose(reranked("localai:bge").scores, expected)


def test_tei_is_told_to_cut_nothing(once: Callable[..., Any], server: Server) -> None:
    once("tei")
    assert server.requests[0].json["truncate"] is False


@pytest.mark.parametrize("spec", ["cohere:rerank-v3.5", "tei"])
@pytest.mark.parametrize("score", [-3.2, 1.5, float("nan"), float("inf")])
def test_a_relevance_that_is_none_is_refused(
    reranked: Callable[..., Any], server: Server, spec: str, score: float
) -> None:
    def change(body: Any) -> Any:
        item = (body if isinstance(body, list) else body["results"])[0]
        item["score" if "score" in item else "relevance_score"] = score
        return body

    server.trouble = lambda _request: Changed(change)
    with pytest.raises(ProviderError, match="wrong answer"):
        reranked(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_no_answer_is_a_timeout(once: Callable[..., Any], server: Server, spec: str) -> None:
    server.faults.append(Stall())
    with pytest.raises(ProviderTimeout):
        once(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_a_server_that_is_not_there(once: Callable[..., Any], server: Server, spec: str) -> None:
    server.__exit__(None)
    try:
        with pytest.raises(ProviderError, match="cannot be reached"):
            once(spec)
    finally:
        server.__enter__()


@pytest.mark.parametrize("spec", ["cohere:rerank-v3.5", "jina:jina-reranker-v2"])
def test_a_busy_provider_is_asked_again(
    reranked: Callable[..., Any], server: Server, spec: str
) -> None:
    server.faults.append(Reply(429, {"message": "slow down"}, {"Retry-After": "0.1"}))
    assert len(reranked(spec).scores) == 3
    assert len(server.requests) == 2


@pytest.mark.parametrize("spec", SPECS)
def test_offline_refuses_what_is_elsewhere(
    settings: Settings, run: Callable[[Any], Any], spec: str
) -> None:
    names = ("CO_API_URL", "JINA_BASE_URL", "TEI_BASE_URL", "INFINITY_BASE_URL", "VLLM_BASE_URL")
    away = replace(settings, offline=True, variables=dict.fromkeys(names, "https://example.org/v1"))
    with pytest.raises(Forbidden, match=r"example\.org"):
        run(create_reranker(away, parse_spec(spec)))


@pytest.mark.parametrize("spec", ["cohere", "jina", "infinity", "vllm", "cohere:x?a=b", "tei?a=b"])
def test_a_spec_that_says_too_little_or_too_much(
    reranker_settings: Settings, run: Callable[[Any], Any], spec: str
) -> None:
    with pytest.raises(InvalidInput):
        run(create_reranker(reranker_settings, parse_spec(spec)))


# -- local ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../models", "none", ".converted", "a/b", "x" * 300]
)
def test_a_local_name_never_leaves_its_folder(
    settings: Settings, run: Callable[[Any], Any], name: str
) -> None:
    with pytest.raises(UnknownProvider):
        run(create_reranker(settings, parse_spec(f"local:{name}")))


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({}, "config.json"),
        ({"config.json": "not json", "model.safetensors": ""}, "folder"),
        ({"config.json": "[]", "model.safetensors": ""}, "folder"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "safetensors"),
        (
            {"config.json": '{"id2label": {"0": "a", "1": "b"}}', "model.safetensors": ""},
            "2 labels",
        ),
    ],
)
def test_a_folder_that_is_no_reranker_is_told(
    settings: Settings, run: Callable[[Any], Any], files: dict[str, str], word: str
) -> None:
    folder: Path = settings.home / "models" / "wrong"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=word):
        run(create_reranker(settings, parse_spec("local:wrong")))
