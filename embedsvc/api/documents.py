"""/v1/collections/{c}/documents and files: add, read, change, delete, compare."""

from typing import Annotated, Any
from uuid import uuid4

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, HeaderParameter, JSONBody, QueryParameter

from embedsvc.api.errors import also, documented
from embedsvc.api.request import path_tail
from embedsvc.api.schema import (
    AddedOut,
    DeletedOut,
    DeleteIn,
    DiffIn,
    DiffOut,
    DocumentOut,
    DocumentsIn,
    DocumentsOut,
    PatchIn,
    added_out,
    document_out,
)
from embedsvc.core.filters import Filter, parse_filter
from embedsvc.errors import InvalidInput
from embedsvc.services.files import File
from embedsvc.services.ingest import Added, Wait
from embedsvc.services.service import Service

_INCLUDES = {"text", "chunks"}


def _added(added: Added, wait: Wait) -> Response[AddedOut]:
    return Response(added_out(added), status_code=202 if wait == "none" else 200)


@post(
    "/v1/collections/{collection:str}/documents",
    operation_id="add_documents",
    tags=["documents"],
    status_code=200,
    responses=documented(409, 413, 415, 502, 504, 507) | also(202, AddedOut),
)
async def add_documents(
    collection: FromPath[str],
    data: JSONBody[DocumentsIn],
    service: NamedDependency[Service],
    wait: Annotated[Wait, QueryParameter()] = "searchable",
    idempotency_key: Annotated[
        str | None, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=255)
    ] = None,
) -> Response[AddedOut]:
    """Add or replace documents by id; a bad one fails alone. 202 with wait=none."""
    drafts = [
        document.value(
            f"doc-{uuid4().hex}" if idempotency_key is None else f"{idempotency_key}-{n}"
        )
        for n, document in enumerate(data.documents)
    ]
    return _added(await service.ingest.add(collection, drafts, wait, idempotency_key), wait)


@post(
    "/v1/collections/{collection:str}/files",
    operation_id="add_files",
    opt={"media_type": "multipart/form-data"},
    tags=["documents"],
    status_code=200,
    responses=documented(409, 413, 415, 502, 504, 507) | also(202, AddedOut),
)
async def add_files(
    collection: FromPath[str],
    data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
    service: NamedDependency[Service],
    wait: Annotated[Wait, QueryParameter()] = "searchable",
) -> Response[AddedOut]:
    """Add files, one document each, named by the file; the field `metadata` holds JSON."""
    parts = [p for value in data.values() for p in (value if isinstance(value, list) else [value])]
    uploads = [part for part in parts if isinstance(part, UploadFile)]
    if not uploads:
        raise InvalidInput("files: no file in the form; send at least one as multipart/form-data")
    known = {"metadata"} | {name for name, value in data.items() if _has_file(value)}
    if unknown := data.keys() - known:
        raise InvalidInput(f"{sorted(unknown)[0]}: unknown form field; send files and metadata")
    for upload in uploads:
        if not upload.filename:
            raise InvalidInput("files: a file without a name")
    files = [File(up.filename, up.content_type, await up.read()) for up in uploads]
    metadata = _form_metadata(data.get("metadata"))
    return _added(await service.files.add(collection, files, metadata, wait), wait)


def _has_file(value: Any) -> bool:
    return any(isinstance(v, UploadFile) for v in (value if isinstance(value, list) else [value]))


def _form_metadata(raw: Any) -> dict[str, Any]:
    if raw in (None, ""):
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, Any]) if isinstance(raw, str) else dict(raw)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise InvalidInput("metadata: it is not a JSON object") from error


@get(
    "/v1/collections/{collection:str}/documents",
    operation_id="list_documents",
    tags=["documents"],
    responses=documented(404),
)
async def list_documents(
    collection: FromPath[str],
    service: NamedDependency[Service],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=20)] = "0",
    filter: Annotated[
        str | None, QueryParameter(description="a filter as JSON", max_length=10_000)
    ] = None,
) -> DocumentsOut:
    """A page of documents in the order they came; `next_cursor` gets the next page."""
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise InvalidInput(f"cursor: {cursor!r} is not a cursor; send what next_cursor gave")
    checked = (await service.collections.get(collection)).name
    found, more = await service.store.documents(checked, int(cursor), limit, _filter(filter))
    return DocumentsOut(
        documents=[document_out(document) for document in found],
        next_cursor=None if more is None else str(more),
    )


def _filter(raw: str | None) -> Filter | None:
    if not raw:
        return None
    try:
        return parse_filter(msgspec.json.decode(raw))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"filter: it is not JSON: {error}", code="invalid_filter") from error


@get(
    "/v1/collections/{collection:str}/documents/{document_id:path}",
    operation_id="get_document",
    tags=["documents"],
    responses=documented(404),
)
async def get_document(
    collection: FromPath[str],
    document_id: FromPath[str],
    request: Request[Any, Any, Any],
    service: NamedDependency[Service],
    include: Annotated[
        str, QueryParameter(description="text, chunks or both, separated by commas")
    ] = "",
) -> DocumentOut:
    """One document."""
    wanted = {part for part in include.split(",") if part}
    if unknown := wanted - _INCLUDES:
        raise InvalidInput(f"include: {sorted(unknown)[0]!r}; known are text and chunks")
    checked = (await service.collections.get(collection)).name
    document, chunks = await service.store.document(
        checked, _id(request), text="text" in wanted, chunks="chunks" in wanted
    )
    return document_out(
        document, text="text" in wanted, chunks=chunks if "chunks" in wanted else None
    )


@patch(
    "/v1/collections/{collection:str}/documents/{document_id:path}",
    operation_id="patch_document",
    tags=["documents"],
    responses=documented(404, 409, 413, 415, 507),
)
async def patch_document(
    collection: FromPath[str],
    document_id: FromPath[str],
    data: JSONBody[PatchIn],
    request: Request[Any, Any, Any],
    service: NamedDependency[Service],
) -> DocumentOut:
    """Change title or metadata; the text is not embedded again."""
    changed = await service.ingest.patch(collection, _id(request), data.title, data.metadata)
    return document_out(changed)


@delete(
    "/v1/collections/{collection:str}/documents/{document_id:path}",
    operation_id="delete_document",
    tags=["documents"],
    responses=documented(404, 507),
)
async def delete_document(
    collection: FromPath[str],
    document_id: FromPath[str],
    request: Request[Any, Any, Any],
    service: NamedDependency[Service],
) -> None:
    """Delete one document."""
    await service.ingest.delete(collection, _id(request))


@post(
    "/v1/collections/{collection:str}/delete",
    operation_id="delete_documents",
    tags=["documents"],
    status_code=200,
    responses=documented(404, 413, 415, 507),
)
async def delete_documents(
    collection: FromPath[str], data: JSONBody[DeleteIn], service: NamedDependency[Service]
) -> DeletedOut:
    """Delete documents by ids or by a filter; unknown ids count as nothing."""
    where = None if data.filter is None else parse_filter(data.filter)
    deleted, version = await service.ingest.delete_many(collection, data.ids, where)
    return DeletedOut(deleted=deleted, version=version)


@post(
    "/v1/collections/{collection:str}/diff",
    operation_id="diff_documents",
    tags=["documents"],
    status_code=200,
    responses=documented(404, 413, 415),
)
async def diff_documents(
    collection: FromPath[str], data: JSONBody[DiffIn], service: NamedDependency[Service]
) -> DiffOut:
    """Compare what the client has with what is here, by the SHA-256 of the texts."""
    theirs = {document.id: document.sha256.lower() for document in data.documents}
    return DiffOut(**await service.ingest.diff(collection, theirs))


def _id(request: Request[Any, Any, Any]) -> str:
    """The id exactly as it was sent; what was routed has lost some of its slashes."""
    return path_tail(request, skipped=4)  # v1, collections, {collection}, documents


ROUTES = [
    add_documents,
    add_files,
    list_documents,
    get_document,
    patch_document,
    delete_document,
    delete_documents,
    diff_documents,
]
