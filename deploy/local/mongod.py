"""MongoDB as a replica set of one node, the least that majority reads and writes need."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from deploy.local.downloads import MONGOD, wheel_binary
from deploy.local.home import Home
from deploy.local.processes import Launch

REPLICA_SET: Final = "rs0"
NOT_YET_INITIALIZED: Final = 94
ALREADY_INITIALIZED: Final = 23

# The journal keeps what was written. By default a page of this small cache is written out as soon
# as 2.5 % of it are updates, which at a thousand messages a second is one page for each of them.
_WRITTEN_BY_CHECKPOINTS: Final = (
    "eviction_dirty_target=40,eviction_dirty_trigger=60,"
    "eviction_updates_target=40,eviction_updates_trigger=60"
)


def command(binary: Path, data: Path, port: int, cache_gb: float = 2.0) -> list[str]:
    return [
        str(binary),
        *("--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--replSet", REPLICA_SET, "--oplogSize", "512"),
        *("--wiredTigerCacheSizeGB", f"{cache_gb:g}"),
        *("--nounixsocket", "--quiet"),
        # Nobody reads the past here: by default each old version of a document is kept for 300 s.
        *("--setParameter", "minSnapshotHistoryWindowInSeconds=0"),
        *("--wiredTigerJournalCompressor", "none"),
        *("--wiredTigerEngineConfigString", _WRITTEN_BY_CHECKPOINTS),
        # Small ones, often: after the default of 60 s one takes a core for a second.
        *("--syncdelay", "10"),
        # A slow operation would be logged with its documents, which are customers' messages.
        *("--slowms", "3600000"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # A primary that is told to end serves on for 15 s by default, to let drivers move.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
    ]


def launch(home: Home, port: int, cache: Path) -> Launch:
    data = home.data("mongod")
    data.mkdir(parents=True, exist_ok=True)
    return Launch(
        name="mongod",
        argv=command(wheel_binary(MONGOD, cache), data, port),
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        ports=(port,),
        ready=lambda: is_ready(port),
    )


def connect(port: int, timeout: timedelta = timedelta(seconds=2)) -> "pymongo.MongoClient[Any]":
    """A client of this one node, whatever the replica set thinks of it."""
    milliseconds = int(timeout.total_seconds() * 1000)
    return pymongo.MongoClient(
        "127.0.0.1",
        port,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
    )


def is_ready(port: int) -> bool:
    """Whether the node is the writable primary; sets the replica set up where that is missing."""
    try:
        with connect(port, timedelta(milliseconds=500)) as client:
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                return True
            if not hello.get("setName"):
                settle(client, port)
    except PyMongoError:
        return False
    return False


def settle(client: "pymongo.MongoClient[Any]", port: int) -> None:
    """Initiate the replica set, or give it the node's new port; safe to repeat.

    The set's configuration names host and port. A node that does not find itself in it is
    `REMOVED` until a forced reconfiguration says where it is now.
    """
    host = f"127.0.0.1:{port}"
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            raise
        initiate(client, [host])
        return
    if [member["host"] for member in config["members"]] != [host]:
        config["members"] = [{**config["members"][0], "host": host}]
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def initiate(client: "pymongo.MongoClient[Any]", hosts: Sequence[str]) -> None:
    """Make these hosts a replica set; nothing happens if they are one."""
    try:
        client.admin.command("replSetInitiate", configuration(hosts))
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise


def configuration(hosts: Sequence[str]) -> Mapping[str, Any]:
    """Short elections: a restart should not cost the default of 10 s."""
    return {
        "_id": REPLICA_SET,
        "members": [{"_id": index, "host": host} for index, host in enumerate(hosts)],
        "settings": {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 500},
    }


def is_member(port: int) -> bool:
    """Whether the node is primary or a secondary that follows one."""
    try:
        with connect(port, timedelta(milliseconds=500)) as client:
            hello = client.admin.command("hello")
    except PyMongoError:
        return False
    return bool(hello.get("isWritablePrimary") or (hello.get("secondary") and "primary" in hello))


def await_primary(ports: Sequence[int], deadline: timedelta) -> int:
    """The port of the set's writable primary, once there is one."""
    end = time.monotonic() + deadline.total_seconds()
    while time.monotonic() < end:
        for port in ports:
            try:
                with connect(port, timedelta(milliseconds=300)) as client:
                    if client.admin.command("hello").get("isWritablePrimary"):
                        return port
            except PyMongoError:
                continue
        time.sleep(0.05)
    raise TimeoutError(f"no primary among {ports} within {deadline.total_seconds():g} s")
