"""What helps an agent to write: drafts, and canned replies filled in for a chat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.inbox.decisions.canned import Rendered, Setting, render_reply, unknown_variables
from services.inbox.decisions.finding import folded_pattern
from services.inbox.decisions.lifecycle import Viewer
from services.inbox.model.catalogue import CannedReply
from services.inbox.model.errors import RefusedError
from services.inbox.storage.catalogue import CataloguePage, CatalogueStore
from services.inbox.storage.drafts import DraftStore, StoredDraft
from services.inbox.workflows.reading import Reading


class Writing:
    """Only in chats that one sees: anything else is `not_found`."""

    def __init__(
        self,
        reading: Reading,
        drafts: DraftStore,
        catalogue: CatalogueStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._reading = reading
        self._drafts = drafts
        self._catalogue = catalogue
        self._clock = clock

    async def draft(self, viewer: Viewer, conversation_id: str) -> StoredDraft | None:
        """The asker's own."""
        await self._reading.conversation(viewer, conversation_id)
        return await self._drafts.find(viewer.tenant, conversation_id, viewer.agent)

    async def keep_draft(
        self, viewer: Viewer, conversation_id: str, text: str, reply_to: str | None
    ) -> StoredDraft:
        await self._reading.conversation(viewer, conversation_id)
        draft = StoredDraft(text, reply_to, self._clock())
        await self._drafts.put(viewer.tenant, conversation_id, viewer.agent, draft)
        return draft

    async def drop_draft(self, viewer: Viewer, conversation_id: str) -> None:
        """Also in a chat that the asker sees no more: it is their own text."""
        await self._drafts.delete(viewer.tenant, conversation_id, viewer.agent)

    async def replies(
        self, tenant: str, words: str | None, *, limit: int, after: str | None
    ) -> CataloguePage[CannedReply]:
        """Canned replies by name; `words` are looked for without case or accents."""
        sought = (words or "").replace("\0", "").strip()
        pattern = {"$regex": folded_pattern(sought), "$options": "i"}
        members = ("name", "shortcut", "text")
        matching = {"$or": [{each: pattern} for each in members]} if sought else None
        return await self._catalogue.page(
            CannedReply, tenant, limit=limit, after=after, matching=matching
        )

    async def fill_in(self, viewer: Viewer, conversation_id: str, reply_id: str) -> Rendered:
        """A canned reply for this chat, as the asker would send it."""
        conversation = await self._reading.conversation(viewer, conversation_id)
        reply = await self._catalogue.get(CannedReply, viewer.tenant, reply_id)
        return render_reply(reply.text, Setting(conversation, viewer.agent, self._reading.names))


def check_variables(text: str) -> None:
    """Refuses with `validation` a text with variables that there are not."""
    if unknown_variables(text):
        raise RefusedError("validation", errors=[{"field": "text", "code": "unknown_variable"}])
