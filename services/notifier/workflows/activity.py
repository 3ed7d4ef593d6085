"""Who looks at a chat or types in it, told to those who see the same chat."""

from __future__ import annotations

from dataclasses import asdict

import orjson
import structlog

from services.notifier.decisions import frames
from services.notifier.decisions.feed import heard_by
from services.notifier.model import Activity
from services.notifier.storage.feed import FeedStore
from services.notifier.workflows.client import Client
from services.notifier.workflows.hub import Hub
from shared.contracts.errors import TransientError

log = structlog.get_logger()


class TellActivity:
    """Sends it over pub/sub: it is worth nothing a second later, so it may be lost."""

    def __init__(self, feed: FeedStore) -> None:
        self._feed = feed

    async def changed(self, client: Client, conversation: str | None, *, typing: bool) -> None:
        """The client looks at another chat, or begins or ends to type."""
        before, typed = client.viewing, client.typing
        if (conversation, typing) == (before, typed):
            return
        client.viewing, client.typing = conversation, typing
        if before is not None and before != conversation:
            await self._publish(client, before, viewing=False, typing=False, ask=False)
        if conversation is not None:
            await self._publish(
                client, conversation, viewing=True, typing=typing, ask=before != conversation
            )

    async def _publish(
        self, client: Client, conversation: str, *, viewing: bool, typing: bool, ask: bool
    ) -> None:
        agent = client.agent
        try:
            seen_by = await self._feed.audience(agent.tenant, conversation)
            told_to = heard_by(agent, seen_by) if seen_by else frozenset()
            if not told_to:
                return
            told = Activity(
                tenant=agent.tenant,
                conversation=conversation,
                agent=agent.id,
                name=agent.name,
                audience=told_to,
                viewing=viewing,
                typing=typing,
                ask=ask,
            )
            await self._feed.tell(agent.tenant, _encode(told))
        except TransientError as error:
            log.info("activity.lost", error=str(error))

    def heard(self, hub: Hub, told: Activity) -> list[Client]:
        """Tell the clients of this pod; those of them who look at the chat too, if asked."""
        frame = frames.activity(told)
        for client in hub.hears(told):
            client.tell(frame)
            client.flush()
        if not told.ask:
            return []
        return [
            client
            for client in hub.clients
            if client.viewing == told.conversation and client.agent.id != told.agent
        ]

    async def answer(self, clients: list[Client], conversation: str) -> None:
        """Tell somebody who has just come who is there already."""
        for client in clients:
            await self._publish(client, conversation, viewing=True, typing=client.typing, ask=False)


def _encode(told: Activity) -> bytes:
    return orjson.dumps({**asdict(told), "audience": sorted(told.audience)})
