import uuid
from collections.abc import AsyncIterator

import pytest

from services.inbox.settings import InboxSettings
from tests.integration.inbox.inbox_rig import Inbox, TenantRig, running, settings_for
from tests.support.stack import Addresses


@pytest.fixture(scope="session")
async def inbox(stack: Addresses) -> AsyncIterator[Inbox]:
    """One inbox for all tests that leave it as they found it."""
    unique = f"t{uuid.uuid4().hex[:12]}"
    async with running(await settings_for(stack, f"{unique}.", unique)) as made:
        yield made


@pytest.fixture
async def inbox_settings(stack: Addresses, topic_prefix: str, mongo_db: str) -> InboxSettings:
    """For a test that starts an inbox of its own."""
    return await settings_for(stack, topic_prefix, mongo_db)


@pytest.fixture
async def tenant(inbox: Inbox) -> TenantRig:
    return await inbox.tenant()
