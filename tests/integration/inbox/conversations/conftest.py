import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest

from deploy.local.home import ROOT
from deploy.local.processes import free_port
from shared.testing.graph.server import GraphServer
from shared.testing.graph.settings import GraphSettings
from tests.integration.inbox.conversations.meta import Meta
from tests.integration.inbox.conversations.office import Office, open_office
from tests.integration.inbox.inbox_rig import MASTER_KEY, Inbox

_OPEN_SECONDS = 600.0
"""Its people's tokens live for 15 minutes, and the tests of a slow machine last longer."""


@pytest.fixture(scope="session")
def offices() -> list[tuple[float, Office]]:
    """When each shared office was opened."""
    return []


@pytest.fixture
async def shared_office(inbox: Inbox, offices: list[tuple[float, Office]]) -> Office:
    """For tests that look only at their own conversations."""
    if not offices or time.monotonic() - offices[-1][0] > _OPEN_SECONDS:
        offices.append((time.monotonic(), await open_office(await inbox.tenant())))
    return offices[-1][1]


@pytest.fixture
async def office(inbox: Inbox) -> Office:
    """For tests that look at whole lists and counts."""
    return await open_office(await inbox.tenant())


@pytest.fixture(scope="module")
async def meta(inbox: Inbox) -> AsyncIterator[Meta]:
    """WhatsApp: the fake Graph server, and a process of delivery between it and inbox.

    Not for longer: other modules tell by themselves what became of their sends.
    """
    settings = inbox.settings
    async with GraphServer(GraphSettings(port=0)) as graph, aiohttp.ClientSession() as session:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.delivery",
            env=dict(os.environ)
            | {
                "ATRIO_KAFKA_SERVERS": settings.kafka_servers,
                "ATRIO_TOPIC_PREFIX": settings.topic_prefix,
                "ATRIO_MONGO_URL": settings.mongo_url,
                # Another fake has no files of the one before.
                "ATRIO_DELIVERY_DB": f"{settings.inbox_db}d{uuid.uuid4().hex[:6]}",
                "ATRIO_GRAPH_URL": graph.url,
                "ATRIO_MASTER_KEY": MASTER_KEY,
                "ATRIO_KEY_SECRET": "key-secret",
                "ATRIO_HOME": str(settings.home),
                "ATRIO_DELIVERY_PORT": str(port),
            },
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            control = Meta(graph.url, session)
            await control("PATCH", "/webhooks", {"enabled": False})
            yield control
        finally:
            process.kill()
            await process.wait()
