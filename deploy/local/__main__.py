"""`python -m deploy.local up|down|status`."""

import argparse
import sys

from deploy.local.errors import LocalStackError
from deploy.local.home import Home
from deploy.local.ports import INFRASTRUCTURE, Ports
from deploy.local.stack import ensure, shut_down


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    parser.add_argument("action", choices=["up", "down"])
    action = parser.parse_args().action
    home = Home.from_environment()
    try:
        with home.locked():
            if action == "up":
                ensure(home.path, Ports.from_environment())
            else:
                shut_down(home, INFRASTRUCTURE)
    except LocalStackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
