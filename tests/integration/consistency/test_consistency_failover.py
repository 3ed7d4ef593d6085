"""The write path while the MongoDB primary changes and loses what the majority does not have.

A real replica set of three nodes. Each schedule of `models/run_all.py` runs by the rules and with
its own rule left out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from deploy.local import replica_set
from deploy.local.replica_set import ReplicaSet
from services.inbox.app.conversations import Conversations
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from shared.mongo.client import Client, MongoSettings, create_client
from tests.integration.consistency.conftest import Kafka
from tests.support import left_out
from tests.support.failover import PARAMETERS, Failover
from tests.support.pods import Pod, World
from tests.support.write_path_checker import violations

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]  # three nodes start first
GRACE_SECONDS = 6
"""Enough on a busy machine for what does not wait for the majority; by the rules it passes."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    started = replica_set.start(tmp_path_factory.mktemp("nodes"), PARAMETERS)
    yield started
    started.stop()


class Site:
    """A world on the replica set, with one conversation at rest in it."""

    def __init__(self, nodes: ReplicaSet, database: str, world: World) -> None:
        self.nodes = Failover(nodes)
        self.world = world
        self._url = nodes.url
        self._database = database

    @asynccontextmanager
    async def mortal(self) -> AsyncIterator[Pod]:
        """A pod with a client of its own; behind the block it is dead, and repeats nothing."""
        client = _client(self._url)
        pod = self.world.pod(database=client[self._database])
        try:
            yield pod
        finally:
            client.close()
            await pod.crash()

    async def applied(self, collection: str, query: dict[str, object]) -> None:
        """Until the primary has it, whoever else does."""
        local = left_out.local(self.world.database)[collection]
        async with asyncio.timeout(10):
            while await local.count_documents(query) == 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)


Schedule = Callable[[Site], Awaitable[None]]


def _client(url: str) -> Client:
    return create_client(
        MongoSettings(mongo_url=url, mongo_min_pool_size=0), app_name="consistency"
    )


@pytest.fixture
async def site(
    nodes: ReplicaSet, kafka: Kafka, mongo_db: str, rules: type[Conversations]
) -> AsyncIterator[Site]:
    client = _client(nodes.url)
    world = World(kafka.settings, client[mongo_db], kafka.publisher, kafka.topic, rules)
    await world.prepare()
    first = world.pod()
    await first.consume(world.message("m0"))
    await first.trim()
    made = Site(nodes, mongo_db, world)
    yield made
    for pod in world.pods:
        await pod.crash()
    await made.nodes.restore()
    await client.drop_database(mongo_db)
    client.close()


async def swept_before_the_majority_has_it(site: Site) -> None:
    """A sweeper reads a commit that is rolled back; a call then takes the same version."""
    world = site.world
    sweeper, caller = world.pod(), world.pod()
    async with site.mortal() as one:
        await site.nodes.hold_back()
        one.consume(world.message("m1"))
        await site.applied(CONVERSATIONS, {"seq": 2})
        sweeping = sweeper.sweep()
        told = asyncio.create_task(sweeper.publisher.answered.wait())
        await asyncio.wait({sweeping, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
    await site.nodes.fail_over()
    await sweeper.crash()
    await caller.label("l1")
    await caller.published()
    await site.nodes.restore()


async def answered_before_the_majority_has_it(site: Site) -> None:
    """A call is committed on a primary that dies; another one takes the same version."""
    world = site.world
    caller = world.pod()
    async with site.mortal() as one:
        await site.nodes.hold_back()
        answering = one.label("l1")
        await site.applied(CONVERSATIONS, {"labels": "l1"})
        await asyncio.wait({answering}, timeout=GRACE_SECONDS)
        if answering.done():
            await one.publisher.answered.wait()
    await site.nodes.fail_over()
    await caller.label("l2")
    await caller.published()
    await site.nodes.restore()


async def duplicate_of_a_document_that_is_rolled_back(site: Site) -> None:
    """A sweeper finds a document there that only the dying primary has."""
    world = site.world
    sweeper = world.pod()
    async with site.mortal() as one:
        before_write = one.script.hold("write")
        one.consume(world.message("m1"))
        await before_write.reached()
        await site.nodes.hold_back()
        before_write.release()
        await site.applied(MESSAGES, {"text": "m1"})
        sweeping = sweeper.sweep()
        await asyncio.wait({sweeping}, timeout=GRACE_SECONDS)
    await site.nodes.fail_over()
    await asyncio.wait({sweeping})
    await sweeper.trim()
    await site.nodes.restore()


async def look_up_at_a_primary_that_knows_less(site: Site) -> None:
    """The load was answered by a primary that died; its successor's commit point lies behind."""
    world = site.world
    one, other = world.pod(), world.pod()
    loaded = other.script.hold("loaded")
    await site.nodes.freeze_commit_points()
    await one.consume(world.message("m1"))
    await one.trim()
    doing = other.consume_again(world.batches[-1])
    await loaded.reached()
    await site.nodes.fail_over()
    committing = other.script.hold("looked_up")
    loaded.release()
    await asyncio.wait({asyncio.create_task(committing.reached())}, timeout=GRACE_SECONDS)
    await site.nodes.thaw_commit_points()
    await world.fence()
    committing.release()
    await asyncio.wait({doing})


FAILOVERS = [
    pytest.param(look_up_at_a_primary_that_knows_less, left_out.ReadsApart, "b", id="reads-apart"),
    pytest.param(swept_before_the_majority_has_it, left_out.LocalReads, "c", id="local-reads"),
    pytest.param(
        answered_before_the_majority_has_it, left_out.CommitsOnOneNode, "e", id="commit-w1"
    ),
    pytest.param(
        duplicate_of_a_document_that_is_rolled_back,
        left_out.DocumentsOnOneNode,
        "b",
        id="documents-w1",
    ),
]


@pytest.mark.parametrize("schedule", [pytest.param(f.values[0], id=f.id) for f in FAILOVERS])
async def test_failover_by_the_rules_ends_well(site: Site, schedule: Schedule):
    async with asyncio.timeout(40):
        await schedule(site)
    assert await violations(site.world) == []


@pytest.mark.parametrize(("schedule", "rules", "broken"), FAILOVERS)
async def test_failover_with_its_rule_left_out_is_noticed(
    site: Site, schedule: Schedule, rules: type[Conversations], broken: str
):
    async with asyncio.timeout(40):
        await schedule(site)
    assert broken in {violation.rule for violation in await violations(site.world)}


@pytest.mark.parametrize("point", ["looked_up", "committed", "write", "acknowledged"])
async def test_primary_killed_under_a_batch_costs_nothing(site: Site, point: str):
    """Between any two steps: the driver finds the new primary, or the batch comes again."""
    pod = site.world.pod()
    stop = pod.script.hold(point)
    doing = pod.consume(site.world.message("m1"), site.world.echo("m2"))
    await stop.reached()
    await site.nodes.fail_over()
    stop.release()
    await asyncio.wait({doing})
    assert await violations(site.world) == []


async def test_primary_stepped_down_between_commit_and_publication_costs_nothing(site: Site):
    pod = site.world.pod()
    committed = pod.script.hold("committed")
    doing = pod.consume(site.world.message("m1"))
    await committed.reached()
    await site.nodes.step_down()
    committed.release()
    await asyncio.wait({doing})
    assert await violations(site.world) == []
