"""`python -m services.ingest`."""

from __future__ import annotations

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
    run_service(
        "ingest",
        lambda: create_app(settings),
        host=settings.host,
        port=settings.ingest_port,
    )


if __name__ == "__main__":
    main()
