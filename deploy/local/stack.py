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
from deploy.local.processes import Launch, await_ready, require_free, running_pid, spawn, stop

LAUNCHES: Final[Mapping[str, Callable[[Home, int, Path], Launch]]] = {
    "kafka": kafka.launch,
    "mongod": mongod.launch,
    "redis": redis.launch,
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


def require_platform() -> None:
    system, machine = platform.system(), platform.machine()
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
    require_platform()
    place = Home(home)
    place.create()
    cache = cache_folder()
    launches = [
        LAUNCHES[name](place, ports[name], cache)
        for name in parts
        if running_pid(place.pid_file(name)) is None
    ]
    start_all(launches, place, tell)
    running = [LAUNCHES[name] for name in parts if name not in {one.name for one in launches}]
    for make in running:
        already = make(place, ports.__getitem__(_name_of(make)), cache)
        pid = running_pid(place.pid_file(already.name))
        if pid is not None:
            await_ready(already, place, pid)
    return Stack(place, ports, tuple(one.name for one in launches))


def _name_of(make: Callable[[Home, int, Path], Launch]) -> str:
    return next(name for name, known in LAUNCHES.items() if known is make)


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
    await_ready(one, home, pid)
    seconds = time.monotonic() - began
    tell(f"  {one.name:<9} ready on 127.0.0.1:{one.ports[0]} after {seconds:.1f} s (pid {pid})")


def _raise_first(waits: Iterable[Future[None]]) -> None:
    errors = [error for wait in waits if (error := wait.exception()) is not None]
    if errors:
        raise errors[0]


def shut_down(home: Home, names: Sequence[str]) -> list[str]:
    """Stop those of the names that run, side by side; return them."""
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        stopped = list(pool.map(lambda name: stop(home.pid_file(name), PATIENCE), names))
    return [name for name, was_running in zip(names, stopped, strict=True) if was_running]
