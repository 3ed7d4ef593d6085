"""`python -m shared.testing.graph`: the server, and a customer at the command line."""

import uvloop

from shared.testing.graph.server import GraphServer


def main() -> None:
    uvloop.run(GraphServer().serve())
