"""Whole collections that are read to answer a query, as MongoDB's own profiler tells."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import pymongo

SMALL = frozenset({"directory", "catalogue", "api_keys", "signing_keys", "templates"})
"""Few documents whatever the load: those of a whole deployment or a tenant's settings."""
_RARE = frozenset({("presence", "remove"), ("pending_facts", "remove")})
"""What is done once in a tenant's life."""


@contextlib.contextmanager
def none_scanned(
    mongo_url: str, databases: Collection[str], small: Collection[str] = SMALL
) -> Iterator[None]:
    """Raises AssertionError at the end if a service read a collection that grows wholly."""
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        wholly = {"planSummary": "COLLSCAN", "docsExamined": {"$gt": 0}}
        for name in databases:
            client[name].command(
                {"profile": 1, "filter": {**wholly, "appName": {"$regex": "^atrio-"}}}
            )
        yield
        found = {
            (collection, entry["op"], _members(entry.get("command", {})))
            for name in databases
            for entry in client[name]["system.profile"].find()
            if (collection := entry["ns"].partition(".")[2]) not in small
            and (collection, entry["op"]) not in _RARE
        }
    assert not found, f"no index for {sorted(found)}"


def _members(command: dict[str, Any]) -> str:
    query = command.get("filter") or command.get("query") or command.get("q") or {}
    return ", ".join(sorted(query))
