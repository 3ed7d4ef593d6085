"""What delivery tells of numbers and templates, as admins and agents see it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import DeliveryEventType, NumberOutcome
from shared.contracts.records import OutRecord
from shared.contracts.topics import DELIVERY_EVENTS
from shared.contracts.views import MessageError
from tests.integration.inbox.inbox_rig import TenantRig

pytestmark = pytest.mark.integration

T0 = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def becomes(read: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(10):
        while not wanted(await read()):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.05)


async def tell(tenant: TenantRig, kind: DeliveryEventType, key: str, payload: Any) -> None:
    envelope = Envelope(f"{key}:{kind.value}", kind.value, "delivery", timestamp(T0), tenant.id)
    value = payload.model_dump_json().encode()
    record = OutRecord(DELIVERY_EVENTS, key.encode(), value, envelope.headers())
    await tenant.inbox.service._base.publisher.publish([record])


async def test_a_stopped_number_shows_its_cause_until_it_goes_on(tenant: TenantRig) -> None:
    number = await tenant.number()
    ok = {"state": "ok", "cause": None, "since": None, "until": None, "error": None}
    assert number["sending"] == ok
    error = MessageError(code=190, title="Session has expired")

    async def told(kind: DeliveryEventType, after: int, **members: Any) -> None:
        at = T0 + timedelta(minutes=after)
        outcome = NumberOutcome(number_id=number["id"], at=at, **members)
        await tell(tenant, kind, number["id"], outcome)

    async def shown() -> dict[str, Any]:
        path = f"/v1/admin/numbers/{number['id']}"
        return dict((await tenant.admin("GET", path)).body["sending"])

    stopped, resumed = DeliveryEventType.NUMBER_STOPPED, DeliveryEventType.NUMBER_RESUMED
    await told(stopped, 1, error=error, reason="token_invalid")
    await becomes(shown, lambda sending: sending["state"] == "stopped")
    assert await shown() == {
        "state": "stopped",
        "cause": "token_invalid",
        "since": "2026-06-01T12:01:00.000Z",
        "until": None,
        "error": {"code": 190, "title": "Session has expired", "detail": None},
    }
    listed = (await tenant.admin("GET", "/v1/admin/numbers")).body["items"]
    assert [each["sending"]["cause"] for each in listed] == ["token_invalid"]

    await told(resumed, 2)
    await becomes(shown, lambda sending: sending == ok)
    # Told again, late: it is older than what is known.
    await told(stopped, 1, error=error, reason="token_invalid")
    await told(stopped, 3, reason="spam_limit", until=T0 + timedelta(hours=2))
    await becomes(shown, lambda sending: sending["state"] == "limited")
    assert (await shown())["until"] == "2026-06-01T14:00:00.000Z"
