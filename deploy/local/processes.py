"""Processes that outlive the command that started them, known again by their pid files.

A pid alone does not name a process: after a crash or a reboot the kernel gives it to another one.
Beside `<name>.pid` (only the number) stands `<name>.identity` with the pid, its start time in clock
ticks and the boot id; together they name one process for ever. psutil's `create_time` is not used:
it is computed from the wall clock and moves when the clock is set. A second line keeps the ports,
so that a start with other ports is told from one that just has nothing to do.
"""

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil

from deploy.local.errors import LocalStackError
from deploy.local.home import Home

POLL: Final = timedelta(milliseconds=50)
TAIL_LINES: Final = 15
FREE_PORTS: Final = range(20_000, 32_768)
RELEASE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Launch:
    """How one process is started and when it counts as ready."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ports: Sequence[int]
    ready: Callable[[], bool]
    deadline: timedelta = timedelta(seconds=60)
    patience: timedelta = timedelta(seconds=20)
    """How long SIGTERM may take before SIGKILL."""


def start_mark(pid: int) -> str | None:
    """What tells this process from any other that had or will have its pid; None if dead."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that died is no longer there
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets: the fields count from the last bracket.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid} {fields[19]} {boot}"


def identity_file(pid_file: Path) -> Path:
    return pid_file.with_suffix(".identity")


def record(pid_file: Path, pid: int, ports: Sequence[int] = ()) -> None:
    """Remember a process just started, and the ports it was given."""
    mark = start_mark(pid)
    if mark is not None:
        identity_file(pid_file).write_text(f"{mark}\n{' '.join(map(str, ports))}\n")
    pid_file.write_text(f"{pid}\n")


def forget(pid_file: Path) -> None:
    pid_file.unlink(missing_ok=True)
    identity_file(pid_file).unlink(missing_ok=True)


def running_pid(pid_file: Path) -> int | None:
    """The pid in the file if that process still runs and is the one that was recorded."""
    try:
        pid = int(pid_file.read_text())
        known = identity_file(pid_file).read_text().splitlines()[0]
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return pid if start_mark(pid) == known else None


def recorded_ports(pid_file: Path) -> list[int]:
    """The ports that a recorded process was started with."""
    try:
        return [int(port) for port in identity_file(pid_file).read_text().splitlines()[1].split()]
    except (FileNotFoundError, IndexError):
        return []


def spawn(launch: Launch, home: Home) -> int:
    """Start a process in its own session, its output appended to its log; return its pid.

    `posix_spawn`, not `Popen`: nobody waits for the process, it is meant to stay.
    """
    home.rotate_log(launch.name)
    log = str(home.log(launch.name))
    pid = os.posix_spawn(
        launch.argv[0],
        list(launch.argv),
        dict(launch.env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    take_turns(pid)
    record(home.pid_file(launch.name), pid, launch.ports)
    return pid


def take_turns(pid: int) -> None:
    """Let a process that was just started wait for its turn instead of interrupting another's.

    A message wakes a dozen processes. On two cores each would push another one out in the middle
    of its work, whose caches are cold when it comes back. Its share of a core stays the same.
    """
    with contextlib.suppress(OSError, AttributeError):  # not everywhere allowed, nor known
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def await_ready(
    name: str, ready: Callable[[], bool], deadline: timedelta, home: Home, pid: int
) -> None:
    """Wait until the process is ready; raise with the end of its log if it dies or dawdles."""
    end = time.monotonic() + deadline.total_seconds()
    while time.monotonic() < end:
        if start_mark(pid) is None:
            forget(home.pid_file(name))
            raise LocalStackError(_with_log(f"{name} ended before it was ready.", home.log(name)))
        if ready():
            return
        time.sleep(POLL.total_seconds())
    waited = f"{name} (pid {pid}) is not ready after {deadline.total_seconds():g} s."
    raise LocalStackError(_with_log(waited, home.log(name)))


def _with_log(what: str, log: Path) -> str:
    return f"{what} The end of its log:\n{log_tail(log)}\nLog: {log}"


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented; a large log is not read whole."""
    if not log.exists():
        return "  (no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        text = file.read().decode(errors="replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (the log is empty)"


def stop(pid_file: Path, patience: timedelta) -> bool:
    """Stop the process that the file names, if it is still that one; True if it was running."""
    pid = running_pid(pid_file)
    if pid is None:
        forget(pid_file)
        return False
    mark = start_mark(pid)
    for number, seconds in ((signal.SIGTERM, patience.total_seconds()), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if start_mark(pid) != mark:
                forget(pid_file)
                return True
            time.sleep(POLL.total_seconds())
    raise LocalStackError(f"pid {pid} ({pid_file}) does not end, not even by SIGKILL")


def free_port() -> int:
    """A port of the loopback interface that nobody has now.

    Taken from below the range that the kernel gives to outgoing connections (32768 and up on
    Linux): a remembered port of that range is sooner or later some client's.
    """
    for _ in range(100):
        port = FREE_PORTS.start + secrets.randbelow(len(FREE_PORTS))
        if _can_bind(port):
            return port
    raise LocalStackError(f"no free port found between {FREE_PORTS.start} and {FREE_PORTS.stop}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_free(name: str, ports: Sequence[int], variable: str) -> None:
    """Raise, naming the holder if the system tells, when one of the ports is taken.

    A killed process of many threads is a zombie while its last threads still hold the port: where
    no living holder is found, the port gets a moment.
    """
    for port in ports:
        deadline = time.monotonic() + RELEASE.total_seconds()
        while not _can_bind(port):
            holder = _holder(port)
            if holder or time.monotonic() > deadline:
                raise LocalStackError(
                    f"{name}: port {port} is taken{holder}. "
                    f"Free it or choose another one with {variable}."
                )
            time.sleep(POLL.total_seconds())


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                if connection.pid is None:  # another user's
                    return ""
                return f" by {psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return ""
