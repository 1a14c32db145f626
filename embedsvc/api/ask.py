"""/v1/collections/{c}/ask: an answer at once, or as server-sent events."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from embedsvc.api.errors import as_problem, documented
from embedsvc.api.schema import AnswerOut, AskIn, answer_out, citation_out, source_out
from embedsvc.api.streaming import Streamed, Wire, gone, server_sent, unless_gone
from embedsvc.core.citations import Citation
from embedsvc.errors import EmbedsvcError
from embedsvc.services.answers import Answer, Event, Sources
from embedsvc.services.service import Service


@post(
    "/v1/collections/{collection:str}/ask",
    operation_id="ask",
    operation_class=Streamed,
    tags=["answers"],
    status_code=200,
    responses=documented(403, 404, 409, 413, 415, 502, 504),
)
async def ask(
    collection: FromPath[str],
    data: JSONBody[AskIn],
    request: Request[Any, Any, Any],
    service: NamedDependency[Service],
) -> Response[AnswerOut]:
    """Answer a question from a collection, with citations that were checked.

    With `stream` the answer comes as events: `sources`, then `delta` and `citation` as they come,
    and `done` with the whole answer; or `error` with a problem document.
    """
    question = data.value()
    if data.stream:
        return await server_sent(request, service.ask.stream(collection, question), _WIRE)
    answer = await unless_gone(request, service.ask.ask(collection, question))
    return gone() if answer is None else Response(answer_out(answer))


def _event(event: Event) -> bytes:
    match event:
        case Sources():
            sources = [source_out(hit) for hit in event.hits]
            queries = list(event.queries)
            return _line("sources", {"sources": sources, "query": event.query, "queries": queries})
        case str():
            return _line("delta", {"text": event})
        case Citation():
            return _line("citation", citation_out(event))
        case Answer():
            return _line("done", answer_out(event))


def _error(error: EmbedsvcError) -> bytes:
    return _line("error", as_problem(error))


def _line(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


_WIRE: Wire[Event] = Wire(_event, _error)

ROUTES = [ask]
