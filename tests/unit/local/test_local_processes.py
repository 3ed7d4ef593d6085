import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.errors import LocalStackError
from deploy.local.home import Home
from deploy.local.processes import (
    Launch,
    await_ready,
    forget,
    free_port,
    identity_file,
    is_listening,
    log_tail,
    record,
    recorded_ports,
    require_free,
    running_pid,
    spawn,
    start_mark,
    stop,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def launch(code: str, port: int = 1, deadline: float = 10) -> Launch:
    return Launch(
        name="part",
        argv=[sys.executable, "-c", code],
        env=dict(os.environ),
        ports=(port,),
        ready=lambda: is_listening(port),
        deadline=timedelta(seconds=deadline),
    )


def test_a_recorded_process_is_known_again(home: Home, sleeper: subprocess.Popen[bytes]):
    pid_file = home.pid_file("part")
    record(pid_file, sleeper.pid, (9092, 9093))
    assert running_pid(pid_file) == sleeper.pid
    assert recorded_ports(pid_file) == [9092, 9093]


def test_what_is_started_interrupts_nobody(home: Home):
    pid = spawn(launch("import time; time.sleep(60)"), home)
    try:
        assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_pid_file_holds_just_the_pid(home: Home, sleeper: subprocess.Popen[bytes]):
    record(home.pid_file("part"), sleeper.pid, (9092,))
    assert home.pid_file("part").read_text() == f"{sleeper.pid}\n"


def test_a_pid_that_another_process_has_now_is_stale(home: Home, sleeper: subprocess.Popen[bytes]):
    pid_file = home.pid_file("part")
    record(pid_file, os.getpid())
    mark = start_mark(os.getpid())
    assert mark is not None
    # The number is the sleeper's, the start time is not.
    pid_file.write_text(f"{sleeper.pid}\n")
    identity_file(pid_file).write_text(mark.replace(str(os.getpid()), str(sleeper.pid), 1))
    assert running_pid(pid_file) is None


def test_a_pid_of_before_a_reboot_is_stale(home: Home, sleeper: subprocess.Popen[bytes]):
    pid_file = home.pid_file("part")
    record(pid_file, sleeper.pid)
    pid, ticks, _boot = identity_file(pid_file).read_text().split()
    identity_file(pid_file).write_text(f"{pid} {ticks} 00000000-0000-0000-0000-000000000000\n\n")
    assert running_pid(pid_file) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("not a pid", id="garbage"),
        pytest.param("99999999", id="beyond-any-pid"),
    ],
)
def test_a_broken_pid_file_is_stale(home: Home, content: str):
    home.pid_file("part").write_text(content)
    assert running_pid(home.pid_file("part")) is None


def test_a_pid_file_without_identity_is_not_ours(home: Home, sleeper: subprocess.Popen[bytes]):
    home.pid_file("part").write_text(f"{sleeper.pid}\n")
    assert running_pid(home.pid_file("part")) is None


def test_stop_leaves_a_foreign_process_alone(home: Home, sleeper: subprocess.Popen[bytes]):
    home.pid_file("part").write_text(f"{sleeper.pid}\n")
    assert not stop(home.pid_file("part"), timedelta(seconds=1))
    assert sleeper.poll() is None
    assert not home.pid_file("part").exists()


def test_stop_kills_what_does_not_heed_sigterm(home: Home):
    port = free_port()
    one = launch(
        "import signal, socket\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        "signal.pause()\n",
        port,
    )
    pid = spawn(one, home)
    await_ready(one.name, one.ready, one.deadline, home, pid)
    assert stop(home.pid_file("part"), timedelta(milliseconds=100))
    assert start_mark(pid) is None


def test_a_killed_process_is_not_running(home: Home):
    pid = spawn(launch("import signal; signal.pause()"), home)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while running_pid(home.pid_file("part")) is not None:
        assert time.monotonic() < deadline
    forget(home.pid_file("part"))


def test_a_spawned_process_leads_its_own_session(home: Home):
    pid = spawn(launch("import signal; signal.pause()"), home)
    assert os.getsid(pid) == pid
    assert stop(home.pid_file("part"), timedelta(seconds=5))


def test_a_process_that_dies_at_once_shows_its_log(home: Home):
    one = launch("raise SystemExit('no such licence')")
    pid = spawn(one, home)
    with pytest.raises(LocalStackError) as caught:
        await_ready(one.name, one.ready, one.deadline, home, pid)
    message = str(caught.value)
    assert "part ended before it was ready" in message
    assert "no such licence" in message
    assert str(home.log("part")) in message


def test_a_process_that_never_gets_ready_is_reported_with_its_log(home: Home):
    one = launch("import signal; signal.pause()", free_port(), deadline=0.2)
    pid = spawn(one, home)
    try:
        with pytest.raises(LocalStackError, match=r"not ready after 0\.2 s") as caught:
            await_ready(one.name, one.ready, one.deadline, home, pid)
        assert str(home.log("part")) in str(caught.value)
    finally:
        stop(home.pid_file("part"), timedelta(seconds=5))


def test_a_taken_port_is_named_with_its_holder_and_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalStackError) as caught:
            require_free("redis", [port], "ATRIO_REDIS_PORT")
    message = str(caught.value)
    assert f"redis: port {port} is taken" in message
    assert f"pid {os.getpid()}" in message
    assert "ATRIO_REDIS_PORT" in message


def test_a_free_port_is_no_error():
    require_free("redis", [free_port()], "ATRIO_REDIS_PORT")


def test_a_log_tail_is_the_end_of_the_log(tmp_path: Path):
    log = tmp_path / "part.log"
    log.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert log_tail(log, 2) == "  line 9998\n  line 9999"


def test_a_large_log_is_set_aside_at_the_next_start(home: Home):
    home.log("part").write_bytes(b"x" * (17 * 1024 * 1024))
    home.rotate_log("part")
    assert not home.log("part").exists()
    assert home.log("part").with_suffix(".log.1").exists()
