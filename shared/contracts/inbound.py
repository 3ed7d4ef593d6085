"""One item of a webhook on whatsapp.inbound.v1, and the headers of a quarantined body."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from shared.contracts.base import Payload, Time


class InboundType(StrEnum):
    """Types on whatsapp.inbound.v1."""

    MESSAGE = "whatsapp.message"
    STATUS = "whatsapp.status"
    ECHO = "whatsapp.echo"
    CHANGE = "whatsapp.change"


class InboundItem(Payload):
    """An item as Meta sent it, with what stood around it.

    `item` is the raw element of `messages[]`, `statuses[]` or `message_echoes[]`; for
    `whatsapp.change` (every other field, `value.errors` included) it is the element or the whole
    `value`. `contacts` are the elements of `contacts[]` that belong to the item. `number_id` is
    None where the webhook names no number (account fields: `waba_id` tells the tenant).
    """

    field: str
    item: dict[str, Any]
    contacts: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    number_id: str | None = None
    phone_number_id: str | None = None
    waba_id: str | None = None
    received_at: Time


class QuarantineReason(StrEnum):
    """Why a signed body was not split; header `atrio_quarantine_reason`."""

    NOT_JSON = "not_json"
    NOT_WHATSAPP = "not_whatsapp"
    UNEXPECTED_SHAPE = "unexpected_shape"
    NO_MESSAGE_ID = "no_message_id"
    UNKNOWN_NUMBER = "unknown_number"
    WRONG_APP = "wrong_app"


QUARANTINE_REASON = "atrio_quarantine_reason"
QUARANTINE_APP = "atrio_quarantine_app"
"""The app id of the path that the body came by; absent on the platform's own path."""
QUARANTINE_TENANTS = "atrio_quarantine_tenants"
"""Tenants, with commas, whose secret for that app signed the body: it speaks for them alone."""
REDRIVEN_UP_TO = "atrio_redriven_up_to"
"""On a record without a value: the key's `unknown_number` records up to this offset are done."""
