"""Failovers of a real replica set of three nodes, with what the majority lacks rolled back."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from deploy.local import mongod
from deploy.local.replica_set import ReplicaSet

PARAMETERS: Final = {"enableTestCommands": "1"}
_COPYING: Final = "stopReplProducer"
_COMMIT_POINT: Final = "disableSnapshotting"
_DEADLINE_MS: Final = 10_000
_TRIES: Final = 50
_PAUSE_SECONDS: Final = 0.2


class Failover:
    """Between `hold_back` and `fail_over` only the primary has what is written."""

    def __init__(self, nodes: ReplicaSet) -> None:
        self._nodes = nodes
        self._killed: list[int] = []

    async def hold_back(self) -> None:
        """No secondary copies anything from now on; elections go on."""
        await asyncio.to_thread(self._hold_back)

    async def fail_over(self) -> None:
        """Kills the primary; returns when a secondary has its place."""
        await asyncio.to_thread(self._fail_over)

    async def freeze_commit_points(self) -> None:
        """No secondary learns from now on what the majority has, though it copies everything."""
        await asyncio.to_thread(self._set, self._secondaries(), _COMMIT_POINT, "alwaysOn")

    async def thaw_commit_points(self) -> None:
        await asyncio.to_thread(self._set, self._alive(), _COMMIT_POINT, "off")

    async def step_down(self) -> None:
        """The primary hands over in an orderly way."""
        await asyncio.to_thread(self._nodes.step_down)

    async def restore(self) -> None:
        """Starts what was killed, which rolls back what it alone has."""
        await asyncio.to_thread(self._restore)

    def _secondaries(self) -> list[int]:
        primary = self._nodes.primary()
        return [port for port in self._nodes.ports if port not in (primary, *self._killed)]

    def _alive(self) -> list[int]:
        return [port for port in self._nodes.ports if port not in self._killed]

    def _hold_back(self) -> None:
        for port in self._secondaries():
            with mongod.connect(port) as client:
                _answers(client)
                set_ = client.admin.command("configureFailPoint", _COPYING, mode="alwaysOn")
                client.admin.command(
                    "waitForFailPoint",
                    _COPYING,
                    timesEntered=set_["count"] + 1,
                    maxTimeMS=_DEADLINE_MS,
                )

    def _fail_over(self) -> None:
        secondaries = self._secondaries()
        self._killed.append(self._nodes.kill_primary())
        self._set(secondaries, _COPYING, "off")
        for port in secondaries:
            # Hurries the election that would come by itself, whoever wins it.
            with contextlib.suppress(OperationFailure), mongod.connect(port) as client:
                client.admin.command("replSetStepUp")
                break
        self._nodes.primary()

    def _restore(self) -> None:
        for port in self._killed:
            self._nodes.restart(port)
        self._killed.clear()
        for fail_point in (_COPYING, _COMMIT_POINT):
            self._set(self._nodes.ports, fail_point, "off")

    @staticmethod
    def _set(ports: Sequence[int], fail_point: str, mode: str) -> None:
        for port in ports:
            with mongod.connect(port) as client:
                _answers(client)
                client.admin.command("configureFailPoint", fail_point, mode=mode)


def _answers(client: MongoClient[Any]) -> None:
    """A node that was rolled back, or has lost its primary, closes its connections."""
    for _ in range(_TRIES):
        with contextlib.suppress(AutoReconnect):
            client.admin.command("ping")
            return
        time.sleep(_PAUSE_SECONDS)
    client.admin.command("ping")
