"""What the demo's customers wrote: eight conversations in Spanish and English, as webhooks.

The ids are the same in every run, so that Meta's own rule applies: a second delivery of the same
message is a duplicate and changes nothing.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.local.demo.picture import shoe_box
from shared.testing.webhooks import (
    Customer,
    Json,
    Number,
    button_reply_message,
    contacts_message,
    list_reply_message,
    location_message,
    media_message,
    messages_change,
    reaction_message,
    text_message,
    wamid,
    webhook,
)

PICTURE_ID: Final = "300000000000001"
LUCIA: Final = Customer("34600000101", "ES.10000000000000000101", "Lucía Fernández")
JAMES: Final = Customer("12025550121", "US.10000000000000000102", "James Miller")
SOFIA: Final = Customer(None, "CL.10000000000000000103", "Sofía Rojas", username="sofia.rojas")
EMMA: Final = Customer("12025550122", "US.10000000000000000104", "Emma Clark")
DIEGO: Final = Customer("34600000102", "ES.10000000000000000105", "Diego Torres")
OLIVIA: Final = Customer("12025550123", "US.10000000000000000106", "Olivia Brown")
JAVIER: Final = Customer("34600000103", "ES.10000000000000000107", "Javier Núñez")
NOAH: Final = Customer("12025550124", "US.10000000000000000108", "Noah Wilson")

Build = Callable[[Customer, str, int], Json]
"""A message of the customer with this id and time (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One customer's messages, the first one so many minutes ago, then one a minute."""

    customer: Customer
    minutes_ago: int
    messages: tuple[Build, ...]

    def webhook(self, now: float) -> Json:
        """All messages in one webhook, in order."""
        began = int(now) - 60 * self.minutes_ago
        built = [
            build(self.customer, message_id(self.customer, n), began + 60 * n)
            for n, build in enumerate(self.messages)
        ]
        return webhook(messages_change(Number(), built, [self.customer]))


def message_id(customer: Customer, n: int, run: str = "seed") -> str:
    """The wamid of a customer's n-th message in a run."""
    token = hashlib.sha256(f"demo/{run}/{customer.identity}/{n}".encode()).hexdigest()[:18]
    return wamid(customer.identity, f"3A{token.upper()}", inbound=True)


def _text(body: str) -> Build:
    return lambda customer, id_, at: text_message(body, customer, id_, timestamp=at)


def _picture(caption: str) -> Build:
    digest = base64.b64encode(hashlib.sha256(shoe_box()).digest()).decode()
    return lambda customer, id_, at: media_message(
        "image",
        PICTURE_ID,
        customer,
        id_,
        mime_type="image/png",
        sha256=digest,
        caption=caption,
        timestamp=at,
    )


def _place(customer: Customer, id_: str, at: int) -> Json:
    return location_message(
        40.4169,
        -3.7035,
        customer,
        id_,
        name="Puerta del Sol",
        address="Puerta del Sol, 28013 Madrid",
        timestamp=at,
    )


def _button(button: str, title: str) -> Build:
    def build(customer: Customer, id_: str, at: int) -> Json:
        asked = wamid(customer.identity, "00DE300000000000AB", inbound=False)
        return button_reply_message(button, title, customer, id_, reply_to=asked, timestamp=at)

    return build


def _row(row: str, title: str, description: str) -> Build:
    def build(customer: Customer, id_: str, at: int) -> Json:
        asked = wamid(customer.identity, "00DE300000000000AC", inbound=False)
        return list_reply_message(
            row, title, customer, id_, description=description, reply_to=asked, timestamp=at
        )

    return build


def _reaction_to(n: int, emoji: str) -> Build:
    return lambda customer, id_, at: reaction_message(
        message_id(customer, n), emoji, customer, id_, timestamp=at
    )


def _card(customer: Customer, id_: str, at: int) -> Json:
    card = {
        "name": {"formatted_name": "Grace Wilson", "first_name": "Grace", "last_name": "Wilson"},
        "phones": [{"phone": "+1 202-555-0125", "wa_id": "12025550125", "type": "CELL"}],
    }
    return contacts_message([card], customer, id_, timestamp=at)


SAMPLES: Final = (
    Sample(
        LUCIA,
        34,
        (
            _text("Hola, buenos días 👋"),
            _text("¿Tienen estas zapatillas en la talla 38?"),
            _picture("Las de esta caja"),
        ),
    ),
    Sample(JAMES, 31, (_text("Hi! Where is my order 4711? It was due yesterday."),)),
    Sample(SOFIA, 27, (_text("Hola, ¿hacen envíos a Chile?"), _text("Es para un regalo 🎁"))),
    Sample(EMMA, 22, (_text("Can the courier come to this address instead?"), _place)),
    Sample(DIEGO, 18, (_button("change_date", "Cambiar mi cita"),)),
    Sample(
        OLIVIA,
        14,
        (
            _row("sat_10", "Saturday, 10:00", "Pick-up at the shop"),
            _text("Is that all right?"),
            _reaction_to(1, "🙏"),
        ),
    ),
    Sample(
        JAVIER,
        9,
        (_text("¿Ñandú, pingüino, café…? ¡Sí! 日本語 · العربية · 👩‍👩‍👧‍👦 🇪🇸"),),
    ),
    Sample(NOAH, 45, (_text("Please send the invoice to my wife:"), _card)),
)
