"""Reads what Meta sends, tolerantly: nothing is required but an id, nothing wrong raises.

The samples in tests/payloads are examples of shapes, not the list of what comes. Every accessor
answers None where a member is absent or of another type; `""` counts as absent (accounts were
seen that still get empty strings). The raw item is kept with the message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from services.inbox.model.conversation import Media, SendFailure
from services.inbox.model.items import Body, Person
from shared.contracts.phones import is_same_phone

Raw = dict[str, Any]
MEDIA_TYPES = frozenset({"image", "video", "audio", "document", "sticker"})
_MAX_TIME = 4_102_444_800  # the year 2100: later is milliseconds or nonsense
_INT64 = 2**63  # BSON has no larger numbers

# Far above what Meta sends. What is longer would be repeated in every event of the chat, and in
# each document that an outbox entry holds.
ID_LENGTH: Final = 512
NAME_LENGTH: Final = 512
_EMOJI_LENGTH: Final = 64
_WORD_LENGTH: Final = 128
_LINE_LENGTH: Final = 1024
_URL_LENGTH: Final = 4096


def text(value: Any) -> str | None:
    """A non-empty string, or a number as one."""
    if isinstance(value, str):
        return value.replace("\x00", "") or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def short(value: Any, limit: int) -> str | None:
    """A text, cut to `limit` characters."""
    found = text(value)
    return found[:limit] if found else None


def named(value: Any) -> str | None:
    """An id as it came. A NUL in it stays visible, or two ids would become one."""
    return text(value.replace("\x00", "\ufffd") if isinstance(value, str) else value)


def ident(value: Any) -> str | None:
    """An id to keep: one longer than any of Meta's is its beginning and a hash of all of it."""
    found = named(value)
    if found is None or len(found) <= ID_LENGTH:
        return found
    return f"{found[:64]}~{hashlib.sha256(found.encode()).hexdigest()}"


def member(raw: Any, *path: str) -> Any:
    """`raw[a][b]...`, None wherever the path ends early."""
    for name in path:
        if not isinstance(raw, dict):
            return None
        raw = raw.get(name)
    return raw


def mapping(value: Any) -> Raw:
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < _INT64 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _INT64 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


def moment(value: Any, otherwise: datetime) -> datetime:
    """Meta's timestamp (seconds, a string or an int); `otherwise` where it is no sane time."""
    seconds = whole(value)
    if seconds is not None and seconds >= _MAX_TIME:
        seconds //= 1000
    if seconds is None or not 0 < seconds < _MAX_TIME:
        return otherwise
    return datetime.fromtimestamp(seconds, UTC)


def flag(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


# -- people


def sender(item: Raw, contacts: list[Any]) -> Person:
    """Who wrote a message."""
    user, phone = ident(item.get("from_user_id")), ident(item.get("from"))
    if phone is None and item.get("type") == "system":
        phone = ident(member(item, "system", "customer"))
        if user is None and phone is None:  # whoever they are from now on
            told = mapping(item.get("system"))
            user = ident(told.get("user_id"))
            phone = ident(told.get("wa_id")) or ident(told.get("new_wa_id"))
    return _person(user, phone, contacts)


def addressee(item: Raw, contacts: list[Any]) -> Person:
    """Whom an echo was sent to."""
    return _person(ident(item.get("to_user_id")), ident(item.get("to")), contacts)


def _person(user_id: str | None, wa_id: str | None, contacts: list[Any]) -> Person:
    """`contacts` is not parallel to the messages: matched by id, alone it is the one."""
    known = [c for c in contacts if isinstance(c, dict)]
    entry = next((c for c in known if _is_shown(c, user_id, wa_id)), None)
    if entry is None and len(known) == 1 and not _is_another(known[0], user_id, wa_id):
        entry = known[0]
    entry = entry or {}
    username = short(member(entry, "profile", "username"), NAME_LENGTH)
    return Person(
        user_id=user_id or ident(entry.get("user_id")),
        wa_id=wa_id or ident(entry.get("wa_id")),
        name=short(member(entry, "profile", "name"), NAME_LENGTH),
        username=username.lstrip("@") or None if username else None,
    )


def _is_shown(contact: Raw, user_id: str | None, wa_id: str | None) -> bool:
    return (user_id is not None and ident(contact.get("user_id")) == user_id) or (
        wa_id is not None and ident(contact.get("wa_id")) == wa_id
    )


def _is_another(contact: Raw, user_id: str | None, wa_id: str | None) -> bool:
    """Whether a contact that does not match contradicts what the message says."""
    user, phone = ident(contact.get("user_id")), ident(contact.get("wa_id"))
    return (user is not None and user_id is not None) or (
        phone is not None and wa_id is not None and not is_same_phone(phone, wa_id)
    )


# -- bodies


def body(item: Raw) -> Body:
    """What a message says. A type that is not known is `unsupported`, with its raw type."""
    kind = short(item.get("type"), _WORD_LENGTH) or _kind_shown(item)
    kind = "audio" if kind == "voice" else kind
    raw_member = item.get(kind)
    if item.get("type") == "voice":
        raw_member = mapping(item.get("voice")) or raw_member
    extra = _surroundings(item)
    if kind in MEDIA_TYPES:
        held = mapping(raw_member)
        content = {**extra, **({"animated": True} if flag(held.get("animated")) else {})}
        voice = flag(held.get("voice")) or item.get("type") == "voice"
        return Body(kind, text(held.get("caption")), _media(held, voice=voice), content)
    reader = _READERS.get(kind)
    if reader is not None:
        said = reader(raw_member, item)
        if said is not None:
            shown, words, content = said
            return Body(shown, words, None, {**content, **extra})
    return _unsupported(kind, item, extra)


def _kind_shown(item: Raw) -> str:
    """The type of a message that does not name it: that of its only member that is one."""
    found = [name for name in (*MEDIA_TYPES, *_READERS) if isinstance(item.get(name), dict | list)]
    return found[0] if len(found) == 1 else ""


def _media(held: Raw, *, voice: bool) -> Media:
    mime = short(held.get("mime_type"), _LINE_LENGTH)
    whatsapp_id = ident(held.get("id"))
    url = text(held.get("url"))
    return Media(
        state="pending" if whatsapp_id else "failed",
        whatsapp_id=whatsapp_id,
        url=url if url and len(url) <= _URL_LENGTH else None,
        mime_type=mime.split(";")[0].strip().lower()[:_WORD_LENGTH] if mime else None,
        sha256=short(held.get("sha256"), _WORD_LENGTH),
        filename=short(held.get("filename"), _LINE_LENGTH),
        voice=voice,
    )


def _surroundings(item: Raw) -> Raw:
    """Context, referral and forwarding marks, which may sit on any type."""
    found: Raw = {}
    context = mapping(item.get("context"))
    if context:
        found["context"] = context
        if flag(context.get("forwarded")) or flag(context.get("frequently_forwarded")):
            found["forwarded"] = True
    if mapping(item.get("referral")):
        found["referral"] = item["referral"]
    if item.get("errors"):
        found["errors"] = item["errors"]
    return found


_Said = tuple[str, str | None, Raw] | None


def _text(held: Any, _: Raw) -> _Said:
    words = text(member(held, "body"))
    return None if words is None and not isinstance(held, dict) else ("text", words, {})


def _location(held: Any, _: Raw) -> _Said:
    if not isinstance(held, dict):
        return None
    return "location", text(held.get("name")), {"location": held}


def _contacts(held: Any, item: Raw) -> _Said:
    if not isinstance(held, list):
        return None
    # Whether it answers a request for the phone; seen in the contact and beside the type.
    origin = text(item.get("origin")) or text(member(held[0] if held else None, "origin"))
    return "contacts", None, {"contacts": held, **({"origin": origin} if origin else {})}


def _interactive(held: Any, _: Raw) -> _Said:
    if not isinstance(held, dict):
        return None
    words = (
        text(member(held, "button_reply", "title"))
        or text(member(held, "list_reply", "title"))
        or text(member(held, "nfm_reply", "body"))
        or text(member(held, "call_permission_reply", "response"))
    )
    return "interactive", words, {"interactive": held}


def _button(held: Any, _: Raw) -> _Said:
    if not isinstance(held, dict):
        return None
    return "button", text(held.get("text")), {"button": held}


def _order(held: Any, _: Raw) -> _Said:
    if not isinstance(held, dict):
        return None
    return "order", text(held.get("text")), {"order": held}


def _system(held: Any, item: Raw) -> _Said:
    content: Raw = {"system": mapping(held)}
    if isinstance(item.get("identity"), dict):
        content["identity"] = item["identity"]
    return "system", text(member(held, "body")), content


def _welcome(_: Any, __: Raw) -> _Said:
    return "system", None, {"system": {"type": "request_welcome"}}


_READERS: dict[str, Callable[[Any, Raw], _Said]] = {
    "text": _text,
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "button": _button,
    "order": _order,
    "system": _system,
    "request_welcome": _welcome,
}


def _unsupported(kind: str, item: Raw, extra: Raw) -> Body:
    told = (
        short(member(item, "unsupported", "type"), _WORD_LENGTH) if kind == "unsupported" else None
    )
    return Body("unsupported", None, None, {"raw_type": told or kind, **extra})


def failure(item: Raw) -> SendFailure | None:
    """The first error of a status, in any of its three shapes."""
    errors = item.get("errors")
    first = mapping(errors[0] if isinstance(errors, list) and errors else errors)
    if not first:
        return None
    return SendFailure(
        code=whole(first.get("code")) or short(first.get("code"), _WORD_LENGTH) or 0,
        title=short(first.get("title") or first.get("message"), _LINE_LENGTH),
        detail=short(member(first, "error_data", "details"), _LINE_LENGTH)
        or short(first.get("details"), _LINE_LENGTH),
    )


def emoji_of(item: Raw) -> str | None:
    """What a reaction shows; None where it was taken back."""
    return short(member(item, "reaction", "emoji"), _EMOJI_LENGTH)


def truncated(said: Body, size: int) -> Body:
    """The same message without what does not fit; `size` in bytes, of the raw item."""
    words = said.text[:4096] if said.text else None
    kept = {k: said.content[k] for k in ("raw_type",) if k in said.content}
    return Body(said.type, words, said.media, {**kept, "truncated": True, "size": size})
