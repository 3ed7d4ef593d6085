"""`python -m services.inbox.ledger`: is everything that came in accounted for?

Compares each record of the inbound topic with the ledger's counters and with what is stored.
Runs with inbox' environment, beside it; ends with 0 (all of it agrees), 1 (it does not),
3 (a server is away).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from services.inbox.handlers import inbound_group
from services.inbox.settings import InboxSettings
from services.inbox.workflows.reckoning import LedgerCheck, first_day
from shared.contracts.errors import TransientError
from shared.contracts.topics import INBOUND
from shared.ids import IdHasher
from shared.mongo.client import create_client
from shared.observability.logs import configure_logging
from shared.replay import showing

_SHOWN = 100


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m services.inbox.ledger", description=__doc__)
    made.add_argument(
        "--days",
        type=int,
        default=INBOUND.retention.days if INBOUND.retention else 14,
        help="the last days (UTC), today included; by default all that the topic keeps",
    )
    return made


async def run(options: argparse.Namespace, settings: InboxSettings) -> int:
    """The exit code."""
    client = create_client(settings, app_name="atrio-ledger")
    try:
        check = LedgerCheck(
            settings,
            client[settings.inbox_db],
            IdHasher(settings.key_secret.get_secret_value()),
            topic=settings.topic_name(INBOUND),
            group=inbound_group(settings),
        )
        reckoned = await check.run(first_day(options.days))
    finally:
        client.close()
    differences = reckoned.differences
    if differences:
        showing.table(
            ("what", "where", "detail"),
            [(each.what, each.where, each.detail) for each in differences[:_SHOWN]],
        )
    showing.tell(f"{reckoned.records} records, {len(differences)} differences")
    return 1 if differences else 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    configure_logging(service="inbox-ledger", stream=sys.stderr)
    try:
        return asyncio.run(run(options, InboxSettings()))
    except TransientError as error:
        sys.stderr.write(f"ledger: {type(error).__name__}: {error}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
