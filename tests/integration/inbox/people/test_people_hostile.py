import json
from typing import Any

import pytest

from tests.integration.inbox.inbox_rig import Inbox, TenantRig, number_body

pytestmark = pytest.mark.integration

DEEP = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LONG_NUMBER = b'{"email":"e@x.test","name":"n","password":"p","role":"agent","capacity":1' + (
    b"0" * 5_000 + b"}"
)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"name":"a\\u0000b"}', id="nul"),
        pytest.param(b'{"name":"\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"name":"\\n"}', id="only a line break"),
        pytest.param(b'{"name":"a\\u001bb"}', id="escape character"),
        pytest.param(b'{"name":""}', id="empty"),
        pytest.param(b'{"name":"   "}', id="blank"),
        pytest.param(json.dumps({"name": "x" * 201}).encode(), id="long"),
        pytest.param(b'{"name":1}', id="number"),
        pytest.param(b'{"name":null}', id="null"),
        pytest.param(b'{"name":"a","extra":1}', id="unknown member"),
        pytest.param(b'{"name":"a","\\ud800":1}', id="unknown member with a surrogate"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null body"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff\xfe", id="not utf-8"),
        pytest.param(b'{"name":NaN}', id="nan"),
        pytest.param(DEEP, id="deep"),
    ],
)
async def test_a_bad_body_is_422_with_codes_and_nothing_of_what_was_sent(
    tenant: TenantRig, raw: bytes
) -> None:
    answer = await tenant.admin("POST", "/v1/admin/teams", raw)
    assert (answer.status, answer.code) == (422, "validation")
    assert answer.body["errors"]
    for error in answer.body["errors"]:
        assert error.keys() <= {"field", "code", "limit"}
    assert (await tenant.admin("GET", "/v1/teams")).body["items"] == []


@pytest.mark.parametrize(
    ("members", "field"),
    [
        pytest.param({"email": "no-at"}, "email", id="no at"),
        pytest.param({"email": "a@b@c"}, "email", id="two ats"),
        pytest.param({"email": "a" * 300 + "@x.test"}, "email", id="long e-mail"),
        pytest.param({"email": "a\u0000@x.test"}, "email", id="nul in e-mail"),
        pytest.param({"role": "owner"}, "role", id="unknown role"),
        pytest.param({"capacity": -1}, "capacity", id="negative"),
        pytest.param({"capacity": 10**30}, "capacity", id="larger than a long"),
        pytest.param({"capacity": 1.5}, "capacity", id="fraction"),
        pytest.param({"capacity": True}, "capacity", id="boolean"),
        pytest.param({"password": "p" * 201}, "password", id="long password"),
        pytest.param({"password": ""}, "password", id="no password"),
        pytest.param({"team_ids": ["../../x"]}, "team_ids.0", id="bad team"),
        pytest.param({"team_ids": ["a" * 32]}, "team_ids", id="unknown team"),
        pytest.param({"skills": ["s"] * 101}, "skills", id="many skills"),
        pytest.param({"tenant": "other"}, "tenant", id="another tenant"),
    ],
)
async def test_a_bad_agent_names_the_member(
    tenant: TenantRig, members: dict[str, Any], field: str
) -> None:
    body = {"email": "e@x.test", "name": "n", "password": "p", "role": "agent"} | members
    answer = await tenant.admin("POST", "/v1/admin/agents", body)
    assert answer.code == "validation"
    assert field in [error["field"] for error in answer.body["errors"]]


async def test_a_number_with_thousands_of_digits_is_422(tenant: TenantRig) -> None:
    assert (await tenant.admin("POST", "/v1/admin/agents", LONG_NUMBER)).status == 422


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"phone_number_id": "1/2"}, id="slash in id"),
        pytest.param({"phone_number_id": 1}, id="number as id"),
        pytest.param({"access_token": "a b"}, id="space in token"),
        pytest.param({"access_token": "t" * 2001}, id="long token"),
        pytest.param({"app": {"id": "1"}}, id="app without secret"),
        pytest.param({"bot": {"webhook_url": "file:///etc/passwd"}}, id="file url"),
        pytest.param({"bot": {"webhook_url": "http://a b"}}, id="space in url"),
        pytest.param({"team_id": "0" * 32}, id="unknown team"),
    ],
)
async def test_a_bad_number_is_422(tenant: TenantRig, members: dict[str, Any]) -> None:
    answer = await tenant.admin("POST", "/v1/admin/numbers", number_body(**members))
    assert (answer.status, answer.code) == (422, "validation")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("PUT", "/v1/me/availability", {"available": 0}, id="0 for false"),
        pytest.param("PUT", "/v1/me/availability", {"available": "yes"}, id="yes for true"),
        pytest.param("PUT", "/v1/admin/policy", {"sticky": "true"}, id="true in a text"),
        pytest.param("PUT", "/v1/admin/policy", {"window_warning_minutes": "5"}, id="digits"),
        pytest.param("PUT", "/v1/admin/policy", {"presence_grace_seconds": True}, id="true for 1"),
        pytest.param("PUT", "/v1/me/mentions/seen", {"until": 0}, id="a number for a time"),
        pytest.param("GET", "/v1/admin/audit?to=0.5", None, id="a fraction for a time"),
        pytest.param("GET", "/v1/admin/ledger?to=0", None, id="a number for a day"),
        pytest.param("GET", "/v1/conversations?to=1700000000", None, id="seconds for a time"),
    ],
)
async def test_regression_another_type_than_the_document_says_is_422(
    tenant: TenantRig, method: str, path: str, body: Any
) -> None:
    answer = await tenant.admin(method, path, body)
    assert (answer.status, answer.code) == (422, "validation")


async def test_a_whole_number_may_be_written_with_a_point(tenant: TenantRig) -> None:
    answer = await tenant.admin("PUT", "/v1/admin/policy", {"presence_grace_seconds": 30.0})
    assert answer.body["presence_grace_seconds"] == 30


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/admin/teams/\x00", id="nul"),
        pytest.param("/v1/admin/teams/$where", id="operator"),
        pytest.param("/v1/admin/teams/ñ", id="not ascii"),
        pytest.param("/v1/admin/teams/" + "0" * 32, id="nobody's"),
        pytest.param("/v1/nothing", id="no such route"),
        pytest.param("/v1/admin/teams/", id="slash at the end"),
    ],
)
async def test_a_strange_path_is_404(tenant: TenantRig, path: str) -> None:
    answer = await tenant.admin("GET", path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("limit=0", id="zero"),
        pytest.param("limit=101", id="over the limit"),
        pytest.param("limit=x", id="no number"),
        pytest.param("cursor=%00", id="nul"),
        pytest.param("cursor=_w%3D%3D", id="not utf-8"),
        pytest.param("cursor=%C3%B1", id="not ascii"),
        pytest.param("cursor=" + "a" * 1001, id="long"),
    ],
)
async def test_a_bad_query_is_422(tenant: TenantRig, query: str) -> None:
    answer = await tenant.admin("GET", f"/v1/admin/teams?{query}")
    assert (answer.status, answer.code) == (422, "validation")


@pytest.mark.parametrize("key", ["", "ñ", "k" * 256, "a b"])
async def test_a_bad_idempotency_key_is_422(tenant: TenantRig, key: str) -> None:
    headers = {"Idempotency-Key": key}
    answer = await tenant.admin("POST", "/v1/admin/teams", {"name": "T"}, headers)
    assert (answer.status, answer.code) == (422, "validation")


async def test_another_method_is_405_and_says_which_are_there(inbox: Inbox) -> None:
    answer = await inbox.http("DELETE", "/v1/me")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


async def test_regression_a_405_names_every_method_of_the_path(inbox: Inbox) -> None:
    answer = await inbox.http("OPTIONS", "/v1/admin/teams/x")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")
    answer = await inbox.http("PUT", "/v1/admin/ledger/wamid.a/b")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    answer = await inbox.http("DELETE", "/livez")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("told_length", [True, False], ids=["told", "in pieces"])
async def test_a_body_over_the_limit_is_413(tenant: TenantRig, told_length: bool) -> None:
    raw = b'{"name":"' + b"x" * (1024 * 1024) + b'"}'
    answer = await tenant.admin("POST", "/v1/admin/teams", raw, told_length=told_length)
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5_000])
async def test_a_content_length_that_is_none_is_413(inbox: Inbox, length: str) -> None:
    answer = await inbox.http("POST", "/v1/auth/token", None, {"content-length": length})
    assert answer.status == 413


async def test_an_unknown_origin_gets_no_permission_and_a_known_one_does(inbox: Inbox) -> None:
    ask = {"access-control-request-method": "POST"}
    known = await inbox.http(
        "OPTIONS", "/v1/auth/token", None, {**ask, "origin": "http://console.test"}
    )
    assert known.headers["access-control-allow-origin"] == "http://console.test"
    unknown = await inbox.http(
        "OPTIONS", "/v1/auth/token", None, {**ask, "origin": "http://evil.test"}
    )
    assert "access-control-allow-origin" not in unknown.headers


async def test_a_problem_is_readable_for_the_console_too(inbox: Inbox) -> None:
    answer = await inbox.http("GET", "/v1/me", None, {"origin": "http://console.test"})
    assert answer.code == "unauthorized"
    assert answer.headers["access-control-allow-origin"] == "http://console.test"


async def test_openapi_tells_the_problems_of_every_route(inbox: Inbox) -> None:
    document = (await inbox.http("GET", "/openapi.json")).body
    described = document["paths"]["/v1/admin/numbers"]["post"]["responses"]
    assert "number_taken" in described["409"]["description"]
    assert "application/problem+json" in described["422"]["content"]
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    assert (await inbox.http("GET", "/docs")).status == 200


async def test_metrics_name_routes_and_never_ids(inbox: Inbox, tenant: TenantRig) -> None:
    team = (await tenant.admin("POST", "/v1/admin/teams", {"name": "T"})).body
    await tenant.admin("GET", f"/v1/admin/teams/{team['id']}")
    text = (await inbox.http("GET", "/metrics")).raw.decode()
    assert 'route="GET /v1/admin/teams/{team_id}"' in text
    assert team["id"] not in text
