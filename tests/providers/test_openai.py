"""Servers of OpenAI's protocol, over a real socket: good days, bad days, and never paid twice."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import httpx
import numpy as np
import pytest
from wire.openai import (
    ALL_THE_SAME,
    FLOATS,
    INFINITE_IN_JSON,
    NAN,
    NAN_IN_JSON,
    NO_DATA,
    ONE_LESS,
    ONE_MORE,
    SAME_NUMBER,
    SHUFFLED,
    SMALL,
    UNNUMBERED,
    WRONG_SIZE,
    ZEROS,
    Model,
    OpenAI,
    busy,
    error,
)
from wire.server import Drip, Fault, Request, Reset, Stall, TooShort, Truncated, html

from embedsvc.app import create_app
from embedsvc.core.canaries import CANARIES
from embedsvc.core.preparing import Draft
from embedsvc.errors import (
    ConfigError,
    EmbedsvcError,
    Forbidden,
    InvalidInput,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderTimeout,
)
from embedsvc.providers import AZURE_VERSION, base_url
from embedsvc.services import retrying
from embedsvc.services.search import Query
from embedsvc.settings import Settings

Run = Callable[[Any], Any]
KEY = "plain-secret-0123456789"
KNOWN = "openai:text-embedding-3-small"
OWN = {*(text for _, text in CANARIES), "dimensions"}
"""Texts that the service sends of its own accord."""

TEXTS = [f"text number {word}" for word in ["one", "two", "three", "four", "five", "six"]]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[OpenAI]:
    with OpenAI({"text-embedding-3-small": SMALL, "m": Model()}, KEY) as made:
        yield made


@pytest.fixture
def remote(settings: Settings, server: OpenAI) -> Settings:
    return replace(
        settings,
        embedding=KNOWN,
        variables={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url},
        provider_timeout=10,
        provider_deadline=30,
    )


def drafts(texts: Sequence[str] = TEXTS) -> list[Draft]:
    return [Draft(text, text=text) for text in texts]


def embedded(server: OpenAI) -> dict[str, int]:
    """How often each text of a user was embedded."""
    return {text: count for text, count in server.embedded.items() if text not in OWN}


def requests(server: OpenAI) -> list[list[str]]:
    """The texts of each request that had some of a user."""
    return [texts for texts in server.asked() if not OWN.issuperset(texts)]


def with_users_texts(fault: Fault) -> Callable[[Request], Fault | None]:
    """That trouble for each request that has a text of a user."""
    return lambda request: None if OWN.issuperset(request.json["input"]) else fault


async def assert_all_is_right(service: Any, model: Model, texts: Sequence[str] = TEXTS) -> None:
    """Every text is stored with the vector of that model, and a search finds it."""
    collection = await service.collections.get("c")
    for text in texts:
        rows = await service.store.document_vectors(collection, text)
        expected = model.embed(text)[: collection.dimensions]
        np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), atol=1e-5)
    found = await service.search.search("c", [Query(text, limit=1) for text in texts])
    assert [hits[0].chunk.document_id for hits in found.hits] == list(texts)
    assert (await service.verify.verify("c")).ok


async def failures(service: Any, texts: Sequence[str] = TEXTS) -> set[tuple[str, bool]]:
    """Code and transience of what adding these documents fails with, as a whole or each."""
    try:
        added = await service.ingest.add("c", drafts(texts))
    except EmbedsvcError as error:
        return {(error.code, error.transient)}
    return {(o.error.code, o.error.transient) for o in added.documents if o.error is not None}


# -- good days ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [KNOWN, "openai:m"])
def test_documents_are_embedded_once_and_found(
    run: Run, opened: Any, server: OpenAI, remote: Settings, spec: str
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c", spec)
            added = await service.ingest.add("c", drafts())
            assert [o.status for o in added.documents] == ["indexed"] * len(TEXTS)
            assert added.tokens == 3 * len(TEXTS)
            assert embedded(server) == dict.fromkeys(TEXTS, 1)
            await assert_all_is_right(service, server.models[spec.partition(":")[2]])

    run(work())


@pytest.mark.parametrize("fault", [FLOATS, SHUFFLED, UNNUMBERED], ids=["floats", "order", "bare"])
def test_other_servers_habits_are_understood(
    run: Run, opened: Any, server: OpenAI, remote: Settings, fault: Fault
) -> None:
    server.trouble = lambda _request: fault

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            assert embedded(server) == dict.fromkeys(TEXTS, 1)
            await assert_all_is_right(service, SMALL)

    run(work())


def test_calls_keep_to_the_limits_of_openai(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    many = [f"n{number}" for number in range(2_049)]
    long = [f"n{number} " + "word " * 8_000 for number in range(40)]

    async def work() -> None:
        async with opened(of=remote) as service:
            backend = await service.embedders.backend(KNOWN)
            await service.embedders.embed(backend, many, "document")
            assert sorted(map(len, requests(server))) == [1, 2_048]
            server.requests.clear()
            await service.embedders.embed(backend, long, "document")
            assert sorted(map(len, requests(server))) == [3, 37]
            assert set(embedded(server).values()) == {1}

    run(work())


def test_a_server_of_its_own_models_gets_small_calls_and_few_at_once(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    server.delay = 0.02

    async def work() -> None:
        async with opened(of=remote) as service:
            backend = await service.embedders.backend("openai:m")
            texts = [f"n{number}" for number in range(200)]
            await service.embedders.embed(backend, texts, "document")
            assert sorted(map(len, requests(server))) == [8, *[32] * 6]
            assert 1 < server.most_at_once <= 4

    run(work())


def test_connections_are_kept(run: Run, opened: Any, server: OpenAI, remote: Settings) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            for text in TEXTS:
                await service.search.search("c", [Query(text)])
            assert server.connections == 1

    run(work())


# -- dimensions ---------------------------------------------------------------------------------


def test_fewer_dimensions_are_asked_for_and_given(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            collection, _ = await service.collections.put("c", KNOWN, 256)
            assert collection.dimensions == 256
            await service.ingest.add("c", drafts())
            await assert_all_is_right(service, SMALL)
            sent = [r.json.get("dimensions") for r in server.requests]
            assert sent == [None] + [256] * (len(sent) - 1)  # the first asked what it has

    run(work())


@pytest.mark.parametrize("spec", [KNOWN, "openai:m"])
def test_a_model_is_not_asked_for_the_dimensions_that_it_has_anyway(
    run: Run, opened: Any, server: OpenAI, remote: Settings, spec: str
) -> None:
    """Some servers refuse the parameter altogether."""

    async def work() -> None:
        for _ in range(2):  # at the second start the collection says how many
            async with opened(of=remote) as service:
                await service.collections.put("c", spec)
                await service.ingest.add("c", drafts())
        assert all("dimensions" not in request.json for request in server.requests)
        assert embedded(server) == dict.fromkeys(TEXTS, 1)

    run(work())


@pytest.mark.parametrize("dimensions", [1, 63, 65, 10_000])
@pytest.mark.parametrize("ignores", [False, True])
def test_dimensions_that_a_model_does_not_give_are_refused(
    run: Run, opened: Any, server: OpenAI, remote: Settings, dimensions: int, ignores: bool
) -> None:
    server.models["m"] = Model(ignores=ignores)

    async def work() -> None:
        async with opened(of=remote) as service:
            with pytest.raises(InvalidInput, match=rf"{dimensions} dimensions; .* has 64"):
                await service.collections.put("c", "openai:m", dimensions)
            with pytest.raises(InvalidInput, match="1537 dimensions; this model has 1 to 1536"):
                await service.collections.put("c", KNOWN, 1_537)

    run(work())


def test_the_name_of_a_well_known_model_may_be_another_servers_own(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    server.models["text-embedding-ada-002"] = Model()

    async def work() -> None:
        async with opened(of=remote) as service:
            backend = await service.embedders.backend("openai:text-embedding-ada-002")
            assert (backend.space.dimensions, backend.calls.texts) == (64, 32)

    run(work())


# -- addresses and keys -------------------------------------------------------------------------

PRESETS = [
    ("openai", "OPENAI_BASE_URL", "/v1", "OPENAI_API_KEY"),
    ("ollama", "OLLAMA_HOST", "/v1", "OLLAMA_API_KEY"),
    ("lmstudio", "LMSTUDIO_BASE_URL", "/v1", "LMSTUDIO_API_KEY"),
    ("localai", "LOCALAI_BASE_URL", "/v1", "LOCALAI_API_KEY"),
    ("github", "GITHUB_MODELS_URL", "/inference", "GITHUB_TOKEN"),
    ("vllm", "VLLM_BASE_URL", "/v1", "VLLM_API_KEY"),
    ("tei", "TEI_BASE_URL", "/v1", "TEI_API_KEY"),
    ("infinity", "INFINITY_BASE_URL", "", "INFINITY_API_KEY"),
    ("textgen", "TEXTGEN_BASE_URL", "/v1", "TEXTGEN_API_KEY"),
]


@pytest.mark.parametrize(("name", "url", "path", "key"), PRESETS, ids=[p[0] for p in PRESETS])
def test_a_preset_reaches_its_address_with_its_key(
    run: Run,
    opened: Any,
    settings: Settings,
    server: OpenAI,
    name: str,
    url: str,
    path: str,
    key: str,
) -> None:
    server.prefix = path
    chosen = replace(settings, embedding=f"{name}:m", variables={url: server.url, key: KEY})

    async def work() -> None:
        async with opened(of=chosen) as service:
            await service.ingest.add("c", drafts())
            assert {r.path for r in server.requests} == {f"{path}/embeddings"}
            assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}
            await assert_all_is_right(service, Model())

    run(work())


@pytest.mark.parametrize("written", ["127.0.0.1:{port}", "http://127.0.0.1:{port}/"])
def test_ollama_takes_its_own_clients_notation(
    run: Run, opened: Any, settings: Settings, server: OpenAI, written: str
) -> None:
    server.key = None
    host = {"OLLAMA_HOST": written.format(port=server.port)}

    async def work() -> None:
        async with opened(of=replace(settings, variables=host)) as service:
            assert (await service.embedders.backend("ollama:m")).space.dimensions == 64

    run(work())


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("elsewhere", "http://elsewhere:11434/v1"),
        ("10.0.0.1/", "http://10.0.0.1:11434/v1"),
        ("[::1]", "http://[::1]:11434/v1"),
        ("elsewhere:80", "http://elsewhere:80/v1"),
        ("http://elsewhere", "http://elsewhere/v1"),
        ("https://elsewhere/ollama", "https://elsewhere/ollama"),
    ],
)
def test_ollamas_port_need_not_be_said(written: str, url: str) -> None:
    """As its own clients have it: with a scheme, the port is that of the scheme."""
    assert base_url("ollama", Settings(variables={"OLLAMA_HOST": written})) == url


def test_azure_is_asked_by_deployment_and_version_with_its_own_header(
    run: Run, opened: Any, settings: Settings, server: OpenAI
) -> None:
    variables = {"AZURE_OPENAI_ENDPOINT": server.address, "AZURE_OPENAI_API_KEY": KEY}
    chosen = replace(settings, embedding="azure:text-embedding-3-small", variables=variables)

    async def work() -> None:
        async with opened(of=chosen) as service:
            await service.ingest.add("c", drafts())
            request = server.requests[-1]
            assert request.path == "/openai/deployments/text-embedding-3-small/embeddings"
            assert request.query["api-version"] == [AZURE_VERSION]
            assert request.headers["api-key"] == KEY
            assert "authorization" not in request.headers
            await assert_all_is_right(service, SMALL)

    run(work())


def test_githubs_models_have_an_owner_and_smaller_calls(
    run: Run, opened: Any, settings: Settings, server: OpenAI
) -> None:
    server.models["openai/text-embedding-3-small"] = SMALL
    variables = {"GITHUB_MODELS_URL": server.url, "GITHUB_TOKEN": KEY}

    async def work() -> None:
        async with opened(of=replace(settings, variables=variables)) as service:
            backend = await service.embedders.backend("github:openai/text-embedding-3-small")
            assert (backend.space.dimensions, backend.calls.tokens) == (1536, 64_000)

    run(work())


@pytest.mark.parametrize(
    ("name", "url", "variable"),
    [
        ("openai", None, "OPENAI_API_KEY"),
        ("openai", ("OPENAI_BASE_URL", "https://gateway.invalid/v1"), "OPENAI_API_KEY"),
        ("azure", ("AZURE_OPENAI_ENDPOINT", "https://x.invalid"), "AZURE_OPENAI_API_KEY"),
        ("azure", None, "AZURE_OPENAI_ENDPOINT"),
        ("github", None, "GITHUB_TOKEN"),
        ("ollama", ("OLLAMA_HOST", "ftp://x"), "OLLAMA_HOST"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_sent(
    run: Run,
    opened: Any,
    settings: Settings,
    name: str,
    url: tuple[str, str] | None,
    variable: str,
) -> None:
    chosen = replace(settings, variables=dict([url] if url else []))

    async def work() -> None:
        async with opened(of=chosen) as service:
            with pytest.raises(ConfigError, match=variable) as caught:
                await service.collections.put("c", f"{name}:text-embedding-3-small")
            assert (caught.value.code == "key_missing") == (name != "ollama")

    run(work())


@pytest.mark.parametrize("url", ["http://10.0.0.1/v1", "https://openai.invalid", None])
def test_offline_nothing_leaves_this_machine(
    run: Run, opened: Any, remote: Settings, url: str | None
) -> None:
    variables = {"OPENAI_API_KEY": KEY, **({"OPENAI_BASE_URL": url} if url else {})}

    async def work() -> None:
        async with opened(of=replace(remote, offline=True, variables=variables)) as service:
            with pytest.raises(Forbidden, match="EMBEDSVC_OFFLINE") as caught:
                await service.ingest.add("c", drafts())
            assert caught.value.code == "offline"

    run(work())


def test_offline_a_server_on_this_machine_is_used_and_no_proxy(
    run: Run,
    opened: Any,
    server: OpenAI,
    remote: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def work() -> None:
        async with opened(of=replace(remote, offline=True)) as service:
            await service.ingest.add("c", drafts())
            await assert_all_is_right(service, SMALL)

    run(work())


ECHOES = [
    error(401, f"Incorrect API key provided: {KEY}.", "invalid_api_key"),
    error(400, f"Bearer {KEY} is not good"),
    error(500, f"trace: Authorization={KEY}"),
    replace(html(), body=f"<p>{KEY}</p>"),
    replace(html(502), body=f"<p>{KEY}</p>"),
    *(error(401, "x" * before + f" {KEY} is no key") for before in (60, 75, 270, 285)),
    *(replace(html(), body="x" * before + f" {KEY} is no key") for before in (60, 75, 270, 285)),
]


@pytest.mark.parametrize("reply", ECHOES)
def test_the_key_is_never_shown(
    run: Run,
    opened: Any,
    server: OpenAI,
    remote: Settings,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    reply: Any,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            server.trouble = with_users_texts(reply)
            added = await service.ingest.add("c", drafts())
            assert all(o.error is not None for o in added.documents)
            answer = await _post(service, "/v1/collections/c/search", {"query": "a new one"})
            assert answer.status_code >= 500
            shown = repr(added) + answer.text + repr(remote) + repr(service.embedders)
            assert KEY[:10] not in shown

    run(work())
    said = capfd.readouterr()
    assert KEY[:10] not in caplog.text + said.out + said.err


async def _post(service: Any, path: str, body: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=create_app(service, warm=False), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(path, json=body)


# -- faults that pass ---------------------------------------------------------------------------

UNPAID: dict[str, Fault] = {
    "429 in seconds": busy(retry_after="0"),
    "429 in milliseconds": busy(retry_after_ms="20"),
    "429 by a date": busy(retry_after=formatdate(time.time() - 5, usegmt=True)),
    "429 without a word": busy(),
    "429 with nonsense": busy(retry_after="soon"),
    "500": error(500, "The server had an error"),
    "503": error(503, "overloaded", headers={"Retry-After": "0"}),
    "504": html(504),
    "reset": Reset(),
    "html": html(),
}
PAID: dict[str, Fault] = {
    "reset after the work": Reset(handled=True),
    "truncated": Truncated(),
    "too short": TooShort(),
    "no data": NO_DATA,
    "one less": ONE_LESS,
    "one more": ONE_MORE,
    "a number twice": SAME_NUMBER,
    "all the same": ALL_THE_SAME,
    "nan": NAN,
    "nan in json": NAN_IN_JSON,
    "infinite": INFINITE_IN_JSON,
    "zeros": ZEROS,
}
"""The server has done its work, and counts it, but what comes is no use."""


@pytest.mark.parametrize(
    ("fault", "times"),
    [*((f, 1) for f in UNPAID.values()), *((f, 2) for f in PAID.values())],
    ids=[*UNPAID, *PAID],
)
def test_a_fault_that_passes_is_got_over(
    run: Run, opened: Any, server: OpenAI, remote: Settings, fault: Fault, times: int
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            server.faults.append(fault)
            added = await service.ingest.add("c", drafts())
            assert [o.status for o in added.documents] == ["indexed"] * len(TEXTS)
            assert embedded(server) == dict.fromkeys(TEXTS, times)
            await assert_all_is_right(service, SMALL)

    run(work())


@pytest.mark.parametrize("fault", [Stall(), Drip(1)], ids=["stall", "drip"])
def test_an_answer_that_does_not_come_is_asked_for_again(
    run: Run, opened: Any, server: OpenAI, remote: Settings, fault: Fault
) -> None:
    async def work() -> None:
        async with opened(of=replace(remote, provider_timeout=2.5)) as service:
            await service.collections.put("c")
            server.faults.append(fault)
            added = await service.ingest.add("c", drafts())
            assert [o.status for o in added.documents] == ["indexed"] * len(TEXTS)
            await assert_all_is_right(service, SMALL)

    run(work())


def test_a_search_gets_over_a_fault_too(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            for fault in (*UNPAID.values(), *PAID.values()):
                server.faults.append(fault)
                found = await service.search.search("c", [Query(TEXTS[2], limit=1)])
                assert found.hits[0][0].chunk.document_id == TEXTS[2]
                assert not server.faults

    run(work())


# -- faults that stay ---------------------------------------------------------------------------

STAYING = [
    pytest.param(busy(), "provider_busy", True, id="429"),
    pytest.param(error(503, "overloaded"), "provider_busy", True, id="503"),
    pytest.param(error(500, "oh"), "provider_failed", True, id="500"),
    pytest.param(html(), "provider_failed", True, id="html"),
    pytest.param(Reset(), "provider_failed", True, id="reset"),
    pytest.param(Truncated(), "provider_failed", True, id="truncated"),
    pytest.param(TooShort(), "provider_failed", True, id="too short"),
    pytest.param(ONE_LESS, "provider_failed", True, id="one less"),
    pytest.param(SAME_NUMBER, "provider_failed", True, id="a number twice"),
    pytest.param(NAN, "provider_failed", True, id="nan"),
    pytest.param(ZEROS, "provider_failed", True, id="zeros"),
    pytest.param(Stall(), "provider_timeout", True, id="stall"),
    pytest.param(Drip(0.2), "provider_timeout", True, id="drip"),
    pytest.param(WRONG_SIZE, "embedding_space_changed", False, id="wrong size"),
    pytest.param(error(400, "no"), "provider_rejected", False, id="400"),
    pytest.param(error(401, "no"), "provider_denied", False, id="401"),
    pytest.param(error(403, "no"), "provider_denied", False, id="403"),
    pytest.param(error(404, "no"), "provider_denied", False, id="404"),
    pytest.param(error(429, "pay", "insufficient_quota"), "provider_denied", False, id="quota"),
]


@pytest.mark.parametrize(("fault", "code", "transient"), STAYING)
def test_a_fault_that_stays_is_told_and_nothing_is_stored(
    run: Run,
    opened: Any,
    server: OpenAI,
    remote: Settings,
    fault: Fault,
    code: str,
    transient: bool,
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            await service.ingest.add("c", drafts(TEXTS[:1]))
        server.trouble = lambda _request: fault
        late = replace(remote, provider_timeout=1, provider_deadline=1.5)
        again = replace(remote, provider_deadline=2)
        patience = late if code == "provider_timeout" else again if transient else remote
        server.requests.clear()
        async with opened(of=patience) as service:
            assert await failures(service) == {(code, transient)}
            with pytest.raises(EmbedsvcError) as caught:
                await service.search.search("c", [Query("a question")])
            assert caught.value.code == code
        server.trouble = lambda _request: None
        most = {"embedding_space_changed": 2 * 2}.get(code, 2)
        assert len(server.requests) <= (24 if transient else most)
        async with opened(of=remote) as service:
            assert (await service.collections.describe("c")).documents == 1
            await service.ingest.add("c", drafts())
            await assert_all_is_right(service, SMALL)

    run(work())


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denied_call_is_made_once(
    run: Run, opened: Any, server: OpenAI, remote: Settings, status: int
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            server.requests.clear()
            server.trouble = lambda _request: error(status, "no")
            added = await service.ingest.add("c", drafts())
            assert {o.error.code for o in added.documents} == {"provider_denied"}
            assert len(server.requests) == 1

    run(work())


def test_a_key_that_is_revoked_half_way_stops_what_has_not_begun(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    texts = [f"text number {number}" for number in range(320)]

    async def work() -> None:
        async with opened(of=replace(remote, embedding="openai:m")) as service:
            await service.collections.put("c")
            server.requests.clear()
            server.trouble = lambda _request: error(401, "no")
            added = await service.ingest.add("c", drafts(texts))
            assert {o.error.code for o in added.documents} == {"provider_denied"}
            assert len(server.requests) <= 4  # those that ran together

    run(work())


def test_a_server_that_goes_down_is_not_asked_for_each_part_of_a_request(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    texts = [f"text number {number}" for number in range(320)]

    async def work() -> None:
        async with opened(of=replace(remote, embedding="openai:m")) as service:
            await service.collections.put("c")
            server.requests.clear()
            server.trouble = lambda _request: error(500, "down")
            added = await service.ingest.add("c", drafts(texts))
            assert {o.error.code for o in added.documents} == {"provider_failed"}
            assert len(server.requests) <= (4 + 1) * retrying.FAILURES

    run(work())


def test_a_busy_provider_is_503_with_the_time_to_come_back(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            server.trouble = lambda _request: busy(retry_after="77")
            server.requests.clear()
            for _ in range(3):
                answer = await _post(service, "/v1/collections/c/search", {"query": "what"})
                assert (answer.status_code, answer.json()["code"]) == (503, "provider_busy")
                assert 60 <= int(answer.headers["Retry-After"]) <= 77
            assert len(server.requests) == 1  # the gate is closed for the others

    run(work())


# -- a text at fault ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 13, 49])
def test_a_rejected_text_fails_alone(
    run: Run, opened: Any, server: OpenAI, remote: Settings, place: int
) -> None:
    texts = [f"text number {number}" for number in range(50)]
    server.refuse = lambda text: "this is not allowed" if text == texts[place] else None

    async def work() -> None:
        async with opened(of=remote) as service:
            added = await service.ingest.add("c", drafts(texts))
            good = [text for text in texts if text != texts[place]]
            failed = [o for o in added.documents if o.status != "indexed"]
            assert [o.id for o in failed] == [texts[place]]
            assert failed[0].error.code == "provider_rejected"
            assert "this is not allowed" in failed[0].error.detail
            assert embedded(server) == dict.fromkeys(good, 1)
            await assert_all_is_right(service, SMALL, good)

    run(work())


@pytest.mark.parametrize("fault", [NAN, ZEROS], ids=["nan", "zeros"])
def test_a_text_that_a_model_cannot_embed_fails_alone(
    run: Run, opened: Any, server: OpenAI, remote: Settings, fault: Fault
) -> None:
    poison = TEXTS[3]
    server.trouble = lambda request: fault if poison in request.json["input"] else None

    async def work() -> None:
        async with opened(of=remote) as service:
            added = await service.ingest.add("c", drafts())
            failed = {o.id: o.error.code for o in added.documents if o.error is not None}
            assert failed == {poison: "provider_failed"}
            await assert_all_is_right(service, SMALL, [t for t in TEXTS if t != poison])

    run(work())


def test_when_everything_is_rejected_no_text_is_sought(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    texts = [f"text number {number}" for number in range(320)]

    async def work() -> None:
        async with opened(of=replace(remote, embedding="openai:m")) as service:
            await service.collections.put("c")
            server.refuse = lambda _text: "not today"
            server.requests.clear()
            added = await service.ingest.add("c", drafts(texts))
            assert {o.error.code for o in added.documents} == {"provider_rejected"}
            assert len(server.requests) <= 4 + 1
            assert not embedded(server)

    run(work())


# -- never paid twice ---------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_what_was_embedded_before_a_crash_is_not_sent_again(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    def on_step(name: str) -> None:
        if name == "ingest:before-write":
            raise Killed

    async def work() -> None:
        async with opened(of=remote, on_step=on_step) as service:
            with pytest.raises(Killed):
                await service.ingest.add("c", drafts())
        async with opened(of=remote) as service:
            added = await service.ingest.add("c", drafts())
            assert {o.cached for o in added.documents} == {1}
            assert embedded(server) == dict.fromkeys(TEXTS, 1)
            await assert_all_is_right(service, SMALL)

    run(work())


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_embedded_before_a_failure_is_not_sent_again(
    run: Run, opened: Any, server: OpenAI, remote: Settings, restart: bool
) -> None:
    texts = [f"text number {number}" for number in range(200)]
    chosen = replace(remote, embedding="openai:m")
    bad = {texts[40], texts[130]}

    def trouble(request: Request) -> Fault | None:
        return error(500, "oh") if bad & set(request.json["input"]) else None

    async def work() -> None:
        async with opened(of=chosen) as service:
            server.trouble = trouble
            added = await service.ingest.add("c", drafts(texts))
            failed = [o.id for o in added.documents if o.error is not None]
            assert bad < set(failed)
            assert len(failed) == 64  # two calls of 32
            server.trouble = lambda _request: None
            if not restart:
                await service.ingest.add("c", drafts(texts))
        async with opened(of=chosen) as service:
            await service.ingest.add("c", drafts(texts))
            assert embedded(server) == dict.fromkeys(texts, 1)
            await assert_all_is_right(service, Model(), texts)

    run(work())


def test_pending_documents_are_sent_once_whatever_comes_between(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts(), "none")
            server.faults.extend([Reset(), busy(retry_after_ms="5"), html(502)])
            assert await service.ingest.work_once() == len(TEXTS)
            assert embedded(server) == dict.fromkeys(TEXTS, 1)
            await assert_all_is_right(service, SMALL)

    run(work())


# -- many callers -------------------------------------------------------------------------------


def test_a_stalled_server_does_not_keep_others_from_being_used(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    server.trouble = lambda _request: Stall()

    async def work() -> None:
        async with opened(of=remote) as service:
            stuck = asyncio.create_task(service.collections.put("c", "openai:m"))
            while not server.requests:  # noqa: ASYNC110 - it is of another thread
                await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                await service.collections.put("other", "hash")
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)

    run(work())


def test_when_one_call_fails_its_fellows_are_not_paid_for(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    texts = [f"n{number}" for number in range(320)]
    server.delay = 0.05
    server.trouble = lambda request: error(401, "no") if texts[0] in request.json["input"] else None

    async def work() -> None:
        async with opened(of=remote) as service:
            backend = await service.embedders.backend("openai:m")
            with pytest.raises(ProviderDenied):
                await service.embedders.embed(backend, texts, "document")
            await asyncio.sleep(0.3)
            assert len(requests(server)) < 10

    run(work())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(error(500, "x"), ProviderError), (Stall(), ProviderTimeout), (busy(), ProviderBusy)],
    ids=["500", "stall", "429"],
)
def test_a_server_that_is_down_at_the_start_is_told_as_that(
    run: Run, opened: Any, server: OpenAI, remote: Settings, fault: Fault, kind: type
) -> None:
    server.trouble = lambda _request: fault

    async def work() -> None:
        short = replace(remote, provider_timeout=0.5, provider_deadline=1)
        async with opened(of=short) as service:
            with pytest.raises(kind):
                await service.collections.put("c", "openai:m")
        server.trouble = lambda _request: None
        async with opened(of=remote) as service:
            await service.collections.put("c", "openai:m")

    run(work())


def test_a_refused_connection_names_the_provider(run: Run, opened: Any, remote: Settings) -> None:
    variables = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}

    async def work() -> None:
        async with opened(of=replace(remote, variables=variables)) as service:
            with pytest.raises(ProviderError, match="openai cannot be reached"):
                await service.collections.put("c", "openai:m")

    run(work())
