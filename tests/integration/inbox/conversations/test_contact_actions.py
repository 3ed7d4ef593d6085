"""Labels and blocking: the contact commits, its conversations follow, also after a crash."""

import asyncio
import json
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.lifecycle import Viewer
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.existence import Existence
from services.inbox.storage.names import DirectoryNames
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.labelling import Labelling
from shared.contracts.commands import BlockContact
from shared.contracts.events import ContactEvent
from shared.contracts.topics import CONTACT_EVENTS, OUTBOUND
from shared.contracts.views import Contact, Role
from shared.mongo.headlog import HeadLog
from tests.integration.inbox.conversations.office import Office, days_ago
from tests.integration.inbox.topic_reader import TopicReader


async def _label(office: Office, name: str) -> str:
    answer = await office.tenant.admin("POST", "/v1/admin/labels", {"name": name})
    assert answer.status == 201, answer.raw
    return str(answer.body["id"])


async def _contact_of(office: Office, conversation: str) -> str:
    return str((await office.sue.get(conversation))["contact"]["id"])


async def test_labels_reach_the_contact_and_its_conversations(shared_office: Office):
    office = shared_office
    known = await office.contact()
    one = await office.opened_by(office.ana, contact=known)
    other = await office.arrive(contact=known, number=office.plain)
    vip, new = await _label(office, "vip"), await _label(office, "new")

    answer = await office.ana("PUT", f"/contacts/{known.id}/labels", {"labels": [vip, new, vip]})
    assert answer.status == 200, answer.raw
    assert [each.name for each in Contact.model_validate(answer.body).labels] == ["vip", "new"]
    for conversation in (one, other):
        labels = (await office.sue.get(conversation))["labels"]
        assert [each["name"] for each in labels] == ["vip", "new"]
    again = await office.ana("PUT", f"/contacts/{known.id}/labels", {"labels": [vip, new]})
    assert again.body["version"] == answer.body["version"]
    assert (await office.ana("GET", f"/contacts/{known.id}")).body == answer.body

    await office.ana("PUT", f"/contacts/{known.id}/labels", {"labels": [new]})
    log = await office.ana("GET", f"/conversations/{one}/activities?limit=1")
    [line] = log.body["items"]
    assert (line["type"], line["actor"]["id"]) == ("conversation.labelled", office.ana.id)
    assert [each["name"] for each in line["data"]["removed"]] == ["vip"]
    assert line["data"]["added"] == []

    async with TopicReader(office.tenant.inbox.settings, CONTACT_EVENTS) as reader:
        await reader.until(lambda it: 3 in it.versions(known.id))
        for value in reader.values(known.id):
            ContactEvent.model_validate_json(value or b"")


async def test_unknown_label_changes_nothing(shared_office: Office, office: Office):
    known = await shared_office.contact()
    await shared_office.opened_by(shared_office.ana, contact=known)
    known_label, foreign = await _label(shared_office, "known"), await _label(office, "known")
    path = f"/contacts/{known.id}/labels"
    refused = await shared_office.ana("PUT", path, {"labels": [known_label, foreign]})
    assert (refused.status, refused.code) == (422, "unknown_label")
    assert refused.body["errors"] == [{"field": "labels.1", "code": "unknown"}]
    assert (await shared_office.ana("GET", f"/contacts/{known.id}")).body["labels"] == []


async def test_contact_is_hidden_from_who_sees_no_chat_of_it(shared_office: Office, office: Office):
    known = await shared_office.contact()
    await shared_office.opened_by(shared_office.ana, contact=known)
    for who in (shared_office.bea, shared_office.carl, office.sue):
        for method, path, body in (
            ("GET", "", None),
            ("PUT", "/labels", {"labels": []}),
            ("POST", "/block", None),
            ("POST", "/unblock", None),
        ):
            answer = await who(method, f"/contacts/{known.id}{path}", body)
            assert (answer.status, answer.code) == (404, "not_found")


async def _block_commands(office: Office, conversation: str, count: int) -> list[BlockContact]:
    found: dict[bytes, BlockContact] = {}

    def all_there(reader: TopicReader) -> bool:
        for key, value, headers in reader.records:
            if key == conversation and value and b"contact.block" in headers["ce_type"]:
                found.setdefault(headers["ce_id"], BlockContact.model_validate_json(value))
        return len(found) >= count

    async with TopicReader(office.tenant.inbox.settings, OUTBOUND) as reader:
        await reader.until(all_there)
    return list(found.values())


async def _version(office: Office, contact_id: str) -> int:
    return (await office.log(CONTACTS).load([contact_id]))[contact_id].version


async def test_blocking_closes_every_chat_and_unblocking_opens_none(shared_office: Office):
    office = shared_office
    known = await office.contact()
    held = await office.opened_by(office.ana, contact=known)
    waiting = await office.arrive(contact=known, number=office.plain, sent_at=days_ago(2))

    answer = await office.ana("POST", f"/contacts/{known.id}/block")
    assert (answer.status, answer.body["blocked"]) == (200, True)
    for conversation in (held, waiting):
        shown = await office.sue.get(conversation)
        assert (shown["status"], shown["contact"]["blocked"]) == ("closed", True)
    versions = [(await office.sue.get(each))["version"] for each in (held, waiting)]
    assert (await office.ana("POST", f"/contacts/{known.id}/block")).body == answer.body
    assert versions == [(await office.sue.get(each))["version"] for each in (held, waiting)]

    # One that was opened again is closed by the block that is asked for again.
    assert (await office.ana.act(held, "reopen")).status == 200
    assert (await office.ana("POST", f"/contacts/{known.id}/block")).body["blocked"] is True
    assert (await office.sue.get(held))["status"] == "closed"

    answer = await office.ana("POST", f"/contacts/{known.id}/unblock")
    assert (answer.status, answer.body["blocked"]) == (200, False)
    for conversation in (held, waiting):
        shown = await office.sue.get(conversation)
        assert (shown["status"], shown["contact"]["blocked"]) == ("closed", False)

    log = await office.sue("GET", f"/conversations/{waiting}/activities?limit=3")
    told = [(each["data"].get("kind"), each["data"].get("reason")) for each in log.body["items"]]
    assert told == [("unblocked", None), (None, "blocked"), ("blocked", None)]
    assert {each["actor"]["name"] for each in log.body["items"]} == {"ana"}
    # Meta's rule: only who wrote in the last 24 hours can be blocked there.
    asked = await _block_commands(office, held, 2)
    assert [each.blocked for each in asked] == [True, False]
    assert asked[0].contact_version < asked[1].contact_version == await _version(office, known.id)
    assert [each.blocked for each in await _block_commands(office, waiting, 1)] == [False]


async def test_supervisors_list_whom_the_tenant_blocked(office: Office, shared_office: Office):
    known = [await office.contact(name) for name in ("Luz", "Sol", "Mar")]
    for each in known:
        await office.opened_by(office.ana, contact=each)
        await office.ana("POST", f"/contacts/{each.id}/block")
    await office.ana("POST", f"/contacts/{known[0].id}/block")  # again: it keeps its place

    first = (await office.sue("GET", "/contacts/blocked?limit=2")).body
    assert [each["name"] for each in first["items"]] == ["Mar", "Sol"]
    assert first["items"][0] == (await office.sue("GET", f"/contacts/{known[2].id}")).body
    assert first["items"][0]["blocked_at"] > first["items"][1]["blocked_at"]
    rest = await office.sue("GET", f"/contacts/blocked?limit=2&cursor={first['next_cursor']}")
    assert [each["name"] for each in rest.body["items"]] == ["Luz"]
    assert rest.body["next_cursor"] is None

    back = await office.sue("POST", f"/contacts/{known[1].id}/unblock")
    assert back.body["blocked_at"] is None
    left = (await office.sue("GET", "/contacts/blocked")).body["items"]
    assert [each["name"] for each in left] == ["Mar", "Luz"]
    assert (await office.ana("GET", "/contacts/blocked")).code == "forbidden"
    assert (await office.sue("GET", "/contacts/blocked?cursor=x")).code == "validation"
    others = (await shared_office.sue("GET", "/contacts/blocked")).body["items"]
    assert not {each["id"] for each in others} & {each.id for each in known}


async def test_regression_a_contact_whose_chats_were_deleted_can_be_unblocked(
    shared_office: Office, office: Office
):
    known = await shared_office.contact(wa_id="5215588880000")
    held = await shared_office.opened_by(shared_office.ana, contact=known)
    path = f"/contacts/{known.id}"
    assert (await shared_office.ana("POST", f"{path}/block")).status == 200
    assert (await shared_office.ana("DELETE", f"/conversations/{held}")).status == 204

    for who in (shared_office.ana, office.sue):
        assert (await who("POST", f"{path}/unblock")).code == "not_found"
    assert (await shared_office.sue("GET", path)).body["blocked"] is True
    assert (await shared_office.sue("GET", f"{path}/conversations")).body["items"] == []
    for _ in range(2):
        answer = await shared_office.sue("POST", f"{path}/unblock")
        assert (answer.status, answer.body["blocked"]) == (200, False)
    asked = await _block_commands(shared_office, held, 2)
    assert [each.blocked for each in asked] == [True, False]
    assert [each.recipient.wa_id for each in asked] == ["5215588880000"] * 2
    version = await _version(shared_office, known.id)
    assert asked[0].contact_version < asked[1].contact_version == version


@pytest.mark.parametrize("action", ["block", "unblock"])
async def test_blocking_is_for_the_holder_and_supervisors(shared_office: Office, action: str):
    office = shared_office
    known = await office.contact()
    await office.arrive(contact=known)
    refused = await office.dora("POST", f"/contacts/{known.id}/{action}")
    assert (refused.status, refused.code, refused.body["holder"]) == (409, "not_holder", None)
    assert (await office.sue("POST", f"/contacts/{known.id}/{action}")).status == 200


async def test_contact_that_was_committed_alone_is_followed_by_the_sweeper(shared_office: Office):
    """A crash between the contact's compare-and-set and its conversations'."""
    office = shared_office
    known = await office.contact()
    conversation = await office.opened_by(office.ana, contact=known)

    class Crash(Exception):  # noqa: N818 - not an error of ours
        pass

    class CrashingLog(HeadLog):
        def publish_soon(self, _: Any) -> None:
            raise Crash

    base = office.base
    crashing = CrashingLog(base.database, CONTACTS, base.publisher)
    labelling = _labelling(office, crashing)
    with pytest.raises(Crash):
        await labelling.block(_viewer(office), known.id)

    async with asyncio.timeout(20):
        while (await office.sue.get(conversation))["status"] != "closed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    log = await office.sue("GET", f"/conversations/{conversation}/activities?limit=1")
    assert log.body["items"][0]["actor"]["id"] == office.ana.id
    assert json.loads(log.raw)["items"][0]["data"]["reason"] == "blocked"


async def test_a_chat_that_began_beside_the_block_is_closed_by_its_publication(
    shared_office: Office,
):
    office = shared_office
    known = await office.contact()
    label = await _label(office, "beside")
    await office.sue("PUT", f"/contacts/{known.id}/labels", {"labels": [label]})
    assert (await office.sue("POST", f"/contacts/{known.id}/block")).status == 200
    # Written by a pod that had looked at the contact before, and did not come to publishing.
    conversation = await office.arrive(contact=known, publish=False)

    async with asyncio.timeout(20):
        while (await office.sue.get(conversation))["status"] != "closed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    shown = await office.sue.get(conversation)
    assert shown["contact"]["blocked"] is True
    assert [each["name"] for each in shown["labels"]] == ["beside"]


def _labelling(office: Office, contacts: HeadLog) -> Labelling:
    base = office.base
    changing = Changing(
        office.log(), DirectoryNames(base.view), base.ids, now, Existence(base.database, base.view)
    )
    return Labelling(changing, contacts, ConversationStore(base.database))


def _viewer(office: Office) -> Viewer:
    return Viewer(office.ana.id, office.tenant.id, Role.AGENT, frozenset({office.sales}))
