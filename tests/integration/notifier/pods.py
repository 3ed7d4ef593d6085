"""A pod of the notifier in this process, on a real port, with or without Kafka behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from services.notifier.api.protocol import StreamHttpProtocol, StreamProtocol
from services.notifier.app import NotifierApp, create_app
from services.notifier.settings import NotifierSettings
from services.notifier.workflows.write_feed import WriteFeed
from shared.contracts.records import OutRecord
from shared.contracts.topics import DIRECTORY
from tests.integration.notifier.world import in_record


class Pod:
    def __init__(self, app: NotifierApp, server: uvicorn.Server) -> None:
        self.app = app
        self.server = server
        self.write_feed = WriteFeed(app.feed, app.metrics)

    @property
    def address(self) -> str:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    @property
    def url(self) -> str:
        return f"ws://{self.address}"

    async def feed(self, *records: OutRecord) -> None:
        """What the consumers would do with records of the topics."""
        taken = [in_record(record) for record in records]
        entries = [r for r in taken if r.topic == DIRECTORY.base]
        for entry in entries:
            self.app.directory.apply(entry)
        self.app.streams.directory_changed(entries)
        assert not await self.write_feed([r for r in taken if r.topic != DIRECTORY.base])


async def until(condition: Any, patience: float = 10.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - what is waited for is another's state
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(settings: NotifierSettings, *, kafka: bool) -> AsyncIterator[Pod]:
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=StreamHttpProtocol,
        ws=StreamProtocol,
        ws_max_size=int(settings.notifier_frame_limit),
        ws_per_message_deflate=False,
        lifespan="on" if kafka else "off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    parts = () if kafka else (app.tail, app.presence, app.streams)
    if not kafka:
        app.table._caught_up.set()
    for part in parts:
        await part.start()
    # Without serve()'s signal handlers: pytest's own stay.
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started or serving.done())
    try:
        yield Pod(app, server)
    finally:
        server.should_exit = True
        await serving
        for part in reversed(parts):
            await part.aclose()
        if not kafka:
            await app.redis.aclose()
