"""The notes in which somebody is named, in chats that they see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.decisions.notes import may_read
from services.inbox.model.conversation import Conversation
from services.inbox.model.events import Line
from services.inbox.storage.mentions import Mention, MentionStore
from services.inbox.storage.sights import SightStore
from services.inbox.workflows.gathering import STEPS, Gathering


@dataclass(frozen=True, slots=True)
class Mentioned:
    """`unread`: newer than what the agent has seen."""

    conversation: Conversation
    line: Line
    unread: bool


@dataclass(frozen=True, slots=True)
class MentionPage:
    """Newest first. A page may be short though a cursor follows: most were out of sight."""

    items: list[Mentioned]
    next_cursor: str | None


class Mentions:
    """One's own. A line is here once its document is written, right behind the note's answer."""

    def __init__(
        self, store: MentionStore, sights: SightStore, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._sights = sights
        self._clock = clock

    async def page(self, viewer: Viewer, *, limit: int, cursor: str | None) -> MentionPage:
        """What names the viewer. Refuses with `validation` what is no cursor."""
        page: Gathering[Mention] = Gathering(limit, cursor)
        for step in STEPS:
            rows = await self._store.find(viewer, after=page.after, limit=step)
            seen = await self._sights.seen(viewer, {row.conversation for row in rows})
            page.take(rows, partial(_is_for, viewer, seen))
            if page.full:
                break
            if len(rows) < step:
                page.end()
                break
        found = await self._shown(viewer, page.rows)
        return MentionPage(found, page.cursor)

    async def see(self, viewer: Viewer, until: datetime) -> datetime:
        """What is older is not unread any more; answers how far that is, which never goes back."""
        return await self._store.see(viewer, min(until, self._clock()))

    async def _shown(self, viewer: Viewer, rows: list[Mention]) -> list[Mentioned]:
        homes, seen = await asyncio.gather(
            self._sights.conversations(viewer.tenant, {row.conversation for row in rows}),
            self._store.seen_until(viewer),
        )
        return [
            Mentioned(home, row.line, seen is None or row.at > seen)
            for row in rows
            if (home := homes.get(row.conversation)) is not None and sees(home, viewer)
        ]


def _is_for(viewer: Viewer, seen: Collection[str], mention: Mention) -> bool:
    """A whisper is for its holder, whomever it names."""
    return mention.conversation in seen and may_read(mention.line.data, viewer)
