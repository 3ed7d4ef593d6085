"""WhatsApp's Graph server over HTTP: one session, and every error told apart.

Source: the Cloud API reference, v25.0, "Messages", "Media", "Block users", "Phone numbers".
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from typing_extensions import override

from services.delivery.model import (
    Accepted,
    Ambiguous,
    Answer,
    CallAnswer,
    Done,
    GraphError,
    MediaFile,
    NotSent,
)

Json = dict[str, Any]

# Idle connections end before Meta ends them: a reused connection that is closed under our hands
# makes a send ambiguous.
_KEEP_ALIVE_SECONDS = 15.0
_UPLOAD_SECONDS = 300.0
_TEMPLATE_FIELDS = (
    "id,name,language,category,status,components,parameter_format,quality_score,rejected_reason"
)


@dataclass(slots=True, eq=False)
class _Wire:
    """Whether a request had a connection: before that nothing of it can have been written."""

    connected: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call of a number needs."""

    phone_number_id: str
    access_token: str
    version: int

    @override
    def __repr__(self) -> str:
        return f"Credentials(version={self.version})"


class _Stored(aiohttp.AsyncIterablePayload):
    """A stored file as it is read, of a length that is told.

    Otherwise the request would go in chunks, which Meta's upload does not promise to take.
    """

    def __init__(self, content: AsyncIterator[bytes], file: MediaFile) -> None:
        super().__init__(content, content_type=file.mime_type)
        self._size = file.size


class Graph:
    """The client of one process. No retry, no redirect: what follows is the caller's decision."""

    def __init__(
        self,
        url: str,
        *,
        version: str,
        connect: timedelta = timedelta(seconds=5),
        total: timedelta = timedelta(seconds=30),
    ) -> None:
        self._root = f"{url.rstrip('/')}/{version}"
        self._connect = connect.total_seconds()
        self._total = total.total_seconds()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Build the session; connects to nothing."""
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_connected)
        trace.on_connection_reuseconn.append(_connected)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ttl_dns_cache=60
            ),
            timeout=self._timeout(self._total),
            trace_configs=[trace],
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "atrio-delivery"},
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session, for downloads."""
        if self._session is None:
            raise RuntimeError("the Graph client is not started")
        return self._session

    async def send(self, who: Credentials, body: Json) -> Answer:
        """`POST /{phone_number_id}/messages`, once."""
        answer = await self._call("POST", f"/{who.phone_number_id}/messages", who, json=body)
        return _accepted(answer) if isinstance(answer, Done) else answer

    async def mark_read(self, who: Credentials, body: Json) -> CallAnswer:
        """Blue ticks, perhaps with the typing indicator; may be repeated."""
        return await self._call("POST", f"/{who.phone_number_id}/messages", who, json=body)

    async def block(self, who: Credentials, body: Json, *, blocked: bool) -> CallAnswer:
        """Add one user to the block list or remove it; may be repeated."""
        method = "POST" if blocked else "DELETE"
        path = f"/{who.phone_number_id}/block_users"
        return of_the_user(await self._call(method, path, who, json=body))

    async def number(self, who: Credentials) -> CallAnswer:
        """The number's throughput level."""
        return await self._call("GET", f"/{who.phone_number_id}?fields=throughput", who)

    async def templates(
        self, who: Credentials, waba_id: str, after: str | None = None
    ) -> CallAnswer:
        """A page of the account's message templates; `paging` leads to the next."""
        query = {"fields": _TEMPLATE_FIELDS, "limit": "100"}
        if after is not None:
            query["after"] = after
        return await self._call("GET", f"/{waba_id}/message_templates?{urlencode(query)}", who)

    async def subscriptions(self, who: Credentials, waba_id: str) -> CallAnswer:
        """The apps that get the account's webhooks."""
        return await self._call("GET", f"/{waba_id}/subscribed_apps", who)

    async def subscribe(self, who: Credentials, waba_id: str) -> CallAnswer:
        """Subscribe the token's own app; may be repeated."""
        return await self._call("POST", f"/{waba_id}/subscribed_apps", who)

    async def media(self, who: Credentials, media_id: str) -> CallAnswer:
        """Where an incoming file is: `url` (valid for 5 minutes), `mime_type`, `sha256`."""
        path = f"/{media_id}?phone_number_id={who.phone_number_id}"
        return await self._call("GET", path, who)

    async def upload(
        self, who: Credentials, file: MediaFile, content: AsyncIterator[bytes]
    ) -> CallAnswer:
        """Give Meta a file; the answer has its `id`."""
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("type", file.mime_type)
        form.add_field("file", _Stored(content, file), filename=file.filename or "file")
        # Before the claim, so that no lease runs: a large file on a slow line takes its time.
        within = self._timeout(_UPLOAD_SECONDS)
        path = f"/{who.phone_number_id}/media"
        return await self._call("POST", path, who, data=form, within=within)

    def _timeout(self, total: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total, connect=self._connect, sock_connect=self._connect)

    async def _call(
        self,
        method: str,
        path: str,
        who: Credentials,
        *,
        json: Json | None = None,
        data: Any = None,
        within: aiohttp.ClientTimeout | None = None,
    ) -> CallAnswer:
        wire = _Wire()
        headers = {"authorization": f"Bearer {who.access_token}"}
        if json is not None:
            data = orjson.dumps(json)
            headers["content-type"] = "application/json"
        try:
            async with self.session.request(
                method,
                self._root + path,
                data=data,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=wire,
                timeout=within or self.session.timeout,
            ) as response:
                status = response.status
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, socket.gaierror) as error:
            reason = type(error).__name__
            return Ambiguous(reason) if wire.connected else NotSent(reason)
        return read_answer(status, raw)


async def _connected(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: object
) -> None:
    context.trace_request_ctx.connected = True


def read_answer(status: int, raw: bytes) -> CallAnswer:
    """An answer's meaning: Graph's own error body counts, not the HTTP status."""
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Ambiguous(f"http_{status}")
    if not isinstance(members, dict):
        return Ambiguous(f"http_{status}")
    error = members.get("error")
    if isinstance(error, dict):
        code = _code(error.get("code"))
        if code is not None:
            return _graph_error(code, error, members)
    if status != 200 or error is not None:
        return Ambiguous(f"http_{status}")
    return Done(members)


def of_the_user(answer: CallAnswer) -> CallAnswer:
    """A partly refused block call of one user is refused for that user's own reason."""
    if not isinstance(answer, GraphError | Done) or answer.members is None:
        return answer
    users = answer.members.get("block_users")
    failed = _first(users.get("failed_users") if isinstance(users, dict) else None)
    error = _first(failed.get("errors"))
    code = _code(error.get("code"))
    return answer if code is None else _graph_error(code, error, answer.members)


def _first(array: object) -> Json:
    first = array[0] if isinstance(array, list) and array else None
    return first if isinstance(first, dict) else {}


def _code(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:18])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _graph_error(code: int, error: Mapping[str, Any], members: Mapping[str, object]) -> GraphError:
    details = error.get("error_data")
    detail = details.get("details") if isinstance(details, dict) else None
    title = error.get("message")
    return GraphError(
        code=code,
        title=title if isinstance(title, str) else None,
        detail=detail if isinstance(detail, str) else None,
        transient=error.get("is_transient") is True,
        members=members,
    )


def _accepted(answer: Done) -> Answer:
    messages = answer.members.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        return Ambiguous("no_message_id")
    wamid = messages[0].get("id")
    if not isinstance(wamid, str) or not wamid:
        return Ambiguous("no_message_id")
    contacts = answer.members.get("contacts")
    contact = contacts[0] if isinstance(contacts, list) and contacts else {}
    known = contact if isinstance(contact, dict) else {}
    return Accepted(wamid, _text(known.get("wa_id")), _text(known.get("user_id")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
