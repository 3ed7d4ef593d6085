"""A whole system of its own: servers, the fake Graph and the five services as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.local import services
from deploy.local.home import Home
from deploy.local.ports import INFRASTRUCTURE, NAMES, Ports, variable
from deploy.local.processes import Launch, free_port, running_pid
from deploy.local.stack import Stack, ensure, shut_down, start_all

ATRIO: Final = ("ingest", "inbox", "routing", "notifier", "delivery")
_KEPT: Final = {"ATRIO_CACHE"}
_GIVEN: Final = {
    "ATRIO_GRAPH_KEPT_REQUESTS": "200000",
    "ATRIO_GRAPH_KEPT_MESSAGES": "200000",
    # A decision that inbox refused keeps its slot for so long, and rest begins after that.
    "ATRIO_ROUTING_RESERVATION": "PT10S",
}


class System:
    """Started with `start`, hurt with `kill`, mended with `restore`."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.home = Home(folder)
        self.ports = Ports(_free_ports())
        self._tell = tell
        self.stack = Stack(self.home, self.ports)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    async def start(self) -> None:
        """Servers, topics, the fake Graph, services; returns when all are ready."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self.stack = ensure(self.home.path, self.ports, tell=self._tell)
        services.create_topics(self.stack, self._tell)
        services.start(("graph", *ATRIO), self.stack, self._tell)

    def kill(self, name: str) -> None:
        """SIGKILL, without a word before."""
        self._signal(name, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        pid = running_pid(self.home.pid_file(name))
        if pid is None:
            raise RuntimeError(f"{name} does not run: it ended by itself")
        os.kill(pid, number)

    async def start_twin(self, name: str) -> str:
        """Start a second pod of a service, on a port of its own; return the twin's name."""
        port, twin = free_port(), f"{name}-twin"
        launch = Launch(
            name=twin,
            argv=[sys.executable, "-m", services.MODULES[name]],
            env={**services.environment(self.stack), variable(name): str(port)},
            ports=(port,),
            ready=lambda: services.is_ready(port),
        )
        await asyncio.to_thread(start_all, [launch], self.home, _silent)
        return twin

    async def restore(self, names: Sequence[str]) -> None:
        """Start killed parts again, servers first; returns when they answer."""
        servers = tuple(name for name in names if name in INFRASTRUCTURE)
        others = tuple(name for name in names if name not in INFRASTRUCTURE)
        if servers:
            await asyncio.to_thread(ensure, self.home.path, self.ports, servers, _silent)
        if others:
            await asyncio.to_thread(services.start, others, self.stack, _silent)

    async def unready(self) -> list[str]:
        """The services that do not call themselves ready now."""
        states = await asyncio.gather(
            *(asyncio.to_thread(services.is_ready, self.ports[name]) for name in ATRIO)
        )
        return [name for name, ready in zip(ATRIO, states, strict=True) if not ready]

    async def unaccounted(self) -> int:
        """How many differences the operators' check finds between the ledger and the topic."""
        check = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.inbox.ledger"),
            env=services.environment(self.stack),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await check.communicate()
        lines = told.decode().splitlines()
        if check.returncode not in {0, 1} or not lines:
            raise RuntimeError(f"the ledger's check ended with {check.returncode}")
        for line in lines:
            self._tell(f"  ledger: {line}")
        # "1200 records, 0 differences"
        return int(lines[-1].split()[2])

    def dead(self) -> list[str]:
        """The parts that ended by themselves."""
        parts = (*INFRASTRUCTURE, "graph", *ATRIO)
        return [name for name in parts if running_pid(self.home.pid_file(name)) is None]

    async def stop(self) -> None:
        twins = [f"{name}-twin" for name in ATRIO]
        await asyncio.to_thread(shut_down, self.home, ("graph", *ATRIO, *twins))
        await asyncio.to_thread(shut_down, self.home, INFRASTRUCTURE)


def _silent(_line: str) -> None:
    return


def _free_ports() -> dict[str, int]:
    chosen: dict[str, int] = {}
    for name in NAMES:
        port = free_port()
        while port in chosen.values():
            port = free_port()
        chosen[name] = port
    return chosen


@contextlib.contextmanager
def plain_environment() -> Iterator[None]:
    """Nothing of the caller's own `ATRIO_*` reaches the processes: a run repeats anywhere."""
    before = {name: value for name, value in os.environ.items() if name.startswith("ATRIO_")}
    for name in before.keys() - _KEPT:
        del os.environ[name]
    os.environ.update(_GIVEN)
    try:
        yield
    finally:
        for name in _GIVEN:
            del os.environ[name]
        os.environ.update(before)


async def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Poll until something holds; whether it did in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True
