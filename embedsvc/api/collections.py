"""/v1/collections: create, describe, list, delete; verify and repair their indexes."""

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from embedsvc.api.errors import also, documented
from embedsvc.api.schema import (
    CollectionIn,
    CollectionOut,
    CollectionsOut,
    VerifiedOut,
    collection_out,
    verified_out,
)
from embedsvc.core.tokens import storable
from embedsvc.errors import InvalidInput
from embedsvc.services.service import Service


@put(
    "/v1/collections/{collection:str}",
    operation_id="put_collection",
    tags=["collections"],
    status_code=200,
    responses=documented(409, 413, 415) | also(201, CollectionOut),
)
async def put_collection(
    collection: FromPath[str], data: JSONBody[CollectionIn], service: NamedDependency[Service]
) -> Response[CollectionOut]:
    """Create a collection (201), or change its description and fields (200)."""
    _, created = await service.collections.put(
        collection,
        embedding=data.embedding,
        dimensions=data.dimensions,
        chunking=None if data.chunking is None else data.chunking.value(),
        description=data.description,
        fields=data.fields,
    )
    described = await service.collections.describe(collection)
    return Response(collection_out(described), status_code=201 if created else 200)


@get(
    "/v1/collections", operation_id="list_collections", tags=["collections"], responses=documented()
)
async def list_collections(
    service: NamedDependency[Service],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=63)] = "",
) -> CollectionsOut:
    """A page of collections by name; `next_cursor` gets the next page."""
    if not storable(cursor):
        raise InvalidInput(f"cursor: {cursor!r} is not a cursor; send what next_cursor gave")
    found, more = await service.collections.list(cursor, limit)
    return CollectionsOut(collections=[collection_out(one) for one in found], next_cursor=more)


@get(
    "/v1/collections/{collection:str}",
    operation_id="get_collection",
    tags=["collections"],
    responses=documented(404),
)
async def get_collection(
    collection: FromPath[str], service: NamedDependency[Service]
) -> CollectionOut:
    """A collection, what is in it, and the state of its index."""
    return collection_out(await service.collections.describe(collection))


@delete(
    "/v1/collections/{collection:str}",
    operation_id="delete_collection",
    tags=["collections"],
    responses=documented(404),
)
async def delete_collection(collection: FromPath[str], service: NamedDependency[Service]) -> None:
    """Delete a collection with everything in it."""
    await service.collections.delete(collection)


@post(
    "/v1/collections/{collection:str}/verify",
    operation_id="verify_collection",
    tags=["administration"],
    status_code=200,
    responses=documented(404),
)
async def verify_collection(
    collection: FromPath[str], service: NamedDependency[Service]
) -> VerifiedOut:
    """Compare the index with SQL, id by id and vector by vector."""
    return verified_out(await service.verify.verify(collection))


@post(
    "/v1/collections/{collection:str}/repair",
    operation_id="repair_collection",
    tags=["administration"],
    status_code=200,
    responses=documented(404),
)
async def repair_collection(
    collection: FromPath[str], service: NamedDependency[Service]
) -> VerifiedOut:
    """Throw the index away, build it from SQL, and compare."""
    return verified_out(await service.verify.repair(collection))


ROUTES = [
    put_collection,
    list_collections,
    get_collection,
    delete_collection,
    verify_collection,
    repair_collection,
]
