"""Graph's answers about numbers, accounts and media: one function for each call."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from shared.testing.graph.errors import GraphError
from shared.testing.graph.media import Media, refusal
from shared.testing.graph.model import Json
from shared.testing.graph.world import APP, NumberState, World

Answer = Callable[[World, str, Request, Json | None], Awaitable[Response]]

_DEFAULT_FIELDS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
)
_PAGE = 25


async def mark_read(world: World, node: str, _request: Request, body: Json | None) -> Response:
    """`{status: "read", message_id}`, with or without `typing_indicator`."""
    body = body or {}
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    if body.get("status") != "read":
        raise GraphError(100, "Param status must be one of {READ}.")
    message_id = body.get("message_id")
    if not message_id:
        raise GraphError(131008, "Parameter 'message_id' is mandatory")
    if not isinstance(message_id, str) or not message_id.startswith("wamid."):
        raise GraphError(131009, "Parameter 'message_id' is not valid.")
    typing = body.get("typing_indicator")
    if typing is not None and (not isinstance(typing, dict) or typing.get("type") != "text"):
        raise GraphError(100, "Param typing_indicator[type] must be one of {TEXT}.")
    world.number(node)
    return answer({"success": True})


def answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def media_upload(world: World, node: str, request: Request, _body: Json | None) -> Response:
    """Multipart with `file`, `type` and `messaging_product`."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise GraphError(100, "The parameter file is required.")
    async with request.form(max_files=1, max_fields=10) as form:
        if form.get("messaging_product") != "whatsapp":
            raise GraphError(100, "The parameter messaging_product is required.")
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise GraphError(100, "The parameter file is required.")
        mime_type = form.get("type") or file.content_type
        if not isinstance(mime_type, str):
            raise GraphError(100, "The parameter type is required.")
        content = await file.read()
    if why := refusal(mime_type, len(content)):
        raise GraphError(131053 if "size" in why else 100, why)
    media = world.media.add(mime_type, content, node)
    return answer({"id": media.id})


async def node_get(world: World, node: str, request: Request, _body: Json | None) -> Response:
    """Answer `GET /{id}`: what it is tells the id."""
    wanted = request.query_params.get("phone_number_id")
    media = world.media.get(node)
    if media is not None:
        if wanted is not None and media.number_id not in (None, wanted):
            raise _no_such(node)
        return answer(_media_shown(world, media, request))
    fields = _fields(request)
    if wanted is None and node in world.accounts and node not in world.numbers:
        shown = {"name": "Example account", "timezone_id": "1", "currency": "USD"}
        return answer(_selected(shown, fields, tuple(shown)) | {"id": node})
    if wanted is None and (fields or node in world.numbers):
        return answer(number_shown(world.number(node), fields))
    raise _no_such(node)


async def media_delete(world: World, node: str, _request: Request, _body: Json | None) -> Response:
    if not world.media.remove(node):
        raise _no_such(node)
    return answer({"success": True})


async def media_download(
    world: World, _node: str, request: Request, _body: Json | None
) -> Response:
    """Answer the URL of a look-up or a webhook: bytes, or 404 once it has expired."""
    query = request.query_params
    media = world.media.download(query.get("mid", ""), query.get("ext", ""), query.get("hash", ""))
    if media is None:
        return Response("Not found", 404, media_type="text/plain")
    headers = {"content-type": media.mime_type, "content-disposition": "inline"}
    return Response(media.content, headers=headers)


async def subscribed_apps(world: World, node: str, request: Request, body: Json | None) -> Response:
    """List, add or remove the app's subscription; without one a WABA's webhooks are not sent."""
    account = world.account(node)
    if request.method == "GET":
        return answer({"data": account.apps})
    account.apps.clear()
    if request.method == "POST":
        app: Json = {"whatsapp_business_api_data": APP}
        if uri := (body or {}).get("override_callback_uri"):
            if not isinstance(uri, str) or len(uri) > 200:
                raise GraphError(100, "Param override_callback_uri is not valid.")
            app["override_callback_uri"] = uri
        account.apps.append(app)
    return answer({"success": True})


async def phone_numbers(world: World, node: str, request: Request, _body: Json | None) -> Response:
    fields = _fields(request)
    owned = [state for state in world.numbers.values() if state.number.waba_id == node]
    return answer(page([number_shown(state, fields) for state in owned], request))


async def message_templates(
    world: World, node: str, request: Request, _body: Json | None
) -> Response:
    query = request.query_params
    found = [
        template
        for template in world.account(node).templates
        if all(
            str(template.get(name, "")).lower() == query[name].lower()
            for name in ("name", "status", "language", "category")
            if name in query
        )
    ]
    fields = _fields(request)
    shown = [_selected(one, fields, tuple(one)) | {"id": one["id"]} for one in found]
    return answer(page(shown, request))


async def message_history(
    world: World, node: str, request: Request, _body: Json | None
) -> Response:
    """Show the statuses of a message and how their webhooks fared."""
    wamid = request.query_params.get("message_id")
    if not wamid:
        raise GraphError(100, "The parameter message_id is required.")
    sent = world.sent.get(wamid)
    if sent is None or sent.phone_number_id != node:
        return answer(page([], request))
    uri = world.number(node).target.url
    events = []
    for event in sent.events:
        shown: Json = {
            "id": _number_like(f"{wamid}:{event.status}"),
            "delivery_status": event.status.upper(),
            "webhook_update_state": event.state,
            "timestamp": event.timestamp,
            "application": {"id": APP["id"]},
            "webhook_uri": uri,
        }
        if event.error is not None:
            shown["error_description"] = event.error
        events.append(shown)
    entry = {"id": _number_like(wamid), "message_id": wamid, "events": {"data": events}}
    return answer(page([entry], request))


def number_shown(state: NumberState, fields: Sequence[str]) -> Json:
    known = {**state.fields, "display_phone_number": state.number.display_phone_number}
    return _selected(known, fields, _DEFAULT_FIELDS) | {"id": state.number.phone_number_id}


def page(items: Sequence[Json], request: Request) -> Json:
    """Return one page by `limit` and `after`, with cursors while there is something."""
    query = request.query_params
    try:
        limit = min(1000, max(1, int(query.get("limit", _PAGE))))
        start = int(query.get("after", "c0").removeprefix("c"))
    except ValueError as error:
        raise GraphError(100, "Invalid paging parameter.") from error
    part = items[start : start + limit]
    if not part:
        return {"data": []}
    end = start + len(part)
    paging: Json = {"cursors": {"after": f"c{end}", "before": f"c{start}"}}
    if end < len(items):
        url = request.url.include_query_params(after=f"c{end}")
        paging["next"] = str(url.remove_query_params("access_token"))
    return {"data": list(part), "paging": paging}


def _media_shown(world: World, media: Media, request: Request) -> Json:
    base = world.settings.public_url or f"http://{request.headers.get('host', 'localhost')}"
    return {
        "messaging_product": "whatsapp",
        "url": world.media.url(media, base.rstrip("/")),
        "mime_type": media.mime_type,
        "sha256": media.digest.hex(),
        "file_size": len(media.content),
        "id": media.id,
    }


def _fields(request: Request) -> list[str]:
    return [name for name in request.query_params.get("fields", "").split(",") if name]


def _selected(known: Json, fields: Sequence[str], default: Sequence[str]) -> Json:
    return {name: known[name] for name in fields or default if name in known}


def _no_such(node: str) -> GraphError:
    return GraphError(
        100,
        message=f"Unsupported get request. Object with ID '{node}' does not exist, cannot be "
        "loaded due to missing permissions, or does not support this operation",
    )


def _number_like(text: str) -> str:
    return str(8 * 10**14 + int(hashlib.sha256(text.encode()).hexdigest()[:10], 16))
