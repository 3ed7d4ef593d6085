"""A fake of Meta's Graph server for the WhatsApp Cloud API; see docs/fake-graph.md."""

from shared.testing.graph.app import create_app
from shared.testing.graph.server import GraphServer
from shared.testing.graph.settings import GraphSettings

__all__ = ["GraphServer", "GraphSettings", "create_app"]
