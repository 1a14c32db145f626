"""The composition root: the one place that names concrete classes and puts them together."""

import asyncio
import inspect
import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.static_files import create_static_files_router

from embedsvc import __version__, plugins
from embedsvc.api import (
    answers,
    ask,
    collections,
    documents,
    insight,
    search,
    service,
    usage,
)
from embedsvc.api import evaluations as evaluating
from embedsvc.api import rerank as reranking
from embedsvc.api.errors import on_http, on_own, on_unexpected
from embedsvc.api.metrics import measured
from embedsvc.api.openai import chat, completions, embeddings, models
from embedsvc.api.request import StrictRequest, check_request
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.errors import ConfigError, EmbedsvcError, Forbidden, ProviderTimeout
from embedsvc.ports import (
    ChatModel,
    EmbeddingBackend,
    Loader,
    Reranker,
    Step,
    VectorIndex,
    no_step,
)
from embedsvc.services.answer_evaluation import AnswerEvaluation
from embedsvc.services.ask import Ask
from embedsvc.services.backends import CreateBackend
from embedsvc.services.calibration import Calibrations
from embedsvc.services.collections import Collections
from embedsvc.services.copies import Copies
from embedsvc.services.duplicates import DuplicateFinder
from embedsvc.services.embed import Embed
from embedsvc.services.embedding import Embedders
from embedsvc.services.evaluation import Evaluate
from embedsvc.services.explain import Explain
from embedsvc.services.extractive import Extractive
from embedsvc.services.files import Files
from embedsvc.services.indexing import PAGE, Replicas
from embedsvc.services.ingest import Ingest
from embedsvc.services.judging import Judging
from embedsvc.services.llms import LLMs, extractive_named, parse_chain
from embedsvc.services.models import About, Models, licence_of
from embedsvc.services.records import Records
from embedsvc.services.rerank import COSINE, Rerank
from embedsvc.services.retrying import Retrying
from embedsvc.services.search import Search
from embedsvc.services.search_evaluation import SearchEvaluation
from embedsvc.services.service import Service
from embedsvc.services.topics import TopicFinder
from embedsvc.services.usage import Meter, read_prices
from embedsvc.services.verify import Verify
from embedsvc.settings import Settings
from embedsvc.store.answers import Answers
from embedsvc.store.calibrations import StoredCalibrations
from embedsvc.store.database import Database
from embedsvc.store.evaluations import Evaluations
from embedsvc.store.migrations import ensure_current
from embedsvc.store.reading import Reading
from embedsvc.store.store import Store

ROUTES = [
    *service.ROUTES,
    *collections.ROUTES,
    *documents.ROUTES,
    *search.ROUTES,
    *ask.ROUTES,
    *answers.ROUTES,
    *usage.ROUTES,
    *embeddings.ROUTES,
    *models.ROUTES,
    *chat.ROUTES,
    *completions.ROUTES,
    *reranking.ROUTES,
    *insight.ROUTES,
    *evaluating.ROUTES,
]


CreateEngine = Callable[[str, int, Path, Step], VectorIndex]
"""(name, dimensions, folder, on_step) → index: what an engine's module offers as `create`."""


def build_service(
    settings: Settings,
    on_step: Step = no_step,
    engine: CreateEngine | None = None,
    create: CreateBackend | None = None,
    page: int = PAGE,
) -> Service:
    """Open the database (creating its tables when new) and connect the services to it.

    `engine` takes the place of the one that the settings name, and `create` that of every embedding
    backend; an index catches up in pages of so many chunks. Raises ConfigError when a setting names
    nothing, or the database is of another version.
    """
    database = Database(settings.url, synchronous=settings.synchronous, on_step=on_step)
    try:
        ensure_current(database, settings.shipped / "alembic")
        make = engine or plugins.load("index", settings.index).create
        return _connect(settings, database, make, create, on_step, page)
    except BaseException:
        database.close()
        raise


def _connect(
    settings: Settings,
    database: Database,
    engine: CreateEngine,
    create: CreateBackend | None,
    on_step: Step,
    page: int,
) -> Service:
    for spec in parse_chain(settings.chat)[0]:
        with extractive_named():
            plugins.load("chat", spec.provider)
    if create is None:
        plugins.load("embedding", parse_spec(settings.embedding).provider)
    if (reranker := parse_spec(settings.rerank).provider) != COSINE:
        plugins.load("reranking", reranker)

    def create_index(name: str, dimensions: int) -> VectorIndex:
        return engine(name, dimensions, settings.home / "index" / name, on_step)

    store = Store(database)
    reading = Reading(database)
    retrying = Retrying(settings.provider_timeout, settings.provider_deadline)
    meter = Meter(store, read_prices(settings.prices))
    embedders = Embedders(store, create or partial(create_backend, settings), retrying, meter)
    replicas = Replicas(store, create_index, on_step, page)
    named = Collections(store, embedders, replicas, settings.embedding)
    ingest = Ingest(
        store,
        named,
        embedders,
        replicas,
        most_characters=settings.max_document_chars,
        most_documents=settings.max_documents,
        on_step=on_step,
    )
    embed = Embed(embedders, settings.embedding)
    rerank = Rerank(embed, partial(create_reranker, settings), retrying, settings.rerank)
    found = Search(store, named, embedders, replicas, rerank)
    llms = LLMs(partial(create_chat_model, settings), retrying, meter, settings.chat)
    extractive = Extractive(store, embedders, Calibrations(StoredCalibrations(database), embedders))
    records = Records(Answers(database), settings.record_days)
    judged = Evaluations(database)
    judging = Judging(judged, store, named)
    copies = Copies(store, named, ingest, embedders, settings.max_documents)
    asking = Ask(named, found, llms, extractive, records)
    return Service(
        settings=settings,
        database=database,
        store=store,
        embedders=embedders,
        replicas=replicas,
        collections=named,
        ingest=ingest,
        files=Files(ingest, _loaders()),
        search=found,
        explain=Explain(store, named, found),
        ask=asking,
        llms=llms,
        records=records,
        embed=embed,
        rerank=rerank,
        models=Models(settings, store, embedders, partial(about, settings)),
        verify=Verify(store, named, replicas),
        duplicates=DuplicateFinder(reading, named),
        topics=TopicFinder(reading, named),
        judging=judging,
        evaluate=Evaluate(
            judged,
            copies,
            SearchEvaluation(store, named, found, copies, judging, rerank),
            AnswerEvaluation(store, named, asking, copies),
        ),
    )


async def create_backend(settings: Settings, spec: Spec) -> EmbeddingBackend:
    """The embedding backend of a spec. Raises UnknownProvider; Forbidden when offline."""
    made: EmbeddingBackend = await _create("embedding", settings, spec)
    return made


async def create_reranker(settings: Settings, spec: Spec) -> Reranker:
    """The reranker of a spec. Raises UnknownProvider; Forbidden when offline."""
    made: Reranker = await _create("reranking", settings, spec)
    return made


async def _create(kind: plugins.Kind, settings: Settings, spec: Spec) -> Any:
    """What `create` of the module makes, whether it is plain or a coroutine."""
    module = await asyncio.to_thread(plugins.load, kind, spec.provider)
    if settings.offline and (where := destination(module, settings, spec)) is not None:
        raise Forbidden(
            f"{spec} would send texts to {where}, and EMBEDSVC_OFFLINE is set: use a model on this "
            "machine, or unset it",
            code="offline",
        )
    made = await asyncio.to_thread(module.create, spec, settings)
    if not inspect.isawaitable(made):
        return made
    try:
        async with asyncio.timeout(settings.provider_timeout):  # it asks its provider something
            return await made
    except TimeoutError as error:
        raise ProviderTimeout(
            f"{spec.provider} did not answer within {settings.provider_timeout:g} seconds"
        ) from error


def destination(module: Any, settings: Settings, spec: Spec) -> str | None:
    """Where texts are sent; None when they stay here. A module that does not say may send them."""
    told = getattr(module, "destination", None)
    return "an unknown place" if told is None else told(spec, settings)


def about(settings: Settings, kind: plugins.Kind, spec: Spec) -> About:
    """What a module says of a model without loading it. Raises UnknownProvider."""
    module = plugins.load(kind, spec.provider)
    card = getattr(module, "card", None)
    licence = None if card is None else licence_of(card(spec, settings))
    return About(destination(module, settings, spec), licence)


async def create_chat_model(settings: Settings, spec: Spec) -> ChatModel:
    """The language model of a spec. Raises UnknownProvider; Forbidden when offline."""
    made: ChatModel = await _create("chat", settings, spec)
    return made


def create_app(made: Service, *, warm: bool = True) -> Litestar:
    """The ASGI application around a service; it runs and closes the service with itself."""

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        async with made.running(warm=warm):
            yield

    return Litestar(
        [*ROUTES, *_offline_pages()],
        lifespan=[lifespan],
        dependencies={"service": Provide(lambda: made, sync_to_thread=False, use_cache=True)},
        request_class=StrictRequest,
        before_request=check_request,
        middleware=[measured],
        exception_handlers={
            EmbedsvcError: on_own,
            HTTPException: on_http,
            Exception: on_unexpected,
        },
        request_max_body_size=made.settings.max_body_mb * 1_000_000,
        openapi_config=_openapi(),
        logging_config=None,
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="embedsvc",
        version=__version__,
        description="Documents in, checked answers out. Errors are application/problem+json.",
        path="/schema",
        render_plugins=[
            SwaggerRenderPlugin(
                path="/",
                js_url="/assets/swagger-ui-bundle.js",
                css_url="/assets/swagger-ui.css",
                standalone_preset_js_url="/assets/swagger-ui-standalone-preset.js",
                favicon="<link rel='icon' href='data:,'>",
            )
        ],
    )


def _offline_pages() -> list[Router]:
    """The files of the documentation page, from a package and not from the network."""
    found = find_spec("swagger_ui")
    if found is None or found.origin is None:
        raise ConfigError("the package swagger-ui-py is missing: pip install swagger-ui-py")
    mimetypes.add_type("text/javascript", ".js")
    folder = Path(found.origin).parent / "static"
    return [
        create_static_files_router(
            path="/assets", directories=[folder], include_in_schema=False, name="assets"
        )
    ]


def _loaders() -> list[Loader]:
    return [plugins.load("loaders", name).create() for name in plugins.names("loaders")]
