"""Errors as OpenAI's clients read them: `{"error":{"message","type","param","code"}}`.

`api/errors.py` knows what went wrong and gives it this shape where a request came to one of these
doors, so that a path or a method that does not exist has it too.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.openapi import ResponseSpec

DOORS: Sequence[str] = (
    "/v1/embeddings",
    "/v1/models",
    "/v1/chat",
    "/v1/completions",
    "/v1/files",
    "/v1/vector_stores",
)
"""Paths, with everything below them, that answer as OpenAI does."""

_PLACE = re.compile(r"([a-z_]+)[^ :]*: ")
_NAMED = re.compile(r"object (?:contains unknown|missing required) field '([^']*)'")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong: `param` is the field at fault, `code` is stable and for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorOut(msgspec.Struct, kw_only=True):
    """An error in OpenAI's shape."""

    error: ErrorBody


def is_door(path: str) -> bool:
    """Whether a path belongs to clients of OpenAI."""
    return any(path == door or path.startswith(f"{door}/") for door in DOORS)


def openai_error(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> Response[ErrorOut]:
    """An error as a response."""
    body = as_openai(status, code, detail, _fields(request.scope.get("route_handler")))
    return Response(body, status_code=status, headers=dict(headers or {}))


def as_openai(
    status: int, code: str, detail: str, fields: frozenset[str] = frozenset()
) -> ErrorOut:
    """An error as its body; `fields` are those that a request can have."""
    return ErrorOut(
        error=ErrorBody(
            message=detail,
            type=_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            param="model" if code == "model_not_found" else _param(detail, fields),
            code=code,
        )
    )


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a route, for OpenAPI; 400, 403, 500 and 503 can always come."""
    return {
        status: ResponseSpec(
            ErrorOut, description=HTTPStatus(status).phrase, generate_examples=False
        )
        for status in sorted({400, 403, 500, 503, *statuses})
    }


def _param(detail: str, fields: frozenset[str]) -> str | None:
    """The field that a message begins with, or says to be unknown or missing."""
    if (named := _NAMED.match(detail)) is not None:
        return named.group(1)
    place = _PLACE.match(detail)
    return place.group(1) if place is not None and place.group(1) in fields else None


@cache
def _fields(handler: Any) -> frozenset[str]:
    """The fields of the body that a route reads."""
    signature = getattr(handler, "parsed_fn_signature", None)
    data = signature.parameters.get("data") if signature is not None else None
    return (
        frozenset(getattr(data.annotation, "__struct_fields__", ()))
        if data is not None
        else frozenset()
    )
