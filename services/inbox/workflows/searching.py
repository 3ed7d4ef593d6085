"""Messages by their words: kept by a follower of the events, found within what one sees."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.decisions.searching import words_of, words_sought
from services.inbox.model.conversation import Conversation, Message
from services.inbox.model.errors import invalid
from services.inbox.storage.searching import Findable, Hit, SearchStore
from services.inbox.storage.sights import SightStore
from services.inbox.workflows.gathering import STEPS, Gathering
from services.inbox.workflows.reading import Reading
from shared.contracts.envelope import Envelope, parse_timestamp, read_envelope
from shared.contracts.errors import PermanentError
from shared.contracts.events import EventType
from shared.contracts.records import InRecord

_WITH_WORDS = (EventType.MESSAGE_RECEIVED, EventType.MESSAGE_QUEUED, EventType.MESSAGE_EDITED)
_FOLLOWED = frozenset({each.value for each in (*_WITH_WORDS, EventType.CONVERSATION_DELETED)})
_AT_A_STRETCH = 20
"""Records: a millisecond or two."""
Known = Callable[[str], bool]
_Page = Gathering[Hit]


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
        for place, record in enumerate(records):
            if place % _AT_A_STRETCH == _AT_A_STRETCH - 1:
                # Who takes messages in shares the loop, and is in a hurry.
                await asyncio.sleep(0)
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
    """Only what the asker sees now is found, and all of it, page after page.

    A call looks at a bounded number of messages. Who sees few conversations is served from these;
    else hits are read in order and joined with the conversations as they are now.
    """

    def __init__(self, store: SearchStore, sights: SightStore, reading: Reading) -> None:
        self._store = store
        self._sights = sights
        self._reading = reading

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
        page: _Page = Gathering(limit, cursor)
        if conversation is not None:
            await self._reading.conversation(viewer, conversation)
            await self._walk(viewer.tenant, words, [conversation], page)
        else:
            await self._join(viewer, words, page)
        return Found(await self._shown(viewer, page.rows), page.cursor)

    async def _join(self, viewer: Viewer, words: Sequence[str], page: _Page) -> None:
        few = None if viewer.supervises else await self._sights.few_seen(viewer)
        if few is not None:
            await self._walk(viewer.tenant, words, few, page)
            return
        for step in STEPS:
            hits = await self._store.find(viewer.tenant, words, after=page.after, limit=step)
            seen = await self._sights.seen(viewer, {hit.conversation for hit in hits})
            page.take(hits, partial(_is_in, seen))
            if page.full:
                return
            if len(hits) < step:
                page.end()
                return

    async def _walk(
        self, tenant: str, words: Sequence[str], within: list[str], page: _Page
    ) -> None:
        """Only through conversations that the asker sees."""
        asked = page.asked
        found = await self._store.walk(tenant, words, within, after=page.after, limit=asked)
        page.take(found.hits, lambda _: True)
        if page.full or len(found.hits) == asked:
            return
        if found.until is None:
            page.end()
        else:
            page.skip(found.until)

    async def _shown(self, viewer: Viewer, hits: Sequence[Hit]) -> list[FoundMessage]:
        """The messages in their conversations, of which one may just have gone out of sight."""
        homes, messages = await asyncio.gather(
            self._sights.conversations(viewer.tenant, {hit.conversation for hit in hits}),
            self._store.messages(viewer.tenant, [hit.id for hit in hits]),
        )
        return [
            FoundMessage(message, home)
            for hit in hits
            if (home := homes.get(hit.conversation)) is not None
            and sees(home, viewer)
            and (message := messages.get(hit.id)) is not None
            and not message.deleted
        ]


def _is_in(seen: set[str], hit: Hit) -> bool:
    return hit.conversation in seen
