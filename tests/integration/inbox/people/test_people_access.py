import json
import re
import uuid
from typing import Any

import jwt
import pytest
from jwt.algorithms import OKPAlgorithm

from tests.integration.inbox.inbox_rig import INTERNAL_TOKEN, PLATFORM_TOKEN, Http, Inbox, TenantRig

pytestmark = pytest.mark.integration
METHODS = ("get", "post", "put", "patch", "delete")


async def test_a_token_verifies_with_the_published_keys_and_names_the_agent(
    inbox: Inbox, tenant: TenantRig
) -> None:
    token = tenant.admin.token
    assert token is not None
    published = await inbox.http("GET", "/.well-known/jwks.json")
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(k for k in published.body["keys"] if k["kid"] == kid)
    claims = jwt.decode(
        token,
        OKPAlgorithm.from_jwk(json.dumps(key)),  # type: ignore[arg-type]
        algorithms=["EdDSA"],
        audience="atrio",
        issuer="atrio",
    )
    assert claims["sub"] == tenant.admin_id
    assert claims["tenant"] == tenant.id
    assert claims["role"] == "admin"
    assert claims["exp"] - claims["iat"] == pytest.approx(900, abs=1)
    assert {"jti"} <= claims.keys()
    assert "max-age" in published.headers["cache-control"]
    assert not any("d" in k for k in published.body["keys"])


async def test_the_keys_are_told_on_the_directory_too(inbox: Inbox) -> None:
    keyset = inbox.service._base.view.keyset()
    published = await inbox.http("GET", "/.well-known/jwks.json")
    assert keyset is not None
    assert keyset.keys == published.body["keys"]
    assert keyset.issuer == "atrio"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        pytest.param(None, "wrong", id="wrong password"),
        pytest.param("nobody@atrio.test", "pw", id="unknown e-mail"),
    ],
)
async def test_wrong_credentials_are_401_and_look_the_same(
    tenant: TenantRig, email: str | None, password: str
) -> None:
    answer = await tenant.inbox.http(
        "POST", "/v1/auth/token", {"email": email or tenant.admin_email, "password": password}
    )
    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_email_is_the_same_in_any_case(tenant: TenantRig) -> None:
    assert await tenant.inbox.sign_in(f"  {tenant.admin_email.upper()} ")


async def test_me_tells_who_one_is_with_tenant_and_teams(tenant: TenantRig) -> None:
    team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "Ventas"})).body
    agent, ana = await tenant.agent(team_ids=[team["id"]], capacity=3)
    me = await ana("GET", "/v1/me")
    assert me.body == {
        "id": agent["id"],
        "name": "Ana",
        "email": agent["email"],
        "role": "agent",
        "tenant": {"id": tenant.id, "name": "Acme"},
        "teams": [{"id": team["id"], "name": "Ventas"}],
        "available": True,
        "capacity": 3,
    }


async def test_a_ticket_is_for_the_stream_alone_and_short(tenant: TenantRig) -> None:
    answer = await tenant.admin("POST", "/v1/stream/ticket")
    ticket = answer.body["ticket"]
    claims = jwt.decode(ticket, options={"verify_signature": False})
    assert answer.body["expires_in"] == 30
    assert claims["aud"] == "atrio-stream"
    assert claims["jti"]
    assert (await tenant.inbox.http.as_(ticket)("GET", "/v1/me")).status == 401


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("x.y.z", id="not a token"),
        pytest.param("\xff\xfe", id="not ascii"),
        pytest.param("a" * 100_000, id="huge"),
        pytest.param(
            jwt.encode({"sub": "a", "aud": "atrio"}, "0" * 64, algorithm="HS256"), id="symmetric"
        ),
        pytest.param(jwt.encode({"sub": "a", "aud": "atrio"}, None, algorithm="none"), id="none"),
    ],
)
async def test_a_bad_token_is_401(inbox: Inbox, token: str) -> None:
    answer = await inbox.http.as_(token)("GET", "/v1/me")
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_a_new_password_revokes_the_tokens_made_before(tenant: TenantRig) -> None:
    agent, ana = await tenant.agent()
    changed = await tenant.admin("PATCH", f"/v1/admin/agents/{agent['id']}", {"password": "new"})
    assert changed.status == 200
    assert (await ana("GET", "/v1/me")).status == 401
    token = await tenant.inbox.sign_in(agent["email"], "new")
    assert (await ana.as_(token)("GET", "/v1/me")).status == 200


async def test_a_suspended_tenant_is_out_until_it_is_active_again(tenant: TenantRig) -> None:
    path = f"/v1/platform/tenants/{tenant.id}"
    suspended = await tenant.inbox.platform("PATCH", path, {"status": "suspended"})
    assert suspended.body["status"] == "suspended"
    assert (await tenant.admin("GET", "/v1/me")).code == "unauthorized"
    credentials = {"email": tenant.admin_email, "password": "pw"}
    refused = await tenant.inbox.http("POST", "/v1/auth/token", credentials)
    assert refused.status == 401
    await tenant.inbox.platform("PATCH", path, {"status": "active"})
    assert (await tenant.admin("GET", "/v1/me")).status == 200


async def test_a_deleted_agent_is_out_and_the_email_is_free_again(tenant: TenantRig) -> None:
    agent, ana = await tenant.agent()
    assert (await tenant.admin("DELETE", f"/v1/admin/agents/{agent['id']}")).status == 204
    assert (await ana("GET", "/v1/me")).status == 401
    assert (await tenant.admin("GET", f"/v1/admin/agents/{agent['id']}")).status == 404
    again = await tenant.admin(
        "POST",
        "/v1/admin/agents",
        {"email": agent["email"], "name": "Ana", "password": "pw", "role": "agent"},
    )
    assert again.status == 201
    assert again.body["id"] != agent["id"]


async def test_a_changed_role_holds_at_once_whatever_the_token_says(tenant: TenantRig) -> None:
    agent, ana = await tenant.agent("admin")
    assert (await ana("GET", "/v1/admin/teams")).status == 200
    await tenant.admin("PATCH", f"/v1/admin/agents/{agent['id']}", {"role": "agent"})
    assert (await ana("GET", "/v1/admin/teams")).code == "forbidden"


async def test_a_tenant_keeps_an_admin(tenant: TenantRig) -> None:
    own = f"/v1/admin/agents/{tenant.admin_id}"
    await tenant.agent("supervisor")
    for method, body in (("PATCH", {"role": "supervisor"}), ("DELETE", None)):
        refused = await tenant.admin(method, own, body)
        assert (refused.status, refused.code) == (409, "last_admin")
    assert (await tenant.admin("PATCH", own, {"role": "admin", "name": "Eva"})).status == 200

    _, other = await tenant.agent("admin")
    assert (await other("PATCH", own, {"role": "agent"})).status == 200
    assert (await tenant.admin("GET", own)).code == "forbidden"
    assert (await other("DELETE", own)).status == 204


async def test_the_platform_lets_an_admin_in_who_lets_the_others_in(
    inbox: Inbox, tenant: TenantRig
) -> None:
    path = f"/v1/platform/tenants/{tenant.id}/admins"
    body = {"email": f"help-{tenant.id}@atrio.test", "name": "Help", "password": "pw"}
    key = {"Idempotency-Key": "help"}
    made = await inbox.platform("POST", path, body, key)
    assert (made.status, made.body["role"]) == (201, "admin")
    assert (await inbox.platform("POST", path, body, key)).body == made.body
    assert (await inbox.platform("POST", path, body)).code == "email_taken"
    assert (await inbox.platform("POST", "/v1/platform/tenants/x/admins", body)).code == "not_found"
    assert (await tenant.admin("POST", path, body)).code == "unauthorized"

    helper = inbox.http.as_(await inbox.sign_in(body["email"]))
    reset = await helper("PATCH", f"/v1/admin/agents/{tenant.admin_id}", {"password": "new"})
    assert reset.status == 200
    assert await inbox.sign_in(tenant.admin_email, "new")


async def _matrix(inbox: Inbox) -> list[tuple[str, str, list[dict[str, list[str]]]]]:
    document = (await inbox.http("GET", "/openapi.json")).body
    return [
        (method.upper(), path, operation.get("security", []))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]


def _allowed(security: list[dict[str, list[str]]], caller: str) -> bool:
    if not security:
        return True
    for requirement in security:
        for scheme, scopes in requirement.items():
            # `bot` lets API keys in beside everybody else.
            roles = [scope for scope in scopes if scope != "bot"]
            if scheme == "person" and caller in (roles or ["agent", "supervisor", "admin"]):
                return True
            if scheme == caller:
                return True
    return False


async def test_every_route_lets_in_exactly_the_callers_that_openapi_names(
    inbox: Inbox, tenant: TenantRig
) -> None:
    """Bodies are bad on purpose: who is let in gets 404 or 422, and nothing is changed."""
    callers: dict[str, Http] = {
        "nobody": inbox.http,
        "platform": inbox.http.as_(PLATFORM_TOKEN),
        "internal": inbox.http.as_(INTERNAL_TOKEN),
        "admin": tenant.admin,
        "supervisor": (await tenant.agent("supervisor"))[1],
        "agent": (await tenant.agent("agent"))[1],
    }
    wrong: list[Any] = []
    routes = await _matrix(inbox)
    assert len(routes) > 30
    for method, template, security in routes:
        path = re.sub(r"{[^}]+}", "0" * 32, template)
        for caller, http in callers.items():
            body = {"surely": "unknown"} if method in {"POST", "PUT", "PATCH"} else None
            answer = await http(method, path, body)
            if _allowed(security, caller):
                # Signing in answers 422 to this body; nothing else may answer 401 or 403.
                expected = answer.status not in {401, 403} and answer.status < 500
            elif caller in {"admin", "supervisor", "agent"} and "person" in str(security):
                expected = answer.code == "forbidden"
            else:
                expected = answer.code == "unauthorized"
            if not expected:
                wrong.append((method, path, caller, answer.status))
    assert wrong == []


async def test_ids_of_another_tenant_answer_404(inbox: Inbox, tenant: TenantRig) -> None:
    other = await inbox.tenant("Other")
    agent, _ = await other.agent()
    team = (await other.admin("POST", "/v1/admin/teams", {"name": "T"})).body
    label = (await other.admin("POST", "/v1/admin/labels", {"name": "L"})).body
    number = await other.number()
    for kind, thing in (("agents", agent), ("teams", team), ("labels", label), ("numbers", number)):
        path = f"/v1/admin/{kind}/{thing['id']}"
        assert (await tenant.admin("GET", path)).code == "not_found"
        assert (await tenant.admin("PATCH", path, {})).code == "not_found"
        assert (await tenant.admin("DELETE", path)).code == "not_found"
        assert (await other.admin("GET", path)).status == 200
        listed = (await tenant.admin("GET", f"/v1/admin/{kind}")).body["items"]
        assert thing["id"] not in [item["id"] for item in listed]
    body = {"email": f"{uuid.uuid4().hex}@a.test", "name": "x", "password": "p", "role": "agent"}
    borrowed = await tenant.admin("POST", "/v1/admin/agents", {**body, "team_ids": [team["id"]]})
    assert borrowed.body["errors"] == [{"field": "team_ids", "code": "unknown"}]
