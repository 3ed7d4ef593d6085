"""Atrio's own processes on top of the stack: what they are given, how they start, when ready."""

import base64
import http.client
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from deploy.local.errors import LocalStackError
from deploy.local.home import ROOT, cache_folder
from deploy.local.ports import SERVICES
from deploy.local.processes import Launch, log_tail
from deploy.local.stack import Stack, await_running, running_port, start_all

MODULES: Final[Mapping[str, str]] = {
    **{name: f"services.{name}" for name in SERVICES},
    "graph": "shared.testing.graph",
}
TOPICS_MODULE: Final = "shared.kafka.topics"
DEMO_MODULE: Final = "deploy.local.demo"


def is_runnable(module: str, root: Path = ROOT) -> bool:
    """Whether `python -m <module>` finds something; nothing is imported for the answer."""
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def own_settings(stack: Stack) -> dict[str, str]:
    """What the local stack decides for its processes."""
    ports = stack.ports
    urls = {f"ATRIO_{name.upper()}_URL": f"http://127.0.0.1:{ports[name]}" for name in SERVICES}
    console = ports["console"]
    return {
        **urls,
        **ports.environment(),
        "ATRIO_KAFKA_SERVERS": stack.kafka_servers,
        "ATRIO_MONGO_URL": stack.mongo_url,
        "ATRIO_REDIS_URL": stack.redis_url,
        "ATRIO_APP_SECRETS": "app-secret",
        "ATRIO_VERIFY_TOKEN": "verify-me",
        "ATRIO_PLATFORM_TOKEN": "platform-token",
        "ATRIO_INTERNAL_TOKEN": "internal-token",
        "ATRIO_ALLOWED_ORIGINS": f"http://127.0.0.1:{console},http://localhost:{console}",
        "ATRIO_MASTER_KEY": kept_secret(stack.home.data("master.key")),
        "ATRIO_KEY_SECRET": kept_secret(stack.home.data("key.secret")),
        # A bot under development is on this machine.
        "ATRIO_BOT_PRIVATE_ADDRESSES": "1",
        # Everybody of the local stack comes from one address.
        "ATRIO_SIGN_IN_FAILURES_PER_ADDRESS": "100000",
        "PYTHONUNBUFFERED": "1",
    }


def environment(stack: Stack, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every process of the local stack is handed; the user's own settings win."""
    defaults = own_settings(stack)
    set_by_user = {name: value for name, value in given.items() if value or name not in defaults}
    python_path = os.pathsep.join(filter(None, (str(ROOT), given.get("PYTHONPATH"))))
    return {
        **defaults,
        **set_by_user,
        **_bytecode(given),
        "ATRIO_HOME": str(stack.home.path),
        "PYTHONPATH": python_path,
    }


def _bytecode(given: Mapping[str, str]) -> dict[str, str]:
    """Keeps bytecode in the cache where none may be written beside the sources.

    Many container images forbid it. Without bytecode each process compiles all libraries again:
    a restart of the system took 20 s on two cores instead of 10.
    """
    if not given.get("PYTHONDONTWRITEBYTECODE") or given.get("PYTHONPYCACHEPREFIX"):
        return {}
    folder = cache_folder(given) / "bytecode"
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)}


def exports(stack: Stack, given: Mapping[str, str] = os.environ) -> str:
    """Lines for a shell, so that a command finds what the services were handed."""
    handed = environment(stack, given)
    names = [name for name in (*own_settings(stack), "ATRIO_HOME") if name.startswith("ATRIO_")]
    return "".join(f"export {name}={shlex.quote(handed[name])}\n" for name in names)


def kept_secret(file: Path) -> str:
    """32 random bytes in base64, made on first use and the same ever after.

    Stored data is sealed with the one and partitioned by the other: a new key would lose it.
    """
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    with os.fdopen(handle, "w") as out:
        out.write(secret + "\n")
    return secret


def start(names: Sequence[str], stack: Stack, tell: Callable[[str], None] = print) -> list[str]:
    """Start those services that do not run, side by side, and wait for their `/readyz`.

    Returns the names that were started. A service without a package is skipped with a note.
    """
    env = environment(stack)
    launches, running = [], []
    for name in names:
        if not is_runnable(MODULES[name]):
            # The console is a package of its own that need not be there.
            if name != "console":
                tell(f"  {name:<9} skipped: there is no {MODULES[name]}")
        elif running_port(stack.home, name, stack.ports) is None:
            launches.append(launch(name, stack, env))
        else:
            running.append(name)
    start_all(launches, stack.home, tell)
    started = [one.name for one in launches]
    if not all(await_running(stack.home, name, stack.ports[name], is_ready) for name in running):
        started += start(running, stack, tell)
    return started


def launch(name: str, stack: Stack, env: Mapping[str, str]) -> Launch:
    port = stack.ports[name]
    return Launch(
        name=name,
        argv=[sys.executable, "-m", MODULES[name]],
        env=env,
        ports=(port,),
        ready=lambda: is_ready(port),
        deadline=timedelta(seconds=45),
    )


def is_ready(port: int) -> bool:
    """Whether `/readyz` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def create_topics(stack: Stack, tell: Callable[[str], None] = print) -> None:
    """Create the declared topics before anybody reads or writes them."""
    if not is_runnable(TOPICS_MODULE):
        tell(f"  topics    skipped: there is no {TOPICS_MODULE}")
        return
    log = stack.home.log("topics")
    with log.open("a") as sink:
        done = _run(TOPICS_MODULE, [], stack, sink.fileno())
    if done:
        raise LocalStackError(f"the topics could not be created.\n{log_tail(log)}\nLog: {log}")


def seed_demo(stack: Stack) -> None:
    """Create the demo tenant; what exists already is left as it is."""
    if is_runnable(DEMO_MODULE) and (status := _run(DEMO_MODULE, ["seed"], stack, None)):
        raise LocalStackError(
            f"the demo tenant could not be seeded (exit status {status}); "
            f"see the logs in {stack.home.path / 'logs'}, or start with --no-demo"
        )


def _run(module: str, arguments: Sequence[str], stack: Stack, output: int | None) -> int:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, env=environment(stack), cwd=ROOT, stdout=output, stderr=output, check=False
    )
    return done.returncode
