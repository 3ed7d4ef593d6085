"""`python -m shared.testing.graph`: the server, and a customer at the command line."""

import argparse
import asyncio
import base64
import mimetypes
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from shared.testing.graph.server import GraphServer
from shared.testing.graph.settings import GraphSettings
from shared.testing.webhooks import Number

Json = dict[str, Any]
_KINDS = {"image", "video", "audio"}


def main(arguments: list[str] | None = None) -> None:
    """Serve, or call the control API of a server that runs."""
    given = _parser().parse_args(arguments)
    settings = GraphSettings()
    if given.command == "serve":
        print(f"fake Graph server on {settings.base_url}, webhooks to {settings.webhook_url}")
        try:
            uvloop.run(GraphServer(settings).serve())
        except OSError as error:
            sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
        return
    url = (given.url or settings.base_url) + "/_control"
    method, path, body = _call(given)
    status, text = asyncio.run(_request(method, url + path, body))
    print(text)
    if status >= 400:
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shared.testing.graph", description=__doc__)
    parser.add_argument("--url", help="of the fake; by default where the settings put it")
    commands = parser.add_subparsers(dest="command")
    parser.set_defaults(command="serve")
    commands.add_parser("serve", help="run the server (the default)")
    inbound = commands.add_parser("inbound", help="write as a customer")
    inbound.add_argument("text", nargs="?", help="the text, or the caption of --file")
    inbound.add_argument("--number", default=Number().phone_number_id, help="phone_number_id")
    inbound.add_argument("--from", dest="phone", help="the customer's phone")
    inbound.add_argument("--user-id", help="the customer's BSUID; alone it hides the phone")
    inbound.add_argument("--name")
    inbound.add_argument("--username")
    inbound.add_argument("--reply-to", help="the wamid that the message quotes")
    inbound.add_argument("--file", type=Path, help="send this file as media")
    inbound.add_argument("--json", help="further members, as the control API takes them")
    post = commands.add_parser("post", help="sign and deliver a payload from a file")
    post.add_argument("file", type=Path)
    fault = commands.add_parser("fault", help="add a fault, as JSON")
    fault.add_argument("json")
    for name, meaning in (
        ("state", "show the counts"),
        ("requests", "show what was received"),
        ("reset", "forget everything"),
    ):
        commands.add_parser(name, help=meaning)
    return parser


def _call(given: argparse.Namespace) -> tuple[str, str, bytes | Json | None]:
    match given.command:
        case "inbound":
            return "POST", "/inbound", _inbound(given)
        case "post":
            return "POST", "/webhook?wait=1", given.file.read_bytes()
        case "fault":
            return "POST", "/faults", given.json.encode()
        case "reset":
            return "POST", "/reset", None
        case command:
            return "GET", f"/{command}", None


def _inbound(given: argparse.Namespace) -> Json:
    body: Json = {
        "phone_number_id": given.number,
        "from": given.phone,
        "user_id": given.user_id,
        "name": given.name,
        "username": given.username,
        "reply_to": given.reply_to,
        "text": given.text,
        "wait": True,
    }
    if given.file is not None:
        mime_type = mimetypes.guess_type(given.file.name)[0] or "application/octet-stream"
        kind = mime_type.split("/")[0]
        body |= {
            "type": kind if kind in _KINDS else "document",
            "mime_type": mime_type,
            "filename": given.file.name,
            "data_base64": base64.b64encode(given.file.read_bytes()).decode(),
        }
    body = {name: member for name, member in body.items() if member is not None}
    if given.json:
        body |= orjson.loads(given.json)
    return body


async def _request(method: str, url: str, body: bytes | Json | None) -> tuple[int, str]:
    payload = {"json": body} if isinstance(body, dict) else {"data": body}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, **payload) as answer,
        ):
            return answer.status, await answer.text()
    except aiohttp.ClientConnectionError:
        return 599, f"nothing answers at {url}: is the fake Graph server running?"
