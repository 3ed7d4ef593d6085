import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deploy.local.processes import free_port
from shared.observability.components import Components
from shared.observability.loop_lag import LoopLag
from shared.observability.metrics import Metrics
from tests.integration.kafka.kafka_rig import until

PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from shared.observability.probes import probe_routes
from shared.observability.service import run_service

class Built:
    def __init__(self):
        self.halted = asyncio.Event()
        self.broker = None
        @asynccontextmanager
        async def lifespan(app):
            {startup}
            yield
            print("drained", flush=True)
        self.asgi = Starlette(routes=probe_routes(), lifespan=lifespan)

run_service("demo", Built, host="127.0.0.1", port={port})
"""


def start(startup: str, port: int) -> subprocess.Popen[str]:
    program = textwrap.dedent(PROGRAM).format(startup=startup, port=port)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_sigterm_drains_and_ends_with_zero() -> None:
    port = free_port()
    with start("pass", port) as process:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "drained" in out


def test_a_failing_startup_ends_non_zero_with_a_clear_line() -> None:
    with start("raise RuntimeError('no database')", free_port()) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "demo: cannot start" in err
    assert "service.starting" in out


def test_a_taken_port_ends_non_zero() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start("pass", taken.getsockname()[1]) as process:
            _, err = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "demo: cannot start" in err


def test_a_halted_part_ends_the_process_non_zero() -> None:
    with start(
        "asyncio.get_running_loop().call_later(0.2, self.halted.set)", free_port()
    ) as process:
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "drained" in out


class Part:
    def __init__(self, name: str, told: list[str], *, fails: str = "") -> None:
        self.name, self.told, self.fails = name, told, fails

    async def start(self) -> None:
        self.told.append(f"start {self.name}")
        if self.fails == "start":
            raise RuntimeError(self.name)

    async def aclose(self) -> None:
        self.told.append(f"stop {self.name}")
        if self.fails == "stop":
            raise RuntimeError(self.name)
        if self.fails == "hang":
            await asyncio.Event().wait()


async def test_components_start_in_order_and_stop_in_reverse() -> None:
    told: list[str] = []
    async with Components(Part("a", told), Part("b", told)):
        told.append("run")
    assert told == ["start a", "start b", "run", "stop b", "stop a"]


async def test_a_failing_start_stops_what_was_started() -> None:
    told: list[str] = []
    with pytest.raises(RuntimeError):
        async with Components(Part("a", told), Part("b", told, fails="start"), Part("c", told)):
            told.append("run")
    assert told == ["start a", "start b", "stop b", "stop a"]


@pytest.mark.parametrize("fails", ["stop", "hang"])
async def test_a_stop_that_fails_does_not_keep_the_others(fails: str) -> None:
    from datetime import timedelta

    told: list[str] = []
    parts = Part("a", told), Part("b", told, fails=fails)
    async with Components(*parts, stop_each=timedelta(milliseconds=50)):
        pass
    assert told[-1] == "stop a"


async def test_a_blocked_loop_is_measured() -> None:
    metrics = Metrics()
    lag = LoopLag(metrics)
    await lag.start()
    await until(lambda: bool(lag._recent))
    time.sleep(0.4)  # noqa: ASYNC251 - blocking is what is measured
    await until(lambda: lag.worst > 0.1)
    assert metrics.loop_lag._value.get() > 0.1
    await lag.aclose()
