"""Whether the service lives, is ready, how it does, and what it is."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from embedsvc.api.errors import Problem, documented, problem
from embedsvc.api.metrics import REGISTRY
from embedsvc.api.schema import HealthOut, InfoOut, ReadyOut
from embedsvc.core import filters, preparing
from embedsvc.errors import ConfigError, Forbidden, ProviderError
from embedsvc.services import ask, embed, search
from embedsvc.services.service import Service

_PROMETHEUS = CONTENT_TYPE_LATEST.partition("; charset")[0]  # the framework adds the charset


@get("/healthz", operation_id="health", tags=["service"])
async def health() -> HealthOut:
    """Whether the process lives; touches nothing else."""
    return HealthOut(status="ok")


@get("/readyz", operation_id="ready", tags=["service"], responses=documented())
async def ready(service: NamedDependency[Service]) -> Response[ReadyOut | Problem]:
    """Whether everything that requests need is loaded; 503 says what is missing."""
    missing = list(service.readiness.missing.values())
    if missing:
        waiting: Response[Any] = problem(
            503, "not_ready", f"not ready: {'; '.join(missing)}", missing=missing
        )
        return waiting
    degraded = await service.degraded()
    return Response(ReadyOut(status="degraded" if degraded else "ready", degraded=degraded))


@get("/metrics", operation_id="metrics", tags=["service"], media_type="text/plain")
async def metrics() -> Response[bytes]:
    """Counters and durations for Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=_PROMETHEUS)


@get("/v1/info", operation_id="info", tags=["service"], responses=documented())
async def info(service: NamedDependency[Service]) -> InfoOut:
    """The version, the defaults and the limits."""
    settings = service.settings
    return InfoOut(
        version=service.version,
        embedding=await _embedding(service),
        chat={"default": settings.chat},
        index={"engine": settings.index},
        limits={
            "body_bytes": settings.max_body_mb * 1_000_000,
            "documents_per_request": settings.max_documents,
            "document_characters": settings.max_document_chars,
            "id_characters": preparing.MOST_ID,
            "metadata_characters": preparing.MOST_METADATA,
            "results": search.MOST_RESULTS,
            "offset_plus_limit": search.MOST_OFFSET,
            "queries": search.MOST_QUERIES,
            "query_characters": search.MOST_QUERY_CHARACTERS,
            "question_characters": ask.MOST_QUESTION,
            "sources": ask.MOST_SOURCES,
            "similarity_texts": embed.MOST_COMPARED,
            "filter_conditions": filters.MOST_NODES,
        },
    )


async def _embedding(service: Service) -> dict[str, Any]:
    """What the default embedding is; a provider that does not answer leaves only its name."""
    spec = service.settings.embedding
    try:
        space = (await service.embedders.backend(spec)).space
    except (ProviderError, ConfigError, Forbidden) as error:
        return {"default": spec, "error": error.detail}
    return {
        "default": spec,
        "dimensions": space.dimensions,
        "max_tokens": space.max_tokens,
        "options": space.options,
    }


ROUTES = [health, ready, metrics, info]
