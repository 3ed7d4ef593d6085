"""MongoDB goes away between two lines: nothing is lost, nothing is sent twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from services.delivery.model import FaultPoint
from services.delivery.settings import DeliverySettings
from shared.contracts.errors import TransientError
from shared.mongo.client import MongoSettings, create_client
from tests.integration.delivery.delivery_rig import GraphControl, Log, Pod, send, until
from tests.support.stack import Addresses

pytestmark = pytest.mark.integration


class Proxy:
    """A way to MongoDB that can be cut and mended; requests may get through without an answer."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.deaf = False

    async def open(self) -> None:
        self.deaf = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        writers = list(self._writers)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection(*self._target)
            mine = {writer, up_writer}
            self._writers |= mine
            try:
                await asyncio.gather(
                    self._pump(reader, up_writer, answers=False),
                    self._pump(up_reader, writer, answers=True),
                )
            finally:
                for each in mine:
                    each.transport.abort()
                self._writers -= mine

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if answers and self.deaf:
                    if self._server is not None:
                        self._server.close()
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def proxy(stack: Addresses) -> AsyncIterator[Proxy]:
    address = urlsplit(stack.mongo_url)
    made = Proxy(address.hostname or "127.0.0.1", address.port or 27017)
    await made.open()
    yield made
    await made.cut()


@pytest.fixture
async def behind(
    proxy: Proxy, settings: DeliverySettings, mongo_db: str, events: Log, stack: Addresses
) -> AsyncIterator[Pod]:
    url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    short = timedelta(seconds=0.3)
    client = create_client(
        MongoSettings(mongo_url=url, mongo_select_timeout=short), app_name="delivery-outage"
    )
    pod = Pod(settings, client[mongo_db], events)
    await pod.engine.create_indexes()
    await pod.start()
    await until(lambda: pod.engine.ownership.settled)
    yield pod
    await pod.stop()
    await asyncio.to_thread(client.close)  # it waits for the proxy, which is on this loop
    direct = create_client(MongoSettings(mongo_url=stack.mongo_url), app_name="delivery-outage")
    await direct.drop_database(mongo_db)
    direct.close()


async def test_commands_are_held_while_the_store_is_away(behind: Pod, proxy: Proxy, events: Log):
    await proxy.cut()
    with pytest.raises(TransientError):
        await behind.take_in(send("m1", 1))
    await proxy.open()
    async with asyncio.timeout(10):
        while True:  # as the subscription does
            with contextlib.suppress(TransientError):
                await behind.take_in(send("m1", 1))
                break
    await until(lambda: events.outcomes("m1") == ["send.accepted"])


@pytest.mark.parametrize(
    "point", [FaultPoint.CLAIM_BEFORE, FaultPoint.POST_AFTER, FaultPoint.SETTLE_BEFORE]
)
async def test_store_away_at_a_point_delays_and_loses_nothing(
    behind: Pod, proxy: Proxy, graph: GraphControl, events: Log, point: FaultPoint
):
    behind.faults.hold(point)
    await behind.take_in(send("m1", 1), send("m2", 2))
    await behind.faults.reached[point].wait()
    await proxy.cut()
    behind.faults.release(point)
    await asyncio.sleep(0.5)
    assert not events.records
    await proxy.open()
    await until(lambda: events.outcomes("m2"), 15)
    assert await graph.accepted() == ["m1", "m2"]
    assert events.outcomes("m1") == events.outcomes("m2") == ["send.accepted"]


async def test_claim_whose_answer_was_lost_is_released_and_sent_once(
    behind: Pod, proxy: Proxy, graph: GraphControl, events: Log
):
    behind.faults.hold(FaultPoint.CLAIM_BEFORE)
    await behind.take_in(send("m1", 1), send("m2", 2))
    await behind.faults.reached[FaultPoint.CLAIM_BEFORE].wait()
    proxy.deaf = True
    behind.faults.release(FaultPoint.CLAIM_BEFORE)
    await asyncio.sleep(0.5)
    assert await graph.sends() == []
    await proxy.open()
    await until(lambda: events.outcomes("m2"), 15)
    assert await graph.accepted() == ["m1", "m2"]
    assert len(await graph.sends()) == 2
    assert "send.failed" not in events.outcomes("m1")
