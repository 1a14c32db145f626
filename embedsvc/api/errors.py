"""The one table from our errors to HTTP, in the shape of RFC 9457, or of OpenAI at its doors."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from embedsvc import errors
from embedsvc.api.openai.errors import ErrorOut, is_door, openai_error

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.EmbedsvcError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidInput: 400,
    errors.TooLarge: 413,
    errors.UnsupportedFormat: 415,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
    errors.UnknownProvider: 400,
    errors.MissingDependency: 400,
    errors.MissingKey: 400,
    errors.ConfigError: 500,
    errors.ProviderBusy: 503,
    errors.ProviderTimeout: 504,
    errors.ProviderRejected: 502,
    errors.ProviderError: 502,
    errors.EmbedsvcError: 500,
}
"""By the nearest class: an error takes the status of itself or of its closest ancestor here."""

_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error: `code` is stable and for programs, `detail` names the value and the fix."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    missing: list[str] = []


Failure = Response[Problem] | Response[ErrorOut]


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a route, for OpenAPI; 400, 500 and 503 can always come."""
    return {
        status: ResponseSpec(
            Problem,
            description=HTTPStatus(status).phrase,
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({400, 500, 503, *statuses})
    }


def also(status: int, answer: type) -> dict[int, ResponseSpec]:
    """Another good answer of a route, for OpenAPI."""
    description = HTTPStatus(status).phrase
    return {status: ResponseSpec(answer, description=description, generate_examples=False)}


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response[Problem]:
    """A problem document as a response."""
    phrase = HTTPStatus(status).phrase
    content = Problem(
        type=f"urn:embedsvc:problem:{code}",
        title=phrase,
        status=status,
        detail=detail,
        code=code,
        **more,
    )
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def as_problem(error: errors.EmbedsvcError) -> Problem:
    """One of our errors as a problem document, for streams that have already begun."""
    content: Problem = problem(status_of(error), error.code, error.detail).content
    return content


def status_of(error: errors.EmbedsvcError) -> int:
    """The HTTP status of one of our errors."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _answer(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> Failure:
    """An error in the shape that the clients of this path read."""
    if is_door(request.scope["path"]):
        return openai_error(request, status, code, detail, headers)
    return problem(status, code, detail, headers)


def on_own(request: Request[Any, Any, Any], error: errors.EmbedsvcError) -> Failure:
    """Answer with one of our own errors."""
    headers = {}
    if isinstance(error, errors.ProviderBusy) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    status = status_of(error)
    if status >= 500:
        log.error("request_failed", path=request.url.path, code=error.code, error=error.logged)
    return _answer(request, status, error.code, error.detail, headers)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Failure:
    """Answer with what the framework found wrong before a route was reached."""
    status = 400 if error.status_code == 422 else error.status_code
    if status >= 500:
        return on_unexpected(request, error)
    headers = dict(error.headers or {})
    detail = _validation(request, error) if isinstance(error, ValidationException) else error.detail
    if status == 405:
        detail = f"{request.method} is not allowed here; allowed: {_allowed(headers)}"
    if status == 404 and error.detail in {"", "Not Found"}:
        detail = f"there is nothing at {request.url.path}"
    return _answer(request, status, _CODES.get(status, "invalid_request"), detail, headers)


def _allowed(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "allow"), "nothing")


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Failure:
    """Answer without a word of what went wrong; that is in the log."""
    log.error("unexpected_error", method=request.method, path=request.url.path, exc_info=error)
    detail = "an unexpected error; the log of the service has it"
    return _answer(request, 500, "internal_error", detail)


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> str:
    """Which parameter is wrong, what it is, and what it should be."""
    parts = []
    for item in error.extra if isinstance(error.extra, list) else []:
        key, message = str(item.get("key", "")), str(item.get("message", ""))
        if key == "data":
            return "the body is missing; send a JSON object"
        given = request.query_params.get(key, request.path_params.get(key))
        value = "" if given is None else f" (it is {given!r})"
        parts.append(f"{key}: {message}{value}" if key else message)
    return "; ".join(parts) or error.detail
