import subprocess
import time
from pathlib import Path

from deploy.local import redis
from deploy.local.home import cache_folder
from deploy.local.processes import free_port

START_SECONDS = 10.0


class RedisServer:
    """A redis-server that a test may kill; what was answered more than a second ago survives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            redis.command(redis.binary(cache_folder()), self._folder, self._port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not redis.is_ready(self._port):
            if time.monotonic() > deadline:
                raise OSError("redis-server is not ready")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
