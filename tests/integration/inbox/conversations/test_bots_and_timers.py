"""What a bot may with its key, and what becomes due: on the real inbox."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.views import iso
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.existence import Existence
from services.inbox.storage.messages import MessageStore
from services.inbox.storage.names import DirectoryNames
from services.inbox.storage.presence import PRESENCE, PresenceStore
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.holders import CHANGES_COUNT_WITHIN, Holders
from services.inbox.workflows.timers import Timers
from shared.contracts.envelope import Envelope
from shared.contracts.records import InRecord
from tests.integration.inbox.conversations.meta import received, upload
from tests.integration.inbox.conversations.office import Member, Office, open_office
from tests.integration.inbox.inbox_rig import Inbox
from tests.support.files import picture

pytestmark = pytest.mark.integration


async def bot_of(office: Office, *numbers: str, **headers: str) -> tuple[str, Member]:
    """A new key, and its calls."""
    body = {"name": "Helper", "number_ids": list(numbers)}
    made = await office.tenant.admin("POST", "/v1/admin/api-keys", body, headers)
    assert made.status == 201, made.raw
    assert made.body["key"].startswith("atk_")
    return made.body["id"], Member(made.body["id"], office.tenant.inbox.http.as_(made.body["key"]))


async def test_bot_reads_sends_labels_and_hands_off_the_chats_of_its_number(office: Office):
    _, bot = await bot_of(office, office.number)
    chat = await office.arrive(bot=True)
    assert (await bot.get(chat))["status"] == "bot"
    sent = await bot.send(chat, text="Soy un bot")
    assert (sent.status, sent.body["author"]) == (
        202,
        {"kind": "bot", "id": bot.id, "name": "Helper"},
    )
    thread = (await bot("GET", f"/conversations/{chat}/messages")).body["items"]
    assert [each["text"] for each in thread] == ["Soy un bot", "Buenas"]
    label = (await office.tenant.admin("POST", "/v1/admin/labels", {"name": "VIP"})).body["id"]
    contact = (await bot.get(chat))["contact"]["id"]
    assert (await bot("PUT", f"/contacts/{contact}/labels", {"labels": [label]})).status == 200
    handed = await bot.act(chat, "handoff", team_id=office.support)
    assert (handed.status, handed.body["status"]) == (200, "on_hold")
    assert handed.body["team"]["id"] == office.support
    assert (await bot.act(chat, "handoff")).status == 200
    late = await bot.send(chat, text="Sigo aquí")
    assert (late.status, late.code) == (409, "not_holder")
    assert (await bot("GET", f"/conversations/{chat}")).status == 404
    log = (await office.carl("GET", f"/conversations/{chat}/activities")).body["items"]
    assert [(each["type"], each["actor"]["kind"]) for each in log][:2] == [
        ("conversation.held", "bot"),
        ("conversation.labelled", "bot"),
    ]
    assert (await office.carl.act(chat, "accept")).status == 200
    assert (await bot.act(chat, "handoff")).body["code"] == "invalid_transition"


async def test_bot_looks_at_files_and_sends_its_own(office: Office):
    _, bot = await bot_of(office, office.number)
    chat, elsewhere = await office.arrive(bot=True), await office.opened_by(office.ana)
    mine, theirs = [
        await received(office, each, picture(), "image/png") for each in (chat, elsewhere)
    ]
    assert (await bot("GET", f"/media/{mine}")).raw == picture()
    assert (await bot("GET", f"/media/{theirs}")).code == "not_found"
    file = await upload(bot, picture())
    sent = await bot.send(chat, type="image", text=None, media={"id": file.body["id"]})
    assert (sent.status, sent.body["author"]["kind"]) == (202, "bot")
    assert (await bot("POST", f"/media/{mine}/url")).code == "forbidden"


async def test_bot_learns_the_ids_of_labels_and_teams(office: Office):
    _, bot = await bot_of(office, office.number)
    label = (await office.tenant.admin("POST", "/v1/admin/labels", {"name": "VIP"})).body["id"]
    assert [each["id"] for each in (await bot("GET", "/labels")).body["items"]] == [label]
    teams = {each["id"] for each in (await bot("GET", "/teams")).body["items"]}
    assert teams == {office.sales, office.support}


async def test_key_is_good_for_nothing_else(office: Office):
    _, bot = await bot_of(office, office.number)
    chat = await office.arrive(bot=True)
    waiting = await office.arrive()
    for method, path, body in (
        ("GET", "/conversations?view=bot", None),
        ("GET", "/conversations/counts", None),
        ("GET", "/me", None),
        ("GET", "/agents", None),
        ("POST", f"/conversations/{chat}/close", None),
        ("POST", f"/conversations/{chat}/accept", None),
        ("DELETE", f"/conversations/{chat}", None),
        ("POST", "/stream/ticket", None),
        ("GET", "/admin/api-keys", None),
        ("GET", "/admin/numbers", None),
    ):
        answer = await bot(method, path, body)
        assert (answer.status, answer.code) == (403, "forbidden"), path
    assert (await bot("GET", f"/conversations/{waiting}")).status == 404
    reaction = {"message_id": "0" * 32, "emoji": "👍"}
    assert (await bot.send(chat, type="reaction", text=None, reaction=reaction)).status == 422


async def test_key_of_another_number_or_tenant_sees_nothing(inbox: Inbox, office: Office):
    chat = await office.arrive(bot=True)
    other = await open_office(await inbox.tenant())
    for _, bot in (await bot_of(office, office.plain), await bot_of(other, other.number)):
        for answer in (
            await bot("GET", f"/conversations/{chat}"),
            await bot("GET", f"/conversations/{chat}/messages"),
            await bot.send(chat),
            await bot.act(chat, "handoff"),
        ):
            assert (answer.status, answer.code) == (404, "not_found")
    body = {"name": "Helper", "number_ids": [office.number]}
    refused = await other.tenant.admin("POST", "/v1/admin/api-keys", body)
    assert (refused.status, refused.code) == (422, "validation")


async def test_key_is_told_once_kept_as_a_hash_and_gone_when_it_is_removed(office: Office):
    headers = {"Idempotency-Key": "key-1"}
    body = {"name": "Helper", "number_ids": [office.number]}
    admin = office.tenant.admin
    made = await admin("POST", "/v1/admin/api-keys", body, headers)
    assert (await admin("POST", "/v1/admin/api-keys", body, headers)).body == made.body
    listed = await admin("GET", "/v1/admin/api-keys")
    assert [each["id"] for each in listed.body["items"]] == [made.body["id"]]
    assert made.body["key"].encode() not in listed.raw
    stored = await office.base.database["api_keys"].find_one({"_id": made.body["id"]})
    assert made.body["key"] not in json.dumps(stored, default=str)
    path = f"/v1/admin/api-keys/{made.body['id']}"
    assert (await admin("DELETE", path)).status == 204
    assert [(await admin(each, path)).status for each in ("GET", "DELETE")] == [404, 404]
    chat = await office.arrive(bot=True)
    gone = office.tenant.inbox.http.as_(made.body["key"])
    assert (await gone("GET", f"/v1/conversations/{chat}")).code == "unauthorized"


async def test_secret_of_a_bot_is_told_when_it_is_made_and_when_it_is_rotated(office: Office):
    admin = office.tenant.admin
    number = await office.tenant.number(bot={"webhook_url": "https://bot.test/hook"})
    first = number["bot"]["secret"]
    path = f"/v1/admin/numbers/{number['id']}"
    assert first.startswith("whsec_")
    moved = await admin("PATCH", path, {"bot": {"webhook_url": "https://bot.test/2"}})
    assert moved.body["bot"]["secret"] is None
    rotated = await admin("POST", f"{path}/bot/secret")
    assert rotated.body["secret"].startswith("whsec_")
    assert rotated.body["secret"] != first
    assert (await admin("GET", path)).body["bot"] == {
        "webhook_url": "https://bot.test/2",
        "silence_seconds": 60,
        "secret": None,
    }
    assert (await admin("PATCH", path, {"bot": None})).body["bot"] is None
    assert (await admin("POST", f"{path}/bot/secret")).code == "no_bot"
    inside = await admin("PATCH", path, {"bot": {"webhook_url": "http://169.254.169.254/latest"}})
    assert inside.body["errors"] == [{"field": "bot.webhook_url", "code": "address_not_allowed"}]


GRACE = timedelta(seconds=45)
HOURS = timedelta(hours=8)


class Later:
    """A pod whose clock is ahead. `grace`: of tenants that have not the usual one."""

    def __init__(
        self, office: Office, ahead: timedelta, grace: Mapping[str, timedelta] | None = None
    ) -> None:
        base = office.base
        changing = Changing(
            office.log(),
            DirectoryNames(base.view),
            base.ids,
            lambda: now() + ahead,
            Existence(base.database, base.view),
        )
        store = ConversationStore(base.database)
        self.timers = Timers(changing, store, MessageStore(base.database))
        self.holders = Holders(
            changing,
            store,
            PresenceStore(base.database),
            grace=lambda tenant: (grace or {}).get(tenant, GRACE),
        )


async def commands(office: Office, chat: str) -> list[dict[str, Any]]:
    """What delivery is asked in the outbox."""
    document = await office.document(chat)
    return [json.loads(record["b"]) for e in document["outbox"] for record in e.get("c", ())]


async def types(office: Office, chat: str) -> list[str]:
    log = (await office.sue("GET", f"/conversations/{chat}/activities")).body["items"]
    return [each["type"] for each in reversed(log)]


async def test_bot_is_told_only_what_happens_while_it_has_the_chat(office: Office):
    chat = await office.arrive(bot=True, publish=False)
    await office.write(chat, "¿Hola?", publish=False)
    told = await commands(office, chat)
    assert [each["type"] for each in told] == [
        "conversation.opened",
        "message.received",
        "message.received",
    ]
    assert [each["version"] for each in told] == [1, 2, 3]
    assert told[1]["data"]["message"]["text"] == "Buenas"
    plain = await office.arrive(publish=False)
    assert await commands(office, plain) == []


async def test_silent_bot_loses_the_chat_once_whichever_pod_sees_it(office: Office):
    chat = await office.arrive(bot=True)
    answered = await office.arrive(bot=True)
    _, bot = await bot_of(office, office.number)
    for each in (chat, answered):  # by the service's own hand, which sets the timers
        assert (await office.sue.act(each, "handoff")).status == 200
        assert (await office.sue.act(each, "bot")).status == 200
    assert (await bot.send(answered)).status == 202
    early = Later(office, timedelta(seconds=50))
    pods = [Later(office, timedelta(seconds=70)) for _ in range(2)]
    await early.timers.settle(chat)
    assert (await office.sue.get(chat))["status"] == "bot"
    await asyncio.gather(*(pod.timers.settle(each) for pod in pods for each in (chat, answered)))
    assert (await office.sue.get(chat))["status"] == "on_hold"
    assert (await office.sue.get(answered))["status"] == "bot"
    log = (await office.sue("GET", f"/conversations/{chat}/activities")).body["items"]
    assert log[0]["data"]["reason"] == "bot_silent"
    assert [each["type"] for each in log].count("conversation.held") == 2
    document = await office.document(answered)
    assert document["due_at"] > now() + timedelta(hours=22)


async def test_window_that_closes_is_told_once_by_the_loop_of_any_pod(office: Office):
    sent_at = now() - timedelta(hours=23, minutes=30)
    chat = await office.arrive(sent_at=sent_at)
    # The first change by the service sets the timer; the service's own loop runs it.
    assert (await office.ana.act(chat, "accept")).status == 200
    pods = [Later(office, timedelta()) for _ in range(2)]
    async with asyncio.timeout(10):
        while "conversation.window_closing" not in await types(office, chat):
            await asyncio.gather(*(pod.timers.settle_due() for pod in pods))
    assert (await types(office, chat)).count("conversation.window_closing") == 1
    assert "due_at" not in await office.document(chat)
    await office.write(chat, "Sigo aquí")
    await pods[0].timers.settle(chat)
    assert (await types(office, chat)).count("conversation.window_closing") == 1
    assert (await office.document(chat))["due_at"] > now() + timedelta(hours=22)


def presence(tenant: str, agent: str, sequence: int, *, present: bool, at: datetime) -> InRecord:
    envelope = Envelope(f"{agent}:{sequence}", "agent.presence", "notifier", iso(at), tenant, agent)
    headers = replace(envelope, sequence=sequence).headers()
    value = {"agent_id": agent, "present": present, "at": iso(at)}
    return InRecord(
        "agent.events.v1", 0, 0, agent.encode(), json.dumps(value).encode(), tuple(headers), 0
    )


async def test_agent_who_is_gone_loses_what_they_did_not_answer(office: Office):
    quiet = await office.arrive(team=office.sales)
    since = (await office.sue.get(quiet))["waiting_since"]
    assert (await office.ana.act(quiet, "accept")).status == 200
    answered = await office.opened_by(office.ana)
    assert (await office.ana.send(answered)).status == 202
    others = await office.opened_by(office.bea)
    gone_at = now()
    early, *pods = (Later(office, timedelta(seconds=each)).holders for each in (40, 50, 50))
    await early.on_agent_events(
        [
            presence(office.tenant.id, office.ana.id, 7, present=False, at=gone_at),
            presence(office.tenant.id, office.ana.id, 6, present=True, at=gone_at),
        ]
    )
    await early.settle_due()
    assert (await office.ana.get(quiet))["status"] == "open"
    await asyncio.gather(*(pod.settle_due() for pod in pods))
    lost = await office.sue.get(quiet)
    assert (lost["status"], lost["waiting_since"], lost["team"]["id"]) == (
        "on_hold",
        since,
        office.sales,
    )
    assert (await types(office, quiet)).count("conversation.held") == 1
    assert [(await office.sue.get(each))["status"] for each in (answered, others)] == ["open"] * 2
    # A decision of routing that came late is seen the second time; then it is over.
    assert (await office.sue.act(quiet, "transfer", agent_id=office.ana.id)).status == 200
    again = Later(office, timedelta(seconds=90)).holders
    await again.settle_due()
    assert (await office.sue.get(quiet))["status"] == "on_hold"
    assert (await office.sue.act(quiet, "transfer", agent_id=office.ana.id)).status == 200
    await Later(office, timedelta(seconds=300)).holders.settle_due()
    assert (await office.sue.get(quiet))["status"] == "open"


async def test_agent_who_came_back_within_the_grace_keeps_everything(office: Office):
    chat = await office.opened_by(office.ana)
    pod = Later(office, timedelta(seconds=60)).holders
    for sequence, present in ((1, False), (2, True)):
        record = presence(office.tenant.id, office.ana.id, sequence, present=present, at=now())
        await pod.on_agent_events([record])
    await pod.settle_due()
    assert (await office.ana.get(chat))["status"] == "open"


async def test_regression_tenant_that_gives_hours_does_not_keep_others_waiting(office: Office):
    chat = await office.opened_by(office.ana)
    far = f"far-{office.tenant.id}"
    pod = Later(office, timedelta(seconds=50), {far: HOURS}).holders
    await pod.on_agent_events(
        [presence(far, f"a{number}", 1, present=False, at=now()) for number in range(200)]
    )
    await pod.on_agent_events(
        [presence(office.tenant.id, office.ana.id, 1, present=False, at=now())]
    )
    await pod.settle_due()
    assert (await office.sue.get(chat))["status"] == "on_hold"
    await office.base.database[PRESENCE].delete_many({"tenant": far})


async def test_changed_grace_counts_within_minutes(office: Office):
    chat = await office.opened_by(office.ana)
    longer = {office.tenant.id: HOURS}
    gone = presence(office.tenant.id, office.ana.id, 1, present=False, at=now())
    await Later(office, timedelta(), longer).holders.on_agent_events([gone])
    await Later(office, CHANGES_COUNT_WITHIN, longer).holders.settle_due()
    assert (await office.sue.get(chat))["status"] == "open"
    await Later(office, CHANGES_COUNT_WITHIN * 2).holders.settle_due()
    assert (await office.sue.get(chat))["status"] == "on_hold"


async def test_who_was_gone_before_there_was_a_due_time_is_looked_at(office: Office):
    chat = await office.opened_by(office.ana)
    pod = Later(office, timedelta(seconds=50)).holders
    gone = presence(office.tenant.id, office.ana.id, 1, present=False, at=now())
    await pod.on_agent_events([gone])
    collection = office.base.database[PRESENCE]
    await collection.update_one({"agent": office.ana.id}, {"$unset": {"due_at": ""}})
    await collection.create_index("gone_at", name="gone")
    for _ in range(2):
        await pod.presence.ensure_indexes()
    await pod.settle_due()
    assert (await office.sue.get(chat))["status"] == "on_hold"
    assert "gone" not in await collection.index_information()
