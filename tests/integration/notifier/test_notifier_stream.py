import asyncio
from collections.abc import Callable

import orjson
import pytest

from tests.integration.notifier.conftest import Open, StartPod, introduce
from tests.integration.notifier.pods import Pod
from tests.integration.notifier.world import Chat, Seen, Socket, Tenant

pytestmark = pytest.mark.integration


async def test_accept_and_transfer_enter_and_leave(pod: Pod, tenant: Tenant, connect: Open) -> None:
    ana, luis, sol = await connect("ana"), await connect("luis"), await connect("sol")
    chat = Chat(tenant)
    await pod.feed(chat.received())
    await pod.feed(chat.assigned("ana"))
    await pod.feed(chat.received())
    await pod.feed(chat.transferred(agent="luis"))
    await pod.feed(chat.closed())
    c = chat.id
    assert await ana.until(4) == [
        ("enter", c, 1),
        ("update", c, 2),
        ("update", c, 3),
        ("leave", c, 4),
    ]
    assert await luis.until(4) == [
        ("enter", c, 1),
        ("leave", c, 2),
        ("enter", c, 4),
        ("update", c, 5),
    ]
    assert await sol.until(5) == [("enter", c, 1), *(("update", c, v) for v in range(2, 6))]
    assert await ana.settled() == ana.seen.events[:4]


async def test_a_frame_is_of_the_contracts_shape(pod: Pod, tenant: Tenant, connect: Open) -> None:
    ana = await connect("ana")
    assert ana.welcome == {"type": "welcome", "resumed": False, "cursor": ana.seen.cursor}
    chat = Chat(tenant)
    await pod.feed(chat.received("¡hola!"))
    frame = await ana.frame()
    assert set(frame) == {"type", "cursor", "change", "event"}
    event = frame["event"]
    assert {k: event[k] for k in ("type", "conversation_id", "version")} == {
        "type": "message.received",
        "conversation_id": chat.id,
        "version": 1,
    }
    assert event["at"].endswith("Z")
    assert event["data"]["message"]["text"] == "¡hola!"
    assert event["data"]["conversation"]["status"] == "on_hold"


async def test_a_teams_queue_is_its_members(pod: Pod, tenant: Tenant, connect: Open) -> None:
    ana, eva = await connect("ana"), await connect("eva")
    chat = Chat(tenant, team="t1")
    await pod.feed(chat.received(), chat.transferred(team="t2"))
    assert await eva.until(2) == [("enter", chat.id, 1), ("leave", chat.id, 2)]
    assert await ana.settled() == []


async def test_regression_a_supervisors_own_view_has_every_queue(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    await pod.feed(tenant.team("t1"))
    sol = await connect("sol", scope="mine")
    chat = Chat(tenant, team="t1")
    await pod.feed(chat.received(), chat.assigned("ana"), chat.received())
    assert await sol.until(2) == [("enter", chat.id, 1), ("leave", chat.id, 2)]
    await pod.feed(tenant.team("t2"))
    await sol.of_type("resync")
    later = Chat(tenant, team="t2")
    await pod.feed(later.received())
    assert (await sol.until(3))[2:] == [("enter", later.id, 1)]


async def test_nothing_of_another_tenant(pod: Pod, tenant: Tenant, connect: Open) -> None:
    other = Tenant()
    await introduce(pod, other)
    mine = [await connect(who) for who in ("ana", "sol")]
    theirs = await connect("sol", of=other)
    chat = Chat(tenant)
    await pod.feed(chat.received(), chat.assigned("ana"))
    for socket in mine:
        await socket.until(2)
    assert await theirs.settled() == []
    stolen = await connect("sol", of=other, cursor=mine[1].seen.cursor)
    assert stolen.welcome["resumed"] is False
    assert await stolen.settled() == []


async def test_resume_gives_exactly_what_was_missed(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    seen = Seen()
    ana = await connect("ana", seen=seen)
    chats = [Chat(tenant) for _ in range(3)]
    await pod.feed(*[chat.received() for chat in chats])
    await ana.until(3)
    await ana.close()
    missed = [chat.received(f"{turn}") for turn in range(150) for chat in chats]
    missed += [chats[0].assigned("luis"), chats[1].assigned("ana"), chats[1].received()]
    await pod.feed(*missed)
    again = await connect("ana", cursor=seen.cursor, seen=seen)
    assert again.welcome["resumed"] is True
    await again.until(3 + len(missed))
    await pod.feed(chats[1].received())
    await again.until(3 + len(missed) + 1)
    assert seen.chats == {c.id: c.version for c in chats[1:]}


async def test_resume_on_another_pod_while_events_flow(
    pod: Pod, tenant: Tenant, connect: Open, start_pod: StartPod
) -> None:
    second = await start_pod()
    await introduce(second, tenant)
    seen = Seen()
    socket = await connect("sol", seen=seen)
    chats = [Chat(tenant) for _ in range(4)]

    async def write() -> None:
        for _ in range(200):
            await pod.feed(*[chat.received() for chat in chats])

    writing = asyncio.create_task(write())
    for turn in range(6):
        await socket.until(40 * (turn + 1))
        await socket.close()
        where = second if turn % 2 == 0 else pod
        socket = await connect("sol", on=where, cursor=seen.cursor, seen=seen)
        assert socket.welcome["resumed"] is True
    await writing
    await socket.until(800)
    assert seen.chats == {chat.id: 200 for chat in chats}
    assert len(seen.events) == 800


def _with_seq(cursor: str, seq: str) -> str:
    epoch, _, tags = cursor.split(".")
    return f"{epoch}.{seq}.{tags}"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "rubbish", id="rubbish"),
        pytest.param(lambda _: "x" * 5000, id="huge"),
        pytest.param(lambda c: c + "0", id="other-tags"),
        pytest.param(lambda c: "f" * 16 + c[16:], id="another-epoch"),
        pytest.param(lambda c: _with_seq(c, "9" * 16), id="future"),
    ],
)
async def test_a_spoilt_cursor_resyncs(
    pod: Pod, tenant: Tenant, connect: Open, spoil: Callable[[str], str]
) -> None:
    await pod.feed(Chat(tenant).received())
    good = (await connect("ana")).seen.cursor
    again = await connect("ana", cursor=spoil(good))
    assert again.welcome["resumed"] is False
    assert (await connect("ana", cursor=again.seen.cursor)).welcome["resumed"] is True


async def test_an_agents_cursor_is_no_use_to_another(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana = await connect("ana")
    assert (await connect("luis", cursor=ana.seen.cursor)).welcome["resumed"] is False


async def test_scope_all_is_for_supervisors(pod: Pod, tenant: Tenant, connect: Open) -> None:
    ana = await connect("ana", scope="all")
    assert ana.welcome["type"] == "welcome"
    assert await ana.frame() == {"type": "error", "code": "forbidden_scope"}
    sol = await connect("sol", scope="mine")
    chat = Chat(tenant)
    await pod.feed(chat.received(), chat.assigned("luis"), chat.received())
    assert await ana.until(2) == [("enter", chat.id, 1), ("leave", chat.id, 2)]
    assert await sol.until(2) == ana.seen.events
    await sol.send(type="scope", scope="all")
    resync = await sol.of_type("resync")
    sol.seen.chats[chat.id] = chat.version
    await pod.feed(chat.received())
    await sol.until(3)
    assert sol.seen.cursor != resync["cursor"]
    await ana.send(type="scope", scope="all")
    assert (await ana.of_type("error"))["code"] == "forbidden_scope"


async def test_a_deleted_chat_leaves_everybody(pod: Pod, tenant: Tenant, connect: Open) -> None:
    ana, sol = await connect("ana"), await connect("sol")
    chat = Chat(tenant)
    await pod.feed(chat.received(), chat.assigned("ana"), chat.deleted())
    await ana.until(3)
    await sol.until(3)
    assert ana.seen.chats == sol.seen.chats == {}


async def test_several_waiting_events_share_a_frame(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    ana = await connect("ana")
    chats = [Chat(tenant) for _ in range(50)]
    await pod.feed(*[chat.received() for chat in chats])
    frames = 0
    while len(ana.seen.events) < 50:
        await ana.frame()
        frames += 1
    assert frames < 50


async def test_several_sockets_of_one_agent_each_get_everything(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    sockets = [await connect("ana") for _ in range(3)]
    chat = Chat(tenant)
    await pod.feed(chat.received())
    for socket in sockets:
        assert await socket.until(1) == [("enter", chat.id, 1)]


async def test_server_sent_events_carry_the_same_frames(
    pod: Pod, tenant: Tenant, connect: Open
) -> None:
    chat = Chat(tenant)
    first = await connect("ana")
    await pod.feed(chat.received())
    host, port = pod.address.split(":")
    ticket = tenant.ticket("ana")

    async def ask() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /v1/stream/sse?ticket={ticket} HTTP/1.1\r\nHost: x\r\n"
            f"Last-Event-ID: {first.welcome['cursor']}\r\n\r\n".encode()
        )
        return reader, writer, await reader.readline()

    reader, writer, status = await ask()
    assert b" 200 " in status
    data = []
    async with asyncio.timeout(10):
        while len(data) < 2:
            line = await reader.readline()
            if line.startswith(b"data: "):
                data.append(orjson.loads(line[6:]))
    assert [frame["type"] for frame in data] == ["welcome", "event"]
    assert data[0]["resumed"] is True
    writer.close()
    _, writer, status = await ask()
    assert b" 401 " in status, "a ticket is good for one use"
    writer.close()


async def test_an_unknown_frame_is_ignored(pod: Pod, connect: Open) -> None:
    ana = await connect("ana")
    await ana.send(type="from-a-newer-client")
    assert await ana.settled() == []


async def test_hello_needs_no_cursor_member(pod: Pod, tenant: Tenant) -> None:
    socket = await Socket.open(pod.url)
    await socket.send(type="hello", token=tenant.token("ana"))
    assert (await socket.frame())["resumed"] is False
    await socket.close()
