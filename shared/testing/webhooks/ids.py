"""Who takes part and the ids that Meta makes for them."""

import base64
import random
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def present(**members: Any) -> Json:
    """Return the members that are there: Meta leaves out what is absent."""
    return {name: member for name, member in members.items() if member is not None}


@dataclass(frozen=True, slots=True)
class Number:
    """A business number as `metadata` and `entry[].id` name it."""

    phone_number_id: str = "200000000000001"
    display_phone_number: str = "12025550100"
    waba_id: str = "100000000000001"

    def metadata(self) -> Json:
        return {
            "display_phone_number": self.display_phone_number,
            "phone_number_id": self.phone_number_id,
        }


@dataclass(frozen=True, slots=True)
class Customer:
    """A WhatsApp user. Without `wa_id` the phone is hidden; without `user_id` it is pre-2026."""

    wa_id: str | None = "12025550111"
    user_id: str | None = "US.90000000000000000001"
    name: str | None = "Ana Example"
    username: str | None = None
    parent_user_id: str | None = None

    def contact(self) -> Json:
        """Return the member of `contacts[]`."""
        profile = present(name=self.name, username=self.username)
        return present(
            profile=profile or None,
            wa_id=self.wa_id,
            user_id=self.user_id,
            parent_user_id=self.parent_user_id,
        )

    @property
    def identity(self) -> str:
        """What Meta writes into the ids of this user's messages."""
        return self.wa_id or self.user_id or ""


def customers(count: int, *, seed: int = 0, hidden_ratio: float = 0.0) -> list[Customer]:
    """Return `count` different users; `hidden_ratio` of them show no phone, only a username."""
    rng = random.Random(seed)
    found: list[Customer] = []
    for n in range(count):
        hidden = rng.random() < hidden_ratio
        found.append(
            Customer(
                wa_id=None if hidden else f"1202{5550000 + n:07d}",
                user_id=f"US.{90000000000000000001 + seed * 10**9 + n}",
                name=f"Customer {n}",
                username=f"customer.{n}" if hidden else None,
            )
        )
    return found


def wamid(identity: str, token: str, *, inbound: bool) -> str:
    """Return a message id in Meta's layout.

    It is base64 of a Thrift compact struct that holds the user's phone number in clear and a token
    (18 hex digits outgoing, 20 incoming). The layout for users without a phone is not known:
    theirs holds the BSUID in the same place.
    """
    user, unique = identity.encode(), token.encode()
    head = b"\x1c\x18" + bytes([len(user)]) + user + b"\x15\x02\x00"
    tail = (b"\x12\x18" if inbound else b"\x11\x18") + bytes([len(unique)]) + unique + b"\x00"
    return "wamid." + base64.b64encode(head + tail).decode()


class Wamids:
    """Message ids, unique per generator and the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._salt = f"{random.Random(seed).getrandbits(32):08X}"
        self._count = 0

    def inbound(self, customer: Customer) -> str:
        return wamid(customer.identity, f"3A{self._next()}", inbound=True)

    def outbound(self, identity: str) -> str:
        return wamid(identity, self._next(), inbound=False)

    def _next(self) -> str:
        self._count += 1
        return f"{self._salt}{self._count:010X}"
