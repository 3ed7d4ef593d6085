"""What must hold of the write path after any schedule, read from MongoDB and the topic.

The letters are those of `models/inbox_model.py`.
"""

from collections import Counter
from typing import Any, NamedTuple

import orjson

from services.inbox.decisions.views import conversation_view, message_view
from services.inbox.storage.documents import conversation_of, message_of
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from shared.contracts.envelope import read_envelope
from shared.contracts.events import EventType
from shared.mongo.client import Document
from tests.support.event_topic import Told
from tests.support.pods import World


class Violation(NamedTuple):
    """`rule` is the letter of what does not hold."""

    rule: str
    what: str


class Event(NamedTuple):
    type: str
    data: dict[str, Any]


async def violations(world: World) -> list[Violation]:
    """Ends the schedule, then checks every conversation."""
    await world.finish()
    found: list[Violation] = []
    for conversation in world.conversations:
        found += await _check(world, conversation)
    return found


async def _check(world: World, conversation: str) -> list[Violation]:
    told = await world.topic.told(conversation)
    found = list(_order(told))
    log = _log(told)
    head = await world.database[CONVERSATIONS].find_one({"_id": conversation})
    query = {"tenant": world.tenant, "conversation": conversation}
    documents = await world.database[MESSAGES].find(query).to_list(None)
    mine = {message for message, where in world.messages.items() if where == conversation}
    found += _items(world, mine, log, {doc["_id"]: doc for doc in documents})
    if head is None:
        return found + ([Violation("a", "the conversation is gone")] if mine or told else [])
    if head["outbox"]:
        found.append(Violation("d", f"the outbox holds {[e['v'] for e in head['outbox']]}"))
    if head["version"] != len(log):
        found.append(Violation("c", f"version {head['version']}, but {len(log)} on the topic"))
    if head["seq"] != len(documents):
        found.append(Violation("b", f"{head['seq']} messages, but {len(documents)} documents"))
    found += [
        Violation("e", f"{label} was answered and is gone")
        for where, label in world.answered
        if where == conversation and label not in head["labels"]
    ]
    return found + _folded(world, head, documents, log)


def _order(told: list[Told]) -> list[Violation]:
    """First occurrences are 1, 2, 3.. and a repeat is byte for byte the same."""
    found = []
    first: dict[int, Told] = {}
    for record in told:
        seen = first.setdefault(record.version, record)
        if seen != record:
            found.append(Violation("c", f"version {record.version} has two contents"))
        if seen is record and record.version > 1 and record.version - 1 not in first:
            found.append(Violation("c", f"{record.version} appears before {record.version - 1}"))
    return found


def _log(told: list[Told]) -> dict[int, Event]:
    events: dict[int, Event] = {}
    for record in told:
        kind = read_envelope(record.headers).type
        events.setdefault(record.version, Event(kind, orjson.loads(record.value)))
    return dict(sorted(events.items()))


def _items(
    world: World, mine: set[str], log: dict[int, Event], documents: dict[str, Document]
) -> list[Violation]:
    """(a) no item lost, (b) applied once."""
    stored = Counter(
        event.data["message"]["id"]
        for event in log.values()
        if event.type == EventType.MESSAGE_RECEIVED
    )
    found = [Violation("a", "a message was never told") for each in mine if not stored[each]]
    found += [Violation("a", "a message has no document") for each in mine if each not in documents]
    found += [Violation("b", "a message was applied twice") for n in stored.values() if n > 1]
    found += [
        Violation("a", f"{status} was never applied")
        for message, status in world.statuses
        if message in mine and status not in (documents.get(message, {}).get("facts") or {})
    ]
    return found


def _folded(
    world: World, head: Document, documents: list[Document], log: dict[int, Event]
) -> list[Violation]:
    """(f) what is stored is what the log leads to."""
    names = world.pods[-1].inbox.names
    shown = {
        doc["_id"]: (doc["v"], orjson.loads(orjson.dumps(message_view(message_of(doc), names))))
        for doc in documents
    }
    folded = {
        event.data["message"]["id"]: (version, event.data["message"])
        for version, event in log.items()
        if "message" in event.data
    }
    found = [
        Violation("f", f"a message shows v{shown[each][0]}, the log says v{folded[each][0]}")
        for each in shown.keys() & folded.keys()
        if shown[each] != folded[each]
    ]
    found += [Violation("f", "a message of no event") for _ in shown.keys() - folded.keys()]
    if log:
        state = {k: v for k, v in head.items() if k not in ("_id", "version", "outbox")}
        now = conversation_view(conversation_of(head["_id"], head["version"], state), names)
        if now != log[max(log)].data["conversation"]:
            found.append(Violation("f", "the conversation is not what its last event says"))
    return found
