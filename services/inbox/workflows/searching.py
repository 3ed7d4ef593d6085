"""Messages by their words: kept by a follower of the events, found within what one sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.decisions.listing import (
    Filters,
    Position,
    Selection,
    Sort,
    decode_position,
    encode_position,
    select,
)
from services.inbox.decisions.searching import words_of, words_sought
from services.inbox.model.conversation import Conversation, Message
from services.inbox.model.errors import invalid
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.searching import Findable, Hit, SearchStore
from services.inbox.workflows.reading import Reading
from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import EventType
from shared.contracts.records import InRecord
from shared.contracts.views import Status

_WITH_WORDS = (EventType.MESSAGE_RECEIVED, EventType.MESSAGE_QUEUED, EventType.MESSAGE_EDITED)
_FOLLOWED = frozenset({each.value for each in (*_WITH_WORDS, EventType.CONVERSATION_DELETED)})
_VIEWS = (Status.OPEN, Status.ON_HOLD, Status.CLOSED)
AGENT_CHATS = 500
"""Of each view, the newest: what an agent's search covers."""
_HITS = 200
_ROUNDS = 10
Known = Callable[[str], bool]


class Indexing:
    """Handler of conversation.events.v1: far behind the messages, and none of their cost."""

    def __init__(self, store: SearchStore, known: Known) -> None:
        self._store = store
        self._known = known

    async def handle(self, records: Sequence[InRecord]) -> None:
        """Keeps the words of what was said. Repeats change nothing.

        A tenant that is gone is left out: its events outlive it on the topic.
        """
        found: dict[str, Findable] = {}
        deleted: dict[str, set[str]] = defaultdict(set)
        for record in records:
            envelope = read_envelope(record.headers)
            if envelope.type not in _FOLLOWED or not self._known(envelope.tenant):
                continue
            if envelope.type == EventType.CONVERSATION_DELETED:
                deleted[envelope.tenant].add(envelope.subject or "")
                continue
            findable = _findable(envelope, record.value)
            if findable is not None:
                found[findable.id] = findable
        await self._store.put(found.values())
        for tenant, conversations in deleted.items():
            await self._store.forget(tenant, conversations)


def _findable(envelope: Envelope, value: bytes | None) -> Findable | None:
    try:
        message: dict[str, Any] = orjson.loads(value or b"")["message"]
        words = words_of(message["text"] or "")
        edited = envelope.type == EventType.MESSAGE_EDITED
        if not words and not edited:
            return None
        return Findable(
            id=message["id"],
            tenant=envelope.tenant,
            conversation=message["conversation_id"],
            seq=message["seq"],
            at=parse_timestamp(message["sent_at"] or message["received_at"]),
            words=words,
            edited=edited or bool(message["edited"]),
        )
    except (ValueError, KeyError, TypeError) as bad:
        raise PermanentError("bad_event") from bad


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that has the words, in its conversation as it is now."""

    message: Message
    conversation: Conversation


@dataclass(frozen=True, slots=True)
class Found:
    """Newest first. A page may be short though a cursor follows: most hits were out of sight."""

    items: list[FoundMessage]
    next_cursor: str | None


class Searching:
    """Only what the asker sees now is found."""

    def __init__(
        self,
        store: SearchStore,
        conversations: ConversationStore,
        reading: Reading,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._reading = reading
        self._clock = clock

    async def messages(
        self,
        viewer: Viewer,
        query: str,
        *,
        conversation: str | None,
        limit: int,
        cursor: str | None,
    ) -> Found:
        """Messages with all words of the query. Refuses with `validation`, `not_found`."""
        words = words_sought(query)
        if not words:
            raise invalid("q", "too_short")
        place = None
        if cursor is not None:
            place = decode_position(Sort.NEWEST, cursor)
            if place is None or place.value is None:
                raise invalid("cursor", "invalid")
        after = None if place is None or place.value is None else (place.value, place.id)
        within = await self._within(viewer, conversation)
        items: list[FoundMessage] = []
        if within is not None and not within:
            return Found([], None)
        for _ in range(_ROUNDS):
            hits = await self._store.find(
                viewer.tenant, words, within=within, after=after, limit=_HITS
            )
            for found in await self._seen(viewer, hits):
                hit, item = found
                if len(items) == limit:
                    return Found(items, _cursor(after))
                if item is not None:
                    items.append(item)
                after = (hit.at, hit.id)
            if len(hits) < _HITS:
                return Found(items, None)
        return Found(items, _cursor(after))

    async def _within(self, viewer: Viewer, conversation: str | None) -> list[str] | None:
        """The conversations to look in; None: all of the tenant."""
        if conversation is not None:
            await self._reading.conversation(viewer, conversation)
            return [conversation]
        if viewer.supervises:
            return None
        ids: list[str] = []
        for view in _VIEWS:
            chosen = select(
                Filters(view, sort=Sort.NEWEST, snoozed=None), viewer, None, self._clock()
            )
            if isinstance(chosen, Selection):
                ids += await self._conversations.newest_ids(chosen, AGENT_CHATS)
        return ids

    async def _seen(
        self, viewer: Viewer, hits: Sequence[Hit]
    ) -> list[tuple[Hit, FoundMessage | None]]:
        """Each hit with its message, None where it is not for the viewer (any more)."""
        homes = await self._store.conversations(viewer.tenant, {hit.conversation for hit in hits})
        own = {each.id for each in homes.values() if sees(each, viewer)}
        messages = await self._store.messages(
            viewer.tenant, [hit.id for hit in hits if hit.conversation in own]
        )
        found: list[tuple[Hit, FoundMessage | None]] = []
        for hit in hits:
            message = messages.get(hit.id)
            if message is None or message.deleted:
                found.append((hit, None))
            else:
                found.append((hit, FoundMessage(message, homes[hit.conversation])))
        return found


def _cursor(after: tuple[datetime, str] | None) -> str | None:
    return None if after is None else encode_position(Sort.NEWEST, Position(*after))
