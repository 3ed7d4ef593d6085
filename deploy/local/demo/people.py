"""The demo tenant: three people, two teams, two labels, one WhatsApp number."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from deploy.local.demo.places import ADMIN, ANA, LUIS, PASSWORD, Places
from deploy.local.demo.rest import Json, RefusedError, Rest
from deploy.local.errors import LocalStackError
from shared.testing.webhooks import Number


class DemoChangedError(LocalStackError):
    """Somebody made the demo tenant their own, or something else has its names."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The people, signed in, and the teams and labels by name."""

    admin: Rest
    ana: Rest
    luis: Rest
    teams: dict[str, str]
    labels: dict[str, str]


SALES, SUPPORT = "Ventas", "Soporte"
ORDER, VIP = "Pedido", "VIP"
TENANT = {
    "name": "Demo",
    "admin": {"email": ADMIN, "name": "Alma Admin", "password": PASSWORD},
}
AGENTS = ((ANA, "Ana García", SALES), (LUIS, "Luis Romero", SUPPORT))
LABELS = ((ORDER, "#2f80ed"), (VIP, "#f2994a"))


async def ensure_people(session: aiohttp.ClientSession, places: Places) -> Cast:
    """Create what is missing and sign everybody in; what is there stays as it is.

    Raises `DemoChangedError` when a name of the demo is taken or its password was changed.
    """
    admin = await _admin(session, places)
    teams = await _named(admin, "teams", [{"name": SALES}, {"name": SUPPORT}])
    colours = [{"name": name, "color": color} for name, color in LABELS]
    labels = await _named(admin, "labels", colours)
    await _agents(admin, teams)
    await _number(admin)
    ana, luis = await asyncio.gather(
        _sign_in(session, places, ANA), _sign_in(session, places, LUIS)
    )
    return Cast(admin, ana, luis, teams, labels)


async def _admin(session: aiohttp.ClientSession, places: Places) -> Rest:
    try:
        return await Rest.sign_in(session, places.inbox, ADMIN)
    except RefusedError as refused:
        if refused.code != "invalid_credentials":
            raise
    platform = Rest(session, places.inbox, places.platform_token)
    try:
        await platform.post("/v1/platform/tenants", TENANT, key="demo-tenant")
    except RefusedError as refused:
        if refused.code == "unauthorized":
            raise LocalStackError(
                "the platform token is not the one that inbox was started with: "
                "set ATRIO_PLATFORM_TOKEN as for `make up`"
            ) from refused
        if refused.code != "email_taken":
            raise
    return await _sign_in(session, places, ADMIN)


async def _sign_in(session: aiohttp.ClientSession, places: Places, email: str) -> Rest:
    try:
        return await Rest.sign_in(session, places.inbox, email)
    except RefusedError as refused:
        if refused.code != "invalid_credentials":
            raise
        raise DemoChangedError(
            f"{email} exists with another password than {PASSWORD!r}, or their tenant is suspended"
        ) from refused


async def _named(admin: Rest, kind: str, wanted: Sequence[Json]) -> dict[str, str]:
    """The ids of these teams or labels by their names in the demo."""
    path = f"/v1/admin/{kind}"
    there = {item["name"]: item["id"] for item in await admin.items(path)}
    found = {}
    for body in wanted:
        name = body["name"]
        if name not in there:
            # The same key finds again what was renamed since.
            there[name] = (await admin.post(path, body, key=f"demo-{kind}-{name}"))["id"]
        found[name] = there[name]
    return found


async def _agents(admin: Rest, teams: dict[str, str]) -> None:
    there = {item["email"] for item in await admin.items("/v1/admin/agents")}
    for email, name, team in AGENTS:
        if email in there:
            continue
        body = {
            "email": email,
            "name": name,
            "password": PASSWORD,
            "role": "agent",
            "team_ids": [teams[team]],
        }
        try:
            await admin.post("/v1/admin/agents", body, key=f"demo-agent-{email}")
        except RefusedError as refused:
            if refused.code != "email_taken":
                raise
            raise DemoChangedError(f"{email} belongs to another tenant") from refused


async def _number(admin: Rest) -> None:
    number = Number()
    there = {item["phone_number_id"] for item in await admin.items("/v1/admin/numbers")}
    if number.phone_number_id in there:
        return
    body = {
        "phone_number_id": number.phone_number_id,
        "display_phone_number": number.display_phone_number,
        "waba_id": number.waba_id,
        "access_token": "demo-access-token",
        "app": None,
    }
    try:
        await admin.post("/v1/admin/numbers", body, key="demo-number")
    except RefusedError as refused:
        if refused.code != "number_taken":
            raise
        raise DemoChangedError(
            f"the number {number.phone_number_id} belongs to another tenant"
        ) from refused
