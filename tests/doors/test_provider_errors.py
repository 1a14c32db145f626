"""What a provider does wrong reaches the clients of OpenAI in their own shape."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from wire.server import Fault, Reply, Server, html

from embedsvc import plugins
from embedsvc.app import create_app
from embedsvc.settings import Settings


@pytest.fixture
def asked(
    opened: Callable[..., Any], settings: Settings, run: Callable[[Any], Any]
) -> Callable[[Fault], httpx.Response]:
    """The answer of /v1/embeddings while the model behind it fails like that."""

    plugins.load("embedding", "vllm")  # imported before the time of a call runs

    async def ask(url: str) -> httpx.Response:
        remote = replace(
            settings,
            embedding="vllm:some-model",
            provider_timeout=3,
            provider_deadline=3,
            variables={"VLLM_BASE_URL": f"{url}/v1"},
        )
        async with opened(of=remote) as service:
            transport = httpx.ASGITransport(app=create_app(service, warm=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
                return await web.post("/v1/embeddings", json={"input": "x"}, timeout=60)

    def failing(fault: Fault) -> httpx.Response:
        with Server(lambda _request: Reply(500)) as server:
            server.trouble = lambda _request: fault
            found: httpx.Response = run(ask(server.url))
            return found

    return failing


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Reply(429, {"error": {"message": "slow"}}, {"Retry-After": "30"}), 503, "provider_busy"),
        (Reply(401, {"error": {"message": "no"}}), 502, "provider_denied"),
        (Reply(400, {"error": {"message": "no"}}), 502, "provider_rejected"),
        (Reply(504, "late"), 504, "provider_timeout"),
        (html(), 502, "provider_failed"),
    ],
)
def test_a_providers_failure_has_openais_shape(
    asked: Callable[[Fault], httpx.Response], fault: Fault, status: int, code: str
) -> None:
    answer = asked(fault)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, code)
    assert ("retry-after" in answer.headers) is (status == 503)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_what_a_provider_quotes_of_a_text_is_in_the_answer_and_in_no_log(
    asked: Callable[[Fault], httpx.Response], status: int
) -> None:
    fault = Reply(status, {"error": {"message": "no such text: about Zanzibar"}})
    with capture_logs() as logs:
        answer = asked(fault)
    assert "Zanzibar" in answer.json()["error"]["message"]
    assert any(entry["log_level"] == "error" for entry in logs)
    assert "Zanzibar" not in str(logs)
