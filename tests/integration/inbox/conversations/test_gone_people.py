"""What follows in conversations when teams, agents and labels are deleted: on the real inbox."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from services.inbox.app.desk import Desk
from services.inbox.app.foundation import now
from services.inbox.decisions.lifecycle import Trigger, Viewer
from services.inbox.decisions.views import iso
from services.inbox.model.entities import Label
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.catalogue import CATALOGUE
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.existence import Existence
from services.inbox.storage.messages import MessageStore
from services.inbox.storage.names import DirectoryNames
from services.inbox.storage.templates import TemplateStore
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.follow_ups import LOOK_AGAIN, FollowUps
from services.inbox.workflows.labelling import Labelling
from services.inbox.workflows.templates import TemplateBook
from services.inbox.workflows.timers import Timers
from shared.contracts.envelope import Envelope
from shared.contracts.events import BotOutcome, DeliveryEventType
from shared.contracts.records import OutRecord
from shared.contracts.topics import DELIVERY_EVENTS
from shared.contracts.views import Role
from tests.integration.inbox.conversations.office import Office

pytestmark = pytest.mark.integration


def desk_of(office: Office, directory: DirectoryStore) -> Desk:
    """The desk of another pod, which may know another directory."""
    base = office.base
    return Desk(
        base.database,
        directory,
        base.publisher,
        conversations=office.log(),
        labelling=labelling_of(office),
        catalogue_log=office.log(CATALOGUE),
        trail=AuditStore(base.database, kept=timedelta(days=1)),
        templates=TemplateBook(TemplateStore(base.database), base.view, base.publisher, now),
        ids=base.ids,
        clock=now,
    )


def labelling_of(office: Office, view: DirectoryView | None = None) -> Labelling:
    store = ConversationStore(office.base.database)
    return Labelling(changing_of(office, view=view), office.log(CONTACTS), store)


def changing_of(
    office: Office, ahead: timedelta = timedelta(), view: DirectoryView | None = None
) -> Changing:
    base = office.base
    return Changing(
        office.log(),
        DirectoryNames(view or base.view),
        base.ids,
        lambda: now() + ahead,
        Existence(base.database, base.view),
    )


async def delete(office: Office, kind: str, entity_id: str) -> None:
    answer = await office.tenant.admin("DELETE", f"/v1/admin/{kind}/{entity_id}")
    assert answer.status == 204, answer.raw


async def look_again(office: Office) -> None:
    """The second look of a pod, a minute later."""
    base = office.base
    follow_ups = FollowUps(
        base.directory,
        desk_of(office, base.directory).releasing,
        topic_read=lambda: False,
        clock=lambda: now() + LOOK_AGAIN,
    )
    while await base.directory.to_follow_up(now() + LOOK_AGAIN):
        await follow_ups.follow_up_due()


# -- a team that is gone


async def hands_off(office: Office, chat: str) -> None:
    key = {"name": "Helper", "number_ids": [office.number]}
    made = await office.tenant.admin("POST", "/v1/admin/api-keys", key)
    bot = office.tenant.inbox.http.as_(made.body["key"])
    assert (await bot("POST", f"/v1/conversations/{chat}/handoff")).status == 200


async def fails(office: Office, chat: str) -> None:
    held = await office.sue.get(chat)
    told = BotOutcome(
        conversation_id=chat,
        number_id=office.number,
        epoch=held["epoch"],
        version=held["version"],
        reason="not_reached",
        at=now(),
    )
    kind = DeliveryEventType.BOT_FAILED.value
    envelope = Envelope(uuid.uuid4().hex, kind, "delivery", iso(now()), office.tenant.id)
    value = told.model_dump_json().encode()
    await office.base.publisher.publish(
        [OutRecord(DELIVERY_EVENTS, chat.encode(), value, envelope.headers())]
    )
    async with asyncio.timeout(10):
        while (await office.sue.get(chat))["status"] == "bot":  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.02)


async def says_nothing(office: Office, chat: str) -> None:
    changing = changing_of(office, timedelta(minutes=5))
    timers = Timers(
        changing, ConversationStore(office.base.database), MessageStore(office.base.database)
    )
    await timers.settle(chat)


@pytest.mark.parametrize("ends", [hands_off, fails, says_nothing])
async def test_regression_everybody_sees_what_a_bot_held_for_a_team_that_is_gone(
    office: Office, ends: Any
) -> None:
    chat = await office.arrive(bot=True, team=office.sales)
    await delete(office, "teams", office.sales)
    await ends(office, chat)
    held = await office.dora.get(chat)
    assert (held["status"], held["team"]) == ("on_hold", None)
    assert chat in await office.dora.ids("view=on_hold")


async def test_regression_a_closed_chat_comes_back_without_the_team_that_is_gone(
    office: Office,
) -> None:
    chat = await office.opened_by(office.ana, team=office.sales)
    assert (await office.ana.act(chat, "close")).status == 200
    await delete(office, "teams", office.sales)
    assert (await office.ana.act(chat, "reopen")).body["team"] is None
    assert (await office.ana.act(chat, "hold")).status == 200
    assert chat in await office.dora.ids("view=on_hold")


async def test_a_team_that_another_pod_made_a_moment_ago_keeps_its_chats(office: Office) -> None:
    chat = await office.arrive(bot=True, team=office.sales)
    elsewhere = Existence(office.base.database, DirectoryView())
    asked = [(office.tenant.id, office.sales), ("another", office.support)]
    assert await elsewhere.gone_teams(asked) == {office.support}
    await hands_off(office, chat)
    assert (await office.ana.get(chat))["team"]["id"] == office.sales


# -- what was under way


async def test_regression_a_transfer_that_wins_after_the_deletion_is_released_a_minute_later(
    office: Office,
) -> None:
    to_agent = await office.opened_by(office.bea)
    to_team = await office.opened_by(office.bea)
    await delete(office, "agents", office.ana.id)
    await delete(office, "teams", office.support)
    # They found the agent and the team before, and waited for their turn.
    await office.move(to_agent, Trigger.TRANSFER_AGENT, agent=office.ana.id)
    await office.move(to_team, Trigger.TRANSFER_TEAM, team=office.support)
    await look_again(office)
    for chat in (to_agent, to_team):
        held = await office.dora.get(chat)
        assert (held["status"], held["assignee"], held["team"]) == ("on_hold", None, None)


async def test_regression_a_label_given_behind_its_deletion_is_taken_a_minute_later(
    office: Office,
) -> None:
    base = office.base
    made = await office.tenant.admin("POST", "/v1/admin/labels", {"name": "vip"})
    label = made.body["id"]
    chat = await office.opened_by(office.ana)
    contact = (await office.ana.get(chat))["contact"]["id"]
    behind = DirectoryStore(base.database, base.publisher, DirectoryView())
    await behind.get(Label, office.tenant.id, label)
    await delete(office, "labels", label)
    async with asyncio.timeout(10):
        while await base.directory.to_follow_up(now()):  # noqa: ASYNC110 - the service's own loop
            await asyncio.sleep(0.05)
    viewer = Viewer(office.ana.id, office.tenant.id, Role.AGENT, frozenset())
    given = await labelling_of(office, behind.view).relabel(viewer, contact, [label], [])
    assert given.labels == (label,)
    await look_again(office)
    assert (await office.ana.get(chat))["labels"] == []


async def test_regression_a_tenant_that_is_erased_under_a_labels_deletion_is_no_failure(
    office: Office,
) -> None:
    base = office.base
    made = await office.tenant.admin("POST", "/v1/admin/labels", {"name": "vip"})
    label = made.body["id"]
    for _ in range(2):
        chat = await office.opened_by(office.ana)
        contact = (await office.ana.get(chat))["contact"]["id"]
        body = {"labels": [label]}
        assert (await office.ana("PUT", f"/contacts/{contact}/labels", body)).status == 200

    class ErasedMeanwhile(ConversationStore):
        async def contacts_with(self, tenant: str, label: str, limit: int = 500) -> list[str]:
            found = await super().contacts_with(tenant, label, limit)
            await self.erase(tenant)
            return found

    labelling = Labelling(changing_of(office), office.log(CONTACTS), ErasedMeanwhile(base.database))
    await labelling.replace_label(office.tenant.id, label, None, office.tenant.admin_id)
    query = {"tenant": office.tenant.id}
    assert await base.database[CONTACTS].count_documents(query) == 0
