"""/v1/answers and /v1/conversations: what is kept of what was asked and answered."""

import asyncio
import re
from datetime import datetime
from typing import Annotated, Literal

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from embedsvc.api.errors import documented
from embedsvc.api.pages import before, cursor_of
from embedsvc.api.schema import (
    Answered,
    AnswerOut,
    AnswerUsageOut,
    JsonObject,
    Request,
    answer_fields,
    answer_usage_out,
    milliseconds,
    time_of,
)
from embedsvc.core.model import AnswerState, Grounding, Message, Prompt, Speaker
from embedsvc.services.answer_records import usage_of
from embedsvc.services.records import Kept
from embedsvc.services.service import Service
from embedsvc.store.answers import Conversation, Record, Turn, Wanted

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Cursor = Annotated[str, QueryParameter(max_length=60)]
InCollection = Annotated[str | None, QueryParameter(name="collection", max_length=63)]

_PLACE = re.compile(r"([0-9]{1,19})-([0-9a-f]{32})")


# -- answers --------------------------------------------------------------------------------------


class MessageOut(Answered):
    """A message to a language model."""

    role: Speaker
    content: str


class ListedAnswerOut(Answered):
    """An answer without its sources, citations and prompt."""

    id: str
    collection: str
    conversation_id: str | None
    question: str
    answer: str
    state: AnswerState
    model: str
    usage: AnswerUsageOut
    grounding: Grounding
    evidence: float | None
    took_ms: float
    first_token_ms: float | None
    rating: int | None
    comment: str | None
    created_at: datetime


class KeptAnswerOut(AnswerOut):
    """An answer as it was given, with the prompt that a language model was sent."""

    collection: str
    question: str
    prompt: list[MessageOut] | None
    rating: int | None
    comment: str | None
    created_at: datetime


class AnswersOut(Answered):
    """A page of answers, the newest first, without their sources, citations and prompts."""

    answers: list[ListedAnswerOut]
    next_cursor: str | None


class FeedbackIn(Request):
    """What somebody thinks of an answer: 1 good, -1 bad."""

    rating: Literal[1, -1]
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


@get("/v1/answers", operation_id="list_answers", tags=["answers"], responses=documented(404))
async def list_answers(
    service: NamedDependency[Service],
    collection: InCollection = None,
    answer_state: Annotated[AnswerState | None, QueryParameter(name="state")] = None,
    rating: Annotated[Literal[1, -1] | None, QueryParameter()] = None,
    conversation_id: Annotated[str | None, QueryParameter(max_length=64)] = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> AnswersOut:
    """A page of the answers that are kept, the newest first."""
    wanted = Wanted(collection, answer_state, rating, conversation_id)
    found, more = await service.records.page(wanted, before(cursor, _PLACE), limit)
    return AnswersOut(answers=[_listed(one) for one in found], next_cursor=cursor_of(more))


@get(
    "/v1/answers/{answer:str}",
    operation_id="get_answer",
    tags=["answers"],
    responses=documented(404),
)
async def get_answer(answer: FromPath[str], service: NamedDependency[Service]) -> KeptAnswerOut:
    """An answer as it was given: sources, prompt, citations, tokens, cost and feedback."""
    found = await service.records.get(answer)
    return await asyncio.to_thread(_kept_out, found)


@delete(
    "/v1/answers/{answer:str}",
    operation_id="delete_answer",
    tags=["answers"],
    responses=documented(404),
)
async def delete_answer(answer: FromPath[str], service: NamedDependency[Service]) -> None:
    """Forget an answer, with its question and its turns in a conversation."""
    await service.records.remove(answer)


@post(
    "/v1/answers/{answer:str}/feedback",
    operation_id="rate_answer",
    tags=["answers"],
    status_code=200,
    responses=documented(404, 413, 415),
)
async def rate_answer(
    answer: FromPath[str], data: JSONBody[FeedbackIn], service: NamedDependency[Service]
) -> ListedAnswerOut:
    """Say what you think of an answer; a later word replaces an earlier one."""
    return _listed(await service.records.rate(answer, data.rating, data.comment))


def _listed(record: Record) -> ListedAnswerOut:
    return ListedAnswerOut(
        id=record.id,
        collection=record.collection,
        conversation_id=record.conversation_id,
        question=record.question,
        answer=record.text,
        state=record.state,
        model=record.model,
        usage=answer_usage_out(usage_of(record)),
        grounding=record.grounding,
        evidence=record.evidence,
        took_ms=round(record.took_ms, 3),
        first_token_ms=milliseconds(record.first_token_ms),
        rating=record.rating,
        comment=record.comment,
        created_at=time_of(record.created_at),
    )


def _kept_out(kept: Kept) -> KeptAnswerOut:
    return KeptAnswerOut(
        **answer_fields(kept.answer),
        collection=kept.collection,
        question=kept.question,
        prompt=_messages(kept.answer.prompt),
        rating=kept.rating,
        comment=kept.comment,
        created_at=time_of(kept.created_at),
    )


def _messages(prompt: Prompt | None) -> list[MessageOut] | None:
    if prompt is None:
        return None
    messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    return [MessageOut(role=one.role, content=one.content) for one in messages]


# -- conversations --------------------------------------------------------------------------------


class TurnOut(Answered):
    """A turn of a conversation; of a question too, `answer_id` is the answer to it."""

    role: Speaker
    content: str
    answer_id: str
    created_at: datetime


class ListedConversationOut(Answered):
    """A conversation without its turns; `question` is how the first one begins."""

    id: str
    collection: str
    turns: int
    question: str
    created_at: datetime
    updated_at: datetime


class ConversationOut(ListedConversationOut):
    """A conversation with its last 1,000 turns, the oldest first."""

    messages: list[TurnOut]


class ConversationsOut(Answered):
    """A page of conversations, the last used first."""

    conversations: list[ListedConversationOut]
    next_cursor: str | None


class ForgottenOut(Answered):
    """How many conversations were deleted."""

    deleted: int


@get(
    "/v1/conversations",
    operation_id="list_conversations",
    tags=["answers"],
    responses=documented(404),
)
async def list_conversations(
    service: NamedDependency[Service],
    collection: InCollection = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> ConversationsOut:
    """A page of the conversations that are kept, the last used first."""
    found, more = await service.records.conversations(collection, before(cursor, _PLACE), limit)
    listed = [ListedConversationOut(**_conversation_fields(one)) for one in found]
    return ConversationsOut(conversations=listed, next_cursor=cursor_of(more))


@get(
    "/v1/conversations/{conversation:str}",
    operation_id="get_conversation",
    tags=["answers"],
    responses=documented(404),
)
async def get_conversation(
    conversation: FromPath[str], service: NamedDependency[Service]
) -> ConversationOut:
    """A conversation with its turns."""
    found, turns = await service.records.conversation(conversation)
    return ConversationOut(
        **_conversation_fields(found), messages=[_turn_out(turn) for turn in turns]
    )


@delete(
    "/v1/conversations/{conversation:str}",
    operation_id="delete_conversation",
    tags=["answers"],
    responses=documented(404),
)
async def delete_conversation(
    conversation: FromPath[str], service: NamedDependency[Service]
) -> None:
    """Forget a conversation and the answers in it."""
    await service.records.forget(conversation)


@delete(
    "/v1/conversations",
    operation_id="delete_conversations",
    tags=["answers"],
    status_code=200,
    responses=documented(404),
)
async def delete_conversations(
    service: NamedDependency[Service], collection: InCollection = None
) -> ForgottenOut:
    """Forget all conversations, or those of a collection, and the answers in them."""
    return ForgottenOut(deleted=await service.records.forget_all(collection))


def _conversation_fields(found: Conversation) -> JsonObject:
    return {
        "id": found.id,
        "collection": found.collection,
        "turns": found.turns,
        "question": found.question,
        "created_at": time_of(found.created_at),
        "updated_at": time_of(found.updated_at),
    }


def _turn_out(turn: Turn) -> TurnOut:
    return TurnOut(
        role=turn.role,
        content=turn.content,
        answer_id=turn.answer_id,
        created_at=time_of(turn.created_at),
    )


ROUTES = [
    list_answers,
    get_answer,
    delete_answer,
    rate_answer,
    list_conversations,
    get_conversation,
    delete_conversation,
    delete_conversations,
]
