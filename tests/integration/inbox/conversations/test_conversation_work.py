"""Work on a chat: why it is closed, episodes, notes, priority, snoozing, drafts, canned replies."""

import uuid
from typing import Any

from tests.integration.inbox.conversations.office import Office


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
