"""Accepting a message and planning the statuses that follow."""

import re
from collections.abc import Iterator
from typing import Any

from shared.testing import webhooks
from shared.testing.graph.behaviour import Fault
from shared.testing.graph.errors import GraphError, kind_of
from shared.testing.graph.limits import PAIR_BURST, PAIR_PER_SECOND
from shared.testing.graph.model import Event, Json, Sent, Update
from shared.testing.graph.validation import BSUID, check_send
from shared.testing.graph.world import World
from shared.testing.webhooks import Customer

_NOT_DIGITS = re.compile(r"[^0-9]")


def digits(phone: str) -> str:
    return _NOT_DIGITS.sub("", phone)


def recipients_of(world: World, body: Json) -> tuple[str, ...]:
    """Return what a fault may call the recipient: as given, its digits, its BSUID."""
    given = body.get("to") or body.get("recipient")
    if not isinstance(given, str):
        return ()
    if BSUID.fullmatch(given):
        return (given,)
    plain = digits(given)
    alias = world.aliases.get(plain)
    return (given, plain, *([alias.wa_id or ""] if alias else []))


def accept(world: World, number_id: str, body: Json) -> tuple[Json, Sent]:
    """Validate and accept a send; return Graph's answer and what was accepted."""
    kind, content = check_send(body)
    number = world.number(number_id)
    group = body.get("recipient_type") == "group"
    given = body.get("to") or body["recipient"]
    by_user_id = not body.get("to")
    customer = Customer(None, None, None)
    if not group:
        find = _by_user_id if by_user_id else _by_phone
        customer = find(world, number_id, given)
    _limits(world, number_id, customer, given)
    if not group:
        _permitted(world, number_id, customer, kind)
    category = "service"
    if isinstance(content, dict):
        if world.switches.media:
            _media_known(world, number_id, kind, content)
        if kind == "template":
            category = _template_category(world, number.number.waba_id, content)
    contact: Json = {"input": given}
    if by_user_id:
        contact["user_id"] = customer.user_id
    elif not group:
        contact["wa_id"] = customer.wa_id
    sent = Sent(
        wamid=world.wamids.outbound(given if group else customer.identity),
        phone_number_id=number_id,
        kind=kind,
        category=category,
        callback_data=body.get("biz_opaque_callback_data"),
        recipient_id=given if group else customer.wa_id,
        recipient_user_id=customer.user_id,
        to_user_id=by_user_id,
        group=group,
        voice=isinstance(content, dict) and content.get("voice") is True,
    )
    world.keep(sent)
    entry: Json = {"id": sent.wamid}
    if group:
        entry["group_id"] = given
    return (
        {"messaging_product": "whatsapp", "contacts": [contact], "messages": [entry]},
        sent,
    )


def plan(world: World, sent: Sent, fault: Fault | None) -> list[tuple[float, Update]]:
    """Return the status updates that follow, each with its delay in seconds."""
    behaviour = world.behaviour
    number = world.number(sent.phone_number_id)
    if not behaviour.enabled or not world.account(number.number.waba_id).apps:
        return []
    names: list[str] = list(behaviour.statuses)
    if fault is not None and fault.statuses is not None:
        names = list(fault.statuses)
    elif fault is not None and fault.failed_status is not None:
        names = ["failed"]
    if sent.kind == "reaction":
        names = [name for name in names if name in ("sent", "failed")]
    if not sent.voice:
        names = [name for name in names if name != "played"]
    delays = [behaviour.delays_ms.get(name, 0) / 1000 for name in names]  # type: ignore[call-overload]
    if behaviour.jitter_ms:
        delays = [delay + world.random.random() * behaviour.jitter_ms / 1000 for delay in delays]
    now = world.clock()
    stamps = [int(now + delay) for delay in delays]
    ratio = behaviour.reorder_ratio
    if ratio and world.random.random() < ratio:
        delays.reverse()
    failed_code = fault.failed_status if fault and fault.failed_status is not None else 131026
    priced = {"sent", "delivered" if "delivered" in names else "read"}
    planned = [
        (delay, update)
        for name, delay, stamp in zip(names, delays, stamps, strict=True)
        for update in _updates(
            world,
            sent,
            name,
            timestamp=stamp,
            price=_price(world, sent) if name in priced else None,
            failed_code=failed_code,
        )
    ]
    planned.sort(key=lambda pair: pair[0])
    return planned


def _updates(
    world: World,
    sent: Sent,
    name: str,
    *,
    timestamp: int,
    price: Json | None,
    failed_code: int,
) -> Iterator[Update]:
    event = Event(status=name, timestamp=timestamp)
    sent.events.append(event)
    failed = name == "failed"
    errors = None
    if failed:
        kind = kind_of(failed_code)
        errors = [webhooks.status_error(failed_code, kind.title, kind.details)]
    known = None if sent.group or failed or not sent.to_user_id else _known(world, sent)
    participants: list[str | None] = [None]
    if sent.group and name != "sent":
        participants = list(world.groups.get(sent.recipient_id or "", [None]))
    target = world.number(sent.phone_number_id).target
    for participant in participants:
        yield Update(
            target=target,
            number_id=sent.phone_number_id,
            member="statuses",
            item=webhooks.status(
                name,
                sent.wamid,
                timestamp=timestamp,
                recipient_id=sent.recipient_id,
                recipient_user_id=sent.recipient_user_id if sent.to_user_id or not failed else None,
                recipient_parent_user_id=known.parent_user_id if known else None,
                recipient_type="group" if sent.group else None,
                recipient_participant_id=participant,
                callback_data=sent.callback_data,
                price=price,
                errors=errors,
            ),
            contact=known.contact() if known else None,
            event=event,
        )


def _known(world: World, sent: Sent) -> Customer:
    user_id = sent.recipient_user_id or ""
    return world.customers.get(user_id) or Customer(None, user_id, None)


def _price(world: World, sent: Sent) -> Json | None:
    override = world.behaviour.pricing
    if override is not None:
        return override or None
    return webhooks.pricing("regular", sent.category)


def _by_user_id(world: World, _number_id: str, given: str) -> Customer:
    return world.customers.get(given) or Customer(None, given, None)


def _by_phone(world: World, number_id: str, given: str) -> Customer:
    """Return the user behind `to`, normalised as Meta answers `wa_id`."""
    plain = digits(given)
    code = world.number(number_id).country_code
    if code and not given.startswith("+"):
        plain = code + plain
    return world.aliases.get(plain) or world.customers.get(plain) or Customer(plain, None, None)


def _limits(world: World, number_id: str, customer: Customer, given: str) -> None:
    switches = world.switches
    if switches.throughput:
        rate = world.number(number_id).per_second
        if not world.buckets.take(("number", number_id), burst=rate, per_second=rate):
            raise GraphError(130429)
    if switches.pair:
        key = ("pair", number_id, customer.identity or given)
        if not world.buckets.take(key, burst=PAIR_BURST, per_second=PAIR_PER_SECOND):
            raise GraphError(131056)


def _permitted(world: World, number_id: str, customer: Customer, kind: str) -> None:
    display = world.number(number_id).number.display_phone_number
    if customer.wa_id is not None and customer.wa_id == digits(display):
        raise GraphError(131021)
    blocked = world.blocked.get(number_id, {})
    if blocked and (customer.wa_id in blocked or customer.user_id in blocked):
        raise GraphError(130403)
    closed = world.switches.window and not world.window_open(number_id, customer)
    if closed and kind != "template":
        raise GraphError(131047)


def _media_known(world: World, number_id: str, kind: str, content: Json) -> None:
    media_id = content.get("id")
    if kind in ("image", "video", "audio", "document", "sticker") and media_id:
        media = world.media.get(str(media_id))
        if media is None or media.number_id not in (None, number_id):
            raise GraphError(131009, "Media id is not known for this business phone number.")


def _template_category(world: World, waba_id: str, content: dict[str, Any]) -> str:
    templates = world.account(waba_id).templates
    language = content["language"]["code"]
    for template in templates:
        if template.get("name") == content["name"] and template.get("language") == language:
            return str(template.get("category", "UTILITY")).lower()
    if world.switches.templates:
        raise GraphError(132001, f"template name ({content['name']}) does not exist in {language}")
    return "utility"
