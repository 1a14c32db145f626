"""/v1/collections/{c}/ask: an answer at once, or as server-sent events."""

from collections.abc import AsyncIterator

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from embedsvc.api.errors import as_problem, documented
from embedsvc.api.schema import AnswerOut, AskIn, answer_out, citation_out, hit_out
from embedsvc.core.citations import Citation
from embedsvc.core.filters import parse_filter
from embedsvc.errors import EmbedsvcError, InvalidInput, NotFound
from embedsvc.services.ask import Answer, Event
from embedsvc.services.search import Found
from embedsvc.services.service import Service


@post(
    "/v1/collections/{collection:str}/ask",
    operation_id="ask",
    tags=["answers"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def ask(
    collection: FromPath[str], data: JSONBody[AskIn], service: NamedDependency[Service]
) -> Response[AnswerOut]:
    """Answer a question from a collection, with citations that were checked."""
    _refuse_unbuilt(data)
    where = None if data.filter is None else parse_filter(data.filter)
    if not data.stream:
        answer = await service.ask.ask(
            collection,
            data.question,
            model=data.model,
            limit=data.limit,
            where=where,
            mode=data.mode,
        )
        return Response(answer_out(answer))
    events = service.ask.stream(
        collection,
        data.question,
        model=data.model,
        limit=data.limit,
        where=where,
        mode=data.mode,
    )
    first = await anext(events)  # what is wrong with the request shows here, as a status
    streamed: Response[AnswerOut] = Stream(  # type: ignore[assignment]
        _server_sent(first, events), media_type="text/event-stream", status_code=200
    )
    return streamed


def _refuse_unbuilt(data: AskIn) -> None:
    if data.conversation_id is not None:
        raise NotFound(
            f"no conversation has the id {data.conversation_id[:80]!r}",
            code="conversation_not_found",
        )
    for name, given in (
        ("history", bool(data.history)),
        ("system", data.system is not None),
    ):
        if given:
            raise InvalidInput(
                f"{name}: the extractive answerer does not use it; leave it out",
                code="not_supported",
            )


async def _server_sent(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    yield _event(first)
    try:
        async for event in rest:
            yield _event(event)
    except EmbedsvcError as error:
        yield _line("error", as_problem(error))


def _event(event: Event) -> bytes:
    match event:
        case Found():
            sources = [hit_out(hit, ["text", "metadata"]) for hit in event.hits[0]]
            return _line("sources", {"sources": sources})
        case str():
            return _line("delta", {"text": event})
        case Citation():
            return _line("citation", citation_out(event))
        case Answer():
            return _line("done", answer_out(event))


def _line(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


ROUTES = [ask]
