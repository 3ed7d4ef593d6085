"""`python -m services.ingest.quarantine`: signed bodies that were not understood.

Runs with ingest's environment: it reads the directory as ingest does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta

from services.ingest.settings import IngestSettings
from services.ingest.storage import Directory
from services.ingest.workflows.accept import Sorter
from services.ingest.workflows.examine import Quarantine
from shared.contracts.errors import PermanentError, TransientError
from shared.contracts.inbound import QUARANTINE_APP, QUARANTINE_REASON, QuarantineReason
from shared.contracts.topics import DIRECTORY
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.table import CompactedTable
from shared.observability.logs import configure_logging
from shared.observability.metrics import Metrics
from shared.replay import showing
from shared.replay.marks import Action, Place, Settled, operator
from shared.replay.showing import tell

_DIRECTORY_LIMIT = timedelta(seconds=60)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m services.ingest.quarantine", description=__doc__)
    made.add_argument("--by", default=operator(), help="who does it, for the account")
    doing = made.add_subparsers(dest="action", required=True)
    reasons = [reason.value for reason in QuarantineReason]
    doing.add_parser("list").add_argument("--reason", choices=reasons)
    shown = doing.add_parser("show")
    shown.add_argument("place", type=Place.parse, metavar="PARTITION/OFFSET")
    shown.add_argument("--show", action="store_true", help="the body too")
    for name in ("redrive", "drop"):
        one = doing.add_parser(name)
        one.add_argument("places", type=Place.parse, nargs="*", metavar="PARTITION/OFFSET")
        one.add_argument("--all", action="store_true")
        one.add_argument("--reason", choices=reasons, help="with --all: only these")
    return made


async def run(options: argparse.Namespace, settings: IngestSettings) -> int:
    """The exit code: 0 when all that was asked for is done."""
    metrics = Metrics()
    directory = Directory(metrics)
    publisher = Publisher(settings, client_id="atrio-quarantine", metrics=metrics)
    hasher = IdHasher(settings.key_secret.get_secret_value())
    quarantine = Quarantine(settings, Sorter(directory, hasher), publisher)
    match options.action:
        case "list":
            showing.table(
                ("place", "time", "reason", "app", "bytes"),
                [
                    (w.place, w.at, w.header(QUARANTINE_REASON), w.header(QUARANTINE_APP), w.size)
                    for w in await quarantine.waiting(reason=options.reason)
                ],
            )
            return 0
        case "show":
            record = await quarantine.read(options.place)
            if record is None:
                return 1
            showing.record(record, show=options.show)
            return 0
        case _:
            pass
    places = set(options.places)
    if options.all:
        places |= {each.place for each in await quarantine.waiting(reason=options.reason)}
    table = CompactedTable(settings, DIRECTORY, directory.apply, metrics=metrics)
    await publisher.start()
    await table.start()
    try:
        await table.wait_caught_up(_DIRECTORY_LIMIT)
        if options.action == "redrive":
            settled, done = await quarantine.redrive(places, options.by), Action.REDRIVEN
        else:
            settled, done = await quarantine.drop(places, options.by), Action.DROPPED
    finally:
        await table.aclose()
        await publisher.aclose()
    return _tell(settled, done, wanted=len(places))


def _tell(settled: Sequence[Settled], done: Action, *, wanted: int) -> int:
    for each in settled:
        tell(f"{each.place} {f'kept: {each.kept}' if each.kept else done.value}")
    return 0 if len(settled) == wanted and not any(each.kept for each in settled) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    configure_logging(service="ingest-quarantine", stream=sys.stderr)
    try:
        return asyncio.run(run(options, IngestSettings()))
    except (TransientError, PermanentError, TimeoutError) as error:
        sys.stderr.write(f"quarantine: {type(error).__name__}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
