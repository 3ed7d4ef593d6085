"""`python -m services.ingest`."""

from __future__ import annotations

import gc
import sys

from pydantic import ValidationError

from services.ingest.app import create_app
from services.ingest.settings import IngestSettings
from shared.observability.service import run_service


def main() -> None:
    """Read the environment, build, serve."""
    try:
        settings = IngestSettings()
    except ValidationError as bad:
        wrong = sorted({".".join(map(str, error["loc"])) or error["msg"] for error in bad.errors()})
        sys.exit(f"ingest: settings are not valid: {', '.join(wrong)}")
    # Requests in flight are many small objects that all die soon: with the default thresholds a
    # tenth of the process's time at load went into looking at them again and again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    run_service(
        "ingest",
        lambda: create_app(settings),
        host=settings.host,
        port=settings.ingest_port,
        proxied=False,
    )


if __name__ == "__main__":
    main()
