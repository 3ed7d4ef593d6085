"""Where the stack keeps its data, logs and pid files, and where downloads are cached."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LARGE_LOG_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Home:
    """`ATRIO_HOME`: `data/<name>`, `logs/<name>.log`, `run/<name>.pid`."""

    path: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Home":
        return cls(Path(environ.get("ATRIO_HOME") or ROOT / ".atrio").expanduser().resolve())

    def create(self) -> None:
        for folder in (self.path / "data", self.path / "logs", self.path / "run"):
            folder.mkdir(parents=True, exist_ok=True)

    def data(self, name: str) -> Path:
        return self.path / "data" / name

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.path / "run" / f"{name}.pid"

    def rotate_log(self, name: str) -> None:
        """Set a large log aside before a start; one old log is kept."""
        log = self.log(name)
        if log.exists() and log.stat().st_size > LARGE_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off any other `up` or `down` of the same home."""
        self.create()
        with (self.path / "run" / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Downloads are shared by all checkouts of a user: `ATRIO_CACHE`, else the XDG cache."""
    if chosen := environ.get("ATRIO_CACHE"):
        return Path(chosen).expanduser().resolve()
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "atrio"
