"""`python -m deploy.local.demo [seed | watch EMAIL]`: see the package's docstring."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import NoReturn

import aiohttp

from deploy.local.__main__ import main as local_stack
from deploy.local.demo.people import DemoChangedError
from deploy.local.demo.places import ANA, Places
from deploy.local.demo.rest import Rest
from deploy.local.demo.screen import Screen
from deploy.local.demo.seeding import register_picture, seed
from deploy.local.demo.sockets import Viewer, watching
from deploy.local.demo.story import Story
from deploy.local.demo.summary import print_summary
from deploy.local.errors import LocalStackError
from deploy.local.home import Home

TIMEOUT = aiohttp.ClientTimeout(total=15)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        places = Places.from_environment()
        match options.command:
            case "seed":
                return asyncio.run(_seed(places))
            case "watch":
                asyncio.run(_watch(places, options.email))
            case _:
                return _demo(places, options.pace)
    except LocalStackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; what was started keeps running (make down stops it).")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.demo", description=__doc__)
    parser.add_argument(
        "--pace", type=float, default=1.5, metavar="SECONDS", help="between two acts of the show"
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("seed", help="create the demo tenant and its sample conversations")
    watch = commands.add_parser("watch", help="show what an agent's socket receives")
    watch.add_argument("email", nargs="?", default=ANA)
    return parser


def _demo(places: Places, pace: float) -> int:
    if status := local_stack(["up"]):
        return status
    screen = Screen()
    asyncio.run(_show(places, screen, pace))
    print_summary(places, Home.from_environment(), screen.console)
    return 0


async def _show(places: Places, screen: Screen, pace: float) -> None:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        seeded = await seed(session, places)
        await register_picture(session, places)
        await Story(session, places, seeded.cast, screen=screen, pace=pace).tell()


async def _seed(places: Places) -> int:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        try:
            seeded = await seed(session, places)
        except DemoChangedError as changed:
            # The stack is fine without the demo: `make up` must not fail for it.
            print(f"  demo      left as it is: {changed}")
            return 0
    new = f"{seeded.new} new sample conversations" if seeded.new else "was there already"
    print(f"  demo      {seeded.note or new}; sign in as {ANA}, password demo")
    return 0


async def _watch(places: Places, email: str) -> NoReturn:
    """Show one person's stream; a stream that ends is resumed where it was."""
    screen = Screen()
    viewer = Viewer(email.partition("@")[0][:6], "magenta", screen)
    told = False
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        while True:
            try:
                # Anew each time: a token lives an hour.
                person = await Rest.sign_in(session, places.inbox, email)
                people = await person.items("/v1/agents")
                screen.names = {one["id"]: one["name"] for one in people}
                async with watching(session, places, person, viewer) as reading:
                    told = False
                    await reading
                screen.caption("The stream ended; connecting again.")
            except LocalStackError as error:
                if viewer.cursor is None:
                    raise
                if not told:
                    screen.caption(f"{error} Trying again each second.")
                told = True
            await asyncio.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
