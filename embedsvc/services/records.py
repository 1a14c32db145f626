"""What is kept of answers and conversations, and for how long."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog

from embedsvc.core.model import Collection, Message
from embedsvc.core.preparing import check_text
from embedsvc.errors import EmbedsvcError, InvalidInput, NotFound
from embedsvc.services.answer_records import to_answer, to_record
from embedsvc.services.answers import Answer
from embedsvc.services.collections import checked_name
from embedsvc.store.answers import Answers, Conversation, Place, Record, Turn, Wanted
from embedsvc.store.store import now

log = structlog.get_logger(__name__)

MOST_TURNS = 1_000
"""So many turns of a conversation are read, the last ones."""

MOST_COMMENT = 10_000

_ID = re.compile(r"[0-9a-f]{32}")
_DAY = 86_400 * 1_000_000
_PRUNED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation up to now; `id` is None where none is kept. `new`: nothing is written yet."""

    id: str | None
    messages: Sequence[Message] = ()
    new: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given, to whom, and what somebody thinks of it. Microseconds."""

    answer: Answer
    question: str
    collection: str
    created_at: int
    rating: int | None
    comment: str | None


class Records:
    """Keeps answers and conversations for so many days; with 0 days none."""

    def __init__(self, stored: Answers, days: int) -> None:
        self._stored = stored
        self._days = days

    # -- while a question is answered -----------------------------------------------------------

    async def talk(self, collection: Collection, conversation_id: str | None) -> Talk:
        """The conversation of that id, or a new one. Raises NotFound, InvalidInput."""
        if conversation_id is None:
            return Talk(uuid4().hex, new=True) if self._days else Talk(None)
        if not self._days:
            raise InvalidInput(
                "conversation_id: no conversations are kept here (EMBEDSVC_RECORD_DAYS is 0); "
                "send the turns before as history",
                code="not_supported",
            )
        turns: list[Turn] = []
        if _ID.fullmatch(conversation_id):
            turns = await self._stored.turns(conversation_id, collection.id, MOST_TURNS)
        if not turns:
            raise _no_conversation(conversation_id, f" in the collection {collection.name!r}")
        return Talk(conversation_id, [Message(turn.role, turn.content) for turn in turns])

    async def keep(
        self, collection: Collection, talk: Talk, question: str, answer: Answer
    ) -> str | None:
        """Keep an answer, and question and answer in the conversation; its id.

        None, and nothing is kept, when that is off or collection or conversation are gone.
        """
        if not self._days:
            return None
        record = await asyncio.to_thread(to_record, talk.id, question, answer)
        kept = await self._stored.add(collection, record, opens=talk.new)
        return record.id if kept else None

    # -- answers --------------------------------------------------------------------------------

    async def get(self, answer_id: str) -> Kept:
        """One answer as it was given. Raises NotFound."""
        record = await self._stored.get(answer_id) if _ID.fullmatch(answer_id) else None
        if record is None:
            raise _no_answer(answer_id)
        answer = await asyncio.to_thread(to_answer, record)
        asked = record.question, record.collection, record.created_at
        return Kept(answer, *asked, record.rating, record.comment)

    async def page(
        self, wanted: Wanted, before: Place | None, limit: int
    ) -> tuple[list[Record], Place | None]:
        """A page of answers, the newest first, and where the next begins. Raises NotFound."""
        if wanted.collection is not None:
            checked_name(wanted.collection)
        known = wanted.conversation_id
        if known is not None and not _ID.fullmatch(known):
            return [], None
        found = await self._stored.page(wanted, before, limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], None if last is None else (last.created_at, last.id)

    async def rate(self, answer_id: str, rating: int, comment: str | None) -> Record:
        """Keep what somebody thinks of an answer, in the place of what was said before.

        Raises NotFound, InvalidInput.
        """
        if rating not in (1, -1):
            raise InvalidInput(f"rating: {rating}; use 1 (good) or -1 (bad)")
        if comment is not None:
            check_text("comment", comment)
            if len(comment) > MOST_COMMENT:
                raise InvalidInput(f"comment: {len(comment)} characters; at most {MOST_COMMENT}")
        found = None
        if _ID.fullmatch(answer_id):
            found = await self._stored.rate(answer_id, rating, comment)
        if found is None:
            raise _no_answer(answer_id)
        return found

    async def remove(self, answer_id: str) -> None:
        """Forget an answer, and its turns in a conversation. Raises NotFound."""
        if not _ID.fullmatch(answer_id) or not await self._stored.delete(answer_id):
            raise _no_answer(answer_id)

    # -- conversations --------------------------------------------------------------------------

    async def conversation(self, conversation_id: str) -> tuple[Conversation, list[Turn]]:
        """A conversation and its last turns. Raises NotFound."""
        found = None
        if _ID.fullmatch(conversation_id):
            found = await self._stored.conversation(conversation_id, MOST_TURNS)
        if found is None:
            raise _no_conversation(conversation_id)
        return found

    async def conversations(
        self, collection: str | None, before: Place | None, limit: int
    ) -> tuple[list[Conversation], Place | None]:
        """A page of conversations, the last used first, and where the next begins.

        Raises NotFound when the collection does not exist.
        """
        if collection is not None:
            checked_name(collection)
        found = await self._stored.conversations(collection, before, limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return found[:limit], None if last is None else (last.updated_at, last.id)

    async def forget(self, conversation_id: str) -> None:
        """Forget a conversation and the answers in it. Raises NotFound."""
        if not _ID.fullmatch(conversation_id) or not await self._stored.forget(conversation_id):
            raise _no_conversation(conversation_id)

    async def forget_all(self, collection: str | None) -> int:
        """Forget all conversations, or those of a collection, and the answers in them; how many.

        Raises NotFound when the collection does not exist.
        """
        if collection is not None:
            checked_name(collection)
        count = 0
        while gone := await self._stored.forget_some(collection):
            count += gone
        return count

    # -- in the background ----------------------------------------------------------------------

    async def watch(self) -> None:
        """Forget what is older than the days, now and every hour, until cancelled."""
        while True:
            try:
                await self.prune()
            except EmbedsvcError as error:
                log.warning("answers_not_pruned", error=error.detail)
            except Exception as error:  # whatever the database said, there is a next time
                log.error("answers_not_pruned", exc_info=error)
            await asyncio.sleep(_PRUNED_SECONDS)

    async def prune(self) -> None:
        """Forget what is older than the days; with 0 days everything."""
        before = now() - self._days * _DAY
        while await self._stored.prune(before):  # noqa: ASYNC110 - a pause for other writes
            await asyncio.sleep(0.05)


def _no_answer(answer_id: str) -> NotFound:
    return NotFound(f"no answer has the id {answer_id[:80]!r}", code="answer_not_found")


def _no_conversation(conversation_id: str, where: str = "") -> NotFound:
    return NotFound(
        f"no conversation{where} has the id {conversation_id[:80]!r}",
        code="conversation_not_found",
    )
