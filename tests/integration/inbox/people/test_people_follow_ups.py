import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.inbox.app.foundation import Foundation, now
from services.inbox.model.entities import Agent, Number
from services.inbox.model.errors import RefusedError
from services.inbox.settings import InboxSettings
from services.inbox.workflows.follow_ups import LOOK_AGAIN, FollowUps
from services.inbox.workflows.numbers import Numbers
from services.inbox.workflows.requests import Creations
from shared.contracts.errors import TransientError
from tests.integration.inbox.inbox_rig import TenantRig, eventually, running

pytestmark = pytest.mark.integration


class Chats:
    """Conversations that refuse `failures` times, and note what they are asked.

    What is in `bugs` they cannot release.
    """

    def __init__(self, *, open_numbers: frozenset[str] = frozenset(), failures: int = 0) -> None:
        self.open_numbers = open_numbers
        self.failures = failures
        self.bugs: set[str] = set()
        self.released: list[str] = []

    async def has_open_chats(self, tenant: str, number_id: str) -> bool:  # noqa: ARG002 - the hook's shape
        return number_id in self.open_numbers

    async def release_agent(self, tenant: str, agent_id: str) -> None:  # noqa: ARG002 - the hook's shape
        if self.failures:
            self.failures -= 1
            raise TransientError("away")
        if agent_id in self.bugs:
            raise ValueError("a bug")
        self.released.append(agent_id)

    async def replace_label(self, tenant: str, label: str, into: str | None, by: str) -> None: ...

    async def release_team(self, tenant: str, team_id: str) -> None:  # noqa: ARG002 - the hook's shape
        self.released.append(team_id)

    async def erase_tenant(self, tenant: str) -> None:
        self.released.append(tenant)


def _follow_ups(base: Foundation, chats: Chats, ahead: timedelta = timedelta()) -> FollowUps:
    return FollowUps(base.directory, chats, topic_read=lambda: False, clock=lambda: now() + ahead)


@contextlib.asynccontextmanager
async def _alone(settings: InboxSettings) -> AsyncIterator[Foundation]:
    """What the service left, when it is gone: nobody else follows up."""
    base = Foundation(settings, None)
    await base.publisher.start()
    yield base
    await base.directory.log.aclose()
    await base.publisher.aclose()
    base.client.close()


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
    async with _alone(inbox_settings) as base:
        chats = Chats(failures=1)
        follow_ups = _follow_ups(base, chats)
        await follow_ups.delete(Agent, tenant.id, agent["id"])
        assert chats.released == []
        pending = await base.directory.to_follow_up(now())
        assert [each.entity.id for each in pending] == [agent["id"]]
        async with _looping(follow_ups):
            await eventually(lambda: chats.released == [agent["id"]])


async def test_regression_a_deletion_is_looked_at_twice_by_whichever_pod_there_is(
    inbox_settings: InboxSettings,
) -> None:
    async with running(inbox_settings) as inbox:
        tenant = await inbox.tenant()
        agent, _ = await tenant.agent()
        number = await tenant.number()
    async with _alone(inbox_settings) as base:
        chats = Chats()
        for kind, entity in ((Agent, agent), (Number, number)):
            await _follow_ups(base, chats).delete(kind, tenant.id, entity["id"])
        assert await base.directory.to_follow_up(now()) == []
        for ahead, looks in ((LOOK_AGAIN / 2, 1), (LOOK_AGAIN, 2), (LOOK_AGAIN * 3, 2)):
            await _follow_ups(base, chats, ahead).follow_up_due()
            assert chats.released == [agent["id"]] * looks


async def test_regression_a_bug_in_what_follows_one_deletion_holds_up_no_other(
    inbox_settings: InboxSettings,
) -> None:
    async with running(inbox_settings) as inbox:
        tenant = await inbox.tenant()
        agents = [(await tenant.agent())[0]["id"] for _ in range(2)]
    async with _alone(inbox_settings) as base:
        chats = Chats(failures=2)
        follow_ups = _follow_ups(base, chats)
        for agent in agents:
            await follow_ups.delete(Agent, tenant.id, agent)
        bad, good = [each.entity.id for each in await base.directory.to_follow_up(now())]
        chats.bugs = {bad}
        async with _looping(follow_ups) as loop:
            await eventually(lambda: chats.released == [good])
            assert not loop.done()
        assert await base.directory.to_follow_up(now()) == []
        chats.bugs = set()
        await _follow_ups(base, chats, LOOK_AGAIN).follow_up_due()
        await _follow_ups(base, chats, LOOK_AGAIN * 2).follow_up_due()
        assert sorted(chats.released) == sorted([good, bad] * 2)


@contextlib.asynccontextmanager
async def _looping(follow_ups: FollowUps) -> AsyncIterator[asyncio.Task[None]]:
    loop = asyncio.create_task(follow_ups.run())
    yield loop
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
