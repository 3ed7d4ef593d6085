"""The operations of MongoDB that a log is made of: compare-and-sets, trims, document writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from shared.mongo.client import DUPLICATE_KEY, Document
from shared.mongo.headlog.entries import Change, DocumentWrite, Insert, Patch, PatchAll, Put


def compare_and_set(change: Change, now: datetime) -> Any:
    """Creates the document, or replaces it where its version is the expected one.

    Found by its id alone and compared in the update: MongoDB plans any other filter anew for each
    statement of a bulk, which costs it half as much again as the write.
    """
    entries = change.carried + change.entries
    document: Document = {
        **change.state,
        "_id": change.id,
        "version": change.version,
        "outbox": [entry.to_document() for entry in entries],
    }
    if entries:
        document["outbox_at"] = now
    if change.expected == 0:
        return InsertOne(document)
    unchanged = {"$eq": ["$version", change.expected]}
    replaced = {"$cond": [unchanged, {"$literal": document}, "$$ROOT"]}
    return UpdateOne({"_id": change.id}, [{"$replaceWith": replaced}])


def certain(changes: Sequence[Change], details: Mapping[str, Any]) -> frozenset[str]:
    """The ids that surely won, by what MongoDB tells of the bulk of these changes.

    Raises BulkWriteError for an error that is not a lost creation.
    """
    lost: set[str] = set()
    for error in details.get("writeErrors", ()):
        if error["code"] != DUPLICATE_KEY:
            raise BulkWriteError(dict(details))
        lost.add(changes[error["index"]].id)
    replaces = [c.id for c in changes if c.expected != 0 and c.id not in lost]
    if details["nModified"] != len(replaces):
        lost.update(replaces)  # which of them is not told: none is certain
    return frozenset(c.id for c in changes if c.id not in lost)


_TRIMMED_AT_ONCE = 500


def trims(versions: Mapping[str, int]) -> list[UpdateMany]:
    """Takes the entries out of the outboxes of documents that still have these versions.

    Few statements: as many as there are documents would cost more than the compare-and-sets did.
    Not one: each document is looked for in the whole list, which an outage makes long.
    """
    rows = list(versions.items())
    places = range(0, len(rows), _TRIMMED_AT_ONCE)
    return [_trim(dict(rows[place : place + _TRIMMED_AT_ONCE])) for place in places]


def _trim(versions: Mapping[str, int]) -> UpdateMany:
    marks = [f"{head_id}:{version}" for head_id, version in versions.items()]
    mark = {"$concat": ["$_id", ":", {"$toString": "$version"}]}
    return UpdateMany(
        {"_id": {"$in": list(versions)}, "$expr": {"$in": [mark, marks]}},
        {
            "$pull": {"outbox": {"v": {"$lte": max(versions.values())}}},
            "$unset": {"outbox_at": ""},
        },
    )


def merged_writes(writes: Iterable[DocumentWrite]) -> dict[str, list[Any]]:
    """One operation per document, its last state; by collection.

    A document that is created and then changed becomes a guarded put: an insert that met the
    older state would lose the newer one.
    """
    whole: dict[tuple[str, str], Insert | Put] = {}
    operations: dict[str, list[Any]] = {}
    patches: list[PatchAll] = []
    for write in writes:
        match write:
            case Insert() | Put():
                key = (write.collection, write.document["_id"])
                before = whole.get(key)
                if before is None:
                    whole[key] = write
                elif write.document["v"] >= before.document["v"]:
                    whole[key] = Put(write.collection, write.document)
            case Patch(collection, target, guard, version, members):
                operations.setdefault(collection, []).append(
                    UpdateOne(
                        {
                            "_id": target,
                            "$or": [{guard: {"$lt": version}}, {guard: {"$exists": False}}],
                        },
                        {"$set": {**members, guard: version}},
                    )
                )
            case PatchAll():
                patches.append(write)
    for write in whole.values():
        document = write.document
        operations.setdefault(write.collection, []).append(
            InsertOne(write.raw)
            if isinstance(write, Insert)
            else ReplaceOne(
                {"_id": document["_id"], "v": {"$lt": document["v"]}}, write.raw, upsert=True
            )
        )
    for patch in patches:
        update: Document = {"$set": {**patch.members, "v": patch.version}}
        if patch.unset:
            update["$unset"] = dict.fromkeys(patch.unset, "")
        operations.setdefault(patch.collection, []).append(
            UpdateMany({**patch.query, "v": {"$lt": patch.version}}, update)
        )
    return operations
