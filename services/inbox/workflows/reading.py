"""What people read: lists, counts, one conversation, its messages and its internal log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.inbox.decisions.episodes import present_episode
from services.inbox.decisions.lifecycle import Refusal, Viewer, sees
from services.inbox.decisions.listing import Filters, decode_position, encode_position, select
from services.inbox.decisions.notes import may_read
from services.inbox.decisions.views import Names
from services.inbox.model.catalogue import CloseReason
from services.inbox.model.conversation import Conversation, Message
from services.inbox.model.episode import Episode
from services.inbox.model.errors import RefusedError, invalid, not_found
from services.inbox.model.events import Line
from services.inbox.storage.catalogue import CatalogueStore
from services.inbox.storage.listing import ListStore
from services.inbox.storage.threads import Range, ThreadStore
from services.inbox.workflows.changing import conversation_at
from shared.mongo.headlog import Head, HeadLog


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list; short where what was sought is rare and a cursor follows."""

    items: list[Conversation]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Thread:
    """Messages, newest first; `older` is the seq to go on before, None at the beginning."""

    items: list[Message]
    older: int | None


@dataclass(frozen=True, slots=True)
class InternalLog:
    """Activities, newest first; `older` is the version to go on before."""

    conversation: Conversation
    items: list[Line]
    older: int | None


@dataclass(frozen=True, slots=True)
class EpisodePage:
    """Episodes, newest first; `reasons` names the tenant's close reasons among theirs."""

    conversation: Conversation
    items: list[Episode]
    reasons: dict[str, str]
    older: int | None


class Reading:
    """Reads never mark anything. What is out of sight is `not_found`."""

    def __init__(
        self,
        log: HeadLog,
        lists: ListStore,
        threads: ThreadStore,
        catalogue: CatalogueStore,
        names: Names,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._lists = lists
        self._threads = threads
        self._catalogue = catalogue
        self._clock = clock
        self.names = names

    async def page(
        self, viewer: Viewer, filters: Filters, *, limit: int, cursor: str | None
    ) -> Listed:
        """A page of a list. Refuses with `forbidden`, or `validation` for the cursor."""
        after = None
        if cursor is not None:
            after = decode_position(filters.order, cursor)
            if after is None:
                raise invalid("cursor", "invalid")
        selection = select(filters, viewer, after, self._clock())
        if isinstance(selection, Refusal):
            raise RefusedError(selection.code)
        if selection is None:
            return Listed([], None)
        page = await self._lists.page(selection, limit)
        following = None if page.after is None else encode_position(filters.order, page.after)
        return Listed(page.items, following)

    async def conversation(self, viewer: Viewer, conversation_id: str) -> Conversation:
        return (await self._seen(viewer, conversation_id))[1]

    async def _seen(self, viewer: Viewer, conversation_id: str) -> tuple[Head, Conversation]:
        head = (await self._log.load([conversation_id])).get(conversation_id)
        conversation = conversation_at(head)
        if head is None or conversation is None or not sees(conversation, viewer):
            raise not_found()
        return head, conversation

    async def messages(
        self, viewer: Viewer, conversation_id: str, where: Range, *, limit: int
    ) -> Thread:
        """A page of the thread: the conversation is read first, its outbox lies over it."""
        head, conversation = await self._seen(viewer, conversation_id)
        items, older = await self._threads.messages(
            conversation.tenant, conversation.id, head.unpublished, where, limit
        )
        return Thread(items, older)

    async def activities(
        self, viewer: Viewer, conversation_id: str, *, before: int | None, limit: int
    ) -> InternalLog:
        """A page of the internal log, in the same way."""
        head, conversation = await self._seen(viewer, conversation_id)
        items, older = await self._threads.activities(
            conversation.tenant, conversation.id, head.unpublished, before, limit
        )
        shown = [each for each in items if may_read(each.data, viewer)]
        return InternalLog(conversation, shown, older)

    async def episodes(
        self, viewer: Viewer, conversation_id: str, *, before: int | None, limit: int
    ) -> EpisodePage:
        """A page of episodes; the present one is the first of the first page."""
        head, conversation = await self._seen(viewer, conversation_id)
        items, older = await self._threads.episodes(
            conversation.tenant, conversation.id, head.unpublished, before, limit
        )
        present = present_episode(conversation, self._clock()) if before is None else None
        if present is not None:
            items = [present, *items]
        reasons = {each.reason for each in items if each.reason is not None}
        names = await self._catalogue.names(CloseReason, conversation.tenant, reasons)
        return EpisodePage(conversation, items, names, older)


__all__ = ["InternalLog", "Listed", "Range", "Reading", "Thread"]
