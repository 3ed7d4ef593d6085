"""`python -m tests.bench.statuses`: how many statuses a second one process of inbox takes.

Messages that went out are stored first; then a backlog of `sent`, `delivered` and `read` of each
is drained by the whole path: who is meant, compare-and-set, document, event. It is what comes back
of `tests.bench.delivery`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import uvloop

from deploy.local.home import ROOT
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND
from shared.kafka.topics import ensure_topics
from shared.mongo.client import MongoSettings, create_client
from shared.testing.webhooks import Wamids, customers, pricing, status
from tests.bench import inbox
from tests.support.stack import Addresses, local

_FATES = ("stored", "applied")
STATUSES = ("sent", "delivered", "read")


def records(messages: int) -> list[OutRecord]:
    """The messages as echoes of the phone, then their statuses, each kind behind the other."""
    wamids = Wamids(11)
    people = customers(inbox.CUSTOMERS, seed=1)
    stamp = int(datetime.now(UTC).timestamp())
    sent = [(people[n % len(people)], n % len(people)) for n in range(messages)]
    ids = [wamids.outbound(person.identity) for person, _ in sent]
    found = [
        _record(
            "whatsapp.echo",
            {
                "from": "12025550100",
                "to": person.wa_id,
                "to_user_id": person.user_id,
                "id": wamid,
                "timestamp": str(stamp),
                "type": "text",
                "text": {"body": "on its way"},
            },
            place,
            [person.contact()],
        )
        for (person, place), wamid in zip(sent, ids, strict=True)
    ]
    for after, name in enumerate(STATUSES):
        price = None if name == "read" else pricing()
        found += [
            _record(
                "whatsapp.status",
                status(
                    name, wamid, timestamp=stamp + after, recipient_id=person.wa_id, price=price
                ),
                place,
                [],
            )
            for (person, place), wamid in zip(sent, ids, strict=True)
        ]
    return found


def _record(kind: str, item: dict[str, Any], place: int, contacts: list[Any]) -> OutRecord:
    now = timestamp(datetime.now(UTC))
    value = {
        "field": "smb_message_echoes" if kind == "whatsapp.echo" else "messages",
        "item": item,
        "contacts": contacts,
        "metadata": {"phone_number_id": "200000000000001"},
        "number_id": inbox.NUMBER,
        "phone_number_id": "200000000000001",
        "waba_id": "100000000000001",
        "received_at": now,
    }
    envelope = Envelope(uuid.uuid4().hex, kind, "ingest", now, inbox.TENANT)
    key = f"customer-{place}".encode()
    return OutRecord(INBOUND, key, orjson.dumps(value), envelope.headers())


def run(messages: int, stack: Addresses) -> dict[str, float]:
    """One run, inbox in a process of its own."""
    os.environ |= {"ATRIO_KAFKA_SERVERS": stack.kafka_servers, "ATRIO_MONGO_URL": stack.mongo_url}
    prefix, database = f"st-{uuid.uuid4().hex[:8]}-", f"st_{uuid.uuid4().hex[:8]}"

    async def fill() -> None:
        await ensure_topics(inbox.settings(prefix))
        await inbox.produce(prefix, records(messages))

    async def drop() -> None:
        client = create_client(MongoSettings(), app_name="bench")
        await client.drop_database(database)
        client.close()

    asyncio.run(fill())
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.statuses", "--drain", prefix, database],
        env=os.environ | {"BENCH_WARM_UP": str(messages)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    asyncio.run(drop())
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.statuses", description=__doc__)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--drain", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drain:
        total = inbox.WARM_UP * (1 + len(STATUSES))
        prefix, database = given.drain
        print(json.dumps(uvloop.run(inbox.ours(prefix, database, total, _FATES))))
        return 0
    with local(ROOT / ".atrio" / "bench-delivery", keep=False) as stack:
        found = run(given.messages, stack)
    print(
        f"{found['per_second']:.0f} statuses/s, {found['cpu_us']:.0f} us of inbox's CPU for each "
        f"({found['main']:.0f} us of its loop)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
