"""WhatsApp Business Accounts: their templates are read, their subscription is kept."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import TemplatesSynced
from shared.contracts.records import InRecord
from tests.integration.delivery.conftest import MakePod
from tests.integration.delivery.delivery_rig import (
    NUMBER,
    PHONE_NUMBER_ID,
    TENANT,
    GraphControl,
    Log,
    Pod,
    in_record,
    until,
)

pytestmark = pytest.mark.integration

WABA = "100000000000001"


def number_entry(version: int = 1, app_id: str | None = None) -> InRecord:
    value = {
        "id": NUMBER,
        "tenant": TENANT,
        "version": version,
        "phone_number_id": PHONE_NUMBER_ID,
        "waba_id": WABA,
        "app_id": app_id,
    }
    envelope = Envelope("d", "directory.number", "inbox", timestamp(datetime.now(UTC)), TENANT)
    key = directory_key(TENANT, EntityKind.NUMBER, NUMBER)
    headers = tuple(envelope.headers())
    return InRecord("directory.v1", 0, 0, key, orjson.dumps(value), headers, 0)


def readings(events: Log) -> list[TemplatesSynced]:
    return [TemplatesSynced.model_validate(data) for _, data in events.events("templates.synced")]


async def calls(graph: GraphControl, call: str) -> list[str]:
    found = await graph.call("GET", f"/requests?call={call}&limit=1000")
    return [each["method"] for each in found["items"]]


def checks(pod: Pod, kind: str, outcome: str) -> float:
    return float(pod.engine.metrics.account_checks.labels(kind, outcome)._value.get())


async def templates(graph: GraphControl, *made: dict[str, Any]) -> None:
    await graph.call("PUT", f"/templates/{WABA}", {"templates": list(made)})


async def test_templates_are_read_page_by_page_in_their_time_and_on_demand(
    pod: Pod, graph: GraphControl, events: Log
):
    long = {"components": [{"type": "BODY", "text": "x" * 4000}]}
    await templates(graph, *({"name": f"t{n}", **long} for n in range(250)))
    pod.engine.numbers.apply_directory(number_entry())
    await until(lambda: pod.engine.ownership.settled)
    await pod.engine.accounts.look()

    told = readings(events)
    assert [each.part for each in told] == [1, 2]
    assert {(each.waba_id, each.parts, each.at) for each in told} == {(WABA, 2, told[0].at)}
    assert [t["name"] for each in told for t in each.templates] == [f"t{n}" for n in range(250)]
    assert len(await calls(graph, "templates")) == 3

    await pod.engine.accounts.look()
    assert len(readings(events)) == 2, "not before its time"
    await templates(graph)
    pod.advance(3601)
    await pod.engine.accounts.look()
    assert [(each.part, each.parts, each.templates) for each in readings(events)[2:]] == [
        (1, 1, [])
    ]

    await templates(graph, {"name": "new"})
    sync = {"number_id": NUMBER}
    await pod.take_in(
        in_record("templates.sync", sync, key=NUMBER), in_record("templates.sync", sync, key=NUMBER)
    )
    await until(lambda: readings(events)[3:])
    assert readings(events)[3].templates[0]["name"] == "new"


async def test_reading_that_fails_is_repeated_soon_and_stops_nothing(
    pod: Pod, graph: GraphControl, events: Log
):
    await graph.fault(error=190, match={"call": "templates"}, times=1)
    pod.engine.numbers.apply_directory(number_entry())
    await until(lambda: pod.engine.ownership.settled)
    await pod.engine.accounts.look()
    assert (readings(events), pod.engine.numbers.stops()) == ([], [])
    assert checks(pod, "templates", "failed") == 1
    events.away = True
    pod.advance(61)
    await pod.engine.accounts.look()
    events.away = False
    pod.advance(61)
    await pod.engine.accounts.look()
    assert len(readings(events)) == 1


async def test_missing_subscription_is_made_again(pod: Pod, graph: GraphControl, events: Log):
    pod.engine.numbers.apply_directory(number_entry())
    await until(lambda: pod.engine.ownership.settled)
    await pod.engine.accounts.look()
    assert await calls(graph, "subscribed_apps") == ["GET"]
    assert checks(pod, "subscriptions", "present") == 1

    await graph.unsubscribe(WABA)
    pod.advance(3601)
    await pod.engine.accounts.look()
    assert checks(pod, "subscriptions", "restored") == 1
    pod.advance(3601)
    await pod.engine.accounts.look()
    assert checks(pod, "subscriptions", "present") == 2

    # Subscribed, but not the tenant's own app.
    pod.engine.numbers.apply_directory(number_entry(version=2, app_id="app-of-the-tenant"))
    pod.advance(3601)
    await pod.engine.accounts.look()
    assert checks(pod, "subscriptions", "restored") == 2


async def test_account_is_looked_after_by_one_pod_only(
    make_pod: MakePod, graph: GraphControl, events: Log
):
    pods = [make_pod(), make_pod()]
    await pods[0].engine.create_indexes()
    for pod, partitions in zip(pods, (range(6), range(6, 12)), strict=True):
        await pod.start(partitions=partitions)
        pod.engine.numbers.apply_directory(number_entry())
        await until(lambda pod=pod: pod.engine.ownership.settled)
        await pod.engine.accounts.look()
    assert len(readings(events)) == 1
