"""Which webhook changes are news of an account, and what they say. Pure.

Fields: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.inbox.decisions.parsing import Recorded
from services.inbox.decisions.whatsapp import ident, member, text
from services.inbox.model.accounts import AccountNews, TemplateRef
from services.inbox.model.items import Person
from shared.contracts.directory import NumberEntry

_BEGINNINGS = (
    "account_",
    "business_capability_",
    "business_username_",
    "flows",
    "message_template_",
    "partner_solution",
    "payment_configuration_",
    "phone_number_",
    "security",
    "template_",
    "user_preferences",
)
# In this order: the first that a value has is the word for what happened.
_WORDS = (
    "event",
    "decision",
    "new_quality_score",
    "new_category",
    "value",
    "alert_type",
    "status",
)
# What names a person, or is said in another member already.
_LEFT_OUT = frozenset(
    {
        *_WORDS,
        "contacts",
        "display_phone_number",
        "message_template_id",
        "message_template_language",
        "message_template_name",
        "messaging_product",
        "metadata",
        "parent_user_id",
        "phone_number",
        "requester",
        "user_id",
        "wa_id",
    }
)
DETAILS_LIMIT = 16 * 1024
_WORD_LIMIT = 128


@dataclass(frozen=True, slots=True)
class Told:
    """The news, with what must be looked up: the number by its phone, the contact by who it is."""

    news: AccountNews
    phone: str | None
    person: Person


def told_by(change: Recorded) -> Told | None:
    """What a recorded change tells of an account; None for calls, groups, history and the like."""
    if not change.field.startswith(_BEGINNINGS):
        return None
    record = orjson.loads(change.raw)
    item = record.get("item")
    if not isinstance(item, dict):
        return None
    news = AccountNews(
        id=change.id,
        tenant=change.tenant,
        at=change.received_at,
        field=change.field[:_WORD_LIMIT],
        change=_change(item),
        waba_id=text(record.get("waba_id")),
        number_id=change.number_id,
        contact_id=None,
        template=_template(item),
        details=_details(item),
    )
    person = Person(user_id=ident(item.get("user_id")), wa_id=ident(item.get("wa_id")))
    phone = text(item.get("display_phone_number")) or text(item.get("phone_number"))
    return Told(news, phone, person)


def number_with(phone: str, waba_id: str | None, numbers: Iterable[NumberEntry]) -> str | None:
    """The number that is shown as this phone; Meta spells it with or without signs."""
    digits = _digits(phone)
    for number in numbers if digits else ():
        if number.waba_id in (None, waba_id) and digits == _digits(number.display_phone_number):
            return number.id
    return None


def _digits(phone: str | None) -> str | None:
    return "".join(filter(str.isdigit, phone or "")) or None


def _change(item: Mapping[str, Any]) -> str | None:
    """What happened; an alert may be told one level down."""
    words = next((word for name in _WORDS if (word := _word(item.get(name)))), None)
    return words or _word(member(item, "alert_info", "alert_type"))


def _word(value: object) -> str | None:
    word = text(value)
    return None if word is None else word[:_WORD_LIMIT]


def _template(item: Mapping[str, Any]) -> TemplateRef | None:
    identifier = _word(item.get("message_template_id"))
    name = _word(item.get("message_template_name"))
    if identifier is None and name is None:
        return None
    return TemplateRef(
        id=identifier,
        name=name,
        language=_word(item.get("message_template_language")),
    )


def _details(item: Mapping[str, Any]) -> dict[str, Any]:
    details = {name: value for name, value in item.items() if name not in _LEFT_OUT}
    return details if len(orjson.dumps(details)) <= DETAILS_LIMIT else {"truncated": True}
