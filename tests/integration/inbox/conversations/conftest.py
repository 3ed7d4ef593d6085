import pytest

from tests.integration.inbox.conversations.office import Office, open_office
from tests.integration.inbox.inbox_rig import Inbox


@pytest.fixture(scope="session")
async def shared_office(inbox: Inbox) -> Office:
    """For tests that look only at their own conversations."""
    return await open_office(await inbox.tenant())


@pytest.fixture
async def office(inbox: Inbox) -> Office:
    """For tests that look at whole lists and counts."""
    return await open_office(await inbox.tenant())
