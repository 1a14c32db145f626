"""How a request is read: strictly, once, and with errors that name the field and the value."""

import re
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from embedsvc.errors import Forbidden, InvalidInput, UnsupportedFormat

_PLACE = re.compile(r"^(.*?)(?: - at `\$?(.*?)`)?$", re.DOTALL)
_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}:]', re.DOTALL)
_OUTERMOST = 3
_DEEP = 200  # less than the decoder takes
_LONGEST_SHOWN = 80


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body is decoded straight into the type that its handler asks for."""

    async def json(self) -> Any:
        """The body as the handler's type. Raises InvalidInput, UnsupportedFormat."""
        media_type = self.content_type[0]
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise UnsupportedFormat(
                f"Content-Type is {media_type or 'missing'}; send application/json"
            )
        body = await self.body()
        try:
            return _decoder(self.route_handler).decode(body)
        except msgspec.ValidationError as error:
            detail = _explain(str(error), body)
            code = "invalid_filter" if detail.startswith("filter:") else None
            raise InvalidInput(detail, code=code) from error
        except RecursionError as error:
            place = _deepest(body)
            is_filter = "filter" in place[:1] or place[:2] == ["queries", "filter"]
            code = "invalid_filter" if is_filter else None
            raise InvalidInput(f"{'.'.join(place)}: nested too deeply", code=code) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the body is not JSON: {error}") from error


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Refuse what no route would look at: an unknown query parameter, a foreign Host.

    While there are no keys, only this machine may ask; a page of the web that lets its own name
    point at this machine would come with that name as Host.
    """
    host = request.headers.get("host", "localhost")
    if not _is_here(f"//{host}"):
        raise Forbidden(
            f"Host is {host!r}; without keys the service answers only to localhost and 127.0.0.1",
            code="host_not_allowed",
        )
    origin = request.headers.get("origin")
    if origin is not None and not _is_here(origin):
        raise Forbidden(
            f"Origin is {origin!r}; without keys no page of another site may use the service",
            code="origin_not_allowed",
        )
    wanted = request.route_handler.opt.get("media_type")
    if wanted is not None and request.content_type[0] != wanted:
        raise UnsupportedFormat(
            f"Content-Type is {request.content_type[0] or 'missing'}; send {wanted}"
        )
    known = _query_names(request.route_handler)
    for given in request.query_params:
        if given not in known:
            hint = f"known are {', '.join(sorted(known))}" if known else "none is known here"
            raise InvalidInput(f"unknown query parameter {given[:80]!r}; {hint}")


def _is_here(url: str) -> bool:
    """Whether the address names this machine alone."""
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def path_tail(request: Request[Any, Any, Any], skipped: int) -> str:
    """The path as it was sent after so many parts, decoded: ids may hold slashes.

    Taken from the raw path, because a decoded one cannot tell `a%2F%2Fb` from `a//b`.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    text = raw.split(b"?", 1)[0].decode("latin-1")
    tail = text.split("/", skipped + 1)[-1]
    try:
        return unquote(tail, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"id: {tail[:80]!r} is not UTF-8") from error


@cache
def _decoder(handler: HTTPRouteHandler) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(handler.parsed_fn_signature.parameters["data"].raw)


@cache
def _query_names(handler: HTTPRouteHandler) -> frozenset[str]:
    return frozenset(
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )


def _explain(message: str, body: bytes) -> str:
    """`limit: expected int, got str (it is "ten")` from what msgspec says."""
    found = _PLACE.match(message)
    assert found is not None
    what, place = found.group(1), (found.group(2) or "").lstrip(".")
    what = what.replace("`", "'")
    what = what[:1].lower() + what[1:]
    if not place:
        return what
    return f"{place}: {what}{_shown(body, place)}"


def _deepest(body: bytes) -> list[str]:
    """The outermost keys on the way to where the body is nested too deeply."""
    keys: list[str] = []
    depth, text = 0, b""
    for found in _MARKS.finditer(body):
        mark = found.group()
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        elif mark == b":" and depth <= _OUTERMOST:
            keys[depth - 1 :] = [text[1:-1].decode(errors="replace")[:_LONGEST_SHOWN]]
        else:
            text = mark
        if depth > _DEEP:
            break
    return keys or ["the body"]


def _shown(body: bytes, place: str) -> str:
    """The value at that place of the body, if it can be pointed at."""
    try:
        value = msgspec.json.decode(body)
        for part in re.findall(r"[^.\[\]]+", place):
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""
    if isinstance(value, Mapping | list):
        return ""
    text = msgspec.json.encode(value).decode()
    return f" (it is {text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + '...'})"
