"""What delivery tells of numbers and templates, as admins and agents see it."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import DeliveryEventType, NumberOutcome, TemplatesSynced
from shared.contracts.records import OutRecord
from shared.contracts.topics import ACCOUNT_EVENTS, DELIVERY_EVENTS, INBOUND, OUTBOUND
from shared.contracts.views import MessageError
from tests.integration.inbox.conversations.office import Member, now, open_office
from tests.integration.inbox.inbox_rig import Answer, TenantRig
from tests.integration.inbox.topic_reader import TopicReader

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
    path = f"/v1/admin/numbers/{number['id']}/resume"
    assert (await tenant.admin("POST", path)).status == 202  # it sends: nothing is asked for
    # Told again, late: it is older than what is known.
    await told(stopped, 1, error=error, reason="token_invalid")
    await told(stopped, 3, reason="spam_limit", until=T0 + timedelta(hours=2))
    await becomes(shown, lambda sending: sending["state"] == "limited")
    assert (await shown())["until"] == "2026-06-01T14:00:00.000Z"

    _, agent = await tenant.agent()
    assert (await agent("POST", path)).status == 403
    assert (await tenant.admin("POST", path.replace(number["id"], "00"))).status == 404
    asked = await tenant.admin("POST", path)
    assert (asked.status, asked.body["sending"]["state"]) == (202, "limited")
    async with TopicReader(tenant.inbox.settings, OUTBOUND) as reader:
        await reader.until(lambda r: number["id"] in [key for key, _, _ in r.records])
    ((value, headers),) = [(v, h) for key, v, h in reader.records if key == number["id"]]
    stop = {"number_id": number["id"], "stopped_at": "2026-06-01T12:03:00.000Z"}
    assert json.loads(value or b"") == stop
    assert headers["ce_type"] == b"atrio.number.resume.v1"
    (noted,) = (await tenant.admin("GET", "/v1/admin/audit?action=number.resume_asked")).body[
        "items"
    ]
    assert noted["actor"]["id"] == tenant.admin_id
    assert noted["target"] == {"kind": "number", "id": number["id"]}
    assert noted["before"] == {"sending": "limited", "cause": "spam_limit"}


async def changed(tenant: TenantRig, field: str, waba: str, *, day: int = 1, **item: Any) -> None:
    at = timestamp(T0.replace(day=day))
    value = {"field": field, "item": item, "waba_id": waba, "received_at": at}
    envelope = Envelope(uuid.uuid4().hex, "whatsapp.change", "ingest", at, tenant.id)
    change = OutRecord(INBOUND, b"k", json.dumps(value).encode(), envelope.headers())
    # As a consumer that died before its commit would see it: twice.
    await tenant.inbox.service._base.publisher.publish([change, change])


def template(name: str, **members: Any) -> dict[str, Any]:
    body = {"type": "BODY", "text": f"{name}: hola {{{{1}}}}"}
    return {
        "id": f"id-{name}",
        "name": name,
        "language": "es",
        "category": "UTILITY",
        "status": "APPROVED",
        "components": [body],
    } | members


async def test_templates_are_listed_judged_and_offered(tenant: TenantRig) -> None:
    office = await open_office(tenant)
    waba = "100000000000001"

    async def synced(at: datetime, part: int, parts: int, *templates: dict[str, Any]) -> None:
        told = TemplatesSynced(
            waba_id=waba, at=at, part=part, parts=parts, templates=list(templates)
        )
        await tell(tenant, DeliveryEventType.TEMPLATES_SYNCED, f"{tenant.id}/{waba}", told)

    async def names(query: str = "") -> list[str]:
        answer = await office.ana("GET", f"/templates{query}")
        assert answer.status == 200, answer.raw
        return [each["name"] for each in answer.body["items"]]

    chat = await office.opened_by(office.ana)
    closed = await office.opened_by(office.bea, sent_at=now() - timedelta(days=2))

    async def sends(member: Member, conversation: str, client: str, **template: Any) -> Answer:
        body: dict[str, Any] = {"client_id": client, "type": "template", "template": template}
        return await member("POST", f"/conversations/{conversation}/messages", body)

    es, given = {"code": "es"}, [{"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}]
    # Nothing is known of the account yet: WhatsApp alone judges.
    assert (await sends(office.ana, chat, "c0", name="any", language=es)).status == 202

    await synced(T0, 1, 2, template("welcome"), template("gone"))
    await synced(T0, 2, 2, template("promo", category="MARKETING", language="en"))
    await becomes(names, lambda found: found == ["gone", "promo", "welcome"])
    later = T0 + timedelta(hours=1)
    await synced(
        later,
        1,
        1,
        template("welcome"),
        template("promo", category="MARKETING", language="en"),
        template("plain", components=[{"type": "BODY", "text": "Hola"}]),
        template("slow", status="PAUSED"),
    )
    await becomes(names, lambda found: found == ["plain", "promo", "slow", "welcome"])
    await synced(T0, 1, 1, template("gone"))  # told again, late

    assert await names("?status=paused") == ["slow"]
    assert await names(f"?number={office.number}&category=marketing") == ["promo"]
    assert await names("?language=es&q=WEL") == ["welcome"]
    assert (await office.ana("GET", "/templates?number=00")).code == "validation"
    (shown,) = (await office.ana("GET", "/templates?q=welcome")).body["items"]
    assert shown["parameters"] == [{"component": "body", "kind": "text", "names": ["1"]}]
    page = (await office.ana("GET", "/templates?limit=3")).body
    assert await names(f"?cursor={page['next_cursor']}") == ["welcome"]

    unknown = await sends(office.ana, chat, "c1", name="gone", language=es)
    assert (unknown.status, unknown.code) == (422, "unknown_template")
    paused = await sends(office.ana, chat, "c1", name="slow", language=es, components=given)
    assert (paused.status, paused.code) == (409, "template_unavailable")
    assert paused.body["template_status"] == "PAUSED"
    wrong = await sends(office.ana, chat, "c1", name="welcome", language=es)
    assert wrong.status == 422
    assert wrong.body["errors"] == [{"field": "template.components.body", "code": "required"}]
    right = await sends(office.ana, chat, "c1", name="welcome", language=es, components=given)
    assert right.status == 202, right.raw

    text = {"client_id": "c1", "type": "text", "text": "hola"}
    late = await office.bea("POST", f"/conversations/{closed}/messages", text)
    assert (late.status, late.code) == (409, "window_closed")
    assert late.body["templates"] == [
        {
            "id": f"id-{name}",
            "name": name,
            "language": language,
            "category": category,
            "parameters": parameters,
        }
        for name, language, category, parameters in (
            ("plain", "es", "UTILITY", 0),
            ("welcome", "es", "UTILITY", 1),
            ("promo", "en", "MARKETING", 1),
        )
    ]
    opened = await sends(office.bea, closed, "c2", name="plain", language=es)
    assert opened.status == 202, opened.raw


async def test_templates_are_read_again_on_demand_and_when_meta_says_so(
    tenant: TenantRig,
) -> None:
    waba = uuid.uuid4().hex
    number = await tenant.number(waba_id=waba)
    other = await tenant.number(waba_id=None)
    _, agent = await tenant.agent()
    path = f"/v1/admin/numbers/{number['id']}/templates/sync"
    assert (await agent("POST", path)).status == 403
    assert (await tenant.admin("POST", path.replace(number["id"], "00"))).status == 404
    assert (await tenant.admin("POST", path.replace(number["id"], other["id"]))).status == 422
    assert (await tenant.admin("POST", path)).status == 202

    await changed(
        tenant, "message_template_status_update", waba, event="PAUSED", message_template_id=5
    )

    async with TopicReader(tenant.inbox.settings, OUTBOUND) as reader:
        await reader.until(lambda r: [key for key, _, _ in r.records].count(number["id"]) == 2)
    commands = [(value, headers) for key, value, headers in reader.records if key == number["id"]]
    for value, headers in commands:
        assert json.loads(value or b"") == {"number_id": number["id"]}
        assert headers["ce_type"] == b"atrio.templates.sync.v1"


async def test_what_meta_says_of_an_account_is_listed_and_told_once(tenant: TenantRig) -> None:
    waba, phone = uuid.uuid4().hex, "+1 202-555-0100"
    number = await tenant.number(waba_id=waba, display_phone_number=phone)
    _, agent = await tenant.agent()
    path = "/v1/admin/account-news"

    await changed(tenant, "account_update", waba, event="DISABLED_UPDATE", ban_info={"a": 1})
    quality = "phone_number_quality_update"
    await changed(tenant, quality, waba, day=2, event="FLAGGED", display_phone_number="12025550100")
    await changed(tenant, "history", waba, day=3, phase=0)

    async def listed(query: str = "") -> list[tuple[str, str | None]]:
        answer = await tenant.admin("GET", path + query)
        assert answer.status == 200, answer.raw
        return [(each["change"], each["number_id"]) for each in answer.body["items"]]

    both = [("FLAGGED", number["id"]), ("DISABLED_UPDATE", None)]
    await becomes(listed, lambda found: found == both)
    assert await listed("?field=account_update") == both[1:]
    assert await listed(f"?number={number['id']}") == both[:1]
    page = (await tenant.admin("GET", f"{path}?limit=1")).body
    assert await listed(f"?cursor={page['next_cursor']}") == both[1:]
    assert (await tenant.admin("GET", f"{path}?cursor=x")).code == "validation"
    assert (await agent("GET", path)).status == 403

    key = f"{tenant.id}:{waba}"
    async with TopicReader(tenant.inbox.settings, ACCOUNT_EVENTS) as reader:
        await reader.until(lambda r: len(r.values(key)) == 2)
    first, second = (json.loads(value or b"") for value in reader.values(key))
    assert (first["change"], first["details"]) == ("DISABLED_UPDATE", {"ban_info": {"a": 1}})
    assert (second["field"], second["number_id"]) == (quality, number["id"])
