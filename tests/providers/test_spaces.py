"""A space is known by its canaries: another model is refused, the same one is recognised."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from wire.openai import MIXED_UP, WRONG_SIZE, Model, OpenAI, error
from wire.server import Changed, Request, Reset

from embedsvc.core.canaries import CANARIES
from embedsvc.core.preparing import Draft
from embedsvc.embedding import _openai  # noqa: F401 - imported before anything is timed
from embedsvc.errors import Conflict, ProviderError
from embedsvc.services import embedding, retrying
from embedsvc.services.search import Query
from embedsvc.settings import Settings
from embedsvc.store import tables as t

Run = Callable[[Any], Any]
TEXTS = [f"text number {word}" for word in ["one", "two", "three", "four", "five", "six"]]
CHANGED = "embedding_space_changed"
OLD, NEW = Model("old"), Model("new")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.01)


@pytest.fixture
def servers() -> Iterator[list[OpenAI]]:
    """Two servers with the same model `x`, at two addresses."""
    with ExitStack() as stack:
        yield [stack.enter_context(OpenAI({"x": OLD, "other": NEW})) for _ in range(2)]


@pytest.fixture
def server(servers: list[OpenAI]) -> OpenAI:
    return servers[0]


@pytest.fixture
def remote(settings: Settings, servers: list[OpenAI]) -> Settings:
    variables = {"OLLAMA_HOST": servers[0].url, "LMSTUDIO_BASE_URL": servers[1].url}
    return replace(
        settings,
        embedding="ollama:x",
        variables=variables,
        provider_timeout=10,
        provider_deadline=30,
    )


def drafts(texts: list[str] = TEXTS) -> list[Draft]:
    return [Draft(text, text=text) for text in texts]


def embedded(server: OpenAI) -> dict[str, int]:
    """How often each text of a user was embedded."""
    return {text: n for text, n in server.embedded.items() if text.startswith("text")}


async def stored(service: Any) -> dict[tuple[int, bytes], bytes]:
    """Every vector in the database."""

    def read(tx: Any) -> Any:
        rows = tx.execute(select(t.vector.c.space_id, t.vector.c.key, t.vector.c.data))
        return {(row.space_id, bytes(row.key)): bytes(row.data) for row in rows}

    found: dict[tuple[int, bytes], bytes] = await service.database.read(read)
    return found


async def refused(service: Any, texts: list[str]) -> str:
    """The reason why neither these documents nor a search are taken; nothing is stored."""
    before = await stored(service)
    told: Any
    try:
        added = await service.ingest.add("c", drafts(texts))
        assert [o.status for o in added.documents] == ["failed"] * len(texts)
        told = added.documents[0].error
    except Conflict as error:
        told = error
    assert told.code == CHANGED
    with pytest.raises(Conflict) as again:
        await service.search.search("c", [Query("which one")])
    assert again.value.code == CHANGED
    assert await stored(service) == before
    return str(told.detail)


# -- another model behind the same name ----------------------------------------------------------


def test_a_model_that_was_swapped_is_refused_at_the_next_start(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.models["x"] = NEW
        async with opened(of=remote) as service:
            assert "ollama:x" in await refused(service, ["text new"])
            assert (await service.ingest.add("c", drafts())).documents[0].status == "unchanged"
        server.models["x"] = OLD
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts(["text new"]))
            assert (await service.verify.verify("c")).ok
            assert embedded(server) == dict.fromkeys([*TEXTS, "text new"], 1)

    run(work())


@pytest.mark.parametrize("failures", [1, retrying.FAILURES])
def test_a_model_that_was_swapped_is_refused_after_the_connection_broke(
    run: Run, opened: Any, server: OpenAI, remote: Settings, failures: int
) -> None:
    """Once, so that the very call that failed is repeated against the new model; or for good."""

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            server.models["x"] = NEW
            server.faults.extend([Reset()] * failures)
            if failures == retrying.FAILURES:
                added = await service.ingest.add("c", drafts(["text new"]))
                assert added.documents[0].error.code == "provider_failed"
            await refused(service, ["text new"])

    run(work())


def test_a_search_that_was_repeated_against_a_swapped_model_is_refused(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            server.models["x"] = NEW
            server.faults.append(Reset())
            with pytest.raises(Conflict) as caught:
                await service.search.search("c", [Query(TEXTS[0])])
            assert caught.value.code == CHANGED

    run(work())


def test_a_model_that_is_swapped_in_the_middle_of_a_request_is_noticed(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    """The first calls get the old model, one call fails, and what is repeated gets the new."""
    texts = [f"text number {number}" for number in range(320)]

    def trouble(request: Request) -> Any:
        if texts[200] in request.json["input"] and server.models["x"] is OLD:
            server.models["x"] = NEW
            server.hang_up()  # all that run together, this one too
        return None

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c")
            server.trouble = trouble
            added = await service.ingest.add("c", drafts(texts))
            codes = {o.error.code for o in added.documents if o.error is not None}
            assert codes == {CHANGED}
            collection = await service.collections.get("c")
            good = [o.id for o in added.documents if o.error is None]
            assert good
            for text in good:
                row = (await service.store.document_vectors(collection, text))[0]
                assert float(row @ OLD.embed(text)) > 0.999

    run(work())


def test_a_remote_model_shows_its_canaries_now_and_then(
    run: Run,
    opened: Any,
    server: OpenAI,
    remote: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            server.models["x"] = NEW
            monkeypatch.setattr(embedding, "CHECKED_FOR", 0.0)
            await refused(service, ["text new"])

    run(work())


def test_canaries_cost_nothing_while_all_is_well(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts(TEXTS[:3]))
            before = server.embedded[CANARIES[0][1]]
            await service.ingest.add("c", drafts(TEXTS[3:]))
            await service.search.search("c", [Query("text which")])
            assert server.embedded[CANARIES[0][1]] == before

    run(work())


def test_the_new_model_of_an_old_name_gets_collections_of_its_own(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    """The advice of the error can be followed."""

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.models["x"] = NEW
        for _ in range(2):  # at the second start both models are known
            async with opened(of=remote) as service:
                await service.ingest.add("d", drafts())
                question = Query(vector=NEW.embed(TEXTS[4]).tolist(), limit=1)
                found = await service.search.search("d", [question])
                assert found.hits[0][0].score > 0.999
                await refused(service, ["text new"])
        async with opened(of=remote) as service:
            await service.collections.put("e", "ollama:x")
            added = await service.ingest.add("e", drafts())
            assert {o.cached for o in added.documents} == {1}
        assert embedded(server) == dict.fromkeys(TEXTS, 2)

    run(work())


@pytest.mark.parametrize("ignores", [False, True])
def test_a_swapped_model_of_other_dimensions_is_refused_by_both(
    run: Run, opened: Any, server: OpenAI, remote: Settings, ignores: bool
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.models["x"] = Model("wide", 96, ignores=ignores)
        async with opened(of=remote) as service:
            detail = await refused(service, ["text new"])
            assert "64 dimensions" in detail
            assert "96" in detail
        assert embedded(server) == dict.fromkeys(TEXTS, 1)

    run(work())


def test_answers_of_other_dimensions_are_refused_and_not_asked_for_again(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
            server.trouble = lambda _request: WRONG_SIZE
            server.requests.clear()
            added = await service.ingest.add("c", drafts(["text new"]))
            error = added.documents[0].error
            assert (error.code, error.transient) == (CHANGED, False)
            assert "64" in error.detail
            assert "63" in error.detail
            assert len(server.requests) == 1

    run(work())


def test_a_server_that_mixes_up_its_vectors_gets_no_collection(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    """Under right numbers nobody sees it; but a text alone has another vector than in company."""
    server.trouble = lambda _request: MIXED_UP

    async def work() -> None:
        async with opened(of=remote) as service:
            with pytest.raises(ProviderError, match="alone"):
                await service.collections.put("c")

    run(work())


def test_a_server_that_begins_to_mix_up_its_vectors_is_refused(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.trouble = lambda _request: MIXED_UP
        async with opened(of=remote) as service:
            await refused(service, ["text new", "text newer"])

    run(work())


# -- the same model elsewhere ---------------------------------------------------------------------


def test_the_same_model_at_another_address_needs_no_text_again(
    run: Run, opened: Any, servers: list[OpenAI], remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        moved = replace(remote, variables={"OLLAMA_HOST": servers[1].url})
        async with opened(of=moved) as service:
            await service.ingest.add("c", drafts([*TEXTS, "text new"]))
            await service.search.search("c", [Query("which one")])
        assert embedded(servers[1]) == {"text new": 1}

    run(work())


def test_the_same_model_of_another_preset_shares_its_vectors(
    run: Run, opened: Any, servers: list[OpenAI], remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            one, _ = await service.collections.put("c", "ollama:x")
            await service.ingest.add("c", drafts())
            other, _ = await service.collections.put("d", "lmstudio:x")
            assert one.space_id == other.space_id
            await service.ingest.add("d", drafts())
            assert (await service.verify.verify("d")).ok
        assert embedded(servers[0]) == dict.fromkeys(TEXTS, 1)
        assert embedded(servers[1]) == {}

    run(work())


def test_a_collection_takes_another_spec_of_the_same_model(
    run: Run, opened: Any, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.collections.put("c", "ollama:x")
            _, created = await service.collections.put("c", "lmstudio:x")
            assert not created
            with pytest.raises(Conflict) as caught:
                await service.collections.put("c", "lmstudio:other")
            assert caught.value.code == "embedding_differs"

    run(work())


def test_models_of_other_names_are_not_merged_however_alike(
    run: Run, opened: Any, servers: list[OpenAI], remote: Settings
) -> None:
    servers[1].models["y"] = OLD

    async def work() -> None:
        async with opened(of=remote) as service:
            one, _ = await service.collections.put("c", "ollama:x")
            other, _ = await service.collections.put("d", "lmstudio:y")
            assert one.space_id != other.space_id

    run(work())


@pytest.mark.parametrize("spread", [1e-4, 3e-1])
def test_small_differences_of_machines_are_borne_and_large_ones_are_not(
    run: Run, opened: Any, server: OpenAI, remote: Settings, spread: float
) -> None:
    from wire.openai import decoded, encoded

    def change(body: Any) -> None:
        for item in body["data"]:
            row = decoded(item["embedding"])
            noise = np.random.default_rng(1).standard_normal(len(row))
            item["embedding"] = encoded(row + spread * noise / np.sqrt(len(row)))

    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.trouble = lambda _request: Changed(change)
        async with opened(of=remote) as service:
            if spread > 0.1:
                await refused(service, ["text new"])
            else:
                await service.ingest.add("c", drafts(["text new"]))

    run(work())


def test_a_server_that_cannot_be_asked_is_not_taken_for_another_model(
    run: Run, opened: Any, server: OpenAI, remote: Settings
) -> None:
    async def work() -> None:
        async with opened(of=remote) as service:
            await service.ingest.add("c", drafts())
        server.trouble = lambda _request: error(500, "down")
        async with opened(of=remote) as service:
            with pytest.raises(ProviderError):
                await service.search.search("c", [Query("text which")])
            server.trouble = lambda _request: None
            await service.search.search("c", [Query("text which")])

    run(work())


# -- models on this machine -----------------------------------------------------------------------


async def canaries(service: Any) -> list[bytes | None]:
    def read(tx: Any) -> Any:
        return [row.canaries for row in tx.execute(select(t.space.c.canaries))]

    found: list[bytes | None] = await service.database.read(read)
    return found


def test_models_on_this_machine_keep_canaries_too(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.ingest.add("c", drafts())
            assert [len(c or b"") for c in await canaries(service)] == [len(CANARIES) * 64 * 4]
        other = scripted(trouble=lambda texts: -np.eye(64)[[len(text) % 64 for text in texts]])
        async with opened(backend=other) as service:
            await refused(service, ["text new"])

    run(work())


def test_the_fast_fake_keeps_canaries(run: Run, opened: Any) -> None:
    async def work() -> None:
        for _ in range(2):
            async with opened() as service:
                await service.ingest.add("c", drafts())
                assert all(await canaries(service))

    run(work())
