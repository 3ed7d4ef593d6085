"""`python -m services.inbox`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from services.inbox.app import create_app
from services.inbox.settings import InboxSettings
from shared.observability.service import run_service


def main() -> None:
    """Read the environment, build, serve."""
    try:
        settings = InboxSettings()
    except ValidationError as bad:
        wrong = sorted({".".join(map(str, error["loc"])) or error["msg"] for error in bad.errors()})
        sys.exit(f"inbox: settings are not valid: {', '.join(wrong)}")
    run_service("inbox", lambda: create_app(settings), host=settings.host, port=settings.inbox_port)


if __name__ == "__main__":
    main()
