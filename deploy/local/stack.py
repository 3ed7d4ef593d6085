"""Brings Kafka, MongoDB and Redis up: the development stack and the tests' own."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local import kafka, mongod, redis
from deploy.local.errors import LocalStackError
from deploy.local.home import Home, cache_folder
from deploy.local.ports import INFRASTRUCTURE, Ports, variable
from deploy.local.processes import (
    Launch,
    await_ready,
    recorded_ports,
    require_free,
    running_pid,
    spawn,
    stop,
)

LAUNCHES: Final[Mapping[str, Callable[[Home, int, Path], Launch]]] = {
    "kafka": kafka.launch,
    "mongod": mongod.launch,
    "redis": redis.launch,
}
READY: Final[Mapping[str, Callable[[int], bool]]] = {
    "kafka": kafka.is_ready,
    "mongod": mongod.is_ready,
    "redis": redis.is_ready,
}
PATIENCE: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack's addresses, and what this call had to start."""

    home: Home
    ports: Ports
    started: tuple[str, ...] = ()

    @property
    def kafka_servers(self) -> str:
        return f"127.0.0.1:{self.ports['kafka']}"

    @property
    def mongo_url(self) -> str:
        return f"mongodb://127.0.0.1:{self.ports['mongod']}/?replicaSet={mongod.REPLICA_SET}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.ports['redis']}/0"


def require_platform(system: str, machine: str) -> None:
    """Raise, with the way out, where the servers' programs do not run."""
    if (system, machine) != ("Linux", "x86_64"):
        raise LocalStackError(
            f"The stack without Docker runs on Linux x86-64; this is {system} {machine}. "
            "Use Docker: docker compose -f deploy/compose.yaml up"
        )


def ensure(
    home: Path,
    ports: Ports,
    parts: Sequence[str] = INFRASTRUCTURE,
    tell: Callable[[str], None] = print,
) -> Stack:
    """Start those parts that do not run and wait until all are ready; safe to repeat.

    Raises `LocalStackError` with a message for people when a port is taken, a download fails, or a
    server dies or does not get ready.
    """
    require_platform(platform.system(), platform.machine())
    place = Home(home)
    place.create()
    cache = cache_folder()
    missing = [name for name in parts if running_port(place, name, ports) is None]
    start_all([LAUNCHES[name](place, ports[name], cache) for name in missing], place, tell)
    there = [name for name in parts if name not in missing]
    if not all(await_running(place, name, ports[name], READY[name]) for name in there):
        missing += ensure(home, ports, there, tell).started
    return Stack(place, ports, tuple(missing))


def running_port(home: Home, name: str, ports: Ports) -> int | None:
    """The port of a part that runs already, None if it does not; another port is an error."""
    pid_file = home.pid_file(name)
    pid = running_pid(pid_file)
    if pid is None:
        return None
    recorded = recorded_ports(pid_file)
    if recorded and recorded[0] != ports[name]:
        raise LocalStackError(
            f"{name} runs on port {recorded[0]} (pid {pid}) and is now wanted on {ports[name]}: "
            f"run `make down` first, or set {variable(name)}={recorded[0]}"
        )
    return ports[name]


def await_running(home: Home, name: str, port: int, ready: Callable[[int], bool]) -> bool:
    """Wait for what an earlier call started; False if it has ended and must be started anew.

    A process that was killed this very moment still looks alive.
    """
    pid = running_pid(home.pid_file(name))
    if pid is None:
        return False
    try:
        await_ready(name, lambda: ready(port), PATIENCE, home, pid)
    except LocalStackError:
        if running_pid(home.pid_file(name)) is None:
            return False
        raise
    return running_pid(home.pid_file(name)) is not None


def start_all(launches: Sequence[Launch], home: Home, tell: Callable[[str], None]) -> None:
    """Start side by side; what got ready stays when another one fails."""
    for one in launches:
        require_free(one.name, one.ports, variable(one.name))
    with ThreadPoolExecutor(max(1, len(launches))) as pool:
        waits = [pool.submit(_start, one, home, tell) for one in launches]
    _raise_first(waits)


def _start(one: Launch, home: Home, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    pid = spawn(one, home)
    await_ready(one.name, one.ready, one.deadline, home, pid)
    seconds = time.monotonic() - began
    tell(f"  {one.name:<9} ready on 127.0.0.1:{one.ports[0]} after {seconds:.1f} s (pid {pid})")


def _raise_first(waits: Iterable[Future[None]]) -> None:
    errors = [error for wait in waits if (error := wait.exception()) is not None]
    if errors:
        raise errors[0]


def shut_down(home: Home, names: Sequence[str]) -> list[str]:
    """Stop those of the names that run, side by side; return them."""
    home.create()
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        stopped = list(pool.map(lambda name: stop(home.pid_file(name), PATIENCE), names))
    return [name for name, was_running in zip(names, stopped, strict=True) if was_running]
