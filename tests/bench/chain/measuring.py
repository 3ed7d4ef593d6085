"""Webhook due -> message on the agent's socket, beside the bare chain, rate by rate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.local.home import ROOT
from deploy.local.processes import free_port, take_turns
from shared.contracts.topics import CONVERSATION_EVENTS, INBOUND
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import ensure_topics
from tests.bench.chain.load import Plan, schedule
from tests.bench.chain.stages import stages
from tests.bench.chain.system import APP_SECRET, System, listeners, running
from tests.bench.ingest import process
from tests.support.stack import Addresses

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """`agents` stream beside the supervisor whose socket measures."""

    rates: tuple[float, ...] = (300, 1000)
    seconds: float = 20
    warm_up: float = 4
    customers: int = 3000
    agents: int = 0


def run(addresses: Addresses, folder: Path, options: Options) -> list[Result]:
    """For each rate the floor's latencies and ours, the floor alone before ours is started."""
    import asyncio

    plans = [
        Plan(
            port=0,
            secret=APP_SECRET,
            rate=rate,
            seconds=options.seconds,
            warm_up=options.warm_up,
            customers=options.customers,
            fill=place == 0,
            seed=place + 1,
        )
        for place, rate in enumerate(options.rates)
    ]
    settings = KafkaSettings(
        kafka_servers=addresses.kafka_servers, topic_prefix=f"bench-{uuid.uuid4().hex[:8]}-"
    )
    asyncio.run(ensure_topics(settings, topics=[INBOUND, CONVERSATION_EVENTS]))
    with bare_chain(addresses, settings) as (port, watch):
        floors = [
            load(
                replace(
                    plan,
                    port=port,
                    servers=settings.kafka_servers,
                    topic=settings.topic_name(CONVERSATION_EVENTS),
                    watch=watch,
                )
            )
            for plan in plans
        ]
    with running(addresses, folder, agents=options.agents) as system:
        # Until ingest knows the number, and every consumer has its partitions.
        settled = replace(plans[0], rate=20, seconds=2, warm_up=0, customers=20, seed=0)
        load(_ours(settled, system))
        found = [measure(_ours(plan, system), system) for plan in plans]
    return [
        {"rate": plan.rate, "floor": floor, "ours": ours}
        for plan, floor, ours in zip(plans, floors, found, strict=True)
    ]


def _ours(plan: Plan, system: System) -> Plan:
    return replace(
        plan,
        port=system.ports["ingest"],
        stream=system.stream,
        tokens=(system.supervisor, *system.agents),
        watch=system.watch,
    )


def measure(plan: Plan, system: System) -> Result:
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "moments.json"
        found = load(replace(plan, log=str(log)))
        skip = len(schedule(plan)) - found["messages"]
        return found | {"stages": stages(system.kafka, log, plan.mark, skip)}


def load(plan: Plan) -> Result:
    """A run of the load process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.chain.load", plan.to_argument()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load failed:\n{done.stderr[-2000:]}")
    found: Result = json.loads(done.stdout)
    return found


@contextmanager
def bare_chain(
    addresses: Addresses, settings: KafkaSettings
) -> Iterator[tuple[int, dict[str, int]]]:
    """The floor's two processes; the port of its web side, and whom to watch."""
    port = free_port()
    topics = {
        "source": settings.topic_name(INBOUND),
        "target": settings.topic_name(CONVERSATION_EVENTS),
    }
    arguments = {
        "servers": settings.kafka_servers,
        "database_name": f"bench_{uuid.uuid4().hex[:8]}",
        **topics,
    }
    servers = {"kafka": int(addresses.kafka_servers.rpartition(":")[2])}
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.chain.floor", json.dumps(arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ATRIO_MONGO_URL": addresses.mongo_url},
            stdout=subprocess.PIPE,
        ) as middle,
        process(
            port, "tests.bench.ingest", "floor", str(port), settings.kafka_servers, topics["source"]
        ),
    ):
        take_turns(middle.pid)
        try:
            if middle.stdout is None or not middle.stdout.readline():
                raise RuntimeError("the floor's consumer did not start")
            yield port, {"middle": middle.pid, **listeners(servers | {"web": port})}
        finally:
            middle.terminate()
