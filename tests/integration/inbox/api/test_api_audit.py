"""Every route of an admin that changes something leaves a line in the audit trail.

A new route under `/v1/admin` is covered as it is: a thing that its path names is made by a POST to
the path in front of `{thing_id}`, and a PATCH gives it another name. It needs a line in `CHANGES`
where that means nothing, or in `NO_LINE` with the test that shows its lines.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.integration.inbox.conversations.office import Office, open_office
from tests.integration.inbox.inbox_rig import DEADLINE_SECONDS, Inbox
from tests.support.api_routes import Route, routes_of

pytestmark = pytest.mark.integration

CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    # Where the smallest body, or another name, would be none or would change nothing.
    "PUT /v1/admin/policy": {"strategy": "least_busy"},
    "POST /v1/admin/numbers": {"waba_id": "1", "bot": {"webhook_url": "https://bot.test/hook"}},
    "PATCH /v1/admin/numbers/{number_id}": {"access_token": "another"},
}
NO_LINE: Final[Mapping[str, str]] = {
    "POST /v1/admin/numbers/{number_id}/resume": "a number that sends has none: people tests",
}
NO_KEY: Final[Mapping[str, str]] = {
    "POST /v1/conversations/{conversation_id}/notes": "its body has a client_id",
    "POST /v1/media": "a file that is sent twice is kept once; what is not used of it goes",
}
_IDEMPOTENCY = {"name": "Idempotency-Key", "in": "header"}


@pytest.fixture
async def office(inbox: Inbox) -> Office:
    return await open_office(await inbox.tenant())


class Auditor:
    """Calls the admin's routes one after the other, each on a thing of its own."""

    def __init__(self, office: Office, routes: list[Route]) -> None:
        self._office = office
        self._http = office.tenant.admin
        self._routes = {str(route): route for route in routes}
        self._seen: set[str] = set()
        self.without_line: list[str] = []

    async def check(self, route: Route) -> None:
        ids = await self._ids(route)
        await self._lines()
        await self._call(route, ids)

    async def _ids(self, route: Route) -> dict[str, str]:
        """One of each thing that the path names."""
        if "session_id" in route.parameters:
            ana = self._office.ana
            sessions = (await ana("GET", "/me/sessions")).body["items"]
            return {"agent_id": ana.id, "session_id": sessions[0]["id"]}
        ids: dict[str, str] = {}
        for name in route.parameters:
            create = self._routes.get(f"POST {route.path.split(f'/{{{name}}}')[0]}")
            assert create is not None, f"{route}: how is a {name} made?"
            ids[name] = (await self._call(create, ids))["id"]
        return ids

    async def _call(self, route: Route, ids: Mapping[str, str]) -> Any:
        answer = await self._http(
            route.method, route.filled(ids), route.body(**await self._changes(route)), route.headers
        )
        assert answer.status in {200, 201, 202, 204}, f"{route}: {answer.status} {answer.raw!r}"
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                # Written behind the answer.
                while not await self._lines():  # noqa: ASYNC110 - no event to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.without_line.append(str(route))
        return answer.body if answer.raw else None

    async def _changes(self, route: Route) -> Mapping[str, Any]:
        if "number_ids" in route.members:
            return {"number_ids": [self._office.plain]}
        if "into" in route.members:
            return {"into": (await self._call(self._routes["POST /v1/admin/labels"], {}))["id"]}
        other = {"name": "another"} if route.method == "PATCH" and "name" in route.members else {}
        return CHANGES.get(str(route), other)

    async def _lines(self) -> list[str]:
        """The lines that were not there the last time."""
        items = (await self._http("GET", "/v1/admin/audit?limit=20")).body["items"]
        new = [each["id"] for each in items if each["id"] not in self._seen]
        self._seen.update(new)
        return new


async def test_every_change_by_an_admin_leaves_a_line(office: Office) -> None:
    routes = [*routes_of(office.tenant.inbox.service.asgi.openapi())]
    auditor = Auditor(office, routes)
    for route in routes:
        if (
            route.path.startswith("/v1/admin/")
            and route.method != "GET"
            and str(route) not in NO_LINE
        ):
            await auditor.check(route)
    assert auditor.without_line == []


async def test_lines_of_settings_say_what_they_were_and_are(office: Office) -> None:
    http = office.tenant.admin
    replies = "/v1/admin/canned-replies"
    made = (await http("POST", replies, {"name": "Hours", "text": "Nine to five"})).body
    await http("PATCH", f"{replies}/{made['id']}", {"text": "Nine to six", "name": "Hours"})
    same = await http("PATCH", f"{replies}/{made['id']}", {"text": "Nine to six"})
    assert same.body["version"] == 2
    await http("DELETE", f"{replies}/{made['id']}")
    keys = "/v1/admin/api-keys"
    headers = {"idempotency-key": "k"}
    body = {"name": "bot", "number_ids": [office.plain]}
    key = (await http("POST", keys, body, headers)).body
    assert (await http("POST", keys, body, headers)).body == key
    assert (await http("DELETE", f"{keys}/{key['id']}")).status == 204
    assert (await http("DELETE", f"{keys}/{key['id']}")).code == "not_found"
    # The repeat of an old request does not bring the key back to life.
    assert (await http("POST", keys, body, headers)).status == 201
    assert (await http.as_(key["key"])("GET", "/v1/conversations/x")).code == "unauthorized"

    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            items = (await http("GET", "/v1/admin/audit?limit=10")).body["items"]
            lines = {
                each["action"]: (each["before"], each["after"])
                for each in items
                if each["target"]["id"] in {made["id"], key["id"]}
            }
            if len(lines) == 5:
                break
            await asyncio.sleep(0.02)
    granted = {"name": "bot", "scopes": ["bot"], "number_ids": [office.plain]}
    assert lines == {
        "canned_reply.created": ({}, {"name": "Hours", "text": "Nine to five"}),
        "canned_reply.changed": ({"text": "Nine to five"}, {"text": "Nine to six"}),
        "canned_reply.deleted": ({"name": "Hours", "text": "Nine to six"}, {}),
        "api_key.created": ({}, granted),
        "api_key.deleted": (granted, {}),
    }
    assert key["key"] not in str(items)


async def test_what_creates_takes_an_idempotency_key_and_says_so(inbox: Inbox) -> None:
    without = [
        f"{method.upper()} {path}"
        for path, operations in inbox.service.asgi.openapi()["paths"].items()
        for method, operation in operations.items()
        if method == "post"
        and "201" in operation["responses"]
        and not any(_IDEMPOTENCY.items() <= each.items() for each in operation["parameters"])
    ]
    assert {*without} == {*NO_KEY}
