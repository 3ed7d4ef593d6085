import asyncio
import uuid
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import jwt
import pytest

from services.inbox.settings import InboxSettings
from tests.integration.inbox.inbox_rig import (
    Answer,
    Http,
    Inbox,
    TenantRig,
    eventually,
    running,
)
from tests.support.stack import Addresses

pytestmark = pytest.mark.integration


async def sign_in(inbox: Inbox, email: str, password: str = "pw", query: str = "") -> Answer:
    return await inbox.http(
        "POST", f"/v1/auth/token{query}", {"email": email, "password": password}
    )


async def refresh(inbox: Inbox, token: str) -> Answer:
    return await inbox.http("POST", "/v1/auth/refresh", {"refresh_token": token})


async def person(tenant: TenantRig) -> tuple[str, str, Http]:
    """A new agent's id and e-mail, and their first session's calls."""
    agent, http = await tenant.agent()
    return agent["id"], agent["email"], http


async def test_a_refresh_token_is_spent_by_use_and_ends_the_session_when_it_comes_again(
    inbox: Inbox, tenant: TenantRig
) -> None:
    _, email, _ = await person(tenant)
    first = (await sign_in(inbox, email)).body
    assert first["expires_in"] == 900
    second = (await refresh(inbox, first["refresh_token"])).body
    # Its answer may have been lost: the same one again, and the session goes on.
    lost = await asyncio.gather(*(refresh(inbox, first["refresh_token"]) for _ in range(3)))
    assert {each.body["refresh_token"] for each in lost} == {second["refresh_token"]}
    third = (await refresh(inbox, second["refresh_token"])).body
    http = inbox.http.as_(third["access_token"])
    assert (await http("GET", "/v1/me")).status == 200
    sid = jwt.decode(third["access_token"], options={"verify_signature": False})["sid"]
    assert sid == jwt.decode(first["access_token"], options={"verify_signature": False})["sid"]

    thief = await refresh(inbox, first["refresh_token"])
    assert (thief.status, thief.code) == (401, "session_over")
    assert (await http("GET", "/v1/me")).code == "unauthorized"
    assert (await refresh(inbox, third["refresh_token"])).code == "session_over"


async def test_tokens_that_are_none_end_nothing(inbox: Inbox, tenant: TenantRig) -> None:
    _, email, _ = await person(tenant)
    signed = (await sign_in(inbox, email)).body
    sid = signed["refresh_token"].split(".")[0]
    for forged in (f"{sid}.0.{'0' * 32}", f"{sid}.1.{'0' * 32}", "x", f"{'0' * 32}.0.{sid}"):
        assert (await refresh(inbox, forged)).code == "session_over"
        left = await inbox.http("POST", "/v1/auth/logout", {"refresh_token": forged})
        assert left.status == 204
    assert (await inbox.http("POST", "/v1/auth/refresh")).code == "session_over"
    assert (await refresh(inbox, signed["refresh_token"])).status == 200


async def test_the_cookie_is_for_no_script_and_no_other_site(
    inbox: Inbox, tenant: TenantRig
) -> None:
    _, email, _ = await person(tenant)
    signed = await sign_in(inbox, email, query="?cookie=true")
    assert signed.body["refresh_token"] is None
    cookie = SimpleCookie(signed.headers["set-cookie"])["atrio_refresh"]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "strict")
    assert cookie["path"] == "/v1/auth"
    assert int(cookie["max-age"]) > 86_400

    held = {"cookie": f"atrio_refresh={cookie.value}"}
    again = await inbox.http("POST", "/v1/auth/refresh", None, held)
    assert again.body["refresh_token"] is None
    renewed = SimpleCookie(again.headers["set-cookie"])["atrio_refresh"].value
    assert renewed != cookie.value
    http = inbox.http.as_(again.body["access_token"])
    left = await inbox.http("POST", "/v1/auth/logout", None, {"cookie": f"atrio_refresh={renewed}"})
    assert left.status == 204
    assert SimpleCookie(left.headers["set-cookie"])["atrio_refresh"]["max-age"] == "0"
    assert (await http("GET", "/v1/me")).status == 401


async def test_people_see_and_end_their_sessions_and_the_admin_those_of_agents(
    inbox: Inbox, tenant: TenantRig
) -> None:
    agent, email, first = await person(tenant)
    signed = (await sign_in(inbox, email)).body
    second = inbox.http.as_(signed["access_token"])
    listed = (await second("GET", "/v1/me/sessions")).body["items"]
    assert [each["current"] for each in listed] == [True, False]
    other = listed[1]["id"]
    _, _, stranger = await person(tenant)
    assert (await stranger("DELETE", f"/v1/me/sessions/{other}")).code == "not_found"

    ticket = (await second("POST", "/v1/stream/ticket")).body["ticket"]
    assert jwt.decode(ticket, options={"verify_signature": False})["sid"] == listed[0]["id"]
    assert (await second("DELETE", f"/v1/me/sessions/{other}")).status == 204
    assert (await second("DELETE", f"/v1/me/sessions/{other}")).status == 204
    assert (await first("GET", "/v1/me")).status == 401
    assert (await second("GET", "/v1/me")).status == 200

    path = f"/v1/admin/agents/{agent}/sessions"
    shown = (await tenant.admin("GET", path)).body["items"]
    assert [each["id"] for each in shown] == [listed[0]["id"]]
    foreign = (await inbox.tenant()).admin
    assert (await foreign("GET", path)).code == "not_found"
    assert (await foreign("DELETE", f"{path}/{shown[0]['id']}")).code == "not_found"
    assert (await tenant.admin("DELETE", f"{path}/{shown[0]['id']}")).status == 204
    assert (await second("GET", "/v1/me")).status == 401
    assert (await refresh(inbox, signed["refresh_token"])).code == "session_over"


async def test_leaving_by_the_access_token_alone_ends_its_session(
    inbox: Inbox, tenant: TenantRig
) -> None:
    _, email, http = await person(tenant)
    assert (await http("POST", "/v1/auth/logout")).status == 204
    assert (await http("GET", "/v1/me")).status == 401
    assert (await http("POST", "/v1/auth/logout")).status == 204
    assert (await sign_in(inbox, email)).status == 200


async def test_ones_own_new_password_ends_every_session_and_begins_one(
    inbox: Inbox, tenant: TenantRig
) -> None:
    _, email, first = await person(tenant)
    signed = (await sign_in(inbox, email)).body
    wrong = await first("PUT", "/v1/me/password", {"current": "no", "new": "other"})
    assert wrong.body["errors"] == [{"field": "current", "code": "wrong"}]
    changed = await first("PUT", "/v1/me/password", {"current": "pw", "new": "other"})
    assert changed.status == 200
    assert (await first("GET", "/v1/me")).status == 401
    assert (await refresh(inbox, signed["refresh_token"])).code == "session_over"
    now = inbox.http.as_(changed.body["access_token"])
    assert len((await now("GET", "/v1/me/sessions")).body["items"]) == 1
    assert (await refresh(inbox, changed.body["refresh_token"])).status == 200
    assert (await sign_in(inbox, email)).code == "invalid_credentials"
    assert (await sign_in(inbox, email, "other")).status == 200


async def test_failures_lock_the_email_out_whether_it_exists_or_not(
    inbox: Inbox, tenant: TenantRig
) -> None:
    _, email, http = await person(tenant)
    for each in (email, f"nobody-{uuid.uuid4().hex}@atrio.test"):
        for _ in range(5):
            assert (await sign_in(inbox, each, "guess")).code == "invalid_credentials"
        locked = await sign_in(inbox, each)
        assert (locked.status, locked.code) == (429, "locked_out")
        assert 0 < locked.body["retry_after"] <= 30
        assert locked.headers["retry-after"] == str(locked.body["retry_after"])
    asked = await http("PUT", "/v1/me/password", {"current": "pw", "new": "other"})
    assert asked.code == "locked_out"
    assert (await http("GET", "/v1/me")).status == 200  # who is in stays in


async def test_a_right_password_forgets_the_failures(inbox: Inbox, tenant: TenantRig) -> None:
    _, email, _ = await person(tenant)
    for _ in range(3):
        for _ in range(4):
            assert (await sign_in(inbox, email, "guess")).status == 401
        assert (await sign_in(inbox, email)).status == 200


async def test_regression_a_password_set_by_an_admin_ends_the_lock(
    inbox: Inbox, tenant: TenantRig
) -> None:
    agent_id, email, _ = await person(tenant)
    for _ in range(5):
        await sign_in(inbox, email, "guess")
    assert (await sign_in(inbox, email)).code == "locked_out"
    reset = await tenant.admin("PATCH", f"/v1/admin/agents/{agent_id}", {"password": "other"})
    assert reset.status == 200
    assert (await sign_in(inbox, email, "other")).status == 200


@pytest.fixture
async def strict(stack: Addresses, inbox_settings: InboxSettings) -> AsyncIterator[Inbox]:
    """An inbox that hears two failures of an address and ten calls of a person."""
    changed: dict[str, Any] = {"sign_in_failures_per_address": 2, "calls_per_second": 1}
    async with running(InboxSettings(**(inbox_settings.model_dump() | changed))) as made:
        yield made


async def test_another_pod_refuses_a_revoked_session_as_soon_as_it_reads_of_it(
    strict: Inbox,
) -> None:
    tenant = await strict.tenant()
    async with running(strict.settings) as other:
        elsewhere = other.http.as_(tenant.admin.token)
        assert (await elsewhere("GET", "/v1/me")).status == 200
        assert (await tenant.admin("POST", "/v1/auth/logout")).status == 204
        view = other.service._base.view

        def told() -> bool:
            agent = view.agent(tenant.id, tenant.admin_id)
            return agent is not None and bool(agent.revoked_sessions)

        await eventually(told)
        assert (await elsewhere("GET", "/v1/me")).code == "unauthorized"


async def test_an_address_is_locked_out_over_all_emails_and_calls_are_limited(
    strict: Inbox,
) -> None:
    tenant = await strict.tenant()
    signed = (await sign_in(strict, tenant.admin_email)).body
    for _ in range(2):
        assert (await sign_in(strict, f"{uuid.uuid4().hex}@atrio.test")).status == 401
    assert (await sign_in(strict, tenant.admin_email)).code == "locked_out"
    assert (await refresh(strict, signed["refresh_token"])).status == 200

    answers = await asyncio.gather(*(tenant.admin("GET", "/v1/me") for _ in range(30)))
    refused = [each for each in answers if each.code == "rate_limited"]
    assert 0 < len(refused) <= 20
    assert {each.headers["retry-after"] for each in refused} == {"1"}
