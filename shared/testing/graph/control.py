"""The control API under `/_control/`: what goes wrong, what comes back, what was received."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from shared.testing.graph.behaviour import Fault, LimitSwitches, WebhookBehaviour
from shared.testing.graph.control_bodies import (
    MediaBody,
    NumberBody,
    RecipientBody,
    TargetBody,
    TokensBody,
)
from shared.testing.graph.errors import KINDS
from shared.testing.graph.inbound import Inbound, InboundError, build
from shared.testing.graph.model import Event, Json, Sent, Target, Update
from shared.testing.graph.nodes import answer, number_shown
from shared.testing.graph.sending import digits
from shared.testing.graph.world import World
from shared.testing.webhooks import Customer, Number, encode

_MAX_WAIT_MS = 60_000


class Control:
    """Endpoints that set and show the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fault_count = 0

    def routes(self) -> list[BaseRoute]:
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/state", self.state),
            ("POST", "/reset", self.reset),
            ("GET", "/errors", self.errors),
            ("GET", "/requests", self.requests),
            ("DELETE", "/requests", self.forget_requests),
            ("GET", "/sent", self.sent),
            ("GET", "/faults", self.faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("DELETE", "/faults/{id}", self.remove_fault),
            ("GET", "/webhooks", self.webhooks),
            ("PATCH", "/webhooks", self.set_webhooks),
            ("POST", "/webhooks/flush", self.flush),
            ("POST", "/webhooks/wait", self.wait),
            ("GET", "/limits", self.limits),
            ("PATCH", "/limits", self.set_limits),
            ("POST", "/tokens", self.tokens),
            ("DELETE", "/tokens", self.clear_tokens),
            ("PUT", "/numbers/{id}", self.set_number),
            ("PUT", "/recipients/{phone}", self.set_recipient),
            ("PUT", "/groups/{id}", self.set_group),
            ("PUT", "/templates/{waba}", self.set_templates),
            ("POST", "/media", self.add_media),
            ("POST", "/media/{id}/expire", self.expire_media),
            ("POST", "/inbound", self.inbound),
            ("POST", "/webhook", self.webhook),
        ]
        return [
            Route(f"/_control{path}", _guarded(endpoint), methods=[method])
            for method, path, endpoint in table
        ]

    async def state(self, _request: Request) -> Response:
        world = self._world
        return answer(
            {
                "received": world.received,
                "accepted": world.accepted,
                "webhooks": self._counts(),
                "limits": world.switches.model_dump(),
                "faults": len(world.faults),
                "numbers": sorted(world.numbers),
                "webhook_url": world.platform.url,
            }
        )

    async def reset(self, _request: Request) -> Response:
        self._world.reset()
        return answer({"reset": True})

    async def errors(self, _request: Request) -> Response:
        shown = [
            {"code": kind.code, "http_status": kind.http_status, "title": kind.title}
            for kind in KINDS.values()
        ]
        return answer({"items": shown})

    async def requests(self, request: Request) -> Response:
        """List what arrived, newest last; `phone_number_id`, `path`, `call`, `since`, `limit`."""
        query = request.query_params
        since = float(query.get("since", 0))
        limit = int(query.get("limit", 1000))
        found = [
            one
            for one in self._world.requests
            if one.at >= since
            and query.get("phone_number_id", one.node) == one.node
            and query.get("path", one.path) in one.path
            and query.get("call", one.call) == one.call
        ]
        shown = [one.shown() for one in found[-limit:]] if limit else []
        return answer({"items": shown, "matched": len(found), "received": self._world.received})

    async def forget_requests(self, _request: Request) -> Response:
        self._world.requests.clear()
        self._world.received = 0
        return answer({"cleared": True})

    async def sent(self, request: Request) -> Response:
        """List what was accepted, newest last, with the statuses of each."""
        wanted = request.query_params.get("phone_number_id")
        limit = int(request.query_params.get("limit", 1000))
        found = [one for one in self._world.sent.values() if wanted in (None, one.phone_number_id)]
        shown = [_sent_shown(one) for one in found[-limit:]] if limit else []
        return answer({"items": shown, "accepted": self._world.accepted})

    async def faults(self, _request: Request) -> Response:
        return answer({"items": [fault.model_dump() for fault in self._world.faults.values()]})

    async def add_fault(self, request: Request) -> Response:
        fault = Fault.model_validate_json(await request.body() or b"{}")
        if not fault.id:
            self._fault_count += 1
            fault.id = f"f{self._fault_count}"
        self._world.faults[fault.id] = fault
        return answer(fault.model_dump(), 201)

    async def clear_faults(self, _request: Request) -> Response:
        self._world.faults.clear()
        return answer({"cleared": True})

    async def remove_fault(self, request: Request) -> Response:
        found = self._world.faults.pop(request.path_params["id"], None)
        return answer({"removed": found is not None}, 200 if found else 404)

    async def webhooks(self, _request: Request) -> Response:
        return answer({"behaviour": self._world.behaviour.model_dump(), "counts": self._counts()})

    async def set_webhooks(self, request: Request) -> Response:
        patch = await _object(request)
        if isinstance(delays := patch.get("delays_ms"), int | float):
            patch["delays_ms"] = dict.fromkeys(self._world.behaviour.delays_ms, delays)
        elif isinstance(delays, dict):
            patch["delays_ms"] = self._world.behaviour.delays_ms | delays
        before = self._world.behaviour.model_dump()
        self._world.behaviour = WebhookBehaviour.model_validate(before | patch)
        self._world.dispatcher.wake()
        return answer(self._world.behaviour.model_dump())

    async def flush(self, _request: Request) -> Response:
        """Make all that waits due now."""
        self._world.dispatcher.flush()
        return answer(self._counts())

    async def wait(self, request: Request) -> Response:
        """Answer when nothing is pending, or after `timeout_ms`."""
        asked = (await _object(request)).get("timeout_ms", 5000)
        idle = await self._world.dispatcher.wait_idle(min(float(asked), _MAX_WAIT_MS) / 1000)
        return answer({"idle": idle, **self._counts()})

    async def limits(self, _request: Request) -> Response:
        return answer(self._world.switches.model_dump())

    async def set_limits(self, request: Request) -> Response:
        before = self._world.switches.model_dump()
        self._world.switches = LimitSwitches.model_validate(before | await _object(request))
        self._world.buckets.clear()
        return answer(self._world.switches.model_dump())

    async def tokens(self, request: Request) -> Response:
        """Allow or revoke tokens; once one is allowed, no other is good."""
        body = TokensBody.model_validate_json(await request.body())
        allowed = {_digest(token) for token in body.allow}
        self._world.tokens |= allowed
        self._world.revoked -= allowed
        self._world.revoked |= {_digest(token) for token in body.revoke}
        return answer({"allowed": len(self._world.tokens), "revoked": len(self._world.revoked)})

    async def clear_tokens(self, _request: Request) -> Response:
        self._world.tokens.clear()
        self._world.revoked.clear()
        return answer({"allowed": 0, "revoked": 0})

    async def set_number(self, request: Request) -> Response:
        world = self._world
        number_id = request.path_params["id"]
        body = NumberBody.model_validate_json(await request.body() or b"{}")
        state = world.number(number_id)
        known = state.number
        state.number = Number(
            number_id,
            body.display_phone_number or known.display_phone_number,
            body.waba_id or known.waba_id,
        )
        world.account(state.number.waba_id)
        state.fields |= body.fields
        if body.throughput is not None:
            state.fields["throughput"] = {"level": body.throughput}
        if "country_code" in body.model_fields_set:
            state.country_code = body.country_code
        if body.webhook is not None:
            state.target = self._target(body.webhook)
        shown = number_shown(state, tuple(state.fields))
        return answer(shown | {"waba_id": state.number.waba_id, "webhook_url": state.target.url})

    def _target(self, body: TargetBody) -> Target:
        platform = self._world.platform
        url = body.url or platform.url
        if body.app_id is not None:
            url = f"{url}/{body.app_id}"
        return Target(url, body.secret or platform.secret)

    async def set_recipient(self, request: Request) -> Response:
        body = RecipientBody.model_validate_json(await request.body() or b"{}")
        plain = digits(request.path_params["phone"])
        customer = Customer(body.wa_id or plain, body.user_id, body.name, body.username)
        self._world.aliases[plain] = customer
        self._world.learn(customer)
        return answer({"input": plain, "wa_id": customer.wa_id, "user_id": customer.user_id})

    async def set_group(self, request: Request) -> Response:
        participants = (await _object(request)).get("participants", [])
        self._world.groups[request.path_params["id"]] = [str(one) for one in participants]
        return answer({"participants": len(participants)})

    async def set_templates(self, request: Request) -> Response:
        templates = (await _object(request)).get("templates", [])
        made: list[Json] = [
            {
                "status": "APPROVED",
                "category": "UTILITY",
                "language": "en_US",
                "components": [],
                "id": str(5 * 10**14 + at),
                **template,
            }
            for at, template in enumerate(templates, 1)
        ]
        self._world.account(request.path_params["waba"]).templates = made
        return answer({"templates": len(made)})

    async def add_media(self, request: Request) -> Response:
        body = MediaBody.model_validate_json(await request.body() or b"{}")
        try:
            content = base64.b64decode(body.data_base64 or "", validate=True)
        except binascii.Error as error:
            raise InboundError("data_base64 is not base64") from error
        media = self._world.media.add(
            body.mime_type, content or b"m" * body.size, body.phone_number_id, body.id
        )
        sha256 = media.digest.hex()
        return answer({"id": media.id, "sha256": sha256, "size": len(media.content)}, 201)

    async def expire_media(self, request: Request) -> Response:
        media = self._world.media.get(request.path_params["id"])
        if media is None:
            return answer({"error": "no such media"}, 404)
        self._world.media.expire(media.id)
        return answer({"expired": media.id})

    async def inbound(self, request: Request) -> Response:
        """A customer writes."""
        inbound = Inbound.model_validate_json(await request.body() or b"{}")
        update, told = build(self._world, inbound)
        if inbound.wait:
            await self._world.dispatcher.post_now([update])
            told["webhook"] = update.event.state if update.event else None
        else:
            self._world.dispatcher.submit(update, 0)
        return answer(told, 202)

    async def webhook(self, request: Request) -> Response:
        """Sign and deliver any payload; `?raw=1` leaves its bytes as they are."""
        body = await request.body()
        payload = orjson.loads(body)
        number_id = _number_of(payload)
        target = self._world.number(number_id).target if number_id else self._world.platform
        raw = body if request.query_params.get("raw") else encode(payload)
        update = Update(target, number_id or "", raw=raw, event=Event("webhook"))
        if request.query_params.get("wait"):
            await self._world.dispatcher.post_now([update])
        else:
            self._world.dispatcher.submit(update, 0)
        return answer({"bytes": len(raw), "webhook": update.event and update.event.state}, 202)

    def _counts(self) -> Json:
        dispatcher = self._world.dispatcher
        counts = dispatcher.counts
        names = (
            "posted",
            "delivered",
            "retried",
            "duplicated",
            "late_retries",
            "given_up",
            "overflowed",
        )
        answers = {
            name.removeprefix("answered_"): count
            for name, count in counts.items()
            if name.startswith("answered_")
        }
        return {
            "pending": dispatcher.pending,
            "in_flight": dispatcher.in_flight,
            **{name: counts[name] for name in names},
            "answers": answers,
        }


def _guarded(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            return answer({"error": "invalid", "details": details}, 422)
        except ValueError as error:
            return answer({"error": str(error)}, 422)

    return guarded


async def _object(request: Request) -> Json:
    body = await request.body()
    parsed = orjson.loads(body) if body else {}
    if isinstance(parsed, dict):
        return parsed
    raise ValueError("a JSON object is expected")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _number_of(payload: Any) -> str | None:
    try:
        found = payload["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"]
    except (LookupError, TypeError):
        return None
    return str(found)


def _sent_shown(sent: Sent) -> Json:
    return {
        "wamid": sent.wamid,
        "phone_number_id": sent.phone_number_id,
        "type": sent.kind,
        "biz_opaque_callback_data": sent.callback_data,
        "recipient_id": sent.recipient_id,
        "recipient_user_id": sent.recipient_user_id,
        "statuses": [
            {"status": event.status, "webhook": event.state, "error": event.error}
            for event in sent.events
        ],
    }
