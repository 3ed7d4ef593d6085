"""Every action in every status by every kind of person."""

import asyncio
import uuid
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.lifecycle import Trigger
from services.inbox.model.conversation import Stamp
from services.inbox.model.items import Body, EditFact, Fact, RevokeFact
from tests.integration.inbox.conversations.office import Office

# Who: ana (holder, where there is one), bea (same team), carl (another team), sue (supervisor).
NO = (404, "not_found")
OK = (200, None)
DONE = (204, None)
SENT = (202, None)
INV = (409, "invalid_transition")
NH = (409, "not_holder")
TAKEN = (409, "already_assigned")
HIDDEN = (NO, NO, NO)

TABLE = {
    "accept": {
        "bot": (*HIDDEN, INV),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, TAKEN, NO, TAKEN),
        "closed": (INV, NO, NO, INV),
    },
    "close": {
        "bot": (*HIDDEN, INV),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, NO, NO, NH),
        "closed": (OK, NO, NO, OK),
    },
    "reopen": {
        "bot": (*HIDDEN, INV),
        "on_hold": (INV, INV, NO, INV),
        "open": (OK, NO, NO, INV),
        "closed": (OK, NO, NO, OK),
    },
    "hold": {
        "bot": (*HIDDEN, INV),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, NO, NO, OK),
        "closed": (INV, NO, NO, INV),
    },
    "bot": {
        "bot": (*HIDDEN, OK),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, NO, NO, OK),
        "closed": (INV, NO, NO, INV),
    },
    "handoff": {
        "bot": (*HIDDEN, OK),
        "on_hold": (OK, OK, NO, OK),
        "open": (INV, NO, NO, INV),
        "closed": (INV, NO, NO, INV),
    },
    "transfer_agent": {
        "bot": (*HIDDEN, INV),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, NO, NO, OK),
        "closed": (INV, NO, NO, INV),
    },
    "transfer_team": {
        "bot": (*HIDDEN, INV),
        "on_hold": (OK, OK, NO, OK),
        "open": (OK, NO, NO, OK),
        "closed": (INV, NO, NO, INV),
    },
    "read": {
        "bot": (*HIDDEN, NH),
        "on_hold": (NH, NH, NO, NH),
        "open": (OK, NO, NO, NH),
        "closed": (OK, NO, NO, NH),
    },
    "unread": {
        "bot": (*HIDDEN, NH),
        "on_hold": (NH, NH, NO, NH),
        "open": (OK, NO, NO, NH),
        "closed": (OK, NO, NO, NH),
    },
    "delete": {
        "bot": (*HIDDEN, DONE),
        "on_hold": (NH, NH, NO, DONE),
        "open": (DONE, NO, NO, DONE),
        "closed": (DONE, NO, NO, DONE),
    },
    "send": {
        "bot": (*HIDDEN, NH),
        "on_hold": (NH, NH, NO, NH),
        "open": (SENT, NO, NO, NH),
        "closed": (NH, NO, NO, NH),
    },
    "typing": {
        "bot": (*HIDDEN, NH),
        "on_hold": (NH, NH, NO, NH),
        "open": (DONE, NO, NO, NH),
        "closed": (NH, NO, NO, NH),
    },
}
CASES = [
    pytest.param(action, status, expected, id=f"{action}-{status}")
    for action, row in TABLE.items()
    for status, expected in row.items()
]


async def _in_status(office: Office, status: str) -> str:
    conversation = await office.arrive(team=office.sales, bot=status == "bot")
    if status in ("open", "closed"):
        await office.move(conversation, Trigger.ROUTED, office.ana.id)
    if status == "closed":
        await office.move(conversation, Trigger.CLOSE)
    return conversation


async def _call(office: Office, who: Any, conversation: str, action: str) -> Any:
    match action:
        case "transfer_agent":
            return await who.act(conversation, "transfer", agent_id=office.dora.id)
        case "transfer_team":
            return await who.act(conversation, "transfer", team_id=office.support)
        case "delete":
            return await who("DELETE", f"/conversations/{conversation}")
        case "send":
            return await who.send(conversation)
        case _:
            return await who.act(conversation, action)


@pytest.mark.parametrize(("action", "status", "expected"), CASES)
async def test_action_is_answered_by_status_and_person(
    shared_office: Office, action: str, status: str, expected: tuple[tuple[int, str | None], ...]
):
    office = shared_office
    for who, (code, problem) in zip(
        (office.ana, office.bea, office.carl, office.sue), expected, strict=True
    ):
        conversation = await _in_status(office, status)
        before = await office.document(conversation)

        answer = await _call(office, who, conversation, action)

        told = answer.body.get("code") if answer.status >= 400 else None
        assert (answer.status, told) == (code, problem)
        after = await office.document(conversation)
        if code >= 400:
            assert after["version"] == before["version"]
        if problem == "invalid_transition":
            assert answer.body["status"] == status
        if problem in ("already_assigned", "not_holder"):
            holder = {"id": office.ana.id, "name": "ana"} if status == "open" else None
            assert answer.body["holder"] == holder
        if code == 200:
            assert answer.body["version"] == after["version"]
        moved = (before["status"], before["assignee"], before["team"]) != (
            after["status"],
            after["assignee"],
            after["team"],
        )
        assert (after["epoch"] > before["epoch"]) == (moved or after["deleted"])


async def test_fifty_agents_accept_and_one_wins(shared_office: Office):
    office = shared_office
    conversation = await office.arrive()
    people = [office.ana, office.bea, office.carl, office.dora, office.sue] * 10

    answers = await asyncio.gather(*(who.act(conversation, "accept", epoch=1) for who in people))

    document = await office.document(conversation)
    for who, answer in zip(people, answers, strict=True):
        if who.id == document["assignee"]:
            assert answer.status == 200
        else:
            assert (answer.status, answer.code) == (409, "already_assigned")
            assert answer.body["holder"]["id"] == document["assignee"]
    assert document["version"] == 3
    assert document["epoch"] == 2


async def test_regression_who_closes_what_waits_sees_it_afterwards(shared_office: Office):
    office = shared_office
    conversation = await office.arrive(team=office.sales)

    for _ in range(2):
        closed = await office.ana.act(conversation, "close")
        assert (closed.status, closed.body["status"]) == (200, "closed")
    assert closed.body["assignee"] == {"id": office.ana.id, "name": "ana"}
    assert conversation in await office.ana.ids("view=closed")
    assert (await office.bea.act(conversation, "close")).status == 404
    assert (await office.ana.act(conversation, "reopen")).status == 200


async def test_stale_epoch_is_told_with_the_holder_to_who_lost_it(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana, team=office.sales)
    epoch = (await office.ana.get(conversation))["epoch"]
    assert (await office.sue.act(conversation, "transfer", agent_id=office.sue.id)).status == 200

    holder = {"id": office.sue.id, "name": "sue"}
    for answer in (
        await office.ana.act(conversation, "close", epoch=epoch),
        await office.ana.act(conversation, "read", epoch=epoch),
        await office.ana.send(conversation, epoch=epoch),
        await office.bea.act(conversation, "close", epoch=epoch),
    ):
        assert (answer.status, answer.code) == (409, "stale_epoch")
        assert answer.body["holder"] == holder
    for hidden in (
        await office.carl.act(conversation, "close", epoch=epoch),
        await office.ana.act(conversation, "close"),
        await office.ana("GET", f"/conversations/{conversation}"),
    ):
        assert (hidden.status, hidden.code) == (404, "not_found")


async def test_take_over_is_told_as_such(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    answer = await office.sue.act(conversation, "transfer", agent_id=office.sue.id, note="I do it")
    assert answer.body["assignee"] == {"id": office.sue.id, "name": "sue"}
    log = await office.sue("GET", f"/conversations/{conversation}/activities")
    newest, transferred = log.body["items"][:2]
    assert newest["type"] == "conversation.assigned"
    assert newest["data"]["by"] == "take_over"
    assert newest["data"]["note"] == "I do it"
    assert newest["actor"] == {"kind": "agent", "id": office.sue.id, "name": "sue"}
    assert transferred["type"] == "conversation.transferred"
    again = await office.sue.act(conversation, "transfer", agent_id=office.sue.id)
    assert again.status == 200
    assert again.body["version"] == answer.body["version"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"agent_id": "ab12"}, "unknown_agent", id="agent"),
        pytest.param({"team_id": "ab12"}, "unknown_team", id="team"),
        pytest.param({}, "validation", id="none"),
        pytest.param({"agent_id": "ab12", "team_id": "ab12"}, "validation", id="both"),
        pytest.param({"agent_id": "ab12", "note": "\ud800"}, "validation", id="surrogate"),
    ],
)
async def test_transfer_needs_one_known_target(
    shared_office: Office, body: dict[str, Any], code: str
):
    conversation = await shared_office.opened_by(shared_office.ana)
    answer = await shared_office.ana.act(conversation, "transfer", **(body or {"epoch": 2}))
    assert (answer.status, answer.code) == (422, code)
    assert answer.body["errors"]


async def test_bot_needs_a_number_with_one(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana, number=office.plain)
    answer = await office.ana.act(conversation, "bot")
    assert (answer.status, answer.code) == (409, "no_bot")


async def test_nobody_answers_from_a_deleted_number(office: Office):
    closed = await office.opened_by(office.ana, number=office.plain)
    assert (await office.ana.act(closed, "close")).status == 200
    path = f"/v1/admin/numbers/{office.plain}"
    assert (await office.tenant.admin("DELETE", path)).status == 204
    refused = await office.ana.act(closed, "reopen")
    assert (refused.status, refused.code) == (409, "number_deleted")
    assert (await office.ana.get(closed))["status"] == "closed"

    # Somebody wrote while it was deleted.
    late = await office.opened_by(office.ana, number=office.plain)
    refused = await office.ana.send(late)
    assert (refused.status, refused.code) == (409, "number_deleted")
    assert (await office.ana.act(late, "close")).status == 200


async def test_another_tenant_sees_and_changes_nothing(shared_office: Office, office: Office):
    conversation = await shared_office.arrive()
    for answer in (
        await office.sue("GET", f"/conversations/{conversation}"),
        await office.sue("GET", f"/conversations/{conversation}/messages"),
        await office.sue.act(conversation, "accept", epoch=0),
        await office.sue("DELETE", f"/conversations/{conversation}"),
        await office.sue.act("00", "accept"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


async def test_deleted_is_gone_and_its_messages_are_erased(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    assert (await office.ana.send(conversation, text="secret")).status == 202
    thread = await office.ana("GET", f"/conversations/{conversation}/messages")
    written = thread.body["items"][-1]
    stamp = Stamp(now(), written["wamid"])
    for fact in (EditFact(Body("text", "secret", None, {}), stamp), RevokeFact(stamp)):
        await office.fold(conversation, [Fact(uuid.uuid4().hex, (written["id"],), fact)])
    assert (await office.ana("DELETE", f"/conversations/{conversation}")).status == 204
    for answer in (
        await office.ana("GET", f"/conversations/{conversation}"),
        await office.ana.act(conversation, "reopen", epoch=0),
        await office.ana("DELETE", f"/conversations/{conversation}"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")

    async def texts() -> list[Any]:
        messages = office.base.database["messages"].find({"conversation": conversation})
        return [doc.get("text") async for doc in messages]

    stub = {"_id": written["id"]}
    async with asyncio.timeout(20):
        while any(await texts()):  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.02)
        audit = office.base.database["audit"]
        query = {"action": "conversation.deleted", "target": ["conversation", conversation]}
        while (deletion := await audit.find_one(query)) is None:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.02)
    assert deletion["actor"] == {"kind": "agent", "id": office.ana.id}
    told = str(await office.base.database["messages"].find_one(stub))
    assert "Luz" not in told
    assert written["wamid"] not in told


async def test_reading_lowers_unread_once_and_asks_for_the_ticks(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    await office.write(conversation, "una", "dos")
    assert (await office.ana.get(conversation))["unread"] == 3
    first = await office.ana.act(conversation, "read")
    assert first.body["unread"] == 0
    again = await office.ana.act(conversation, "read")
    assert again.body["version"] == first.body["version"]
    marked = await office.ana.act(conversation, "unread")
    assert marked.body["unread"] == 1
    assert (await office.ana.act(conversation, "unread")).body["version"] == marked.body["version"]
    log = await office.ana("GET", f"/conversations/{conversation}/activities")
    assert [each["type"] for each in log.body["items"]] == [
        "conversation.assigned",
        "conversation.opened",
    ]


async def test_repeat_under_a_key_is_answered_as_the_first(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana, team=office.sales)
    key = uuid.uuid4().hex
    path = f"/conversations/{conversation}/transfer"
    body = {"agent_id": office.dora.id, "epoch": 2}
    first = await office.ana("POST", path, body, idempotency_key=key)
    assert first.status == 200
    again = await office.ana("POST", path, body, idempotency_key=key)
    assert again.status == 200
    assert again.body["version"] == first.body["version"]
    assert again.body["last_message"] is None  # no longer in sight
    other = await office.bea("POST", path, body, idempotency_key=key)
    assert (other.status, other.code) == (409, "stale_epoch")
    delete = uuid.uuid4().hex
    for _ in range(2):
        answer = await office.dora(
            "DELETE", f"/conversations/{conversation}", idempotency_key=delete
        )
        assert answer.status == 204
