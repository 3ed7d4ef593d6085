"""What stays behind the show: addresses, logins, and commands that work as they are printed."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local import services
from deploy.local.demo.places import ADMIN, ANA, LUIS, PASSWORD, Places
from deploy.local.home import Home

PYTHON = ".venv/bin/python"


def print_summary(places: Places, home: Home, console: Console) -> None:
    """Addresses, logins and what to try next."""
    console.print()
    console.rule("Everything keeps running")
    table = Table(box=None, show_header=False, pad_edge=False)
    for what, where in _addresses(places, home.path):
        table.add_row(f"{what}  ", where)
    console.print(table)
    console.print("\nTry, in this folder:", style="bold")
    for what, command in _commands(places):
        console.print(f"\n# {what}", style="dim")
        # soft_wrap: a command must stay one line for whoever copies it.
        console.print(command, markup=False, soft_wrap=True)
    console.print()


def _addresses(places: Places, home: Path) -> list[tuple[str, str]]:
    rows = [
        ("Sign in as", f"{ADMIN}, {ANA}, {LUIS}   password: {PASSWORD}"),
        ("REST API", f"{places.inbox}/docs"),
        ("Stream", f"{places.stream.replace('http', 'ws', 1)}   (also {places.stream}/sse)"),
        ("Webhooks", places.webhook),
        ("Fake WhatsApp", places.graph),
        ("Logs", f"{home}/logs"),
        ("Stop", "make down"),
    ]
    if services.is_runnable(services.MODULES["console"]):
        console = f"http://127.0.0.1:{places.ports['console']}"
        rows.insert(1, ("Console", console))
    return rows


def _commands(places: Places) -> list[tuple[str, str]]:
    url = f" --url {places.graph}" if places.graph_is_elsewhere else ""
    sign_in = (
        f"TOKEN=$(curl -s {places.inbox}/v1/auth/token -H 'Content-Type: application/json' "
        f'-d \'{{"email": "{ANA}", "password": "{PASSWORD}"}}\' '
        f"| {PYTHON} -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])')"
    )
    bearer = 'curl -s -H "Authorization: Bearer $TOKEN"'
    graph = f"{PYTHON} -m shared.testing.graph{url}"
    chat = (
        f"CHAT=$({bearer} '{places.inbox}/v1/conversations?view=open' "
        f'| {PYTHON} -c \'import json, sys; print(json.load(sys.stdin)["items"][0]["id"])\')'
    )
    answer = (
        f"{bearer} {places.inbox}/v1/conversations/$CHAT/messages "
        "-H 'Content-Type: application/json' "
        """-d '{"client_id": "'$(date +%s%N)'", "type": "text", "text": "¡Hola!"}'"""
    )
    waiting = f"{places.inbox}/v1/conversations?view=on_hold"
    return [
        (
            "watch what Ana receives (Ctrl-C ends it)",
            f"{places.elsewhere}{PYTHON} -m deploy.local.demo watch {ANA}",
        ),
        (
            "in a second terminal, write as a customer",
            f"{graph} inbound '¿Hay alguien ahí?' --from 34600000222 --name Marta",
        ),
        ("sign in over REST", sign_in),
        (
            "who waits, oldest first",
            f"{bearer} '{waiting}' | {PYTHON} -m json.tool --no-ensure-ascii",
        ),
        ("a chat that Ana holds", chat),
        ("answer as Ana", answer),
        (
            "let WhatsApp refuse the next message; then answer once more and watch it fail",
            f'{graph} fault \'{{"error": 131026, "times": 1}}\'',
        ),
    ]
