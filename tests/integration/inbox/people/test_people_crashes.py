"""A process that dies, or is alone, between the steps of a change."""

import asyncio
import uuid
from typing import Any

import pytest

from services.inbox.model.entities import Team
from services.inbox.settings import InboxSettings
from services.inbox.storage.directory_records import records_of
from shared.contracts.directory import EntityKind, directory_key
from shared.contracts.topics import DIRECTORY
from shared.kafka.publisher import Publisher
from tests.integration.inbox.inbox_rig import eventually, number_body, running
from tests.integration.inbox.topic_reader import TopicReader

pytestmark = pytest.mark.integration


class CrashError(Exception):
    """The process ends here."""


class CrashOnce:
    """Ends the first call that passes a point after `arm`."""

    def __init__(self) -> None:
        self._point: str | None = None

    def arm(self, point: str) -> None:
        self._point = point

    async def reach(self, point: str) -> None:
        if point == self._point:
            self._point = None
            raise CrashError(point)


def tenant_body() -> dict[str, Any]:
    email = f"{uuid.uuid4().hex}@atrio.test"
    return {"name": "Acme", "admin": {"email": email, "name": "Ada", "password": "pw"}}


@pytest.mark.parametrize("point", ["create", "loaded", "committed", "created"])
async def test_a_tenant_whose_creation_crashed_is_completed_by_the_repeat(
    inbox_settings: InboxSettings, point: str
) -> None:
    body, headers = tenant_body(), {"Idempotency-Key": uuid.uuid4().hex}
    faults = CrashOnce()
    async with running(inbox_settings, faults) as inbox:
        faults.arm(point)
        crashed = await inbox.platform("POST", "/v1/platform/tenants", body, headers)
        assert crashed.code == "internal"
    async with running(inbox_settings) as inbox:
        made = await inbox.platform("POST", "/v1/platform/tenants", body, headers)
        assert made.status == 201
        tenants = (await inbox.platform("GET", "/v1/platform/tenants")).body["items"]
        assert [tenant["id"] for tenant in tenants] == [made.body["id"]]
        admin = inbox.http.as_(await inbox.sign_in(body["admin"]["email"]))
        assert (await admin("GET", "/v1/admin/policy")).status == 200
        agents = (await admin("GET", "/v1/agents")).body["items"]
        assert [agent["id"] for agent in agents] == [made.body["admin"]["id"]]
        async with TopicReader(inbox.settings, DIRECTORY) as reader:
            tenant_id = made.body["id"]
            keys = [
                directory_key(tenant_id, EntityKind.TENANT, tenant_id).decode(),
                directory_key(tenant_id, EntityKind.POLICY, tenant_id).decode(),
                directory_key(tenant_id, EntityKind.AGENT, made.body["admin"]["id"]).decode(),
            ]
            await reader.until(lambda r: all(1 in r.versions(key) for key in keys))


@pytest.mark.parametrize("point", ["create", "loaded"])
async def test_a_creation_that_crashed_before_its_write_blocks_nobody(
    inbox_settings: InboxSettings, point: str
) -> None:
    """The claim is there and its agent is not: whoever comes next, without a key, has it."""
    body = tenant_body()
    faults = CrashOnce()
    async with running(inbox_settings, faults) as inbox:
        faults.arm(point)
        assert (await inbox.platform("POST", "/v1/platform/tenants", body)).status == 500
        assert (await inbox.platform("GET", "/v1/platform/tenants")).body["items"] == []
        made = await inbox.platform("POST", "/v1/platform/tenants", body)
        assert made.status == 201
        again = await inbox.platform("POST", "/v1/platform/tenants", body)
        assert (again.status, again.code) == (409, "email_taken")


async def test_a_number_that_was_written_and_not_told_is_told_by_another_process(
    inbox_settings: InboxSettings,
) -> None:
    faults = CrashOnce()
    async with running(inbox_settings, faults) as inbox:
        tenant = await inbox.tenant()
        faults.arm("committed")
        body = number_body()
        crashed = await tenant.admin("POST", "/v1/admin/numbers", body)
        assert crashed.status == 500
    async with running(inbox_settings) as inbox:
        view = inbox.service._base.view
        await eventually(lambda: bool(view.numbers(tenant.id)))
        # Who did it is part of the same write.
        trail = await inbox.http.as_(tenant.admin.token)(
            "GET", "/v1/admin/audit?action=number.created"
        )
        assert [item["actor"]["id"] for item in trail.body["items"]] == [tenant.admin_id]


async def test_regression_an_old_version_put_behind_a_newer_one_is_told_again(
    inbox_settings: InboxSettings,
) -> None:
    """Compaction keeps the last record of a key, not the newest version."""
    async with running(inbox_settings) as inbox:
        tenant = await inbox.tenant()
        team_id = (await tenant.admin("POST", "/v1/admin/teams", {"name": "Old"})).body["id"]
        store = inbox.service._base.directory
        late = records_of(await store.get(Team, tenant.id, team_id))
        await tenant.admin("PATCH", f"/v1/admin/teams/{team_id}", {"name": "New"})
        key = directory_key(tenant.id, EntityKind.TEAM, team_id).decode()
        zombie = Publisher(inbox_settings, client_id="zombie")
        await zombie.start()
        async with TopicReader(inbox_settings, DIRECTORY) as reader:
            await reader.until(lambda r: r.versions(key) == [1, 2])
            await zombie.publish([record.out() for record in late])
            await reader.until(lambda r: r.versions(key)[:4] == [1, 2, 1, 2])
            assert b"New" in (reader.values(key)[-1] or b"")
        await zombie.aclose()
        team = inbox.service._base.view.team(tenant.id, team_id)
        assert team is not None
        assert team.name == "New"


async def test_a_deletion_that_crashed_is_followed_up_by_another_process(
    inbox_settings: InboxSettings,
) -> None:
    faults = CrashOnce()
    async with running(inbox_settings, faults) as inbox:
        tenant = await inbox.tenant()
        team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "T"})).body
        agent, _ = await tenant.agent(team_ids=[team["id"]])
        faults.arm("committed")
        assert (await tenant.admin("DELETE", f"/v1/admin/teams/{team['id']}")).status == 500
    async with running(inbox_settings) as inbox:
        view = inbox.service._base.view

        def left() -> bool:
            entry = view.agent(tenant.id, agent["id"])
            return entry is not None and entry.team_ids == []

        await eventually(left)


async def test_pods_that_start_at_once_sign_with_the_same_key(
    inbox_settings: InboxSettings,
) -> None:
    async with (
        running(inbox_settings, ready=False) as one,
        running(inbox_settings, ready=False) as two,
    ):
        await eventually(lambda: not one.service.missing() and not two.service.missing())
        first = await one.http("GET", "/.well-known/jwks.json")
        second = await two.http("GET", "/.well-known/jwks.json")
        assert len(first.body["keys"]) == 1
        assert first.body == second.body
        tenant = await one.tenant()
        # The other pod may not have read of the agent yet: MongoDB is asked.
        me = await two.http.as_(tenant.admin.token)("GET", "/v1/me")
        assert me.body["id"] == tenant.admin_id


async def test_two_pods_that_create_one_agent_at_once_make_one(
    inbox_settings: InboxSettings,
) -> None:
    async with running(inbox_settings) as one, running(inbox_settings) as two:
        tenant = await one.tenant()
        elsewhere = two.http.as_(tenant.admin.token)
        for _ in range(5):
            email = f"{uuid.uuid4().hex}@atrio.test"
            body = {"email": email, "name": "A", "password": "pw", "role": "agent"}
            answers = await asyncio.gather(
                tenant.admin("POST", "/v1/admin/agents", body),
                elsewhere("POST", "/v1/admin/agents", body),
            )
            assert sorted(answer.status for answer in answers) == [201, 409]


async def test_it_starts_and_says_why_it_is_not_ready_while_its_stores_are_away(
    inbox_settings: InboxSettings,
) -> None:
    away = inbox_settings.model_copy(
        update={
            "mongo_url": "mongodb://127.0.0.1:1/?replicaSet=rs0",
            "kafka_servers": "127.0.0.1:1",
            "mongo_select_timeout": inbox_settings.mongo_select_timeout / 30,
        }
    )
    async with running(away, ready=False) as inbox:
        assert (await inbox.http("GET", "/livez")).status == 200
        ready = await inbox.http("GET", "/readyz")
        assert ready.status == 503
        assert set(ready.body["reasons"]) == {"mongodb_not_prepared", "directory_incomplete"}
        answer = await inbox.platform("POST", "/v1/platform/tenants", tenant_body())
        assert (answer.status, answer.code) == (503, "unavailable")
        assert answer.headers["retry-after"]
