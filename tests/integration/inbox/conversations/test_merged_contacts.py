"""Two contacts turn out to be one user: what agents decided of the one holds for the other."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.contracts.inbound import InboundType
from tests.integration.inbox.conversations.office import Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS

pytestmark = pytest.mark.integration
_ALL = "/conversations?view={}&scope=all"


class User:
    """Writes from one WhatsApp account, shown by phone, by BSUID, or by both."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.phone = f"52155{uuid.uuid4().int % 10**8:08d}"
        self.user_id = f"MX.{uuid.uuid4().int}"

    async def writes(self, *, phone: bool = False, user_id: bool = False) -> None:
        item = {"id": f"wamid.{uuid.uuid4().hex}", "type": "text", "text": {"body": "Hola"}}
        known = {}
        if phone:
            item["from"] = known["wa_id"] = self.phone
        if user_id:
            item["from_user_id"] = known["user_id"] = self.user_id
        record = self._office.came(InboundType.MESSAGE, self.phone, item, **known)
        await self._office.base.publisher.publish([record])


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := await look()):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.02)
        return found


async def arrived(office: Office, count: int) -> list[dict[str, Any]]:
    """The chats On Hold, once there are so many."""

    async def look() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await office.sue("GET", _ALL.format("on_hold"))).body[
            "items"
        ]
        return items if len(items) == count else []

    found: list[dict[str, Any]] = await until(look)
    return found


async def test_a_block_and_labels_of_the_one_reach_the_chats_of_the_other(office: Office):
    user = User(office)
    label = await office.tenant.admin("POST", "/v1/admin/labels", {"name": "vip"})
    await user.writes(phone=True)
    (older,) = await arrived(office, 1)
    await user.writes(user_id=True)
    (newer,) = [each for each in await arrived(office, 2) if each["id"] != older["id"]]
    one, other = older["contact"]["id"], newer["contact"]["id"]
    await office.sue("PUT", f"/contacts/{other}/labels", {"labels": [label.body["id"]]})
    assert (await office.sue("POST", f"/contacts/{other}/block")).status == 200
    assert (await office.sue.get(older["id"]))["contact"]["blocked"] is False

    await user.writes(phone=True, user_id=True)

    async def blocked() -> bool:
        return bool((await office.sue.get(older["id"]))["contact"]["blocked"])

    await until(blocked)
    shown = await office.sue.get(older["id"])
    assert (shown["status"], [each["name"] for each in shown["labels"]]) == ("closed", ["vip"])
    await user.writes(phone=True)
    await user.writes(user_id=True)
    ledger = "/v1/admin/ledger"

    async def refused() -> bool:
        total = (await office.tenant.admin("GET", ledger)).body["total"]
        return bool(total["blocked"] == 3)

    await until(refused)
    for chat in (older, newer):
        thread = await office.sue("GET", f"/conversations/{chat['id']}/messages")
        assert len(thread.body["items"]) == 1

    card = await office.sue("GET", f"/contacts/{one}")
    assert (await office.sue("GET", f"/contacts/{other}")).body == card.body
    back = await office.sue("POST", f"/contacts/{other}/unblock")
    assert (back.body["id"], back.body["blocked"]) == (one, False)
    for chat in (older, newer):
        assert (await office.sue.get(chat["id"]))["contact"]["blocked"] is False


async def test_what_is_done_to_a_merged_contact_is_done_to_the_one_that_stays(office: Office):
    user = User(office)
    await user.writes(phone=True)
    (older,) = await arrived(office, 1)
    await user.writes(user_id=True)
    (newer,) = [each for each in await arrived(office, 2) if each["id"] != older["id"]]
    one, other = older["contact"]["id"], newer["contact"]["id"]
    await office.ana.act(newer["id"], "accept")
    await user.writes(phone=True, user_id=True)

    async def merged() -> bool:
        return bool((await office.sue("GET", f"/contacts/{other}")).body["id"] == one)

    await until(merged)
    mine = await office.ana("GET", f"/contacts/{other}/conversations")
    assert {each["id"] for each in mine.body["items"]} == {older["id"], newer["id"]}
    answer = await office.ana("POST", f"/contacts/{other}/block")
    assert (answer.status, answer.body["id"], answer.body["blocked"]) == (200, one, True)
    for chat in (older, newer):
        shown = await office.sue.get(chat["id"])
        assert (shown["status"], shown["contact"]["blocked"]) == ("closed", True)
    blocked = (await office.sue("GET", "/contacts/blocked")).body["items"]
    assert [each["id"] for each in blocked] == [one]
