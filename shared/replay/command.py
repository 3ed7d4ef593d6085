"""What consumers set aside, listed, shown, replayed, given up: the command line."""

from __future__ import annotations

import argparse
import asyncio
import time

from shared.contracts import topics
from shared.contracts.topics import Topic
from shared.kafka.dead_letters import KIND, REASON, SOURCE, STAGE
from shared.kafka.publisher import Publisher
from shared.mongo.client import create_client
from shared.mongo.parking import MongoParking
from shared.replay import showing
from shared.replay.dead import DeadLetters
from shared.replay.marks import Action, Place, operator
from shared.replay.parked import ParkedKeys
from shared.replay.settings import ReplaySettings
from shared.replay.showing import key_bytes, key_text, tell

_TOPICS = {topic.base: topic for topic in topics.ALL if topic.dead_letters}


def _place(text: str) -> Place:
    return Place.parse(text)


def _topic(text: str) -> Topic:
    return _TOPICS[text.removesuffix(topics.DEAD_SUFFIX)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m shared.replay", description=__doc__)
    made.add_argument("--by", default=operator(), help="who does it, for the account")
    kinds = made.add_subparsers(dest="kind", required=True)

    parked = kinds.add_parser("parked", help="keys behind a poison record")
    parked.add_argument("--service", required=True, choices=("inbox", "delivery"))
    doing = parked.add_subparsers(dest="action", required=True)
    doing.add_parser("list")
    for name in ("show", "release", "drop"):
        one = doing.add_parser(name)
        one.add_argument("lot")
        one.add_argument("parked_key", metavar="key", type=key_bytes)
        if name == "show":
            one.add_argument("--show", action="store_true", help="values too")
        if name == "drop":
            one.add_argument("--all", action="store_true", help="not only the first record")
        if name == "release":
            one.add_argument("--wait", type=float, default=60.0, help="seconds for the answer")

    dead = kinds.add_parser("dead", help="dead letters of a topic")
    dead.add_argument("--topic", required=True, type=_topic, metavar="TOPIC")
    doing = dead.add_subparsers(dest="action", required=True)
    listed = doing.add_parser("list")
    listed.add_argument("--reason")
    shown = doing.add_parser("show")
    shown.add_argument("place", type=_place, metavar="PARTITION/OFFSET")
    shown.add_argument("--show", action="store_true", help="values too")
    for name in ("redrive", "drop"):
        one = doing.add_parser(name)
        one.add_argument("places", type=_place, nargs="*", metavar="PARTITION/OFFSET")
        one.add_argument("--all", action="store_true")
        one.add_argument("--reason", help="with --all: only these")
    return made


async def _parked(options: argparse.Namespace, settings: ReplaySettings) -> int:
    client = create_client(settings, app_name="atrio-replay")
    name = settings.inbox_db if options.service == "inbox" else settings.delivery_db
    try:
        keys = ParkedKeys(MongoParking(client[name]))
        match options.action:
            case "list":
                showing.table(
                    ("lot", "key", "records", "reason", "since"),
                    [
                        (k.lot, key_text(k.key), k.records, k.reason, k.since.isoformat())
                        for k in await keys.list()
                    ],
                )
            case "show":
                for record in await keys.records(options.lot, options.parked_key):
                    showing.record(record, show=options.show)
            case "drop":
                gone = await keys.drop(
                    options.lot, options.parked_key, options.by, everything=options.all
                )
                tell(f"{gone} dropped")
                return 0 if gone else 1
            case _:
                return await _release(keys, options)
    finally:
        client.close()
    return 0


async def _release(keys: ParkedKeys, options: argparse.Namespace) -> int:
    request = await keys.release(options.lot, options.parked_key, options.by)
    ends = time.monotonic() + options.wait
    while time.monotonic() < ends:
        released = await keys.answered(request)
        if released is not None:
            tell(f"{released.replayed} replayed, {released.stopped or 'nothing left'}")
            return 1 if released.stopped else 0
        await asyncio.sleep(0.25)
    tell(f"not answered yet: {options.service} does it as soon as a pod has the partition")
    return 2


async def _dead(options: argparse.Namespace, settings: ReplaySettings) -> int:
    publisher = Publisher(settings, client_id="atrio-replay")
    letters = DeadLetters(settings, options.topic, publisher)
    match options.action:
        case "list":
            showing.table(
                ("place", "time", "source", "stage", "kind", "reason", "bytes"),
                [
                    (w.place, w.at, *map(w.header, (SOURCE, STAGE, KIND, REASON)), w.size)
                    for w in await letters.waiting(reason=options.reason)
                ],
            )
            return 0
        case "show":
            record = await letters.read(options.place)
            if record is None:
                return 1
            showing.record(record, show=options.show)
            return 0
        case _:
            return await _settle(letters, publisher, options)


async def _settle(letters: DeadLetters, publisher: Publisher, options: argparse.Namespace) -> int:
    places = set(options.places)
    if options.all:
        places |= {each.place for each in await letters.waiting(reason=options.reason)}
    await publisher.start()
    try:
        act = letters.redrive if options.action == "redrive" else letters.drop
        settled = await act(places, options.by)
    finally:
        await publisher.aclose()
    for each in settled:
        done = Action.REDRIVEN if options.action == "redrive" else Action.DROPPED
        tell(f"{each.place} {f'kept: {each.kept}' if each.kept else done.value}")
    return 0 if len(settled) == len(places) and not any(each.kept for each in settled) else 1


async def run(options: argparse.Namespace, settings: ReplaySettings) -> int:
    """The exit code: 0 when all that was asked for is done."""
    if options.kind == "parked":
        return await _parked(options, settings)
    return await _dead(options, settings)
