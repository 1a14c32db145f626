"""/v1/models: what a client can name."""

from typing import Any, Literal

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from embedsvc.api.openai.errors import documented
from embedsvc.api.request import path_tail
from embedsvc.api.schema import Answered
from embedsvc.services.models import Model, Type
from embedsvc.services.service import Service


class ModelOut(Answered):
    """A model or collection. `sends_data_to` is the host that texts go to, null: they stay here."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    type: Type
    default: bool
    dimensions: int | None
    max_tokens: int | None
    licence: str | None
    sends_data_to: str | None


class ModelsOut(Answered):
    """Every model and collection."""

    object: Literal["list"]
    data: list[ModelOut]


@get("/v1/models", operation_id="list_models", tags=["openai"], responses=documented())
async def list_models(service: NamedDependency[Service]) -> ModelsOut:
    """The models that are configured, and each collection as `collection:NAME`."""
    found = await service.models.list()
    return ModelsOut(object="list", data=[model_out(model) for model in found])


@get(
    "/v1/models/{model:path}",
    operation_id="get_model",
    tags=["openai"],
    responses=documented(404),
)
async def get_model(
    model: FromPath[str], request: Request[Any, Any, Any], service: NamedDependency[Service]
) -> ModelOut:
    """One of them, by its id or its name without the provider."""
    del model  # what was routed has lost some of its slashes
    return model_out(await service.models.get(path_tail(request, skipped=2)))


def model_out(model: Model) -> ModelOut:
    """A model as the contract has it."""
    return ModelOut(
        id=model.id,
        object="model",
        created=model.created_at // 1_000_000,
        owned_by="embedsvc" if model.type == "collection" else model.id.partition(":")[0],
        type=model.type,
        default=model.default,
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        licence=model.licence,
        sends_data_to=model.sends_data_to,
    )


ROUTES = [list_models, get_model]
