"""Reads what Meta sends, tolerantly: nothing is required but an id, nothing wrong raises.

The samples in tests/payloads are examples of shapes, not the list of what comes. Every accessor
answers None where a member is absent or of another type; `""` counts as absent (accounts were
seen that still get empty strings). The raw item is kept with the message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.inbox.model.conversation import Media, SendFailure
from services.inbox.model.items import Body, Person

Raw = dict[str, Any]
MEDIA_TYPES = frozenset({"image", "video", "audio", "document", "sticker"})
_MAX_TIME = 4_102_444_800  # the year 2100: later is milliseconds or nonsense


def text(value: Any) -> str | None:
    """A non-empty string, or a number as one."""
    if isinstance(value, str):
        return value.replace("\x00", "") or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


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
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


def moment(value: Any, otherwise: datetime) -> datetime:
    """Meta's timestamp (seconds, a string or an int); `otherwise` where it is no sane time."""
    seconds = whole(value)
    if seconds is None or not 0 < seconds < _MAX_TIME:
        return otherwise
    return datetime.fromtimestamp(seconds, UTC)


def flag(value: Any) -> bool:
    return value is True


# -- people


def sender(item: Raw, contacts: list[Any]) -> Person:
    """Who wrote a message."""
    return _person(text(item.get("from_user_id")), text(item.get("from")), contacts)


def addressee(item: Raw, contacts: list[Any]) -> Person:
    """Whom an echo was sent to."""
    return _person(text(item.get("to_user_id")), text(item.get("to")), contacts)


def _person(user_id: str | None, wa_id: str | None, contacts: list[Any]) -> Person:
    """`contacts` is not parallel to the messages: matched by id, alone it is the one."""
    entry: Raw = {}
    known = [c for c in contacts if isinstance(c, dict)]
    for contact in known:
        same_user = user_id is not None and text(contact.get("user_id")) == user_id
        same_phone = wa_id is not None and text(contact.get("wa_id")) == wa_id
        if same_user or same_phone:
            entry = contact
            break
    else:
        if len(known) == 1 and user_id is None and wa_id is None:
            entry = known[0]
    username = text(member(entry, "profile", "username"))
    return Person(
        user_id=user_id or text(entry.get("user_id")),
        wa_id=wa_id or text(entry.get("wa_id")),
        name=text(member(entry, "profile", "name")),
        username=username.lstrip("@") or None if username else None,
    )


# -- bodies


def body(item: Raw) -> Body:
    """What a message says. A type that is not known is `unsupported`, with its raw type."""
    kind = text(item.get("type")) or ""
    kind = "audio" if kind == "voice" else kind
    raw_member = item.get("voice" if item.get("type") == "voice" else kind)
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


def _media(held: Raw, *, voice: bool) -> Media:
    mime = text(held.get("mime_type"))
    whatsapp_id = text(held.get("id"))
    return Media(
        state="pending" if whatsapp_id else "failed",
        whatsapp_id=whatsapp_id,
        url=text(held.get("url")),
        mime_type=mime.split(";")[0].strip().lower() if mime else None,
        sha256=text(held.get("sha256")),
        filename=text(held.get("filename")),
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
    for name in ("referral", "errors"):
        if item.get(name):
            found[name] = item[name]
    return found


_Said = tuple[str, str | None, Raw] | None


def _text(held: Any, _: Raw) -> _Said:
    words = text(member(held, "body"))
    return None if words is None and not isinstance(held, dict) else ("text", words, {})


def _location(held: Any, _: Raw) -> _Said:
    if not isinstance(held, dict):
        return None
    return "location", text(held.get("name")), {"location": held}


def _contacts(held: Any, _: Raw) -> _Said:
    return ("contacts", None, {"contacts": held}) if isinstance(held, list) else None


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
    told = text(member(item, "unsupported", "type")) if kind == "unsupported" else None
    return Body("unsupported", None, None, {"raw_type": told or kind, **extra})


def failure(item: Raw) -> SendFailure | None:
    """The first error of a status, in any of its three shapes."""
    errors = item.get("errors")
    first = mapping(errors[0]) if isinstance(errors, list) and errors else {}
    if not first:
        return None
    return SendFailure(
        code=whole(first.get("code")) or text(first.get("code")) or 0,
        title=text(first.get("title")) or text(first.get("message")),
        detail=text(member(first, "error_data", "details")) or text(first.get("details")),
    )


def truncated(said: Body, size: int) -> Body:
    """The same message without what does not fit; `size` in bytes, of the raw item."""
    words = said.text[:4096] if said.text else None
    kept = {k: said.content[k] for k in ("raw_type",) if k in said.content}
    return Body(said.type, words, said.media, {**kept, "truncated": True, "size": size})
