import asyncio
import json
import uuid
from typing import Any

import pytest

from shared.contracts.directory import (
    AgentEntry,
    CredentialsEntry,
    EntityKind,
    NumberEntry,
    PolicyEntry,
    Secrets,
    TenantEntry,
    directory_key,
)
from shared.contracts.envelope import read_envelope
from shared.contracts.events import AgentAvailability
from shared.contracts.topics import AGENT_EVENTS, CREDENTIALS, DIRECTORY
from shared.sealing import Sealer
from tests.integration.inbox.inbox_rig import (
    MASTER_KEY,
    Answer,
    Inbox,
    TenantRig,
    number_body,
)
from tests.integration.inbox.topic_reader import TopicReader

pytestmark = pytest.mark.integration


def _key(tenant: str, kind: EntityKind, entity_id: str) -> str:
    return directory_key(tenant, kind, entity_id).decode()


async def test_a_tenant_is_set_up_over_http_and_everybody_is_told(tenant: TenantRig) -> None:
    team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "Ventas"})).body
    label = (
        await tenant.admin("POST", "/v1/admin/labels", {"name": "VIP", "color": "#ff0000"})
    ).body
    agent, _ = await tenant.agent(team_ids=[team["id"]], skills=["es"], capacity=7)
    number = await tenant.number(team_id=team["id"])
    policy = {
        "strategy": "least_busy",
        "sticky": True,
        "presence_grace_seconds": 30,
        "window_warning_minutes": 15,
        "business_hours": {
            "timezone": "America/Mexico_City",
            "shifts": [{"days": ["mon", "fri"], "opens": "09:00", "closes": "24:00"}],
            "text": "Cerrado",
        },
    }
    nowhere = {"business_hours": {"timezone": "Mars/Olympus", "shifts": []}}
    assert (await tenant.admin("PUT", "/v1/admin/policy", nowhere)).code == "validation"
    assert (await tenant.admin("GET", "/v1/admin/policy")).body["strategy"] == "manual"
    assert (await tenant.admin("PUT", "/v1/admin/policy", policy)).body == policy

    wanted = {
        _key(tenant.id, EntityKind.TENANT, tenant.id): 1,
        _key(tenant.id, EntityKind.AGENT, tenant.admin_id): 1,
        _key(tenant.id, EntityKind.TEAM, team["id"]): 1,
        _key(tenant.id, EntityKind.LABEL, label["id"]): 1,
        _key(tenant.id, EntityKind.AGENT, agent["id"]): 1,
        _key(tenant.id, EntityKind.NUMBER, number["id"]): 1,
        _key(tenant.id, EntityKind.POLICY, tenant.id): 2,
    }
    async with TopicReader(tenant.inbox.settings, DIRECTORY) as reader:
        await reader.until(lambda r: all(v in r.versions(key) for key, v in wanted.items()))
    told = {key: value for key, value, _ in reader.records if value is not None}
    models = {
        _key(tenant.id, EntityKind.TENANT, tenant.id): TenantEntry,
        _key(tenant.id, EntityKind.AGENT, agent["id"]): AgentEntry,
        _key(tenant.id, EntityKind.NUMBER, number["id"]): NumberEntry,
        _key(tenant.id, EntityKind.POLICY, tenant.id): PolicyEntry,
    }
    entries: dict[str, Any] = {
        kind.__name__: kind.model_validate_json(told[key]) for key, kind in models.items()
    }
    assert entries["AgentEntry"].team_ids == [team["id"]]
    assert entries["AgentEntry"].capacity == 7
    assert entries["NumberEntry"].team_id == team["id"]
    assert entries["PolicyEntry"].policy.strategy == "least_busy"
    headers = next(h for key, _, h in reader.records if key.endswith(agent["id"]))
    envelope = read_envelope(headers.items())
    assert (envelope.type, envelope.tenant, envelope.subject, envelope.sequence) == (
        "directory.agent",
        tenant.id,
        agent["id"],
        1,
    )
    # Nobody who reads the directory learns an address, a password or a token.
    everything = b"".join(value or b"" for _, value, _ in reader.records)
    for secret in (b"password", b"argon2", b"graph-token", b"@atrio.test"):
        assert secret not in everything


async def test_what_everybody_of_the_tenant_may_list_has_no_more_than_names(
    tenant: TenantRig,
) -> None:
    team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "Ventas"})).body
    agent, ana = await tenant.agent(team_ids=[team["id"]])
    listed = (await ana("GET", "/v1/agents")).body
    mine = next(item for item in listed["items"] if item["id"] == agent["id"])
    assert mine == {
        "id": agent["id"],
        "name": "Ana",
        "role": "agent",
        "team_ids": [team["id"]],
        "available": True,
    }
    assert [t["name"] for t in (await ana("GET", "/v1/teams")).body["items"]] == ["Ventas"]
    assert (await ana("GET", "/v1/labels")).body == {"items": [], "next_cursor": None}
    assert (await ana("GET", "/v1/templates")).body == {"items": [], "next_cursor": None}


async def test_secrets_of_a_number_go_sealed_to_their_topic_and_never_come_out(
    tenant: TenantRig,
) -> None:
    app = {"id": "app-1", "secret": "own-secret", "verify_token": "own-verify"}
    number = await tenant.number(app=app, bot={"webhook_url": "https://bot.test/hook"})
    assert number["app"] == {"id": "app-1"}
    path = f"/v1/admin/numbers/{number['id']}"
    patched = await tenant.admin("PATCH", path, {"access_token": "second-token"})
    assert patched.body["version"] == 2
    for answer in (patched, await tenant.admin("GET", path)):
        for secret in (b"graph-token", b"second-token", b"own-secret", b"own-verify"):
            assert secret not in answer.raw
    async with TopicReader(tenant.inbox.settings, CREDENTIALS) as reader:
        await reader.until(lambda r: r.versions(number["id"])[-1:] == [2])
        opened = []
        for value in reader.values(number["id"]):
            assert value is not None
            entry = CredentialsEntry.model_validate_json(value)
            plain = Sealer(MASTER_KEY).open(entry.sealed, owner=number["id"])
            opened.append(Secrets.model_validate_json(plain))
        assert [s.access_token for s in opened] == ["graph-token", "second-token"]
        assert opened[1].app is not None
        assert opened[1].app.secret == "own-secret"
        assert opened[1].bot_webhook_url == "https://bot.test/hook"
        assert (await tenant.admin("PATCH", path, {"app": None, "bot": None})).body["app"] is None
        assert (await tenant.admin("DELETE", path)).status == 204
        await reader.until(lambda r: r.versions(number["id"])[-1:] == [4])
        assert reader.values(number["id"])[-1] is None


async def test_a_patch_that_changes_nothing_is_no_new_version(tenant: TenantRig) -> None:
    number = await tenant.number()
    path = f"/v1/admin/numbers/{number['id']}"
    for patch in ({}, {"access_token": "graph-token"}, {"bot": None}):
        assert (await tenant.admin("PATCH", path, patch)).body["version"] == 1


async def test_availability_is_told_with_the_agents_own_version(tenant: TenantRig) -> None:
    agent, ana = await tenant.agent()
    answer = await ana("PUT", "/v1/me/availability", {"available": False})
    assert answer.body["available"] is False
    assert (await ana("PUT", "/v1/me/availability", {"available": False})).status == 200
    async with TopicReader(tenant.inbox.settings, AGENT_EVENTS) as reader:
        await reader.until(lambda r: bool(r.versions(agent["id"])))
        assert reader.versions(agent["id"]) == [2]
        value = reader.values(agent["id"])[0]
        assert value is not None
        event = AgentAvailability.model_validate_json(value)
    assert (event.agent_id, event.available) == (agent["id"], False)
    key = _key(tenant.id, EntityKind.AGENT, agent["id"])
    async with TopicReader(tenant.inbox.settings, DIRECTORY) as reader:
        await reader.until(lambda r: r.versions(key) == [1, 2])
        assert json.loads(reader.values(key)[1] or b"")["available"] is False


async def test_a_deleted_team_leaves_its_agents_and_numbers(tenant: TenantRig) -> None:
    team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "Ventas"})).body
    agent, _ = await tenant.agent(team_ids=[team["id"]])
    number = await tenant.number(team_id=team["id"])
    assert (await tenant.admin("DELETE", f"/v1/admin/teams/{team['id']}")).status == 204
    shown = await tenant.admin("GET", f"/v1/admin/agents/{agent['id']}")
    assert shown.body["team_ids"] == []
    shown = await tenant.admin("GET", f"/v1/admin/numbers/{number['id']}")
    assert shown.body["team_id"] is None


async def test_an_erased_tenant_is_gone_with_everything_of_it(tenant: TenantRig) -> None:
    number = await tenant.number()
    agent, ana = await tenant.agent()
    path = f"/v1/platform/tenants/{tenant.id}"
    assert (await tenant.inbox.platform("DELETE", path)).status == 204
    assert (await tenant.inbox.platform("GET", path)).status == 404
    assert (await ana("GET", "/v1/me")).status == 401
    gone = (
        _key(tenant.id, EntityKind.TENANT, tenant.id),
        _key(tenant.id, EntityKind.POLICY, tenant.id),
        _key(tenant.id, EntityKind.AGENT, agent["id"]),
        _key(tenant.id, EntityKind.NUMBER, number["id"]),
    )
    async with TopicReader(tenant.inbox.settings, DIRECTORY) as reader:
        await reader.until(lambda r: all(r.values(key)[-1:] == [None] for key in gone))
    another = await tenant.inbox.tenant("Next")
    taken = await another.admin(
        "POST", "/v1/admin/numbers", number_body(phone_number_id=number["phone_number_id"])
    )
    assert taken.status == 201
    assert taken.body["id"] != number["id"]


async def test_lists_are_paged_by_name_without_a_gap_or_a_repeat(tenant: TenantRig) -> None:
    names = [f"Equipo {n:02}" for n in range(7)]
    for name in reversed(names):
        await tenant.admin("POST", "/v1/admin/teams", {"name": name})
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        page = (await tenant.admin("GET", f"/v1/admin/teams?limit=2{cursor}")).body
        seen += [item["name"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == names
    assert page["next_cursor"] is None


@pytest.mark.parametrize("kind", ["agents", "teams", "labels", "numbers"])
async def test_a_repeat_with_the_same_idempotency_key_gives_the_same_thing(
    tenant: TenantRig, kind: str
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "agents": {
            "email": f"{uuid.uuid4().hex}@atrio.test",
            "name": "Ana",
            "password": "pw",
            "role": "agent",
        },
        "teams": {"name": "Ventas"},
        "labels": {"name": "VIP"},
        "numbers": number_body(),
    }
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    calls = [tenant.admin("POST", f"/v1/admin/{kind}", bodies[kind], headers) for _ in range(3)]
    answers = await asyncio.gather(*calls)
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert len({answer.body["id"] for answer in answers}) == 1


async def test_of_two_who_want_one_email_at_once_exactly_one_gets_it(
    inbox: Inbox, tenant: TenantRig
) -> None:
    other = await inbox.tenant("Other")
    for _ in range(5):
        email = f"{uuid.uuid4().hex}@atrio.test"
        agent = {"email": email, "name": "Ana", "password": "pw", "role": "agent"}
        admin = {"email": email.upper(), "name": "Ada", "password": "pw"}
        answers = await asyncio.gather(
            tenant.admin("POST", "/v1/admin/agents", agent),
            other.admin("POST", "/v1/admin/agents", agent),
            inbox.platform("POST", "/v1/platform/tenants", {"name": "N", "admin": admin}),
        )
        assert sorted(answer.status for answer in answers) == [201, 409, 409]
        assert {a.code for a in answers if a.status == 409} == {"email_taken"}


async def test_of_two_who_want_one_number_at_once_exactly_one_gets_it(
    inbox: Inbox, tenant: TenantRig
) -> None:
    other = await inbox.tenant("Other")
    for _ in range(5):
        body = number_body()
        answers = await asyncio.gather(
            tenant.admin("POST", "/v1/admin/numbers", body),
            other.admin("POST", "/v1/admin/numbers", body),
        )
        assert sorted(answer.status for answer in answers) == [201, 409]
        assert {a.code for a in answers if a.status == 409} == {"number_taken"}


async def test_a_label_has_its_name_alone(inbox: Inbox, tenant: TenantRig) -> None:
    path = "/v1/admin/labels"

    async def create(name: str, **headers: str) -> Answer:
        return await tenant.admin("POST", path, {"name": name}, headers)

    both = await asyncio.gather(create("Urgente"), create("  URGENTE "))
    assert sorted((each.status, each.code) for each in both) == [(201, None), (409, "label_taken")]
    other = await inbox.tenant()
    assert (await other.admin("POST", path, {"name": "urgente"})).status == 201
    first = next(each.body["id"] for each in both if each.status == 201)
    second = (await create("VIP", **{"Idempotency-Key": "vip"})).body["id"]
    for name in ("urgente", "Urgente"):
        refused = await tenant.admin("PATCH", f"{path}/{second}", {"name": name})
        assert (refused.status, refused.code) == (409, "label_taken")
    assert (await tenant.admin("PATCH", f"{path}/{first}", {"name": "uRGENTE"})).status == 200
    assert (await tenant.admin("PATCH", f"{path}/{first}", {"name": "Hoy"})).status == 200
    assert (await tenant.admin("PATCH", f"{path}/{second}", {"name": "Urgente"})).status == 200
    assert (await create("VIP")).status == 201
    assert (await create("VIP", **{"Idempotency-Key": "vip"})).body["id"] == second
    assert (await tenant.admin("DELETE", f"{path}/{first}")).status == 204
    assert (await create("hoy")).status == 201
