"""Everything the fake remembers, all of it bounded."""

import hashlib
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.testing.graph.behaviour import Fault, LimitSwitches, WebhookBehaviour
from shared.testing.graph.dispatch import Dispatcher
from shared.testing.graph.limits import Buckets
from shared.testing.graph.media import MediaStore
from shared.testing.graph.model import Json, Sent, Target
from shared.testing.graph.settings import GraphSettings
from shared.testing.webhooks import Customer, Number, Wamids

_KEPT_CUSTOMERS = 100_000
_KEPT_BODY = 64 * 1024

APP = {
    "id": "900000000000001",
    "link": "https://www.facebook.com/games/?app_id=900000000000001",
    "name": "Example app",
}


_HELLO = {
    "name": "hello_world",
    "status": "APPROVED",
    "category": "UTILITY",
    "language": "en_US",
    "components": [{"type": "BODY", "text": "Welcome and congratulations!!"}],
    "id": "500000000000001",
}


@dataclass(slots=True)
class NumberState:
    """A business number; any id that is used comes into being with these values."""

    number: Number
    target: Target
    fields: Json
    country_code: str | None = None

    @property
    def per_second(self) -> int:
        """Messages per second, by the number's throughput level."""
        return 1000 if self.fields["throughput"]["level"] == "HIGH" else 80


@dataclass(slots=True)
class Account:
    """A WhatsApp business account: subscribed from the start, with Meta's sample template."""

    templates: list[Json] = field(default_factory=lambda: [dict(_HELLO)])
    apps: list[Json] = field(default_factory=lambda: [{"whatsapp_business_api_data": APP}])


@dataclass(frozen=True, slots=True)
class Request:
    """A call that arrived, as the control API lists it."""

    at: float
    call: str
    method: str
    path: str
    query: str
    node: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    size: int

    def shown(self) -> Json:
        headers = {}
        token = None
        for name, value in self.headers:
            if name == b"authorization":
                token = hashlib.sha256(value.split(b" ")[-1]).hexdigest()[:16]
            else:
                headers[name.decode()] = value.decode("latin-1")
        return {
            "at": self.at,
            "call": self.call,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "phone_number_id": self.node,
            "headers": headers,
            "token_sha256": token,
            "size": self.size,
            "body": _shown_body(self.body),
        }


def _shown_body(body: bytes) -> Any:
    """Return the JSON, or the text, or None for what was not kept."""
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return body.decode("latin-1")


class World:
    """The state behind the API; `reset` brings back the start."""

    def __init__(self, settings: GraphSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        seed = settings.seed if settings.seed is not None else random.getrandbits(32)
        self.random = random.Random(seed)
        self.wamids = Wamids(seed)
        self.platform = Target(settings.webhook_url, settings.app_secret)
        self.dispatcher = Dispatcher(
            lambda: self.behaviour,
            lambda number_id: self.number(number_id).number,
            self.random,
            settings.max_pending,
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything; ids go on, so that no wamid comes twice."""
        self.behaviour = WebhookBehaviour()
        self.switches = LimitSwitches()
        self.faults: dict[str, Fault] = {}
        self.numbers: dict[str, NumberState] = {}
        self.accounts: dict[str, Account] = {}
        self.requests: deque[Request] = deque(maxlen=self.settings.kept_requests)
        self.received = 0
        self.accepted = 0
        self.sent: OrderedDict[str, Sent] = OrderedDict()
        self.aliases: dict[str, Customer] = {}
        self.customers: OrderedDict[str, Customer] = OrderedDict()
        self.last_inbound: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.blocked: dict[str, dict[str, Customer]] = {}
        self.groups: dict[str, list[str]] = {}
        self.tokens: set[str] = set()
        self.revoked: set[str] = set()
        self.media = MediaStore(self.settings.kept_media_bytes, self.clock)
        self.buckets = Buckets(self.clock)
        self.dispatcher.clear()
        self.number(Number().phone_number_id)

    def record(self, **request: Any) -> None:
        """Keep a request; of uploads and large bodies only the size."""
        self.received += 1
        body = request["body"]
        if len(body) > _KEPT_BODY or body.startswith(b"--"):
            request["body"] = b""
        self.requests.append(Request(at=self.clock(), size=len(body), **request))

    def number(self, number_id: str) -> NumberState:
        """Return the number, which comes into being when first named."""
        state = self.numbers.get(number_id)
        if state is None:
            known = Number()
            display = known.display_phone_number
            if number_id != known.phone_number_id:
                display = "1202555" + number_id[-4:].rjust(4, "0")
            state = self.numbers[number_id] = NumberState(
                number=Number(number_id, display, known.waba_id),
                target=self.platform,
                fields={
                    "verified_name": "Example business",
                    "quality_rating": "GREEN",
                    "throughput": {"level": "STANDARD"},
                    "whatsapp_business_manager_messaging_limit": "TIER_100K",
                    "code_verification_status": "VERIFIED",
                    "status": "CONNECTED",
                    "platform_type": "CLOUD_API",
                    "name_status": "APPROVED",
                },
            )
            self.accounts.setdefault(known.waba_id, Account())
        return state

    def account(self, waba_id: str) -> Account:
        return self.accounts.setdefault(waba_id, Account())

    def keep(self, sent: Sent) -> None:
        self.accepted += 1
        self.sent[sent.wamid] = sent
        if len(self.sent) > self.settings.kept_messages:
            self.sent.popitem(last=False)

    def learn(self, customer: Customer) -> None:
        """Remember a user under each identity, so that a phone finds its BSUID and back."""
        for identity in (customer.wa_id, customer.user_id):
            if identity:
                self.customers.pop(identity, None)
                self.customers[identity] = customer
        while len(self.customers) > _KEPT_CUSTOMERS:
            self.customers.popitem(last=False)

    def heard(self, number_id: str, customer: Customer) -> None:
        """Note that the customer wrote now: the 24-hour window opens."""
        self.learn(customer)
        key = (number_id, customer.identity)
        self.last_inbound.pop(key, None)
        self.last_inbound[key] = self.clock()
        while len(self.last_inbound) > _KEPT_CUSTOMERS:
            self.last_inbound.popitem(last=False)

    def window_open(self, number_id: str, customer: Customer) -> bool:
        at = self.last_inbound.get((number_id, customer.identity))
        return at is not None and self.clock() - at < 86_400

    def token_good(self, token: str) -> bool:
        digest = hashlib.sha256(token.encode()).hexdigest()
        return digest not in self.revoked and (not self.tokens or digest in self.tokens)

    def fault(
        self, call: str, number_id: str, recipients: tuple[str, ...], kind: str
    ) -> Fault | None:
        """Return the oldest fault that hits this call."""
        for fault in self.faults.values():
            if fault.takes(call, number_id, recipients, kind):
                return fault
        return None
