from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from aiohttp import web

from deploy.local.processes import free_port
from services.routing.gateways import InboxClient, InboxUnavailableError
from services.routing.model import Change
from shared.contracts.views import Status

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[InboxClient]]
ITEM = {
    "id": "c1",
    "tenant": "acme",
    "version": 7,
    "status": "on_hold",
    "episode": 2,
    "epoch": 5,
    "assignee": None,
    "team": "sales",
    "number": "n",
    "waiting_since": "2026-06-01T12:00:00.000Z",
    "held_by_agent": True,
    "snoozed_until": None,
}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []
    clients: list[InboxClient] = []

    async def start(
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> InboxClient:
        app = web.Application()
        app.router.add_get("/internal/v1/conversations", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        url = f"http://127.0.0.1:{port}/"
        clients.append(InboxClient(url, "token", timeout=timedelta(milliseconds=500)))
        return clients[-1]

    yield start
    for client in clients:
        await client.aclose()
    for runner in runners:
        await runner.cleanup()


async def listed(client: InboxClient, tenant: str | None = None) -> list[Change]:
    return [change async for page in client.conversations(tenant) for change in page]


async def test_all_pages_are_read_with_the_token(serve: Serve) -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append((request.headers["authorization"], dict(request.query)))
        more = "cursor" not in request.query
        item = ITEM | {"id": "c1" if more else "c2"}
        return web.json_response({"items": [item], "next_cursor": "c1" if more else None})

    client = await serve(handler)
    found = await listed(client, "acme")
    assert [one.id for one in found] == ["c1", "c2"]
    assert asked == [
        ("Bearer token", {"limit": "1000", "tenant": "acme"}),
        ("Bearer token", {"limit": "1000", "tenant": "acme", "cursor": "c1"}),
    ]
    first = found[0]
    assert (first.tenant, first.version, first.status) == ("acme", 7, Status.ON_HOLD)
    assert (first.episode, first.epoch, first.team) == (2, 5, "sales")
    assert (first.held, first.listed, first.assignee) == (True, True, None)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status": 503}, id="503"),
        pytest.param({"status": 401}, id="401"),
        pytest.param({"text": "hello"}, id="not JSON"),
        pytest.param({"text": '{"items": [{}], "next_cursor": null}'}, id="another shape"),
    ],
)
async def test_other_answers_are_transient(serve: Serve, response: dict[str, object]) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**response)  # type: ignore[arg-type]

    client = await serve(handler)
    with pytest.raises(InboxUnavailableError):
        await listed(client)


async def test_inbox_that_is_away_is_transient() -> None:
    client = InboxClient(f"http://127.0.0.1:{free_port()}", "t", timeout=timedelta(seconds=1))
    with pytest.raises(InboxUnavailableError):
        await listed(client)
    await client.aclose()
