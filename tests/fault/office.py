"""A tenant with its people and numbers, set up over HTTP, and a client of the REST API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.fault.recording import View

PASSWORD: Final = "fault-test"
PHONES: Final = {"200000000000001": "15550000001", "200000000000002": "15550000002"}
"""`phone_number_id` -> a number that is no customer's: WhatsApp refuses to send to itself."""
_VIEWS: Final = ("open", "on_hold", "closed", "bot")


class Rest:
    """One person's calls. Status 0: no answer came."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self.token = token

    async def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = self._url + path
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    async def get(self, path: str) -> Any:
        """The body of a 200. Raises RestError for anything else."""
        status, body = await self.call("GET", path)
        if status != 200:
            raise RestError(path, status, body)
        return body

    async def create(self, path: str, body: object) -> Any:
        """The body of a 201. Raises RestError for anything else."""
        status, answered = await self.call("POST", path, body)
        if status != 201:
            raise RestError(path, status, answered)
        return answered


class RestError(Exception):
    """The API did not answer as it should."""

    def __init__(self, path: str, status: int, body: object) -> None:
        super().__init__(f"{path}: {status} {body}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Person:
    """`supervises`: sees all of the tenant."""

    id: str
    name: str
    supervises: bool
    teams: tuple[str, ...]
    rest: Rest

    async def conversations(self) -> dict[str, View]:
        """All that this person sees, by the lists that a screen would fetch."""
        scope = "&scope=all" if self.supervises else ""
        found: dict[str, View] = {}
        for view in _VIEWS if self.supervises else _VIEWS[:3]:
            cursor = ""
            while True:
                page = await self.rest.get(
                    f"/v1/conversations?view={view}{scope}&limit=100{cursor}"
                )
                for item in page["items"]:
                    known = found.get(item["id"])
                    if known is None or known["version"] < item["version"]:
                        found[item["id"]] = item
                if page["next_cursor"] is None:
                    break
                cursor = f"&cursor={page['next_cursor']}"
        return found

    async def thread(self, conversation: str) -> list[View]:
        """All messages of a conversation, oldest first."""
        messages: list[View] = []
        before = ""
        while True:
            path = f"/v1/conversations/{conversation}/messages?limit=100{before}"
            page = await self.rest.get(path)
            messages += page["items"]
            if page["next_cursor"] is None:
                return messages[::-1]
            before = f"&before={page['next_cursor']}"


@dataclass(frozen=True, slots=True)
class Office:
    """The tenant of a run."""

    tenant: str
    teams: tuple[str, ...]
    people: tuple[Person, ...]
    capacity: int

    @property
    def supervisor(self) -> Person:
        return next(one for one in self.people if one.supervises)

    @property
    def agents(self) -> tuple[Person, ...]:
        return tuple(one for one in self.people if not one.supervises)


async def found_office(session: aiohttp.ClientSession, url: str, *, capacity: int = 12) -> Office:
    """Two teams, three agents, a supervisor; one number of a team and one of none."""
    platform = Rest(session, url, "platform-token")
    admin_body = {"email": "admin@fault.test", "name": "Admin", "password": PASSWORD}
    tenant = await platform.create("/v1/platform/tenants", {"name": "Fault", "admin": admin_body})
    admin = await _signed_in(session, url, "admin@fault.test")
    teams = tuple(
        [(await admin.create("/v1/admin/teams", {"name": n}))["id"] for n in ("Sales", "Help")]
    )
    members = {"ana": (teams[0],), "luis": (teams[1],), "eva": teams, "sol": ()}
    people = []
    for name, team_ids in members.items():
        role = "agent" if team_ids else "supervisor"
        email = f"{name}@fault.test"
        body = {
            "email": email,
            "name": name.title(),
            "password": PASSWORD,
            "role": role,
            "team_ids": list(team_ids),
            "capacity": capacity,
        }
        agent = await admin.create("/v1/admin/agents", body)
        rest = await _signed_in(session, url, email)
        people.append(Person(agent["id"], name, role == "supervisor", team_ids, rest))
    for (phone, shown), team in zip(PHONES.items(), (teams[0], None), strict=True):
        number = {
            "phone_number_id": phone,
            "display_phone_number": shown,
            "waba_id": "100000000000001",
            "access_token": f"token-{phone}",
            "team_id": team,
        }
        await admin.create("/v1/admin/numbers", number)
    policy = {"strategy": "least_busy", "presence_grace_seconds": 5}
    status, answered = await admin.call("PUT", "/v1/admin/policy", policy)
    if status != 200:
        raise RestError("/v1/admin/policy", status, answered)
    return Office(tenant["id"], teams, tuple(people), capacity)


async def _signed_in(session: aiohttp.ClientSession, url: str, email: str) -> Rest:
    rest = Rest(session, url, "none")
    body = {"email": email, "password": PASSWORD}
    # The account becomes known to the process that answers within moments of its 201.
    for _ in range(50):
        status, answered = await rest.call("POST", "/v1/auth/token", body)
        if status == 200:
            rest.token = answered["access_token"]
            return rest
        await asyncio.sleep(0.1)
    raise RestError("/v1/auth/token", status, answered)
