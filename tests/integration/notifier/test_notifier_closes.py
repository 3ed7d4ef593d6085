"""Why a stream is refused or ends."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_websocket

from tests.integration.notifier.conftest import Open, StartPod, introduce
from tests.integration.notifier.pods import Pod, until
from tests.integration.notifier.world import Chat, Socket, Tenant

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("{", id="not-json"),
        pytest.param("[]", id="not-an-object"),
        pytest.param('{"type":"ping"}', id="not-a-hello"),
        pytest.param('{"type":"hello"}', id="without-token"),
        pytest.param('{"type":"hello","token":"x","cursor":7}', id="cursor-no-text"),
        pytest.param(b"\x00\x01", id="binary"),
    ],
)
async def test_a_bad_hello_is_4400(pod: Pod, frame: Any) -> None:
    socket = await Socket.open(pod.url)
    await socket.connection.send(frame)
    assert await socket.close_code() == 4400


async def test_a_scope_that_is_none_is_4400(pod: Pod, tenant: Tenant) -> None:
    socket = await Socket.open(pod.url)
    await socket.send(type="hello", token=tenant.token("ana"), cursor=None, scope="team")
    assert await socket.close_code() == 4400


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": time.time() - 1}, id="expired"),
        pytest.param({"aud": "somebody-else"}, id="other-audience"),
        pytest.param({"sub": "nobody"}, id="unknown-agent"),
        pytest.param({"tenant": "f" * 32}, id="unknown-tenant"),
        pytest.param({"iss": "elsewhere"}, id="other-issuer"),
        pytest.param({"jti": None}, id="without-jti"),
    ],
)
async def test_a_bad_token_is_4401(pod: Pod, tenant: Tenant, claims: dict[str, Any]) -> None:
    socket = await Socket.open(pod.url)
    await socket.send(type="hello", token=tenant.token("ana", **claims), cursor=None)
    assert await socket.close_code() == 4401


async def test_a_token_of_a_strangers_key_is_4401(pod: Pod, tenant: Tenant) -> None:
    socket = await Socket.open(pod.url)
    forged = Tenant(tenant.id).token("ana")
    await socket.send(type="hello", token=forged, cursor=None)
    assert await socket.close_code() == 4401


async def test_the_role_is_the_directorys_not_the_tokens(pod: Pod, tenant: Tenant) -> None:
    socket = await Socket.open(pod.url)
    await socket.hello(tenant.token("ana", role="admin"), scope="all")
    assert (await socket.frame())["code"] == "forbidden_scope"
    await socket.close()


async def test_a_removed_agent_a_revoked_token_a_suspended_tenant_close_4401(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana, luis, eva = await connect("ana"), await connect("luis"), await connect("eva")
    await pod.feed(tenant.no_agent("ana"))
    assert await ana.close_code() == 4401
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await pod.feed(tenant.agent("luis", tokens_valid_after=later))
    assert await luis.close_code() == 4401
    await pod.feed(tenant.tenant("suspended"))
    assert await eva.close_code() == 4401
    again = await Socket.open(pod.url)
    await again.send(type="hello", token=tenant.token("eva"), cursor=None)
    assert await again.close_code() == 4401


async def test_a_revoked_session_closes_4401_and_the_agents_others_stay(
    pod: Pod, tenant: Tenant
) -> None:
    ended, stays, by_ticket = [await Socket.open(pod.url) for _ in range(3)]
    await ended.hello(tenant.token("ana", sid="s1"))
    await stays.hello(tenant.token("ana", sid="s2"))
    await by_ticket.hello(tenant.token("ana", sid="s1", aud="atrio-stream", exp=time.time() + 30))
    await pod.feed(tenant.agent("ana", revoked_sessions=["s1"]))
    assert await ended.close_code() == 4401
    assert await by_ticket.close_code() == 4401
    assert await stays.settled() == []
    again = await Socket.open(pod.url)
    await again.send(type="hello", token=tenant.token("ana", sid="s1"), cursor=None)
    assert await again.close_code() == 4401
    await stays.close()


async def test_a_token_that_expires_closes_unless_it_is_renewed(pod: Pod, tenant: Tenant) -> None:
    soon = time.time() + 1.5
    kept, lost = await Socket.open(pod.url), await Socket.open(pod.url)
    await kept.hello(tenant.token("ana", exp=soon))
    await lost.hello(tenant.token("ana", exp=soon))
    await kept.send(type="token", token=tenant.token("ana"))
    assert await lost.close_code() == 4401
    assert await kept.settled() == []
    await kept.send(type="token", token=tenant.token("luis"))
    assert await kept.close_code() == 4401


async def test_a_ticket_opens_one_stream(pod: Pod, tenant: Tenant) -> None:
    ticket = tenant.ticket("ana")
    first, second = await Socket.open(pod.url), await Socket.open(pod.url)
    assert (await first.hello(ticket))["type"] == "welcome"
    await second.send(type="hello", token=ticket, cursor=None)
    assert await second.close_code() == 4401
    await first.close()


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        pytest.param("http://evil.test", 4403, id="foreign"),
        pytest.param("null", 4403, id="null"),
    ],
)
async def test_a_foreign_origin_is_4403(pod: Pod, origin: str, code: int) -> None:
    socket = Socket(await connect_websocket(f"{pod.url}/v1/stream", origin=origin))  # type: ignore[arg-type]
    assert await socket.close_code() == code


async def test_the_consoles_origin_is_allowed(pod: Pod, tenant: Tenant) -> None:
    socket = await Socket.open(pod.url, origin="http://console.test")
    assert (await socket.hello(tenant.token("ana")))["type"] == "welcome"
    await socket.close()


async def test_no_hello_in_time_is_4408(start_pod: StartPod) -> None:
    pod = await start_pod(notifier_hello_timeout=0.2)
    socket = await Socket.open(pod.url)
    assert await socket.close_code() == 4408


@pytest.mark.parametrize("size", [64 * 1024 + 1, 300_000, 3_000_000])
async def test_a_frame_over_the_limit_is_4413(
    pod: Pod, tenant: Tenant, connect: Open, size: int
) -> None:
    ana = await connect("ana")
    sending = asyncio.create_task(ana.connection.send("x" * size))
    assert await ana.close_code() == 4413
    await asyncio.gather(sending, return_exceptions=True)


async def test_more_connections_than_allowed_is_4429(
    start_pod: StartPod, tenant: Tenant, connect: Open
) -> None:
    pods = [await start_pod(notifier_connections_per_agent=3) for _ in range(2)]
    for pod in pods:
        await introduce(pod, tenant)
    kept = [await connect("ana", on=pods[n % 2]) for n in range(3)]
    fourth = await Socket.open(pods[1].url)
    await fourth.send(type="hello", token=tenant.token("ana"), cursor=None)
    assert await fourth.close_code() == 4429
    assert (await connect("luis", on=pods[0])).welcome["type"] == "welcome"
    await kept[0].close()
    async with asyncio.timeout(5):
        while True:
            again = await Socket.open(pods[1].url)
            await again.send(type="hello", token=tenant.token("ana"), cursor=None)
            try:
                welcome = await again.frame()
            except Exception:
                await asyncio.sleep(0.02)
                continue
            assert welcome["type"] == "welcome"
            await again.close()
            break


async def test_a_slow_reader_is_cut_and_can_resume(
    start_pod: StartPod, tenant: Tenant, connect: Open
) -> None:
    pod = await start_pod(notifier_queue_limit=200_000)
    await introduce(pod, tenant)
    slow = await Socket.open(pod.url, max_queue=1)
    await slow.hello(tenant.token("sol"))
    quick = await connect("sol", on=pod)
    chats = [Chat(tenant) for _ in range(10)]
    closes = pod.app.metrics.socket_closes.labels(4429)
    sent = 0
    while not closes._value.get() and sent < 4000:
        await pod.feed(*[chat.received("x" * 20_000) for chat in chats])
        sent += 10
        await quick.until(sent)
    assert sent < 4000, "the slow reader was never cut"
    held = 0
    code = None
    while code is None:
        try:
            await slow.frame()
        except TimeoutError:
            pytest.fail("neither frame nor close")
        except Exception as closed:
            code = closed.rcvd.code  # type: ignore[attr-defined]
        held = len(slow.seen.events)
    assert code == 4429
    assert slow.seen.events == quick.seen.events[:held], "nothing was skipped"
    again = await connect("sol", on=pod, cursor=slow.seen.cursor, seen=slow.seen)
    assert again.welcome["resumed"] is True
    assert await again.until(sent) == quick.seen.events


async def test_a_stopping_pod_sends_its_streams_away_with_1012(
    start_pod: StartPod, tenant: Tenant, pod: Pod, connect: Open
) -> None:
    stopping = await start_pod()
    await introduce(stopping, tenant)
    sockets = [await connect("ana", on=stopping) for _ in range(10)]
    stopping.server.should_exit = True
    codes = await asyncio.gather(*[socket.close_code() for socket in sockets])
    assert set(codes) == {1012}
    await until(lambda: not stopping.app.streams._clients)
    chat = Chat(tenant)
    await pod.feed(chat.received())
    elsewhere = await connect("ana", cursor=sockets[0].seen.cursor)
    assert elsewhere.welcome["resumed"] is True
    assert await elsewhere.until(1) == [("enter", chat.id, 1)]
