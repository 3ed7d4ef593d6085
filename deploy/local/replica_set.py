"""A MongoDB replica set of three nodes on free ports, for what only a failover shows."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local import mongod
from deploy.local.downloads import MONGOD, wheel_binary
from deploy.local.home import Home, cache_folder
from deploy.local.processes import (
    Launch,
    await_ready,
    free_port,
    is_listening,
    running_pid,
    spawn,
    stop,
)

START: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """Nodes are named by their port, as in the replica set's own configuration."""

    home: Home
    ports: Sequence[int]
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"mongodb://{hosts}/?replicaSet={mongod.REPLICA_SET}"

    def primary(self, deadline: timedelta = START) -> int:
        """The writable primary; waits for an election if there is none."""
        return mongod.await_primary(self.ports, deadline)

    def step_down(self) -> int:
        """Make the primary stand back for 10 s, as maintenance does; return the new one."""
        port = self.primary()
        with mongod.connect(port, START) as client:
            client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=8)
        return self.primary()

    def kill(self, port: int) -> None:
        """SIGKILL a node: nothing is flushed, nobody is told."""
        pid = running_pid(self._pid_file(port))
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def kill_primary(self) -> int:
        """Kill the primary and return the port that it had (for `restart`)."""
        port = self.primary()
        self.kill(port)
        return port

    def restart(self, port: int) -> None:
        """Start a node again on its data, and wait until it follows the primary."""
        _start_node(self.home, port, self.parameters)
        _await_member(self.home, port)

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self.ports)) as pool:
            list(pool.map(lambda port: stop(self._pid_file(port), START), self.ports))

    def _pid_file(self, port: int) -> Path:
        return self.home.pid_file(_name(port))


def start(folder: Path, parameters: Mapping[str, str] | None = None) -> ReplicaSet:
    """Start three nodes in the folder, or those that do not run; returns with a primary elected.

    `parameters` are mongod's `--setParameter` of every node.
    Elections take about 1 s here (10 s by default). The caller stops the set.
    """
    home = Home(folder)
    home.create()
    remembered = home.data("ports.json")
    if not remembered.exists():
        remembered.write_text(json.dumps([free_port() for _ in range(3)]))
    ports: list[int] = json.loads(remembered.read_text())
    with ThreadPoolExecutor(len(ports)) as pool:
        list(pool.map(lambda port: _start_node(home, port, parameters or {}), ports))
    with mongod.connect(ports[0]) as client:
        mongod.initiate(client, [f"127.0.0.1:{port}" for port in ports])
    mongod.await_primary(ports, START)
    for port in ports:
        _await_member(home, port)
    return ReplicaSet(home, ports, parameters or {})


def _start_node(home: Home, port: int, parameters: Mapping[str, str]) -> None:
    name = _name(port)
    pid = running_pid(home.pid_file(name))
    if pid is None:
        data = home.data(name)
        data.mkdir(exist_ok=True)
        binary = wheel_binary(MONGOD, cache_folder())
        launch = Launch(
            name=name,
            argv=[
                *mongod.command(binary, data, port, cache_gb=0.25),
                *(f"--setParameter={name}={value}" for name, value in parameters.items()),
            ],
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            ports=(port,),
            ready=lambda: is_listening(port),
        )
        pid = spawn(launch, home)
    await_ready(name, lambda: is_listening(port), START, home, pid)


def _await_member(home: Home, port: int) -> None:
    """Wait until the node can be elected: one that still copies the data cannot."""
    pid = running_pid(home.pid_file(_name(port)))
    if pid is not None:
        await_ready(_name(port), lambda: mongod.is_member(port), START, home, pid)


def _name(port: int) -> str:
    return f"mongod-{port}"
