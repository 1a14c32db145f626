"""One suite over the providers with a protocol of their own: their SDKs against real sockets."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wire.bedrock import Bedrock
from wire.cohere import Cohere
from wire.embeddings import KEY, Provider, row, tokens
from wire.gemini import Gemini, google_error
from wire.huggingface import HuggingFace
from wire.mistral import Mistral
from wire.server import Changed, Reply, Reset, Stall, TooShort, Truncated, html
from wire.vertex import Vertex
from wire.voyage import Voyage

from embedsvc.app import create_backend, destination
from embedsvc.core.spec import parse_spec
from embedsvc.core.vectors import unit_rows
from embedsvc.errors import (
    ConfigError,
    InvalidInput,
    MissingKey,
    ProviderBusy,
    ProviderDenied,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderWrong,
)
from embedsvc.plugins import load
from embedsvc.settings import Settings

# Voyage's client logs an answer that breaks off in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")

Run = Callable[[Any], Any]
PROVIDERS: list[type[Provider]] = [Gemini, Vertex, HuggingFace, Cohere, Voyage, Mistral, Bedrock]
NAMES = [kind.__name__.lower() for kind in PROVIDERS]
TEXTS = [
    "One.",
    "Two words?",
    "def three():\n    return 'lines and \"quotes\"'",
    "東京は日本の首都です。",
]


@pytest.fixture(autouse=True)
def _no_credentials_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDKs look into the environment, and ask the cloud that they may run in."""
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")


@pytest.fixture(params=PROVIDERS, ids=NAMES)
def fake(request: pytest.FixtureRequest) -> Iterator[Provider]:
    with request.param() as server:
        yield server


@pytest.fixture
def make(run: Run, fake: Provider) -> Iterator[Callable[..., Any]]:
    """`make()`: a backend of the provider; closed at the end."""
    made: list[Any] = []

    def create(model: str = "", dimensions: int | None = None, timeout: int = 20) -> Any:
        settings = Settings(variables=fake.variables, provider_timeout=timeout)
        spec = parse_spec(model or fake.model, dimensions)
        made.append(run(create_backend(settings, spec)))
        fake.requests.clear()
        return made[-1]

    yield create
    for backend in made:
        run(backend.aclose())


def expected(fake: Provider, texts: list[str], dimensions: int | None = None) -> Any:
    return np.asarray([row(text, dimensions or fake.dimensions) for text in texts])


def as_sent(fake: Provider, text: str) -> str:
    """LangChain puts spaces in the place of new lines for Bedrock."""
    return text.replace("\n", " ") if isinstance(fake, Bedrock) else text


# -- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["document", "query"])
def test_one_request_gives_the_vectors_in_the_order_of_the_texts(
    run: Run, fake: Provider, make: Callable[..., Any], role: str
) -> None:
    backend = make()
    answer = run(backend.embed(TEXTS, role))
    (call,) = fake.calls
    texts = [as_sent(fake, text) for text in TEXTS]
    assert call.texts == texts
    assert call.role == (role if fake.has_roles else None)
    assert call.key == KEY
    assert call.dimensions is None
    assert answer.tokens == (tokens(call) if fake.counts else None)
    np.testing.assert_allclose(answer.rows, expected(fake, texts), rtol=1e-5)
    assert backend.space.dimensions == fake.dimensions


def test_calls_at_the_same_time_keep_their_own_vectors_and_tokens(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    backend = make()
    fake.delay = 0.05

    async def together() -> Any:
        calls = (backend.embed([f"{n} " * (n + 1)], "document") for n in range(8))
        return await asyncio.gather(*calls)

    for n, answer in enumerate(run(together())):
        np.testing.assert_allclose(answer.rows, expected(fake, [f"{n} " * (n + 1)]), rtol=1e-5)
        assert answer.tokens == (n + 1 if fake.counts else None)
    assert len(fake.calls) == 8


def test_a_full_call_is_one_request(run: Run, fake: Provider, make: Callable[..., Any]) -> None:
    backend = make()
    texts = [f"text {n}" for n in range(min(backend.calls.texts, 100))]
    answer = run(backend.embed(texts, "document"))
    assert [list(call.texts) for call in fake.calls] == [texts]
    np.testing.assert_allclose(answer.rows, expected(fake, texts), rtol=1e-5)


def test_the_limits_of_a_call_are_those_of_the_provider(make: Callable[..., Any]) -> None:
    backend = make()
    most = {
        "gemini": 100,
        "vertex": 250,
        "huggingface": 32,
        "cohere": 96,
        "voyage": 1_000,
        "mistral": 128,
        "bedrock": 96,
    }
    assert backend.calls.texts == most[backend.space.provider]
    assert backend.calls.remote
    assert backend.calls.tokens


def test_fewer_dimensions_are_asked_for_where_the_model_has_them(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    if fake.shortens is None:
        pytest.skip("its dimensions are fixed")
    backend = make(dimensions=fake.shortens)
    answer = run(backend.embed(["short"], "query"))
    assert [call.dimensions for call in fake.calls] == [fake.shortens]
    assert backend.space.dimensions == fake.shortens == answer.rows.shape[1]


def test_other_dimensions_are_refused_before_anything_is_sent(
    fake: Provider, make: Callable[..., Any]
) -> None:
    if isinstance(fake, HuggingFace):
        pytest.skip("it does not say what its models have")
    with pytest.raises(InvalidInput, match="99999 dimensions; this model has"):
        make(dimensions=99_999)
    assert not fake.requests


UNKNOWN = {
    "cohere": ("cohere:new", 48),
    "voyage": ("voyage:new", 48),
    "mistral": ("mistral:new", None),
    "gemini": ("gemini:new", 48),
    "vertex": ("vertex:new", 48),
    "huggingface": (HuggingFace.model, None),
    "bedrock": ("bedrock:amazon.new", 48),
}


@pytest.fixture
def unknown(fake: Provider) -> tuple[str, int | None]:
    """A model that is in no table, and other dimensions than its own that it may have."""
    fake.others = True
    fake.dimensions = 64
    return UNKNOWN[type(fake).__name__.lower()]


def test_an_unknown_model_is_not_told_of_the_dimensions_that_it_has_anyway(
    run: Run, fake: Provider, make: Callable[..., Any], unknown: tuple[str, int | None]
) -> None:
    """After a restart a collection says how many; models without the parameter refuse it."""
    backend = make(unknown[0], dimensions=64)
    run(backend.embed(TEXTS[:1], "document"))
    assert [call.dimensions for call in fake.calls] == [None]
    assert backend.space.dimensions == 64


def test_an_unknown_model_is_told_of_other_dimensions_if_that_is_possible(
    run: Run, fake: Provider, make: Callable[..., Any], unknown: tuple[str, int | None]
) -> None:
    model, fewer = unknown
    if fewer is None:
        with pytest.raises(InvalidInput, match="48 dimensions; this model has 64"):
            make(model, dimensions=48)
        return
    backend = make(model, dimensions=fewer)
    assert run(backend.embed(TEXTS[:1], "document")).rows.shape == (1, fewer)
    assert [call.dimensions for call in fake.calls] == [fewer]


def test_one_vector_too_few_is_no_answer(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    backend = make()
    skip_token(fake)
    fake.faults.append(fake.one_fewer())
    answer = run(backend.embed(TEXTS, "document"))
    with pytest.raises(InvalidInput, match="3 vectors where 4 are needed"):
        unit_rows(answer.rows, len(TEXTS), backend.space.dimensions, backend.space.name)


# -- failures -----------------------------------------------------------------------------------


def skip_token(fake: Provider) -> None:
    """The first request to Vertex AI is for an access token."""
    if isinstance(fake, Vertex):
        fake.faults.append(None)


def failed(run: Run, fake: Provider, backend: Any, fault: Any) -> ProviderError:
    """The error of one call that meets the fault, once it is sure that there was one request."""
    skip_token(fake)
    fake.faults.append(fault)
    with pytest.raises(ProviderError) as caught:
        run(backend.embed(TEXTS, "document"))
    assert len(fake.calls) == 1, "the SDK tried again by itself"
    assert KEY not in caught.value.detail
    return caught.value


def test_a_busy_provider_says_when_to_come_back(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    error = failed(run, fake, make(), fake.busy(7))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after == 7


def test_a_key_that_is_refused_is_named_by_no_message(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    error = failed(run, fake, make(), fake.denied(f"Incorrect API key provided: {KEY}."))
    assert isinstance(error, ProviderDenied)
    assert "Incorrect API key provided: [key]." in error.detail


@pytest.mark.parametrize("before", [60, 75, 270, 285])
@pytest.mark.parametrize("status", [200, 500])
def test_no_part_of_a_key_is_left_where_a_message_is_cut(
    run: Run, fake: Provider, make: Callable[..., Any], before: int, status: int
) -> None:
    page = Reply(status, "x" * before + f" {KEY} " + "y" * 400, {"Content-Type": "text/html"})
    detail = failed(run, fake, make(), page).detail
    assert KEY[:5] not in detail


def test_a_backend_that_is_closed_leaves_no_connection_to_the_garbage_collector(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    async def work() -> None:
        await backend.embed(TEXTS, "document")
        fake.faults.append(html(500))
        with pytest.raises(ProviderError):
            await backend.embed(TEXTS, "document")
        await backend.aclose()

    backend = make()
    gc.disable()
    try:
        run(work())
        assert fake.deserted()
    finally:
        gc.enable()


def test_texts_for_this_machine_go_through_no_proxy(
    run: Run, fake: Provider, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if isinstance(fake, Vertex):
        pytest.skip("Google's access token, which is no text, goes through the proxy")
    answer = run(make().embed(TEXTS, "document"))
    assert len(answer.rows) == len(TEXTS)


def test_a_wrong_answer_is_not_a_failure_as_any_other(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    """It is paid for, so it is not asked for five times."""
    error = failed(run, fake, make(), html())
    assert isinstance(error, ProviderWrong)
    assert "a wrong answer from" in error.detail


def test_texts_that_are_refused_are_not_sent_again(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    error = failed(run, fake, make(), fake.error(400, "text 3 is not to my liking"))
    assert isinstance(error, ProviderRejected)
    assert "text 3 is not to my liking" in error.detail


@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        html(),
        html(500),
        html(502),
        Truncated(),
        TooShort(),
        Reply(body="null"),
        Reply(body="{}"),
        Reply(body={"error": "odd"}),
        Changed(lambda _body: {"embeddings": None, "data": None, "predictions": None}),
    ],
    ids=[
        "reset",
        "html",
        "html-500",
        "html-502",
        "truncated",
        "too-short",
        "null",
        "empty-object",
        "error-as-200",
        "nothing-inside",
    ],
)
def test_what_may_pass_is_an_error_that_may_pass(
    run: Run, fake: Provider, make: Callable[..., Any], fault: Any
) -> None:
    backend = make()
    skip_token(fake)
    fake.faults.append(fault)

    def answered() -> None:
        """A client may take it for no vectors at all: then the service refuses it."""
        rows = run(backend.embed(TEXTS, "document")).rows
        try:
            unit_rows(rows, len(TEXTS), backend.space.dimensions, backend.space.name)
        except InvalidInput as error:
            raise ProviderError(error.detail) from error

    with pytest.raises(ProviderError) as caught:
        answered()
    assert caught.value.transient
    assert not isinstance(caught.value, ProviderBusy)
    assert len(fake.calls) == 1


def test_a_server_error_may_pass(run: Run, fake: Provider, make: Callable[..., Any]) -> None:
    error = failed(run, fake, make(), fake.error(500, "something broke"))
    assert type(error) is ProviderError
    assert error.transient


def test_no_answer_ends_with_the_time_that_is_set(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    assert isinstance(failed(run, fake, make(timeout=1), Stall()), ProviderTimeout)


def test_a_server_that_is_gone_cannot_be_reached(run: Run, fake: Provider) -> None:
    settings = Settings(variables=fake.variables)

    async def made() -> Any:
        return await create_backend(settings, parse_spec(fake.model, fake.dimensions))

    backend = run(made())
    fake.__exit__()
    try:
        with pytest.raises(ProviderError) as caught:
            run(backend.embed(TEXTS, "document"))
        assert caught.value.transient
    finally:
        run(backend.aclose())
        fake.__enter__()


# -- what is set --------------------------------------------------------------------------------

SPECS = [kind.model for kind in PROVIDERS]
HOSTS = {
    "gemini": "generativelanguage.googleapis.com",
    "vertex": "us-central1-aiplatform.googleapis.com",
    "huggingface": "router.huggingface.co",
    "cohere": "api.cohere.com",
    "voyage": "api.voyageai.com",
    "mistral": "api.mistral.ai",
    "bedrock": "Amazon Bedrock",
}
KEYS = {
    "gemini": "GOOGLE_API_KEY",
    "vertex": "GOOGLE_CLOUD_PROJECT",
    "huggingface": "HF_TOKEN",
    "cohere": "COHERE_API_KEY",
    "voyage": "VOYAGE_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "bedrock": "AWS_ACCESS_KEY_ID",
}


def where(spec: str, **variables: str) -> str | None:
    parsed = parse_spec(spec)
    return destination(load("embedding", parsed.provider), Settings(variables=variables), parsed)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_texts_go_to_the_host_of_the_provider(spec: str) -> None:
    assert where(spec) == HOSTS[parse_spec(spec).provider]


def test_texts_for_a_server_on_this_machine_stay_here(fake: Provider) -> None:
    assert where(fake.model, **fake.variables) is None


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_without_a_key_the_variable_for_it_is_named(run: Run, spec: str) -> None:
    settings = Settings(variables={"AWS_REGION": "eu-central-1"})
    with pytest.raises(ConfigError, match=KEYS[parse_spec(spec).provider]) as caught:
        run(create_backend(settings, parse_spec(spec)))
    assert caught.value.code == "key_missing"


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_without_a_model_is_refused(run: Run, name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        run(create_backend(Settings(), parse_spec(name)))


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_an_option_that_is_none_is_refused(run: Run, spec: str) -> None:
    parsed = parse_spec(spec)
    with pytest.raises(InvalidInput, match="has no option 'nope'"):
        run(create_backend(Settings(), replace(parsed, options={"nope": "1"})))


# -- one provider's own -------------------------------------------------------------------------


@pytest.mark.parametrize("fake", [Gemini], indirect=True, ids=["gemini"])
def test_gemini_says_with_400_that_a_key_is_none(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    reply = google_error(400, "API key not valid. Please pass a valid API key.", info)
    assert isinstance(failed(run, fake, make(), reply), ProviderDenied)


@pytest.mark.parametrize("fake", [Vertex], indirect=True, ids=["vertex"])
def test_vertex_takes_one_text_at_a_time_for_a_gemini_model(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    fake.dimensions = 3_072
    backend = make("vertex:gemini-embedding-001")
    assert backend.calls.texts == 1
    answer = run(backend.embed(["one"], "query"))
    np.testing.assert_allclose(answer.rows, expected(fake, ["one"]), rtol=1e-5)


@pytest.mark.parametrize("fake", [Vertex], indirect=True, ids=["vertex"])
def test_vertex_without_an_access_token_is_denied(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    backend = make()
    fake.faults.append(Reply(400, {"error": "invalid_grant", "error_description": "Gone."}))
    with pytest.raises(ProviderDenied, match="Gone"):
        run(backend.embed(TEXTS, "document"))
    assert not fake.calls


def test_cohere_has_a_status_of_its_own_for_a_key_that_is_none() -> None:
    said = ProviderError("cohere answered 498: invalid token")  # no HTTP library here knows 498
    assert isinstance(load("embedding", "cohere")._refine(said, 498, None), ProviderDenied)


@pytest.mark.parametrize("fake", [HuggingFace], indirect=True, ids=["huggingface"])
def test_hugging_face_says_how_long_a_model_is_loaded(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    reply = Reply(503, {"error": "Model is currently loading", "estimated_time": 20.5})
    error = failed(run, fake, make(), reply)
    assert isinstance(error, ProviderBusy)
    assert error.retry_after == 20.5


@pytest.mark.parametrize("fake", [HuggingFace], indirect=True, ids=["huggingface"])
def test_hugging_face_works_beside_a_local_model(
    run: Run, fake: Provider, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run(make().embed(["text"], "query")).rows.shape == (1, 384)


@pytest.mark.parametrize("fake", [HuggingFace], indirect=True, ids=["huggingface"])
@pytest.mark.parametrize("name", ["../x", "a/../b", "a/b/c", "https://example.com", "a b", "/a"])
def test_a_name_that_leads_elsewhere_is_refused(
    fake: Provider, make: Callable[..., Any], name: str
) -> None:
    with pytest.raises(InvalidInput, match="no name of a model"):
        make(f"huggingface:{name}")
    assert not fake.requests


@pytest.mark.parametrize("fake", [Mistral], indirect=True, ids=["mistral"])
def test_vectors_in_another_order_are_refused(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    change = Changed(lambda body: {**body, "data": body["data"][::-1]})
    assert "not in the order of the texts" in failed(run, fake, make(), change).detail


@pytest.mark.parametrize("fake", [Voyage], indirect=True, ids=["voyage"])
@pytest.mark.parametrize("model", ["voyage-context-3", "voyage-4-nano"])
def test_a_voyage_model_that_works_otherwise_is_refused(
    fake: Provider, make: Callable[..., Any], model: str
) -> None:
    with pytest.raises(InvalidInput, match="not a model that embeds single texts"):
        make(f"voyage:{model}")
    assert not fake.requests


@pytest.mark.parametrize("fake", [Bedrock], indirect=True, ids=["bedrock"])
def test_amazons_own_models_take_one_text_at_a_time(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    fake.dimensions = 1_024
    backend = make("bedrock:amazon.titan-embed-text-v2:0")
    assert backend.calls.texts == 1
    answer = run(backend.embed(["one two"], "query"))
    np.testing.assert_allclose(answer.rows, expected(fake, ["one two"]), rtol=1e-5)
    assert answer.tokens == 2
    assert [call.texts for call in fake.calls] == [["one two"]]


@pytest.mark.parametrize("fake", [Gemini], indirect=True, ids=["gemini"])
def test_texts_for_gemini_are_cut_here_because_it_cuts_without_a_word(
    make: Callable[..., Any],
) -> None:
    assert make().space.max_tokens == 1_536
    assert make("gemini:gemini-embedding-001", dimensions=17).space.max_tokens == 1_536


@pytest.mark.parametrize("fake", [Vertex], indirect=True, ids=["vertex"])
def test_vertex_is_told_to_cut_nothing(run: Run, fake: Provider, make: Callable[..., Any]) -> None:
    run(make().embed(TEXTS, "document"))
    assert fake.requests[-1].json["parameters"]["autoTruncate"] is False


@pytest.mark.parametrize("fake", [Bedrock], indirect=True, ids=["bedrock"])
def test_amazons_nova_is_told_to_cut_nothing(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    fake.dimensions = 3_072
    backend = make("bedrock:amazon.nova-2-multimodal-embeddings-v1:0")
    answer = run(backend.embed(["one two"], "document"))
    np.testing.assert_allclose(answer.rows, expected(fake, ["one two"]), rtol=1e-5)
    sent = fake.requests[-1].json["singleEmbeddingParams"]["text"]
    assert sent == {"truncationMode": "NONE", "value": "one two"}


@pytest.mark.parametrize("missing", ["AWS_REGION", "AWS_ACCESS_KEY_ID"])
def test_what_bedrock_lacks_is_named(run: Run, missing: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": KEY}
    given = keys if missing == "AWS_REGION" else {"AWS_REGION": "eu-central-1"}
    with pytest.raises(MissingKey, match=missing):
        run(create_backend(Settings(variables=given), parse_spec(Bedrock.model)))


@pytest.mark.parametrize("fake", [Bedrock], indirect=True, ids=["bedrock"])
def test_a_profile_of_amazon_need_not_be_in_the_environment(
    run: Run, fake: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile mine]\nregion = eu-central-1\n"
        f"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {KEY}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    url = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"

    async def embedded(profile: str) -> Any:
        variables = {"AWS_PROFILE": profile, url: fake.url}
        made = await create_backend(Settings(variables=variables), parse_spec(fake.model))
        try:
            return await made.embed(TEXTS[:1], "document")
        finally:
            await made.aclose()

    assert run(embedded("mine")).rows.shape == (1, 1_536)
    assert len(fake.calls) == 1
    with pytest.raises(ConfigError, match="AWS_PROFILE is 'other'"):
        run(embedded("other"))


@pytest.mark.parametrize("fake", [Bedrock], indirect=True, ids=["bedrock"])
def test_a_bearer_token_of_amazon_need_not_be_in_the_environment(run: Run, fake: Provider) -> None:
    """That it is used is seen from this: it is sent to no address without TLS."""
    variables = {**fake.variables, "AWS_BEARER_TOKEN_BEDROCK": KEY}
    del variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]

    async def embedded() -> None:
        made = await create_backend(Settings(variables=variables), parse_spec(fake.model))
        try:
            await made.embed(TEXTS[:1], "document")
        finally:
            await made.aclose()

    with pytest.raises(ProviderError, match="requires an HTTPS endpoint"):
        run(embedded())
    assert not fake.requests


@pytest.mark.parametrize("fake", [Bedrock], indirect=True, ids=["bedrock"])
def test_calls_of_bedrock_leave_the_threads_of_others_alone(
    run: Run, fake: Provider, make: Callable[..., Any]
) -> None:
    backend = make()
    fake.delay = 0.05

    async def together() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_no_threads())
        await asyncio.gather(*(backend.embed([f"{n}"], "document") for n in range(3)))
        loop.set_default_executor(ThreadPoolExecutor())

    run(together())
    assert len(fake.calls) == 3


def _no_threads() -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    return pool
