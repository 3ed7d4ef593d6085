"""Where the demo finds the system that `make up` started, and with what it signs and signs in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local.ports import DEFAULTS, Ports

ADMIN = "admin@demo.test"
ANA = "ana@demo.test"
LUIS = "luis@demo.test"
PASSWORD = "demo"


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses and the local stack's well-known secrets; what the user set wins."""

    ports: Ports
    ingest: str
    inbox: str
    notifier: str
    graph: str
    app_secret: str
    platform_token: str
    verify_token: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Places":
        ports = Ports.from_environment(environ)

        def url(name: str) -> str:
            given = environ.get(f"ATRIO_{name.upper()}_URL") or f"http://127.0.0.1:{ports[name]}"
            return given.rstrip("/")

        return cls(
            ports=ports,
            ingest=url("ingest"),
            inbox=url("inbox"),
            notifier=url("notifier"),
            graph=url("graph"),
            app_secret=(environ.get("ATRIO_APP_SECRETS") or "app-secret").split(",")[0].strip(),
            platform_token=environ.get("ATRIO_PLATFORM_TOKEN") or "platform-token",
            verify_token=environ.get("ATRIO_VERIFY_TOKEN") or "verify-me",
        )

    @property
    def webhook(self) -> str:
        return f"{self.ingest}/webhooks/whatsapp"

    @property
    def stream(self) -> str:
        return f"{self.notifier}/v1/stream"

    @property
    def graph_is_elsewhere(self) -> bool:
        """Whether the fake Graph's command line must be told the address."""
        return self.graph != f"http://127.0.0.1:{DEFAULTS['graph']}"

    @property
    def elsewhere(self) -> str:
        """What a command of the demo's must be given, in front of it, to find these addresses."""
        found = (("inbox", self.inbox), ("notifier", self.notifier))
        return "".join(
            f"ATRIO_{name.upper()}_URL={url} "
            for name, url in found
            if url != f"http://127.0.0.1:{DEFAULTS[name]}"
        )
