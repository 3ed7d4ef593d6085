import asyncio
import os
import sys
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


@pytest.fixture(scope="session")
async def shared_office(inbox: Inbox) -> Office:
    """For tests that look only at their own conversations."""
    return await open_office(await inbox.tenant())


@pytest.fixture
async def office(inbox: Inbox) -> Office:
    """For tests that look at whole lists and counts."""
    return await open_office(await inbox.tenant())


@pytest.fixture(scope="session")
async def meta(shared_office: Office) -> AsyncIterator[Meta]:
    """WhatsApp: the fake Graph server, and a process of delivery between it and inbox."""
    settings = shared_office.tenant.inbox.settings
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
                "ATRIO_DELIVERY_DB": f"{settings.inbox_db}d",
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
