import asyncio

import pytest

from services.inbox.app.foundation import Foundation, now
from services.inbox.model.entities import Agent, Number
from services.inbox.model.errors import RefusedError
from services.inbox.settings import InboxSettings
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.numbers import Numbers
from services.inbox.workflows.requests import Creations
from shared.contracts.errors import TransientError
from tests.integration.inbox.inbox_rig import TenantRig, eventually, running

pytestmark = pytest.mark.integration


class Chats:
    """Conversations that refuse `failures` times, and note what they are asked."""

    def __init__(self, *, open_numbers: frozenset[str] = frozenset(), failures: int = 0) -> None:
        self.open_numbers = open_numbers
        self.failures = failures
        self.released: list[str] = []

    async def has_open_chats(self, tenant: str, number_id: str) -> bool:  # noqa: ARG002 - the hook's shape
        return number_id in self.open_numbers

    async def release_agent(self, tenant: str, agent_id: str) -> None:  # noqa: ARG002 - the hook's shape
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        self.released.append(agent_id)

    async def replace_label(self, tenant: str, label: str, into: str | None, by: str) -> None: ...

    async def release_team(self, tenant: str, team_id: str) -> None:  # noqa: ARG002 - the hook's shape
        self.released.append(team_id)

    async def erase_tenant(self, tenant: str) -> None:
        self.released.append(tenant)


def _follow_ups(base: Foundation, chats: Chats) -> FollowUps:
    return FollowUps(base.directory, chats, topic_read=lambda: False)


async def test_a_number_with_open_chats_is_not_deleted(tenant: TenantRig) -> None:
    number = await tenant.number()
    base = tenant.inbox.service._base
    chats = Chats(open_numbers=frozenset({number["id"]}))
    numbers = Numbers(
        base.directory,
        base.claims,
        base.sealer,
        Creations(base.ids, now),
        follow_ups=_follow_ups(base, chats),
        hooks=chats,
        clock=now,
        private_addresses=False,
    )
    with pytest.raises(RefusedError, match="number_has_open_chats"):
        await numbers.delete(tenant.id, number["id"])
    assert await base.directory.find(Number, tenant.id, number["id"]) is not None


async def test_the_chats_of_a_deleted_agent_are_released_once_they_can_be(
    inbox_settings: InboxSettings,
) -> None:
    async with running(inbox_settings) as inbox:
        tenant = await inbox.tenant()
        agent, _ = await tenant.agent()
    # The service is gone: nobody else follows up.
    base = Foundation(inbox_settings, None)
    await base.publisher.start()
    chats = Chats(failures=1)
    follow_ups = _follow_ups(base, chats)
    await follow_ups.delete(Agent, tenant.id, agent["id"])
    assert chats.released == []
    assert [entity.id for entity in await base.directory.to_follow_up()] == [agent["id"]]
    loop = asyncio.create_task(follow_ups.run())
    await eventually(lambda: chats.released == [agent["id"]])
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await base.directory.log.aclose()
    await base.publisher.aclose()
    base.client.close()
