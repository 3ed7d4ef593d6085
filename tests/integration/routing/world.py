"""One tenant of routing on a real Redis, step by step, with an inbox and topics in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from services.routing.gateways import DecisionLog
from services.routing.handlers import to_change
from services.routing.model import Agent, Presence, Roster
from services.routing.storage.tenant import TenantStore
from services.routing.workflows.route import Limits, RouteTenant
from shared.contracts.directory import Policy
from shared.contracts.envelope import read_envelope
from shared.contracts.records import OutRecord
from shared.contracts.views import Role
from shared.kafka.publisher import PublishError
from shared.observability.metrics import Metrics
from tests.integration.routing.inbox_model import START, InboxModel


@dataclass
class Topic:
    """routing.decisions.v1 as a list; `away` is a crash or an outage before the produce."""

    records: list[OutRecord] = field(default_factory=list)
    away: bool = False

    async def publish(self, records: Sequence[OutRecord]) -> None:
        if self.away:
            raise PublishError("away")
        self.records.extend(records)

    def values(self, kind: str) -> list[dict[str, Any]]:
        found = [orjson.loads(record.value or b"") for record in self.records]
        return [value for value in found if value["kind"] == kind]


class World:
    """One tenant: an inbox, the topics, and routing's steps one by one."""

    def __init__(self, store: TenantStore, inbox: InboxModel, policy: Policy | None = None) -> None:
        self.store, self.inbox, self.topic = store, inbox, Topic()
        self.now = START
        self.policy = policy or Policy(strategy="least_busy")
        self.teams: dict[str, frozenset[str]] = {}
        self.followed = 0
        limits = Limits(
            reservation=timedelta(seconds=30), repeat_after=timedelta(seconds=2), parks=500
        )
        self._route = RouteTenant(
            lambda _: store,
            DecisionLog(self.topic),
            limits,
            clock=lambda: self.now,
            metrics=Metrics(),
        )

    async def agents_come(self, *agents: str) -> None:
        await self.store.apply_presence(
            [Presence("acme", one, 1, present=True, at=self.now) for one in agents], self.now
        )

    async def agent_goes(self, agent: str) -> None:
        gone = Presence("acme", agent, 2, present=False, at=self.now)
        await self.store.apply_presence([gone], self.now)

    async def follow(self, events: Sequence[OutRecord] | None = None) -> None:
        """Routing reads what is new, or (a zombie) these events."""
        if events is None:
            events, self.followed = self.inbox.events[self.followed :], len(self.inbox.events)
        for event in events:
            await self.store.apply([to_change(read_envelope(event.headers), event.value)])

    async def route(self) -> None:
        """What inbox told is followed, then decided."""
        await self.follow()
        await self.decide()

    async def decide(self) -> None:
        """A turn of the timer, or a wake-up."""
        agents = {
            name: Agent(
                name, 1, Role.AGENT, self.teams.get(name, frozenset()), slots, available=True
            )
            for name, slots in self.inbox.capacity.items()
        }
        roster = Roster(active=True, policy=self.policy, agents=agents)
        more = True
        while more:
            snapshot = await self.store.snapshot(tuple(agents), self.now)
            more = await self._route("acme", roster, snapshot)

    def deliver(self) -> None:
        """Inbox takes every decision of the topic."""
        records, self.topic.records = self.topic.records, []
        for record in records:
            self.inbox.decided(orjson.loads(record.value or b""))

    def after(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


Worlds = Callable[..., World]
