"""Every route of the document: who is let in, and nobody in what is another's.

A new route under one of the prefixes of `TABLE` is covered as it is. A path parameter `{thing_id}`
that the world below does not have is made by a POST to the path in front of it.
"""

import asyncio
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Path

from services.inbox.api.problems import install
from services.inbox.api.security import AnyPerson
from services.inbox.storage.conversations import SEARCH
from services.inbox.storage.directory import COLLECTION as DIRECTORY
from services.inbox.storage.entries import CONVERSATIONS
from tests.integration.inbox.conversations.office import Office, open_office
from tests.integration.inbox.inbox_rig import (
    DEADLINE_SECONDS,
    INTERNAL_TOKEN,
    PLATFORM_TOKEN,
    Answer,
    Http,
    Inbox,
)
from tests.support.api_routes import Route, routes_of

pytestmark = pytest.mark.integration

ROLES: Final = ("agent", "supervisor", "admin")
CALLERS: Final = ("nobody", *ROLES, "bot", "platform", "internal")
TABLE: Final = (
    # The first that fits: what the route begins with, and who is let in.
    (r"GET /\.well-known/jwks\.json$", CALLERS),
    (r"POST /v1/auth/(token|refresh|logout)$", CALLERS),
    (r"\w+ /internal/v1/", ("internal",)),
    (r"\w+ /v1/platform/", ("platform",)),
    (r"\w+ /v1/admin/", ("admin",)),
    (r"GET /v1/contacts/blocked$", ("supervisor", "admin")),
    (r"GET /v1/conversations/{conversation_id}(/messages)?$", (*ROLES, "bot")),
    (r"POST /v1/conversations/{conversation_id}/(messages|typing|handoff)$", (*ROLES, "bot")),
    (r"PUT /v1/contacts/{contact_id}/labels$", (*ROLES, "bot")),
    (r"GET /v1/(labels|teams)$", (*ROLES, "bot")),
    (r"(POST /v1/media|GET /v1/media/{media_id})$", (*ROLES, "bot")),
    (r"\w+ /v1/", ROLES),
)
BODIES: Final[Mapping[str, dict[str, str]]] = {
    # Where the smallest body by the schema is none that means something; ids are the caller's own.
    "POST /v1/conversations/{conversation_id}/messages": {"type": "text", "text": "x"},
    "POST /v1/admin/api-keys": {"number_ids": "{number_id}"},
    "POST /v1/conversations/{conversation_id}/transfer": {"team_id": "{team_id}"},
}
NOTHING: Final = {
    # Where no body at all would do something to the caller.
    "POST /v1/auth/logout": {"refresh_token": "none"}
}
UNSEEN: Final[Mapping[str, int]] = {
    # One's own words may go from any chat, also from one that is seen no more.
    "DELETE /v1/conversations/{conversation_id}/draft": 204,
}
"""What is answered to who does not see it, where it is not 404."""
NOT_LOOKED_UP: Final = frozenset(
    {
        # Kept for its author as it came; looked up when it is sent.
        ("PUT /v1/conversations/{conversation_id}/draft", "reply_to"),
    }
)
ONE_OF: Final = (("agent_id", "team_id"),)
"""Members of which a body has one."""
NOT_DESCRIBED: Final = frozenset(
    {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/livez", "/readyz", "/metrics"}
)
_SKIPPED: Final = ("outbox", "outbox_at")


def let_in(route: Route) -> tuple[str, ...] | None:
    for pattern, callers in TABLE:
        if re.match(pattern, str(route)):
            return callers
    return None


@dataclass
class World:
    """A tenant whose things nobody else may touch, and who tries: strangers and a colleague."""

    app: FastAPI
    victim: Office
    stranger: Office
    ids: dict[str, str]
    own: dict[str, str]
    secrets: tuple[str, ...]
    bot: str
    """The stranger's key."""
    other_bot: str
    """A key of the tenant's own, for another number than the chat's."""
    findings: list[str] = field(default_factory=list)

    @property
    def routes(self) -> list[Route]:
        return list(routes_of(self.app.openapi()))

    def caller(self, name: str) -> Http:
        tokens = {
            "nobody": None,
            "platform": PLATFORM_TOKEN,
            "internal": INTERNAL_TOKEN,
            "bot": self.bot,
            "agent": self.stranger.dora.http.token,
            "supervisor": self.stranger.sue.http.token,
            "admin": self.stranger.tenant.admin.token,
        }
        return Http(self.app, tokens[name])

    def found(self, route: Route, who: str, answer: Answer, expected: str) -> None:
        self.findings.append(f"{route} by {who}: {answer.status} instead of {expected}")

    async def call(
        self, http: Http, route: Route, ids: Mapping[str, str], **members: Any
    ) -> Answer:
        body = route.body(**{**_meant(route, self.own), **members})
        return await http(route.method, route.filled(ids), body, route.headers)

    def expect_unseen(self, route: Route, who: str, answer: Answer) -> None:
        expected = UNSEEN.get(str(route), 404)
        if answer.status != expected or (expected == 404 and answer.code != "not_found"):
            self.found(route, who, answer, str(expected))

    def look(self, route: Route, who: str, answer: Answer) -> None:
        """Nothing of the tenant is in an answer to other tenants' people."""
        ours = who in {"platform", "internal"}
        if not ours and any(secret.encode() in answer.raw for secret in self.secrets):
            self.findings.append(f"{route} by {who}: tells secrets")
        if answer.status >= 500:
            self.found(route, who, answer, "an answer")

    async def kept(self) -> dict[str, Any]:
        """Every document of the tenant, when nothing is on its way any more."""
        database = self.victim.base.database
        mine = {"$or": [{"tenant": self.victim.tenant.id}, {"id": self.victim.tenant.id}]}
        async with asyncio.timeout(DEADLINE_SECONDS):
            for log in (CONVERSATIONS, DIRECTORY):
                while await database[log].find_one(  # noqa: ASYNC110 - no event to wait for
                    {**mine, "outbox.0": {"$exists": True}}
                ):
                    await asyncio.sleep(0.02)
        found = {}
        # What search keeps is written behind by a follower of the events, and by no route.
        for name in {*await database.list_collection_names()} - {SEARCH}:
            for document in await database[name].find(mine).to_list(None):
                for member in _SKIPPED:
                    document.pop(member, None)
                found[f"{name}:{document['_id']}"] = document
        return found


async def check(world: World) -> list[str]:
    """What is wrong with the routes of the world's application."""
    before = await world.kept()
    for route in world.routes:
        callers = let_in(route)
        if callers is None:
            world.findings.append(f"{route}: is not in the table")
            continue
        for who in CALLERS:
            if who in callers:
                await _let_in(world, route, who)
            else:
                await _kept_out(world, route, who, callers)
        for who in {*ROLES, "bot"} & set(callers):
            await _strangers(world, route, who)
        if re.match(r"\w+ /v1/(conversations|contacts)/{", str(route)):
            await _out_of_sight(world, route, "a colleague", world.victim.carl.http.token)
            if "bot" in callers:
                await _out_of_sight(world, route, "a bot", world.other_bot)
    after = await world.kept()
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    if changed:
        world.findings.append(f"changed: {', '.join(sorted(changed))}")
    return world.findings


async def _let_in(world: World, route: Route, who: str) -> None:
    """Nobody's ids and no body: nothing happens."""
    answer = await world.caller(who)(route.method, route.filled({}), NOTHING.get(str(route)))
    if answer.code in {"unauthorized", "forbidden"}:
        world.found(route, who, answer, "being let in")
    world.look(route, who, answer)


async def _kept_out(world: World, route: Route, who: str, callers: Iterable[str]) -> None:
    """A whole call on what is there. Who is known here is forbidden it, the others are unknown."""
    answer = await world.call(world.caller(who), route, world.own)
    known = who in {*ROLES, "bot"} and bool(set(ROLES) & set(callers))
    expected = (403, "forbidden") if known else (401, "unauthorized")
    if (answer.status, answer.code) != expected:
        world.found(route, who, answer, str(expected[0]))
    world.look(route, who, answer)


async def _strangers(world: World, route: Route, who: str) -> None:
    """Another tenant's ids in the path are 404; in the body they are unknown."""
    http = world.caller(who)
    if route.parameters:
        answer = await world.call(http, route, world.ids)
        world.expect_unseen(route, f"a stranger ({who})", answer)
        world.look(route, f"a stranger ({who})", answer)
    for member, value in _foreign(route, world.ids).items():
        if (str(route), member) in NOT_LOOKED_UP:
            continue
        rivals = {rival: None for group in ONE_OF if member in group for rival in group}
        answer = await world.call(http, route, world.own, **{**rivals, member: value})
        if not 400 <= answer.status < 500:
            world.found(route, f"a stranger ({who}) with {member}", answer, "404, 409 or 422")
        world.look(route, f"a stranger ({who}) with {member}", answer)
    if route.method == "GET":
        for kind in ("agent", "team", "label"):
            query = f"?{kind}={world.ids[f'{kind}_id']}"
            answer = await http("GET", route.filled(world.own) + query)
            world.look(route, f"a stranger ({who}) with {kind}", answer)


def _meant(route: Route, own: Mapping[str, str]) -> dict[str, Any]:
    meant = {name: value.format(**own) for name, value in BODIES.get(str(route), {}).items()}
    return {name: [value] if name.endswith("_ids") else value for name, value in meant.items()}


def _foreign(route: Route, ids: Mapping[str, str]) -> dict[str, Any]:
    """The body's members that hold ids, with those of the other tenant."""
    found: dict[str, Any] = {}
    for member in route.members:
        kind = {"reply_to": "message_id", "labels": "label_id", "media": "media_id"}.get(
            member, member.replace("_ids", "_id")
        )
        if kind in ids and kind not in {"waba_id", "phone_number_id"}:
            several = member.endswith("s")
            found[member] = [ids[kind]] if several else ids[kind]
    return found


async def _out_of_sight(world: World, route: Route, who: str, token: str | None) -> None:
    """Of the same tenant, on a chat of another team or number that somebody holds."""
    members = _meant(route, world.ids)
    answer = await world.call(Http(world.app, token), route, world.ids, **members)
    world.expect_unseen(route, who, answer)
    world.look(route, who, answer)


# -- the world


async def _things(office: Office, secret: str) -> dict[str, str]:
    """A chat that `ana` holds, and one of every other thing, by the names of path parameters."""
    contact = await office.contact(secret)
    held = await office.opened_by(
        office.ana, text=secret, contact=contact, number=office.plain, team=office.sales
    )
    sent = await office.ana.send(held, text=secret)
    assert sent.status == 202, sent.raw
    label = await office.tenant.admin("POST", "/v1/admin/labels", {"name": secret})
    first = (await office.ana("GET", f"/conversations/{held}/messages")).body["items"][-1]
    return {
        "wamid": first["wamid"],
        "conversation_id": held,
        "message_id": sent.body["id"],
        "contact_id": contact.id,
        "agent_id": office.ana.id,
        "team_id": office.sales,
        "label_id": label.body["id"],
        "number_id": office.plain,
        "tenant_id": office.tenant.id,
        "session_id": (await office.ana.http("GET", "/v1/me/sessions")).body["items"][0]["id"],
    }


async def _complete(office: Office, routes: Iterable[Route], ids: dict[str, str]) -> None:
    """Makes one of each thing that a path names and that is not there yet."""
    known = {str(route): route for route in routes}
    for route in list(known.values()):
        for name in route.parameters:
            if name in ids:
                continue
            parent = route.path.split(f"/{{{name}}}")[0]
            create = known.get(f"POST {parent}")
            assert create is not None, f"{route}: make a {name} in `_things`"
            http = office.tenant.admin if "/admin/" in parent else office.ana.http
            body = create.body(**_meant(create, ids))
            made = await http("POST", create.filled(ids), body, create.headers)
            assert made.status in {200, 201, 202}, f"{create}: {made.status} {made.raw!r}"
            ids[name] = made.body["id"]


async def _world(inbox: Inbox, app: FastAPI) -> World:
    secret = f"secret {uuid.uuid4().hex}"
    victim = await open_office(await inbox.tenant(secret))
    stranger = await open_office(await inbox.tenant())
    ids = await _things(victim, secret)
    own = await _things(stranger, "own")
    routes = list(routes_of(inbox.service.asgi.openapi()))
    await _complete(victim, routes, ids)
    await _complete(stranger, routes, own)
    held = own["conversation_id"]
    assert (await stranger.ana.act(held, "transfer", agent_id=stranger.dora.id)).status == 200
    bot = await _key(stranger, stranger.plain)
    other_bot = await _key(victim, victim.number)
    return World(app, victim, stranger, ids, own, (secret, *ids.values()), bot, other_bot)


async def _key(office: Office, number: str) -> str:
    body = {"name": "bot", "number_ids": [number]}
    made = await office.tenant.admin("POST", "/v1/admin/api-keys", body)
    assert made.status == 201, made.raw
    return str(made.body["key"])


@pytest.fixture
async def world(inbox: Inbox) -> World:
    return await _world(inbox, inbox.service.asgi)


# -- the tests


async def test_every_route_lets_in_who_may_and_nobody_in_what_is_anothers(world: World) -> None:
    assert "\n".join(await check(world)) == ""
    # The document names every route: none is hidden from this test.
    paths = {getattr(route, "path", None) for route in world.app.routes} - {None}
    assert paths == NOT_DESCRIBED
    hidden = [
        context
        for each in world.app.routes
        for context in getattr(each, "effective_candidates", list)()
        if not context.original_route.include_in_schema
    ]
    assert hidden == []


async def test_a_route_without_its_check_is_found(inbox: Inbox) -> None:
    database = inbox.service._base.database
    planted = APIRouter()
    ConversationId = Annotated[str, Path()]  # noqa: N806 - an alias, as the routes have them

    @planted.get("/elsewhere")
    async def elsewhere() -> None:
        return None

    @planted.get("/v1/conversations/{conversation_id}/peek")
    async def peek(_: AnyPerson, conversation_id: ConversationId) -> dict[str, Any]:
        found = await database[CONVERSATIONS].find_one({"_id": conversation_id})
        return {"text": found and found["last_message"]["text"]}

    @planted.post("/v1/conversations/{conversation_id}/star")
    async def star(conversation_id: ConversationId) -> None:
        await database[CONVERSATIONS].update_one({"_id": conversation_id}, {"$set": {"star": 1}})

    @planted.get("/v1/admin/things")
    async def things(_: AnyPerson) -> list[str]:
        return []

    app = FastAPI()
    app.state.guard = inbox.service.asgi.state.guard
    install(app)
    app.include_router(planted)
    world = await _world(inbox, app)
    found = await check(world)
    held = world.ids["conversation_id"]
    for finding in (
        "GET /elsewhere: is not in the table",
        "GET /v1/conversations/{conversation_id}/peek by a stranger (agent): 200 instead of 404",
        "GET /v1/conversations/{conversation_id}/peek by a stranger (admin): tells secrets",
        "GET /v1/conversations/{conversation_id}/peek by a colleague: 200 instead of 404",
        "POST /v1/conversations/{conversation_id}/star by nobody: 200 instead of 401",
        "GET /v1/admin/things by supervisor: 200 instead of 403",
        f"changed: conversations:{held}",
    ):
        assert finding in found
