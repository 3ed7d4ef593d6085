"""`python -m shared.replay`."""

from __future__ import annotations

import asyncio
import sys

from shared.contracts.errors import PermanentError, TransientError
from shared.observability.logs import configure_logging
from shared.replay.command import parser, run
from shared.replay.settings import ReplaySettings


def main() -> int:
    """0 done, 1 not all of it, 2 not yet, 3 a server is away."""
    options = parser().parse_args()
    configure_logging(service="replay", stream=sys.stderr)
    try:
        return asyncio.run(run(options, ReplaySettings()))
    except (TransientError, PermanentError) as error:
        sys.stderr.write(f"replay: {type(error).__name__}: {error}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
