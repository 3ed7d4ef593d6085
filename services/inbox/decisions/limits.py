"""WhatsApp's own limits on what is sent, checked before anything is stored. Pure.

Sources: developers.facebook.com/docs/whatsapp/cloud-api/messages/<type> and .../reference/media.
What Meta may add is let through: only what is documented as refused is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from services.inbox.decisions.whatsapp import MEDIA_TYPES
from services.inbox.model.outgoing import OutgoingRequest, StoredMedia

FieldError = dict[str, Any]
"""`{field, code, limit?}`, as the answer shows it."""

TEXT = 4096
CAPTION = 1024
CONTENT_BYTES = 256 * 1024
CONTACTS = 257
EMOJI = 32
FILENAME = 240

_MB = 1024 * 1024
_CAPTIONED = frozenset({"image", "video", "document"})
_SIZES = {"audio": 16 * _MB, "document": 100 * _MB, "image": 5 * _MB, "video": 16 * _MB}
_STICKER_SIZE = 100 * 1024
_ANIMATED_STICKER_SIZE = 500 * 1024
_MIME = {
    "audio": frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}),
    "image": frozenset({"image/jpeg", "image/png"}),
    "video": frozenset({"video/mp4", "video/3gpp"}),
    "sticker": frozenset({"image/webp"}),
}
_MEMBER = {
    "text": "text",
    "location": "location",
    "contacts": "contacts",
    "interactive": "interactive",
    "template": "template",
    "reaction": "reaction",
    **dict.fromkeys(MEDIA_TYPES, "media"),
}
_MEMBERS = ("text", "media", "template", "interactive", "location", "contacts", "reaction")


def check(request: OutgoingRequest) -> list[FieldError]:
    """What is wrong with the request; nothing: it may be stored."""
    errors = list(_members(request))
    if errors:
        return errors
    match request.type:
        case "text":
            errors = _text("text", request.text, TEXT)
        case "location":
            errors = list(_location(request.location or {}))
        case "contacts":
            errors = list(_contacts(request.contacts or []))
        case "interactive":
            errors = list(_interactive(request.interactive or {}))
        case "template":
            errors = list(_template(request.template or {}))
        case "reaction":
            emoji = request.reaction.emoji if request.reaction else ""
            errors = [_too_long("reaction.emoji", EMOJI)] if len(emoji) > EMOJI else []
            if request.reply_to is not None:
                errors.append(_error("reply_to", "not_allowed"))
        case "image" | "video" | "audio" | "document" | "sticker":
            errors = list(_media(request))
    return errors


def check_media(type_: str, media: StoredMedia, *, voice: bool) -> list[FieldError]:
    """Whether the stored file may be sent as this type."""
    allowed = _MIME.get(type_)
    if allowed is not None and media.mime_type not in allowed:
        return [_error("media.id", "not_allowed")]
    if voice and media.mime_type != "audio/ogg":
        return [_error("media.voice", "not_allowed")]
    limit = media_limit(type_, animated=media.animated)
    return [_error("media.id", "too_large", limit)] if media.size > limit else []


def media_limit(type_: str, *, animated: bool) -> int:
    """The most bytes that a file of this type may have."""
    return _SIZES.get(type_, _ANIMATED_STICKER_SIZE if animated else _STICKER_SIZE)


def _error(field: str, code: str, limit: int | None = None) -> FieldError:
    error: FieldError = {"field": field, "code": code}
    if limit is not None:
        error["limit"] = limit
    return error


def _too_long(field: str, limit: int) -> FieldError:
    return _error(field, "too_long", limit)


def _members(request: OutgoingRequest) -> Iterable[FieldError]:
    """The type's own member is there, no other is, and all of it can be stored as JSON."""
    wanted = _MEMBER[request.type]
    allowed = {wanted, "text"} if request.type in _CAPTIONED else {wanted}
    for name in _MEMBERS:
        value = getattr(request, name)
        if name == wanted and value is None:
            yield _error(name, "required")
        elif name not in allowed and value is not None:
            yield _error(name, "not_allowed")
    for name in _MEMBERS:
        value = getattr(request, name)
        if isinstance(value, str | dict | list):
            try:
                size = len(orjson.dumps(value))
            except (TypeError, orjson.JSONEncodeError):  # a lone surrogate, a number too large
                yield _error(name, "invalid")
                continue
            if size > CONTENT_BYTES:
                yield _error(name, "too_large", CONTENT_BYTES)


def _text(field: str, value: Any, limit: int, *, required: bool = True) -> list[FieldError]:
    if value is None and not required:
        return []
    if not isinstance(value, str) or not value.strip():
        return [_error(field, "required")]
    return [_too_long(field, limit)] if len(value) > limit else []


def _media(request: OutgoingRequest) -> Iterable[FieldError]:
    media = request.media
    if request.text is not None and len(request.text) > CAPTION:
        yield _too_long("text", CAPTION)
    if media is None:
        return
    if media.filename is not None:
        if request.type != "document":
            yield _error("media.filename", "not_allowed")
        elif len(media.filename) > FILENAME:
            yield _too_long("media.filename", FILENAME)
    if media.voice and request.type != "audio":
        yield _error("media.voice", "not_allowed")


def _location(location: dict[str, Any]) -> Iterable[FieldError]:
    for name, most in (("latitude", 90.0), ("longitude", 180.0)):
        value = location.get(name)
        try:
            number = float(value) if isinstance(value, str | int | float) else None
        except (ValueError, OverflowError):
            number = None
        if value is None:
            yield _error(f"location.{name}", "required")
        elif number is None or isinstance(value, bool) or not -most <= number <= most:
            yield _error(f"location.{name}", "invalid")
    for name in ("name", "address"):
        value = location.get(name)
        if value is not None and not isinstance(value, str):
            yield _error(f"location.{name}", "invalid")


def _contacts(contacts: list[Any]) -> Iterable[FieldError]:
    if not contacts:
        yield _error("contacts", "required")
    if len(contacts) > CONTACTS:
        yield _too_long("contacts", CONTACTS)
    for place, contact in enumerate(contacts[:CONTACTS]):
        name = contact.get("name") if isinstance(contact, dict) else None
        formatted = name.get("formatted_name") if isinstance(name, dict) else None
        if not isinstance(formatted, str) or not formatted.strip():
            yield _error(f"contacts.{place}.name.formatted_name", "required")


def _template(template: dict[str, Any]) -> Iterable[FieldError]:
    yield from _text("template.name", template.get("name"), 512)
    language = template.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    yield from _text("template.language.code", code, 16)
    components = template.get("components")
    if components is not None and not isinstance(components, list):
        yield _error("template.components", "invalid")


# -- interactive


def _interactive(held: dict[str, Any]) -> Iterable[FieldError]:
    kind = held.get("type")
    if not isinstance(kind, str) or not kind:
        yield _error("interactive.type", "required")
        return
    if not isinstance(held.get("action"), dict):
        yield _error("interactive.action", "required")
        return
    action = held["action"]
    body = held.get("body")
    words = body.get("text") if isinstance(body, dict) else None
    known = kind in {"button", "list", "cta_url", "location_request_message"}
    yield from _text(
        "interactive.body.text", words, TEXT if kind == "list" else CAPTION, required=known
    )
    for name in ("header", "footer"):
        part = held.get(name)
        line = part.get("text") if isinstance(part, dict) else None
        yield from _text(f"interactive.{name}.text", line, 60, required=False)
    match kind:
        case "button":
            yield from _buttons(action)
        case "list":
            yield from _list(action)
        case "cta_url":
            parameters = action.get("parameters")
            link = parameters if isinstance(parameters, dict) else {}
            place = "interactive.action.parameters"
            yield from _text(f"{place}.display_text", link.get("display_text"), 20)
            yield from _text(f"{place}.url", link.get("url"), CONTENT_BYTES)
        case _:
            return


def _buttons(action: dict[str, Any]) -> Iterable[FieldError]:
    place = "interactive.action.buttons"
    buttons = action.get("buttons")
    if not isinstance(buttons, list) or not buttons:
        yield _error(place, "required")
        return
    if len(buttons) > 3:
        yield _too_long(place, 3)
        return
    seen: set[tuple[str, Any]] = set()
    for number, button in enumerate(buttons):
        reply = button.get("reply") if isinstance(button, dict) else None
        held = reply if isinstance(reply, dict) else {}
        for name, limit in (("id", 256), ("title", 20)):
            field = f"{place}.{number}.reply.{name}"
            errors = _text(field, held.get(name), limit)
            yield from errors
            if not errors and (name, held[name]) in seen:
                yield _error(field, "not_unique")
            elif not errors:
                seen.add((name, held[name]))


def _list(action: dict[str, Any]) -> Iterable[FieldError]:
    yield from _text("interactive.action.button", action.get("button"), 20)
    place = "interactive.action.sections"
    sections = action.get("sections")
    if not isinstance(sections, list) or not sections:
        yield _error(place, "required")
        return
    if len(sections) > 10:
        yield _too_long(place, 10)
        return
    rows = 0
    ids: set[str] = set()
    for number, section in enumerate(sections):
        held = section if isinstance(section, dict) else {}
        several = len(sections) > 1
        yield from _text(f"{place}.{number}.title", held.get("title"), 24, required=several)
        own = held.get("rows")
        if not isinstance(own, list) or not own:
            yield _error(f"{place}.{number}.rows", "required")
            continue
        rows += len(own)
        if rows > 10:
            yield _too_long(f"{place}.{number}.rows", 10)
            return
        for row_number, row in enumerate(own):
            yield from _row(f"{place}.{number}.rows.{row_number}", row, ids)


def _row(place: str, row: Any, ids: set[str]) -> Iterable[FieldError]:
    held = row if isinstance(row, dict) else {}
    errors = _text(f"{place}.id", held.get("id"), 200)
    yield from errors
    if not errors and held["id"] in ids:
        yield _error(f"{place}.id", "not_unique")
    elif not errors:
        ids.add(held["id"])
    yield from _text(f"{place}.title", held.get("title"), 24)
    yield from _text(f"{place}.description", held.get("description"), 72, required=False)
