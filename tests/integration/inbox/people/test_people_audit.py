import asyncio
import uuid
from collections.abc import Collection
from typing import Any

import pytest

from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS, Http, TenantRig

pytestmark = pytest.mark.integration


async def trail(http: Http, query: str = "", *, until: Collection[str] = ()) -> list[Any]:
    """The trail; records of changes are written behind the answer to them."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            answer = await http("GET", f"/v1/admin/audit{query}")
            assert answer.status == 200, answer.raw
            items: list[Any] = answer.body["items"]
            if set(until) <= {item["action"] for item in items}:
                return items
            await asyncio.sleep(0.02)


def of(items: list[Any], action: str) -> Any:
    return next(item for item in items if item["action"] == action)


async def test_the_trail_says_who_changed_what_and_who_came_in(tenant: TenantRig) -> None:
    http = tenant.admin
    agent, ana = await tenant.agent()
    team = (await http("POST", "/v1/admin/teams", {"name": "Ventas"})).body
    await http("PATCH", f"/v1/admin/teams/{team['id']}", {"name": "Sales"})
    await http("PUT", "/v1/admin/policy", {"strategy": "least_busy"})
    await ana("PUT", "/v1/me/availability", {"available": False})
    number = await tenant.number()
    await http("PATCH", f"/v1/admin/numbers/{number['id']}", {"access_token": "graph-token-2"})
    await http("DELETE", f"/v1/admin/numbers/{number['id']}")
    mine = (await ana("GET", "/v1/me/sessions")).body["items"][0]["id"]
    await http("DELETE", f"/v1/admin/agents/{agent['id']}/sessions/{mine}")
    for password in ("no", "no", "no", "no", "no"):
        credentials = {"email": agent["email"], "password": password}
        await tenant.inbox.http("POST", "/v1/auth/token", credentials)

    items = await trail(
        http,
        until={
            "tenant.created",
            "agent.created",
            "team.created",
            "team.changed",
            "policy.changed",
            "number.created",
            "number.changed",
            "number.deleted",
            "session.revoked",
            "sign_in.succeeded",
            "sign_in.failed",
            "sign_in.locked_out",
        },
    )
    assert "agent.changed" not in {item["action"] for item in items}
    admin = {"kind": "agent", "id": tenant.admin_id, "name": "Ada"}
    renamed = of(items, "team.changed")
    assert renamed["actor"] == admin
    assert renamed["target"] == {"kind": "team", "id": team["id"]}
    assert (renamed["before"], renamed["after"]) == ({"name": "Ventas"}, {"name": "Sales"})
    assert of(items, "policy.changed")["after"] == {"strategy": "least_busy"}
    assert of(items, "number.changed")["secrets"] == ["credentials"]
    assert "graph-token" not in str(items)
    assert of(items, "tenant.created")["actor"]["kind"] == "platform"
    ended = of(items, "session.revoked")
    assert (ended["actor"], ended["target"]["id"]) == (admin, mine)
    assert ended["after"] == {"agent": agent["id"]}
    failed = of(items, "sign_in.failed")
    assert failed["actor"] == {"kind": "anonymous", "id": None, "name": None}
    assert failed["target"] == {"kind": "agent", "id": agent["id"]}
    came = of(items, "sign_in.succeeded")
    assert came["actor"]["id"] == agent["id"]
    assert came["after"] == {"address": "127.0.0.1", "session": mine}

    by_ana = await trail(http, f"?actor={agent['id']}")
    assert {item["action"] for item in by_ana} == {"sign_in.succeeded"}
    failures = await trail(http, "?action=sign_in.failed")
    assert len(failures) == 4
    at = failures[1]["at"]
    later = await trail(http, f"?action=sign_in.failed&from={at}")
    earlier = await trail(http, f"?action=sign_in.failed&to={at}")
    assert later + earlier == failures
    pages, cursor = [], ""
    while cursor is not None:
        page = (await http("GET", f"/v1/admin/audit?limit=4{cursor and f'&cursor={cursor}'}")).body
        pages += page["items"]
        cursor = page["next_cursor"]
    assert pages == items
    for wrong in ("from=yesterday", "from=2026-01-01T00:00:00", "cursor=eA==", "limit=0"):
        assert (await http("GET", f"/v1/admin/audit?{wrong}")).code == "validation"
    stranger = await tenant.inbox.tenant()
    own = await trail(stranger.admin)
    assert not {item["id"] for item in own} & {item["id"] for item in items}


async def test_who_leaves_ends_the_own_session_and_a_stolen_token_is_nobodys_doing(
    tenant: TenantRig,
) -> None:
    inbox = tenant.inbox
    agent, ana = await tenant.agent()
    await ana("POST", "/v1/auth/logout")
    credentials = {"email": agent["email"], "password": "pw"}
    token = (await inbox.http("POST", "/v1/auth/token", credentials)).body["refresh_token"]
    spent = {"refresh_token": token}
    for _ in range(2):
        token = (await inbox.http("POST", "/v1/auth/refresh", {"refresh_token": token})).body[
            "refresh_token"
        ]
    assert (await inbox.http("POST", "/v1/auth/refresh", spent)).code == "session_over"
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            ended = await trail(tenant.admin, "?action=session.revoked")
            if len(ended) == 2:
                break
            await asyncio.sleep(0.02)
    assert [item["actor"]["kind"] for item in ended] == ["system", "agent"]
    assert ended[1]["actor"]["id"] == agent["id"]


async def test_the_trail_of_an_erased_tenant_is_erased(tenant: TenantRig) -> None:
    inbox = tenant.inbox
    name = f"{uuid.uuid4().hex}"
    await tenant.admin("POST", "/v1/admin/teams", {"name": name})
    await trail(tenant.admin, until={"team.created", "sign_in.succeeded"})
    gone = await inbox.platform("DELETE", f"/v1/platform/tenants/{tenant.id}")
    assert gone.status == 204
    database = inbox.service._base.database
    async with asyncio.timeout(DEADLINE_SECONDS):
        for collection in ("audit", "sessions"):
            while await database[collection].find_one({"tenant": tenant.id}):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
