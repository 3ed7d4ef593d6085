"""A message that is sent again, and what WhatsApp still tells of the first time."""

import asyncio
import uuid
from typing import Any

import pytest

from services.inbox import ledger
from services.inbox.app.foundation import now
from services.inbox.model.items import Fact, OutcomeFact
from services.inbox.storage.entries import MESSAGES
from shared.contracts.inbound import InboundType
from shared.contracts.views import MessageStatus
from tests.integration.inbox.conversations.office import Office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS

pytestmark = pytest.mark.integration
PHONE = "5215500000099"
UNDELIVERABLE = [{"code": 131026, "title": "Message undeliverable"}]
EXPIRED = [{"code": 131047, "title": "Re-engagement message"}]
ACCEPTED, UNKNOWN, FAILED = MessageStatus.ACCEPTED, MessageStatus.UNKNOWN, MessageStatus.FAILED


class Sent:
    """A message of an agent, with what delivery and WhatsApp tell of it."""

    def __init__(self, office: Office, chat: str, message: str) -> None:
        self.office = office
        self.chat = chat
        self.id = message
        self._told = 0

    async def tell(self, name: str, wamid: str, errors: Any = None) -> None:
        """A status webhook, and that it was counted."""
        status = {"id": wamid, "status": name, "recipient_id": PHONE}
        status |= {"biz_opaque_callback_data": self.id} | ({"errors": errors} if errors else {})
        office = self.office
        await office.base.publisher.publish([office.came(InboundType.STATUS, PHONE, status)])
        self._told += 1
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                counts = (await office.tenant.admin("GET", "/v1/admin/ledger")).body["total"]
                if counts["facts"] >= self._told:
                    return
                await asyncio.sleep(0.02)

    async def end(self, outcome: MessageStatus, attempt: int, wamid: str | None = None) -> None:
        """Delivery's word on an attempt."""
        office = self.office
        fact = OutcomeFact(outcome, attempt, now(), wamid, wamid and self.key(wamid))
        await office.fold(self.chat, [Fact(uuid.uuid4().hex, (self.id,), fact)])

    def key(self, wamid: str) -> str:
        office = self.office
        return str(office.base.ids.inbound_message(office.tenant.id, office.plain, wamid))

    async def settle(self, action: str) -> dict[str, Any]:
        path = f"/conversations/{self.chat}/messages/{self.id}/{action}"
        answer = await self.office.ana("POST", path)
        assert answer.status in {200, 202}, answer.raw
        return dict(answer.body)

    async def shown(self) -> tuple[str, str | None, Any]:
        """Status, wamid and the error's code."""
        thread = await self.office.ana("GET", f"/conversations/{self.chat}/messages")
        (found,) = (each for each in thread.body["items"] if each["id"] == self.id)
        return found["status"], found["wamid"], (found["error"] or {}).get("code")


async def sent(office: Office) -> Sent:
    chat = await office.opened_by(office.ana, number=office.plain)
    return Sent(office, chat, (await office.ana.send(chat)).body["id"])


def wamids() -> tuple[str, str]:
    return f"wamid.{uuid.uuid4().hex}", f"wamid.{uuid.uuid4().hex}"


async def differences(office: Office, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command says of this tenant, in the first word of each line."""
    capsys.readouterr()
    await ledger.run(ledger.parser().parse_args(["--days", "1"]), office.tenant.inbox.settings)
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines if office.tenant.id in line]


async def test_regression_a_repeated_failure_of_the_first_attempt_does_not_fail_the_second(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    message = await sent(office)
    old, new = wamids()
    await message.end(ACCEPTED, 1, old)
    for name, errors in (("sent", None), ("failed", UNDELIVERABLE)):
        await message.tell(name, old, errors=errors)
    assert await message.shown() == ("failed", old, 131026)

    again = await message.settle("resend")
    assert (again["status"], again["wamid"], again["error"]) == ("queued", None, None)
    await message.tell("failed", old, errors=UNDELIVERABLE)
    assert await message.shown() == ("queued", None, None)
    await message.end(ACCEPTED, 2, new)
    await message.tell("sent", new)
    await message.tell("failed", old, errors=UNDELIVERABLE)
    assert await message.shown() == ("sent", new, None)
    assert await differences(office, capsys) == []

    await message.tell("failed", new, errors=EXPIRED)
    assert await message.shown() == ("failed", new, 131047)
    await message.settle("discard")
    await message.tell("failed", new, errors=EXPIRED)
    assert await message.shown() == ("failed", new, "discarded")
    assert await differences(office, capsys) == []

    lost = {"$unset": {f"earlier.{message.key(old)}.failed": 1}}
    await office.base.database[MESSAGES].update_one({"_id": message.id}, lost)
    assert await differences(office, capsys) == ["fact"]


async def test_regression_a_first_failure_of_an_unanswered_attempt_does_not_fail_the_next_one(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    message = await sent(office)
    old, new = wamids()
    await message.end(UNKNOWN, 1)
    await message.settle("resend")
    await message.end(ACCEPTED, 2, new)
    await message.tell("sent", new)
    await message.tell("failed", old, errors=UNDELIVERABLE)
    assert await message.shown() == ("sent", new, None)
    # The customer has it by the first attempt, whatever becomes of the second.
    await message.tell("delivered", old)
    await message.tell("failed", new, errors=EXPIRED)
    assert await message.shown() == ("delivered", new, None)
    assert await differences(office, capsys) == []
