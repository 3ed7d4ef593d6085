"""`python -m deploy.local up|down|status|env`: the whole system on this machine, without Docker."""

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from deploy.local import services
from deploy.local.errors import LocalStackError
from deploy.local.home import Home
from deploy.local.ports import INFRASTRUCTURE, NAMES, SERVICES, Ports
from deploy.local.processes import running_pid
from deploy.local.stack import READY, Stack, ensure, shut_down


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    home = Home.from_environment()
    try:
        wanted = _names(options.services)
        ports = Ports.from_environment()
        if options.action == "status":
            return status(home, ports, wanted or NAMES)
        if options.action == "env":
            home.create()
            print(services.exports(Stack(home, ports)), end="")
            return 0
        with home.locked():
            if options.action == "down":
                return down(home, wanted or NAMES)
            return up(home, ports, wanted, options)
    except LocalStackError as error:
        print(f"error: {error}\nLogs: {home.path / 'logs'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was started keeps running (make down stops it).", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "status", "env"])
    parser.add_argument("--services", metavar="A,B", help=f"only these of {', '.join(NAMES)}")
    parser.add_argument("--no-services", action="store_true", help="Kafka, MongoDB, Redis alone")
    parser.add_argument("--no-demo", action="store_true", help="do not seed the demo tenant")
    return parser


def _names(given: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (given or "").split(",") if name.strip())
    if unknown := [name for name in names if name not in NAMES]:
        raise LocalStackError(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


def up(home: Home, ports: Ports, wanted: Sequence[str], options: argparse.Namespace) -> int:
    """Start what does not run of the wanted names (all if none is named), wait, say where."""
    began = time.monotonic()
    chosen = [name for name in SERVICES if name in wanted or not wanted]
    if options.no_services:
        chosen = []
    # A service needs the whole stack; only a list of nothing but servers narrows it.
    parts = INFRASTRUCTURE if chosen or not wanted else [n for n in INFRASTRUCTURE if n in wanted]
    stack = ensure(home.path, ports, parts)
    started = list(stack.started)
    if "kafka" in parts:
        services.create_topics(stack)
    started += services.start(chosen, stack)
    if "inbox" in chosen and not options.no_demo:
        services.seed_demo(stack)
    status(home, ports, [*chosen, *parts])
    seconds = time.monotonic() - began
    print(f"Started {', '.join(started) or 'nothing: all ran already'} in {seconds:.1f} s.")
    print(f"Logs: {home.path / 'logs'}   Stop: make down")
    return 0


def down(home: Home, names: Sequence[str]) -> int:
    """Stop what `up` started: the services first, then what they stand on."""
    stopped = shut_down(home, [name for name in names if name in SERVICES])
    stopped += shut_down(home, [name for name in names if name in INFRASTRUCTURE])
    print(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")
    return 0


def status(home: Home, ports: Ports, names: Sequence[str]) -> int:
    """Print what runs and where; 1 if anything that could run is not ready."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "state", "pid", "address"):
        table.add_column(column)
    all_ready = True
    for name in names:
        pid = running_pid(home.pid_file(name))
        if name in SERVICES and not services.is_runnable(services.MODULES[name]):
            continue
        ready = pid is not None and READY.get(name, services.is_ready)(ports[name])
        all_ready = all_ready and ready
        state = "ready" if ready else "starting or stuck" if pid else "stopped"
        scheme = "http://" if name in SERVICES else ""
        table.add_row(name, state, str(pid or "-"), f"{scheme}127.0.0.1:{ports[name]}")
    Console().print(table)
    return 0 if all_ready else 1


if __name__ == "__main__":
    sys.exit(main())
