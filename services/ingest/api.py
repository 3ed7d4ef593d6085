"""`/webhooks/whatsapp[/{app_id}]` as plain ASGI: the one path where a framework's share is felt.

Everything else goes to the application that holds the probes.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qs

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.ingest.model import Source
from services.ingest.storage import Apps
from shared.contracts.errors import TransientError
from shared.deadlines import Deadlines
from shared.observability.metrics import Metrics

PATH = "/webhooks/whatsapp"
SIGNATURE = b"x-hub-signature-256"
_SCHEME = b"sha256="
_SIGNATURE_BYTES = 71
# Of a body over the limit this much is still read and thrown away: a client that only reads the
# answer after its last byte would otherwise see a reset instead of the 413.
_DRAIN_BYTES = 32 * 1024 * 1024
_PROBLEM = b"application/problem+json"

_STORED: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"0")],
}
_EMPTY: Message = {"type": "http.response.body", "body": b""}

Secrets = Mapping[bytes, frozenset[str] | None]
"""Each accepted secret with the tenants that entered it; None for the platform's own."""
Accept = Callable[[bytes, Source], Awaitable[None]]
"""Makes a signed body durable, or raises."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """`in_flight_bytes` bounds the bodies that are held at once, read or being stored."""

    body_bytes: int
    in_flight_bytes: int
    body_timeout: timedelta


class RefusedError(Exception):
    """The answer is not 200: `code` is stable, `close` ends the connection."""

    def __init__(self, status: int, code: str, *, close: bool = False) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.close = close


class _GoneError(Exception):
    """The client went away before its body was complete."""


class WebhookApp:
    """The service's ASGI application.

    A body's secret is chosen by its path before anything is parsed. Bodies of nobody's number
    are stored too, so only a wrong signature, a wrong size or a doubt about durability is refused.
    """

    def __init__(
        self,
        accept: Accept,
        apps: Apps,
        *,
        secrets: Iterable[str],
        verify_token: str,
        ready: Callable[[], bool],
        limits: Limits,
        metrics: Metrics,
        others: ASGIApp,
    ) -> None:
        self._accept = accept
        self._apps = apps
        self._platform: Secrets = {secret.encode(): None for secret in secrets}
        self._verify_tokens = frozenset({verify_token.encode()})
        self._ready = ready
        self._limits = limits
        self._body_seconds = limits.body_timeout.total_seconds()
        self._others = others
        self._allowance = _Allowance(limits.in_flight_bytes)
        self._deadlines = Deadlines()
        self._told: dict[str, float] = {}
        self._answers = {
            status: metrics.webhooks.labels(str(status))
            for status in (200, 400, 401, 403, 404, 405, 408, 413, 503)
        }
        self._seconds = metrics.webhook_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self._others(scope, receive, send)
            return
        started = time.perf_counter()
        try:
            answer = await self._handle(scope, receive)
            status = 200
            if answer is None:
                await send(_STORED)
                await send(_EMPTY)
            else:
                await _answer(send, 200, b"text/plain; charset=utf-8", answer)
        except RefusedError as refused:
            status = refused.status
            self._tell(refused)
            await _refuse(send, refused)
        except _GoneError:
            return
        self._answers[status].inc()
        self._seconds.observe(time.perf_counter() - started)

    async def _handle(self, scope: Scope, receive: Receive) -> bytes | None:
        app_id = _app_id(scope["path"])
        method = scope["method"]
        if method == "POST":
            await self._post(app_id, scope, receive)
            return None
        if method == "GET":
            return self._verify(app_id, scope["query_string"])
        raise RefusedError(405, "method_not_allowed")

    # --- GET -------------------------------------------------------------------------------------

    def _verify(self, app_id: str | None, query: bytes) -> bytes:
        # The challenge goes back byte for byte, whatever encoding it has.
        members = parse_qs(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        tokens = self._verify_tokens
        if app_id is not None:
            self._require_ready()
            app = self._apps.app(app_id)
            tokens = frozenset() if app is None else app.verify_tokens
        given = members.get("hub.verify_token", [""])[0].encode("latin-1")
        matches = [hmac.compare_digest(given, token) for token in tokens]
        if not any(matches) or members.get("hub.mode") != ["subscribe"]:
            raise RefusedError(403, "verification_failed")
        if "hub.challenge" not in members:
            raise RefusedError(400, "challenge_missing")
        return members["hub.challenge"][0].encode("latin-1")

    # --- POST ------------------------------------------------------------------------------------

    async def _post(self, app_id: str | None, scope: Scope, receive: Receive) -> None:
        self._require_ready()
        secrets: Secrets = self._platform
        if app_id is not None:
            app = self._apps.app(app_id)
            if app is None:
                raise RefusedError(401, "unknown_app")
            secrets = app.secrets
        signature, length = _headers(scope)
        if length is not None and length > _DRAIN_BYTES:
            raise RefusedError(413, "body_too_large", close=True)
        held = _Held(self._allowance)
        try:
            body = await self._read(receive, held)
            source = _signed_by(app_id, secrets, body, signature)
            await self._accept(body, source)
        except TransientError as doubt:
            raise RefusedError(503, "not_durable") from doubt
        except (RefusedError, _GoneError):
            raise
        except Exception as bug:
            # Whatever it is, Meta must come again: never 200, and a 500 says no more than a 503.
            log.exception("webhook.failed")
            raise RefusedError(503, "internal") from bug
        finally:
            held.release()

    async def _read(self, receive: Receive, held: _Held) -> bytes:
        try:
            with self._deadlines.within(self._body_seconds):
                message = await receive()
                if message.get("more_body", False) or message["type"] != "http.request":
                    return await self._read_on(message, receive, held)
        except TimeoutError as slow:
            raise RefusedError(408, "body_too_slow", close=True) from slow
        body: bytes = message.get("body", b"")
        held.take(len(body))
        if len(body) > self._limits.body_bytes:
            raise RefusedError(413, "body_too_large")
        return body

    async def _read_on(self, message: Message, receive: Receive, held: _Held) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= self._limits.body_bytes:
                held.take(len(chunk))
                chunks.append(chunk)
            elif chunks:
                chunks.clear()
                held.release()
            if size > _DRAIN_BYTES:
                raise RefusedError(413, "body_too_large", close=True)
            if not message.get("more_body", False):
                break
            message = await receive()
        if size > self._limits.body_bytes:
            raise RefusedError(413, "body_too_large")
        return b"".join(chunks)

    def _require_ready(self) -> None:
        if not self._ready():
            raise RefusedError(503, "not_ready")

    def _tell(self, refused: RefusedError) -> None:
        # Anybody can make us refuse: one line a second for each code, the metric has them all.
        now = time.monotonic()
        if now - self._told.get(refused.code, -1.0) >= 1.0:
            self._told[refused.code] = now
            log.warning("webhook.refused", status=refused.status, code=refused.code)


class _Allowance:
    """The bytes of bodies that the process may hold."""

    __slots__ = ("free",)

    def __init__(self, limit: int) -> None:
        self.free = limit


class _Held:
    """The bytes that one request holds of the allowance."""

    __slots__ = ("_allowance", "_bytes")

    def __init__(self, allowance: _Allowance) -> None:
        self._allowance = allowance
        self._bytes = 0

    def take(self, size: int) -> None:
        if size > self._allowance.free:
            raise RefusedError(503, "overloaded")
        self._allowance.free -= size
        self._bytes += size

    def release(self) -> None:
        self._allowance.free += self._bytes
        self._bytes = 0


def _app_id(path: str) -> str | None:
    if path == PATH:
        return None
    rest = path.removeprefix(PATH)
    if not rest.startswith("/") or len(rest) == 1 or "/" in rest[1:]:
        raise RefusedError(404, "not_found")
    return rest[1:]


def _headers(scope: Scope) -> tuple[bytes, int | None]:
    """The signature's 32 bytes and the declared length. Raises RefusedError."""
    signature: bytes | None = None
    length: int | None = None
    for name, value in scope["headers"]:
        if name == SIGNATURE:
            signature = value
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    if signature is None:
        raise RefusedError(401, "signature_missing")
    if len(signature) == _SIGNATURE_BYTES and signature.startswith(_SCHEME):
        try:
            return bytes.fromhex(signature[len(_SCHEME) :].decode("ascii")), length
        except ValueError:
            pass
    raise RefusedError(401, "signature_malformed")


def _signed_by(
    app_id: str | None,
    secrets: Secrets,
    body: bytes,
    signature: bytes,
) -> Source:
    """Whose secret made the signature. Raises RefusedError."""
    tenants: frozenset[str] = frozenset()
    matched = False
    for secret, owners in secrets.items():
        # All are tried, so that the time does not tell which one matched.
        if hmac.compare_digest(hmac.digest(secret, body, "sha256"), signature):
            matched = True
            tenants |= owners or frozenset()
    if not matched:
        raise RefusedError(401, "signature_mismatch")
    return Source() if app_id is None else Source(app_id, tenants)


async def _answer(
    send: Send, status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]
) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(send: Send, refused: RefusedError) -> None:
    problem = {"type": "about:blank", "status": refused.status, "code": refused.code}
    more = []
    if refused.status == 503:
        more.append((b"retry-after", b"1"))
    if refused.status == 405:
        more.append((b"allow", b"GET, POST"))
    if refused.close:
        more.append((b"connection", b"close"))
    await _answer(send, refused.status, _PROBLEM, orjson.dumps(problem), *more)
