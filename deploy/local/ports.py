"""Names of everything that the local stack runs, and the ports they listen on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.local.errors import LocalStackError

INFRASTRUCTURE: Final = ("kafka", "mongod", "redis")
SERVICES: Final = ("graph", "ingest", "inbox", "routing", "notifier", "delivery", "console")
NAMES: Final = (*INFRASTRUCTURE, *SERVICES)

DEFAULTS: Final[Mapping[str, int]] = {
    "console": 8080,
    "ingest": 8081,
    "inbox": 8082,
    "notifier": 8083,
    "routing": 8084,
    "delivery": 8085,
    "graph": 8090,
    "kafka": 9092,
    "mongod": 27017,
    "redis": 6379,
}


def variable(name: str) -> str:
    """The environment variable that overrides the port of `name`."""
    return f"ATRIO_{name.upper()}_PORT"


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of every name; what is not given has its default."""

    chosen: Mapping[str, int] = field(default_factory=dict[str, int])

    def __getitem__(self, name: str) -> int:
        return self.chosen.get(name, DEFAULTS[name])

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Ports":
        """Read `ATRIO_<NAME>_PORT` of every name; two names on one port are an error."""
        chosen: dict[str, int] = {}
        for name in NAMES:
            given = environ.get(variable(name), "").strip()
            if not given:
                continue
            if not given.isdigit() or not 0 < int(given) < 65536:
                raise LocalStackError(f"{variable(name)} is {given!r}, not a port (1-65535)")
            chosen[name] = int(given)
        ports = cls(chosen)
        holders: dict[int, str] = {}
        for name in NAMES:
            other = holders.setdefault(ports[name], name)
            if other != name:
                raise LocalStackError(
                    f"{name} and {other} are both given port {ports[name]}; "
                    f"change {variable(name)} or {variable(other)}"
                )
        return ports

    def environment(self) -> dict[str, str]:
        """The variables that hand these ports on to a process."""
        return {variable(name): str(self[name]) for name in NAMES}
