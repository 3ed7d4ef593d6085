"""Counts of views: whatever happens, those of a recount."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from services.inbox.app.foundation import now
from services.inbox.decisions.lifecycle import Viewer, sees
from services.inbox.model.conversation import Conversation
from services.inbox.storage.counting import CountStore
from services.inbox.storage.documents import conversation_of
from services.inbox.storage.entries import CONVERSATIONS
from services.inbox.workflows.counting import COUNTED_ANEW_EVERY, SETTLED_AFTER, Counting
from shared.contracts.views import Role, Status
from tests.integration.inbox.conversations.office import Member, Office

STEPS = 30


def recount(chats: Iterable[Conversation], viewer: Viewer) -> dict[str, int]:
    """By going through all chats one by one."""
    seen = [each for each in chats if sees(each, viewer)]
    asleep = [each for each in seen if each.snoozed_until is not None]
    awake = [each for each in seen if each.snoozed_until is None]
    counts = {status.value: sum(each.status is status for each in awake) for status in Status}
    waiting = [each for each in awake if each.status in (Status.OPEN, Status.ON_HOLD)]
    return {**counts, "unread": sum(each.unread > 0 for each in waiting), "snoozed": len(asleep)}


class Walk:
    """People and customers at random; a call that is refused is as good as another."""

    def __init__(self, office: Office, seed: int) -> None:
        self._office = office
        self._random = random.Random(seed)
        self._chats: list[str] = []
        self._changed: list[tuple[str, str]] = []

    def made_and_deleted(self) -> list[tuple[str, str]]:
        """Since the last call: the chat, and the member that says when."""
        changed, self._changed = self._changed, []
        return changed

    async def step(self) -> str:
        office, chance = self._office, self._random
        if len(self._chats) < 4 or chance.random() < 0.15:
            team = chance.choice([None, office.sales, office.support])
            self._chats.append(await office.arrive(team=team, bot=chance.random() < 0.2))
            self._changed.append((self._chats[-1], "created_at"))
            return "arrive"
        chat = chance.choice(self._chats)
        if chance.random() < 0.2 and not (await office.document(chat))["deleted"]:
            await office.write(chat, "?")
            return f"write {chat}"
        action = chance.choice(
            ["accept", "accept", "close", "hold", "reopen", "transfer", "read", "snooze", "DELETE"]
        )
        who: Member = chance.choice([office.ana, office.bea, office.carl, office.sue])
        match action:
            case "DELETE":
                answer = await who("DELETE", f"/conversations/{chat}")
                if answer.status == 204:
                    self._changed.append((chat, "updated_at"))
            case "snooze":
                until = (now() + timedelta(days=9)).isoformat()
                await who("PUT", f"/conversations/{chat}/snooze", {"until": until})
            case "transfer":
                await who.act(chat, action, agent_id=office.bea.id)
            case _:
                await who.act(chat, action)
        return f"{action} {chat}"


async def test_counts_are_those_of_a_recount_after_any_actions(office: Office):
    walk = Walk(office, seed=random.randrange(10**9))
    tenant = office.tenant.id
    viewers = {
        office.ana: Viewer(office.ana.id, tenant, Role.AGENT, frozenset({office.sales})),
        office.carl: Viewer(office.carl.id, tenant, Role.AGENT, frozenset({office.support})),
        office.sue: Viewer(office.sue.id, tenant, Role.SUPERVISOR, frozenset()),
    }
    chats: Any = office.base.database[CONVERSATIONS]
    elapsed = timedelta()

    def later() -> datetime:
        return now() + elapsed

    # Of a process for which every step is long ago at the next one: it counts from what it kept.
    keeping = Counting(CountStore(office.base.database), later)
    told: list[str] = []
    for number in range(1, STEPS + 1):
        told.append(await walk.step())
        elapsed += 2 * SETTLED_AFTER if number % 5 else COUNTED_ANEW_EVERY
        for each in walk.made_and_deleted():
            await chats.update_one({"_id": each[0]}, {"$set": {each[1]: later()}})
        documents = chats.find({"tenant": tenant})
        stored = [conversation_of(doc["_id"], doc["version"], doc) async for doc in documents]
        for member, viewer in viewers.items():
            expected = recount(stored, viewer)
            assert (await member("GET", "/conversations/counts")).body == expected, told
            assert await keeping.counts(viewer) == expected, told
