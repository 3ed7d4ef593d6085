"""Work on a chat: why it is closed, episodes, notes, priority, snoozing, drafts, canned replies."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from services.inbox.app.foundation import now
from services.inbox.decisions.views import iso
from shared.contracts.events import ConversationEvent
from shared.contracts.views import Activity
from tests.integration.inbox.conversations.office import Office, days_ago


async def _reason(office: Office, name: str = "Sold") -> str:
    made = await office.tenant.admin("POST", "/v1/admin/close-reasons", {"name": name})
    assert made.status == 201, made.raw
    return str(made.body["id"])


async def _lines(office: Office, conversation: str) -> list[dict[str, Any]]:
    answer = await office.sue("GET", f"/conversations/{conversation}/activities")
    assert answer.status == 200, answer.raw
    return list(answer.body["items"])


# -- closing with a reason


async def test_close_reason_is_told_in_event_log_and_episode(shared_office: Office):
    office = shared_office
    reason = await _reason(office, "Sold & paid")
    conversation = await office.opened_by(office.ana)
    await office.ana.send(conversation)
    await office.ana.act(conversation, "transfer", agent_id=office.bea.id, note="Wants a discount")
    unknown = await office.bea.act(conversation, "close", reason="abc")
    assert (unknown.status, unknown.code) == (422, "unknown_close_reason")
    closed = await office.bea.act(conversation, "close", reason=reason, note="Paid in cash")
    assert closed.status == 200, closed.raw

    line, assigned, transferred, *_ = await _lines(office, conversation)
    assert line["type"] == "conversation.closed"
    assert line["data"]["reason"] == reason
    assert line["data"]["close_reason"] == {"id": reason, "name": "Sold & paid"}
    assert line["data"]["note"] == "Paid in cash"
    assert transferred["data"]["note"] == "Wants a discount"
    assert assigned["data"]["by"] == "transfer"

    gone = await office.tenant.admin("DELETE", f"/v1/admin/close-reasons/{reason}")
    assert gone.status == 204
    await office.write(conversation, "One more thing")
    page = (await office.sue("GET", f"/conversations/{conversation}/episodes")).body
    second, first = page["items"]
    assert page["next_cursor"] is None
    assert (second["episode"], second["closed_at"], second["holders"]) == (2, None, [])
    assert first["reason"] == {"id": reason, "name": "Sold & paid"}
    assert first["closed_by"] == {"kind": "agent", "id": office.bea.id, "name": "bea"}
    assert [each["name"] for each in first["holders"]] == ["ana", "bea"]
    assert first["holders"][0]["until"] == first["holders"][1]["since"]
    assert first["opened_at"] <= first["first_response_at"] <= first["closed_at"]
    assert first["waiting_seconds"] >= 0
    only = (await office.sue("GET", f"/conversations/{conversation}/episodes?cursor=2")).body
    assert [each["episode"] for each in only["items"]] == [1]
    hidden = await office.carl("GET", f"/conversations/{conversation}/episodes")
    assert hidden.status == 200  # it waits without team: everybody's


async def test_close_reasons_are_kept_by_the_admin(shared_office: Office):
    office, admin = shared_office, shared_office.tenant.admin
    key = {"Idempotency-Key": uuid.uuid4().hex}
    made = await admin("POST", "/v1/admin/close-reasons", {"name": "Spam"}, key)
    again = await admin("POST", "/v1/admin/close-reasons", {"name": "Spam"}, key)
    assert made.body == again.body
    path = f"/v1/admin/close-reasons/{made.body['id']}"
    changed = await admin("PATCH", path, {"name": "Junk"})
    assert (changed.body["name"], changed.body["version"]) == ("Junk", 2)
    assert (await admin("GET", path)).body == changed.body
    listed = (await office.ana("GET", "/close-reasons")).body["items"]
    assert changed.body in listed
    assert (await admin("PATCH", path, {"name": None})).status == 422
    assert (await office.ana("POST", "/admin/close-reasons", {"name": "x"})).status == 403
    assert (await admin("DELETE", path)).status == 204
    assert [(await admin(verb, path)).status for verb in ("GET", "DELETE")] == [404, 404]
    other = await office.tenant.inbox.tenant()
    assert (await other.admin("GET", "/v1/close-reasons")).body["items"] == []


# -- notes


async def test_note_is_a_line_of_the_log_for_agents_alone(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    seq = (await office.document(conversation))["seq"]
    body = {"client_id": "n1", "text": "Check the invoice", "mentions": [office.bea.id]}
    noted = await office.ana.act(conversation, "notes", **body)
    assert noted.status == 201, noted.raw
    line = Activity.model_validate(noted.body)
    assert (line.type, line.actor.name) == ("conversation.updated", "ana")
    told = {name: line.data[name] for name in ("kind", "text", "mentions")}
    mentions = [{"id": office.bea.id, "name": "bea"}]
    assert told == {"kind": "note", "text": "Check the invoice", "mentions": mentions}

    again = await office.ana.act(conversation, "notes", **body)
    assert (again.status, again.body) == (201, noted.body)
    assert (await _lines(office, conversation))[0] == noted.body
    head = await office.document(conversation)
    assert (head["seq"], head["version"]) == (seq, line.version)
    [event] = await office.events(conversation, "conversation.updated")
    assert ConversationEvent.model_validate(event).activity == line

    for wrong, status, code in (
        ({"client_id": "n2", "text": "x", "mentions": ["abc"]}, 422, "unknown_agent"),
        ({"client_id": "n2", "text": ""}, 422, "validation"),
        ({"client_id": "n2", "text": "x", "whisper": True}, 403, "forbidden"),
        ({"client_id": "n2", "text": "x", "epoch": 1}, 409, "stale_epoch"),
    ):
        refused = await office.ana.act(conversation, "notes", **wrong)
        assert (refused.status, refused.code) == (status, code)
    hidden = await office.bea.act(conversation, "notes", client_id="n3", text="x")
    assert hidden.status == 404


async def test_whisper_is_read_by_the_holder_and_supervisors(shared_office: Office):
    office = shared_office
    waiting = await office.arrive()
    none = await office.sue.act(waiting, "notes", client_id="w", text="x", whisper=True)
    assert (none.status, none.body["code"]) == (409, "invalid_transition")
    conversation = await office.opened_by(office.ana)
    said = await office.sue.act(
        conversation, "notes", client_id="w1", text="Offer 10 %", whisper=True
    )
    assert said.status == 201, said.raw

    async def reads(who: Any) -> bool:
        page = await who("GET", f"/conversations/{conversation}/activities")
        return said.body["id"] in [each["id"] for each in page.body["items"]]

    assert await reads(office.ana)
    await office.ana.act(conversation, "transfer", agent_id=office.bea.id)
    assert [await reads(who) for who in (office.bea, office.sue)] == [False, True]


async def test_deleted_chat_keeps_no_note(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    noted = await office.ana.act(conversation, "notes", client_id="n", text="Secret")
    await office.ana("DELETE", f"/conversations/{conversation}")
    activities = office.base.database["activities"]

    async def words() -> Any:
        found = await activities.find_one({"_id": noted.body["id"]})
        return found is None or found["data"].get("text")

    async with asyncio.timeout(10):
        while await words() is not None:  # noqa: ASYNC110 - the publication goes on behind
            await asyncio.sleep(0.02)


# -- priority and snoozing


async def test_priority_is_set_shown_and_filtered(office: Office):
    conversation, other = await office.opened_by(office.ana), await office.opened_by(office.ana)
    put = f"/conversations/{conversation}/priority"
    changed = await office.ana("PUT", put, {"priority": "urgent"})
    assert (changed.status, changed.body["priority"]) == (200, "urgent")
    same = await office.sue("PUT", put, {"priority": "urgent"})
    assert same.body["version"] == changed.body["version"]
    line = (await _lines(office, conversation))[0]
    assert (line["data"]["kind"], line["data"]["was"]) == ("priority", "normal")
    assert await office.ana.ids("priority=urgent") == [conversation]
    assert await office.ana.ids("priority=normal") == [other]
    assert (await office.bea("PUT", put, {"priority": "low"})).status == 404
    assert (await office.sue("PUT", put, {"priority": "mad"})).status == 422
    await office.write(conversation, "Hello?")
    assert (await office.ana.get(conversation))["priority"] == "urgent"


async def test_snoozed_chat_leaves_the_lists_until_due_or_written(office: Office):
    chats = [await office.opened_by(office.ana) for _ in range(3)]
    waiting = await office.arrive()
    later = {"until": iso(now() + timedelta(hours=2))}

    async def snooze(who: Any, conversation: str, body: Any = later) -> Any:
        return await who("PUT", f"/conversations/{conversation}/snooze", body)

    async def counts() -> tuple[int, ...]:
        body = (await office.ana("GET", "/conversations/counts")).body
        return tuple(body[name] for name in ("open", "on_hold", "unread", "snoozed"))

    assert await counts() == (3, 1, 4, 0)
    for conversation in chats:
        assert (await snooze(office.ana, conversation)).body["snoozed_until"] == later["until"]
    assert (await snooze(office.dora, waiting)).status == 200
    assert await counts() == (0, 0, 0, 4)
    assert await office.ana.ids("view=open") == []
    assert sorted(await office.ana.ids("view=open&snoozed=true")) == sorted(chats)
    assert await office.ana.ids("view=closed&snoozed=true") == []

    written, woken, due = chats
    await office.write(written, "Still there?")
    assert (await office.ana.get(written))["snoozed_until"] is None
    assert (await office.ana("DELETE", f"/conversations/{woken}/snooze")).status == 200
    await office.base.database["conversations"].update_one(
        {"_id": due}, {"$set": {"snoozed_until": days_ago(1), "due_at": days_ago(1)}}
    )
    assert sorted(await office.ana.ids("view=open")) == sorted(chats)
    assert (await office.ana.act(waiting, "accept")).body["snoozed_until"] is None
    assert await counts() == (4, 0, 4, 0)

    async with asyncio.timeout(10):
        while (await office.ana.get(due))["snoozed_until"]:  # noqa: ASYNC110 - a timer of the inbox
            await asyncio.sleep(0.02)
    line = (await _lines(office, due))[0]
    assert (line["actor"]["kind"], line["data"]["kind"]) == ("system", "woken")

    past = {"until": iso(now() - timedelta(seconds=1))}
    assert (await snooze(office.ana, due, past)).status == 422
    assert (await snooze(office.ana, due, {"until": "2026-03-01T10:00:00"})).status == 422
    await office.ana.act(due, "close")
    refused = await snooze(office.ana, due)
    assert (refused.status, refused.body["code"]) == (409, "invalid_transition")


async def test_lists_are_narrowed_by_number_and_dates(office: Office):
    old = await office.arrive(sent_at=days_ago(3), number=office.plain)
    mid = await office.arrive(sent_at=days_ago(2))
    new = await office.arrive()

    def span(**days: float) -> str:
        parts = "".join(f"&{name}={iso(days_ago(day))}" for name, day in days.items())
        return f"view=on_hold{parts}"

    assert await office.sue.ids(f"view=on_hold&number={office.plain}") == [old]
    assert await office.sue.ids(span(**{"from": 2.5, "to": 1})) == [mid]
    assert await office.sue.ids(f"{span(to=1)}&sort=newest&limit=1") == [mid, old]
    assert await office.sue.ids(f"{span(**{'from': 2.5})}&sort=oldest&limit=1") == [mid, new]
    assert (await office.sue("GET", "/conversations?from=yesterday")).status == 422


# -- drafts and canned replies


async def test_draft_is_its_writers_alone(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    path = f"/conversations/{conversation}/draft"
    version = (await office.document(conversation))["version"]
    none = {"text": "", "reply_to": None, "updated_at": None}
    assert (await office.ana("GET", path)).body == none
    kept = await office.ana("PUT", path, {"text": "Dear Luz"})
    assert (kept.status, kept.body["text"]) == (200, "Dear Luz")
    assert (await office.ana("GET", path)).body == kept.body
    assert (await office.sue("GET", path)).body == none
    assert [(await office.bea(verb, path, {"text": "x"})).status for verb in ("PUT",)] == [404]
    assert (await office.bea("DELETE", path)).status == 204
    assert (await office.ana("GET", path)).body == kept.body
    assert (await office.ana("DELETE", path)).status == 204
    assert (await office.ana("GET", path)).body == none
    assert (await office.document(conversation))["version"] == version


async def test_canned_replies_are_found_and_filled_in(shared_office: Office):
    office, admin = shared_office, shared_office.tenant.admin
    text = "Hola {{contact.name}}, soy {{ agent.name }} ({{team.name}})."
    body = {"name": "Presentación", "text": text, "shortcut": "hola"}
    made = await admin("POST", "/v1/admin/canned-replies", body)
    assert made.status == 201, made.raw
    path = f"/v1/admin/canned-replies/{made.body['id']}"
    for words in ("presentacion", "HOLA", "soy"):
        assert (await office.ana("GET", f"/canned-replies?q={words}")).body["items"] == [made.body]
    assert (await office.ana("GET", "/canned-replies?q=.*x")).body["items"] == []
    conversation = await office.opened_by(
        office.ana, contact=await office.contact("{{agent.name}}")
    )
    render = f"/conversations/{conversation}/canned-replies/{made.body['id']}/render"
    filled = (await office.ana("POST", render)).body
    assert filled == {"text": "Hola {{agent.name}}, soy ana ().", "missing": ["team.name"]}
    assert (await office.bea("POST", render)).status == 404
    wrong = await admin("PATCH", path, {"text": "{{contact.password}}"})
    assert (wrong.status, wrong.body["errors"][0]["code"]) == (422, "unknown_variable")
    changed = await admin("PATCH", path, {"shortcut": None})
    assert (changed.body["shortcut"], changed.body["text"]) == (None, text)
    assert (await admin("DELETE", path)).status == 204
    assert (await office.ana("POST", render)).status == 404
    assert (await admin("GET", "/v1/admin/canned-replies")).body["items"] == []


# -- the contact's card, and labels


async def test_contact_card_is_kept_by_who_sees_a_chat(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    contact = (await office.ana.get(conversation))["contact"]["id"]
    path = f"/contacts/{contact}"
    card = {"attributes": {"size": "42", "vip": "yes"}, "notes": "Calls back\nafter six"}
    written = await office.ana("PATCH", path, card)
    assert written.status == 200, written.raw
    assert {name: written.body[name] for name in card} == card
    changed = await office.ana("PATCH", path, {"attributes": {"vip": None, "city": "Oaxaca"}})
    assert changed.body["attributes"] == {"size": "42", "city": "Oaxaca"}
    assert changed.body["notes"] == card["notes"]
    assert (await office.ana("GET", path)).body == changed.body
    assert (await office.ana("PATCH", path, {"notes": None})).body["notes"] is None
    many = {f"a{number}": "x" for number in range(60)}
    assert (await office.ana("PATCH", path, {"attributes": many})).status == 422
    assert (await office.ana("PATCH", path, {"attributes": {"no spaces": "x"}})).status == 422
    assert (await office.bea("PATCH", path, card)).status == 404
    await office.write(conversation, "Hi again")
    assert (await office.sue("GET", path)).body["attributes"] == changed.body["attributes"]

    listed = (await office.ana("GET", f"{path}/conversations")).body
    assert [each["id"] for each in listed["items"]] == [conversation]
    assert (await office.bea("GET", f"{path}/conversations")).status == 404


async def test_merged_label_is_replaced_and_deleted_one_taken_from_every_contact(office: Office):
    labels = []
    for name in ("vip", "premium", "gold"):
        made = await office.tenant.admin("POST", "/v1/admin/labels", {"name": name})
        labels.append(made.body["id"])
    chats = [await office.opened_by(office.ana) for _ in range(3)]
    given = ([labels[0]], [labels[0], labels[1]], [labels[1]])
    for conversation, own in zip(chats, given, strict=True):
        contact = (await office.ana.get(conversation))["contact"]["id"]
        await office.ana("PUT", f"/contacts/{contact}/labels", {"labels": own})

    async def merge(label: str, into: str) -> Any:
        return await office.tenant.admin("POST", f"/v1/admin/labels/{label}/merge", {"into": into})

    kept = await merge(labels[1], labels[0])
    assert (kept.status, kept.body["id"]) == (200, labels[0])
    assert (await merge(labels[1], labels[0])).status == 404
    assert (await merge(labels[0], labels[0])).code == "unknown_label"
    assert (await merge(labels[0], labels[2])).status == 200
    await _all_labelled(office, chats, [{"id": labels[2], "name": "gold", "color": None}])

    deleted = await office.tenant.admin("DELETE", f"/v1/admin/labels/{labels[2]}")
    assert deleted.status == 204
    await _all_labelled(office, chats, [])


async def _all_labelled(office: Office, chats: list[str], labels: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(15):
        for conversation in chats:
            while (await office.ana.get(conversation))["labels"] != labels:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
