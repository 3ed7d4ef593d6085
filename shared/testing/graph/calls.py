"""The Graph API itself: every call that Atrio makes, answered as Meta answers it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from shared.testing.graph import blocking, nodes
from shared.testing.graph.behaviour import Fault
from shared.testing.graph.errors import GraphError, error_answer
from shared.testing.graph.model import Json, Sent
from shared.testing.graph.sending import accept, plan, recipients_of
from shared.testing.graph.world import World

ABORT = "atrio.abort"

_VERSION = re.compile(r"v[0-9]{1,2}\.[0-9]")

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


@dataclass(slots=True)
class Call:
    """A call being answered."""

    name: str
    node: str
    method: str
    request: HttpRequest
    body: bytes
    json: Json | None
    kind: str = ""
    recipients: tuple[str, ...] = ()

    def object(self) -> Json:
        """Return the JSON body, or raise what Graph answers to something else."""
        if self.json is None:
            raise GraphError(100, "The request body is not a JSON object.")
        return self.json


class GraphApi:
    """Endpoints over one world: record, authorise, apply a fault, answer."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def messages(self, request: HttpRequest) -> Response:
        """`POST /{version}/{phone_number_id}/messages`: send, read, typing."""
        call = await self._arrived(request, "send")
        body = call.json
        if body is not None and "status" in body:
            call.name = "typing" if body.get("typing_indicator") else "read"
        elif body is not None:
            call.kind = str(body.get("type", "text"))
            call.recipients = recipients_of(self._world, body)
        self._record(call)
        if call.name == "send":
            return await self._send(call)
        return await self._answered(call, nodes.mark_read)

    def endpoint(self, name: str, answer: nodes.Answer) -> Endpoint:
        """Return an endpoint for any other call."""

        async def endpoint(request: HttpRequest) -> Response:
            call = await self._arrived(request, name)
            self._record(call)
            return await self._answered(call, answer)

        return endpoint

    async def node(self, request: HttpRequest) -> Response:
        """`GET /{version}/{id}`: a number, an account or a media look-up."""
        call = await self._arrived(request, "number")
        if call.node in self._world.media or "phone_number_id" in request.query_params:
            call.name = "media_get"
        self._record(call)
        return await self._answered(call, nodes.node_get)

    async def unknown(self, request: HttpRequest) -> Response:
        """Answer a path that Graph does not have."""
        self._record(await self._arrived(request, "unknown"))
        path = request.scope["path"]
        return _json(*error_answer(GraphError(2500, message=f"Unknown path components: {path}")))

    def routes(self) -> list[BaseRoute]:
        """Return Graph's paths; the send is first, being most of the traffic."""
        table = (
            ("POST", "media", "media_upload", nodes.media_upload),
            ("POST", "block_users", "block", blocking.block),
            ("DELETE", "block_users", "unblock", blocking.unblock),
            ("GET", "block_users", "block_list", blocking.block_list),
            ("GET", "subscribed_apps", "subscribed_apps", nodes.subscribed_apps),
            ("POST", "subscribed_apps", "subscribed_apps", nodes.subscribed_apps),
            ("DELETE", "subscribed_apps", "subscribed_apps", nodes.subscribed_apps),
            ("GET", "phone_numbers", "phone_numbers", nodes.phone_numbers),
            ("GET", "message_templates", "templates", nodes.message_templates),
            ("GET", "message_history", "message_history", nodes.message_history),
        )
        node = "/{version}/{node}"
        download = self.endpoint("media_download", nodes.media_download)
        return [
            Route(f"{node}/messages", self.messages, methods=["POST"]),
            Route("/whatsapp_business/attachments/", download, methods=["GET"]),
            *(
                Route(f"{node}/{edge}", self.endpoint(name, answer), methods=[method])
                for method, edge, name, answer in table
            ),
            Route(node, self.node, methods=["GET"]),
            Route(node, self.endpoint("media_delete", nodes.media_delete), methods=["DELETE"]),
        ]

    async def _arrived(self, request: HttpRequest, name: str) -> Call:
        body = await request.body()
        json = None
        if body and not request.headers.get("content-type", "").startswith("multipart/"):
            try:
                parsed = orjson.loads(body)
            except orjson.JSONDecodeError:
                parsed = None
            json = parsed if isinstance(parsed, dict) else None
        node = request.path_params.get("node", "")
        return Call(name, node, request.method, request, body, json)

    def _record(self, call: Call) -> None:
        request = call.request
        self._world.record(
            call=call.name,
            method=call.method,
            path=request.scope["path"],
            query=request.scope["query_string"].decode("latin-1"),
            node=call.node,
            headers=request.scope["headers"],
            body=call.body,
        )

    def _authorise(self, call: Call) -> None:
        version = call.request.path_params.get("version")
        if version is not None and not _VERSION.fullmatch(version):
            raise GraphError(2500, message="(#2500) Unknown path components", details=None)
        header = call.request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        token = token.strip() or call.request.query_params.get("access_token", "")
        if not token or (header and scheme.lower() != "bearer"):
            raise GraphError(190, message="Invalid OAuth access token - Cannot parse access token")
        if not self._world.token_good(token):
            raise GraphError(190)

    async def _send(self, call: Call) -> Response:
        world = self._world
        fault = None
        try:
            self._authorise(call)
            fault = world.fault(call.name, call.node, call.recipients, call.kind)
            accepts = fault is None or _accepts(fault)
            answer: Json | None = None
            if accepts:
                answer, sent = accept(world, call.node, call.object())
                await self._follow_up(sent, fault)
            if fault is not None and (wrong := await _faulty(call, fault)):
                return wrong
            return _json(200, orjson.dumps(answer))
        except GraphError as error:
            return _json(*error_answer(error))

    async def _follow_up(self, sent: Sent, fault: Fault | None) -> None:
        planned = plan(self._world, sent, fault)
        dispatcher = self._world.dispatcher
        if planned and fault is not None and fault.status_first:
            await dispatcher.post_now([planned.pop(0)[1]])
        for delay, update in planned:
            dispatcher.submit(update, delay)

    async def _answered(self, call: Call, answer: nodes.Answer) -> Response:
        try:
            self._authorise(call)
            fault = self._world.fault(call.name, call.node, (), "")
            response = None
            if fault is None or _accepts(fault):
                response = await answer(self._world, call.node, call.request, call.json)
            if fault is not None and (wrong := await _faulty(call, fault)):
                return wrong
            return response or Response(status_code=500)
        except GraphError as error:
            return _json(*error_answer(error))


def _accepts(fault: Fault) -> bool:
    """Tell whether the call takes effect although something goes wrong."""
    if fault.drop is not None:
        return fault.drop == "after_accept"
    return fault.accept or (fault.error is None and fault.http_status is None)


async def _faulty(call: Call, fault: Fault) -> Response | None:
    """Apply the fault to the answer; None leaves the answer as it is."""
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if fault.drop is not None:
        return await _hang_up(call.request)
    if fault.error is not None:
        raise GraphError(
            fault.error,
            fault.details,
            http_status=fault.http_status,
            is_transient=fault.is_transient,
        )
    if fault.http_status is not None:
        return Response(fault.body, fault.http_status, media_type="text/html")
    return None


async def _hang_up(request: HttpRequest) -> Response:
    """Close the connection without an answer."""
    extensions: dict[str, Any] = request.scope.get("extensions") or {}
    extensions[ABORT]["abort"]()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=500)  # uvicorn drops it: nobody is there


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
