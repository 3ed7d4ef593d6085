"""One action on many chats: each is answered as its own call would be."""

from datetime import timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.views import iso
from tests.integration.inbox.conversations.office import Office

pytestmark = pytest.mark.integration


async def bulk(who: Any, ids: list[str], **body: Any) -> dict[str, tuple[int, Any]]:
    answer = await who("POST", "/conversations/bulk", {"ids": ids, **body})
    assert answer.status == 200, answer.raw
    return {
        each["id"]: (each["status"], each.get("code") or each.get("conversation"))
        for each in answer.body["items"]
    }


async def test_bulk_answers_for_each(office: Office):
    made = await office.tenant.admin("POST", "/v1/admin/close-reasons", {"name": "Sold"})
    reason = made.body["id"]
    mine = [await office.opened_by(office.ana) for _ in range(3)]
    theirs, waiting = await office.opened_by(office.bea), await office.arrive()

    done = await bulk(office.ana, [*mine, theirs], action="priority", priority="high")
    assert {done[each][1]["priority"] for each in mine} == {"high"}
    assert done[theirs] == (404, "not_found")
    done = await bulk(office.sue, [mine[0], theirs], action="close", reason=reason)
    assert {done[mine[0]], done[theirs]} == {(409, "not_holder")}
    done = await bulk(office.bea, [theirs, theirs, waiting], action="accept")
    assert {(status, shown["status"]) for status, shown in done.values()} == {(200, "open")}

    label = await office.tenant.admin("POST", "/v1/admin/labels", {"name": "vip"})
    done = await bulk(office.ana, mine, action="label", add=[label.body["id"]])
    assert {shown["labels"][0]["name"] for _, shown in done.values()} == {"vip"}
    done = await bulk(office.ana, mine[:1], action="label", remove=[label.body["id"]])
    assert done[mine[0]][1]["labels"] == []
    assert done[mine[0]][1]["version"] > 0
    done = await bulk(office.ana, mine[:1], action="label", add=["abc"])
    assert done[mine[0]] == (422, "unknown_label")

    until = iso(now() + timedelta(hours=1))
    done = await bulk(office.ana, mine[:1], action="snooze", until=until)
    assert done[mine[0]][1]["snoozed_until"] == until
    done = await bulk(office.ana, mine[:1], action="transfer", agent_id=office.bea.id, note="Yours")
    assert done[mine[0]][1]["assignee"]["name"] == "bea"
    done = await bulk(office.ana, mine[1:2], action="close", reason=reason, note="Done")
    assert done[mine[1]][1]["status"] == "closed"
    done = await bulk(office.ana, mine[2:], action="delete")
    assert done == {mine[2]: (204, None)}
    for wrong in (
        {"ids": [], "action": "read"},
        {"ids": mine, "action": "explode"},
        {"ids": ["a"] * 101, "action": "read"},
        {"ids": mine, "action": "read", "note": "x"},
        {"ids": mine, "action": "transfer"},
    ):
        assert (await office.ana("POST", "/conversations/bulk", wrong)).status == 422, wrong


async def test_bulk_leaves_what_changed_hands(office: Office):
    mine, moved = await office.opened_by(office.ana), await office.opened_by(office.ana)
    epochs = {each: (await office.ana.get(each))["epoch"] for each in (mine, moved)}
    await office.ana.act(moved, "transfer", team_id=office.sales)

    done = await bulk(office.ana, [mine, moved], action="close", epochs=epochs)
    assert done[mine][1]["status"] == "closed"
    assert done[moved] == (409, "stale_epoch")
    assert (await office.ana.get(moved))["status"] == "on_hold"
    for wrong in ({mine: -1}, {mine: None}, {"x": 1}, [1]):
        asked = {"ids": [mine], "action": "close", "epochs": wrong}
        assert (await office.ana("POST", "/conversations/bulk", asked)).code == "validation"
