"""The checks that Meta makes of a send, with its three answers: 100, 131008, 131009.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
and the page of each type.
"""

import re
from typing import Any

from shared.testing.graph.errors import GraphError
from shared.testing.graph.model import Json

BSUID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_PHONE = re.compile(r"\+?[0-9 ().-]{5,24}")
TYPES = (
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",
    "interactive",
    "template",
)


def check_send(body: Json) -> tuple[str, Json | list[Any]]:
    """Return the type and its content, or raise what Graph answers."""
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    kind = body.get("type", "text")
    if kind not in TYPES:
        names = ", ".join(name.upper() for name in TYPES)
        raise GraphError(100, f"Param type must be one of {{{names}}} - got {str(kind)[:64]!r}.")
    _check_recipient(body, kind)
    callback = body.get("biz_opaque_callback_data")
    if callback is not None:
        _text(callback, 512, "biz_opaque_callback_data", empty=True)
    context = body.get("context")
    if context is not None and not (isinstance(context, dict) and context.get("message_id")):
        raise GraphError(131008, "Parameter 'message_id' is mandatory for 'context'")
    content = body.get(kind)
    if not isinstance(content, (dict, list)) or not content:
        raise GraphError(131008, f"Parameter '{kind}' is mandatory for type '{kind}'")
    if isinstance(content, list) is not (kind == "contacts"):
        raise GraphError(131009, f"Parameter '{kind}' has the wrong shape.")
    if isinstance(content, dict):
        _CHECKS[kind](content)
    else:
        _contacts(content)
    if kind == "reaction" and context is not None:
        raise GraphError(131009, "A reaction cannot be a contextual reply.")
    return kind, content


def _check_recipient(body: Json, kind: str) -> None:
    to, recipient = body.get("to"), body.get("recipient")
    if not to and not recipient:
        raise GraphError(100, f"Parameter 'to' is mandatory for type '{kind}'")
    which = body.get("recipient_type", "individual")
    if which not in ("individual", "group"):
        raise GraphError(100, "Param recipient_type must be one of {INDIVIDUAL, GROUP}.")
    if to:
        if not isinstance(to, str) or (which == "individual" and not _PHONE.fullmatch(to)):
            raise GraphError(131009, "Recipient phone number is not valid.")
    elif not isinstance(recipient, str) or not BSUID.fullmatch(recipient):
        raise GraphError(131009, "Recipient is not a business-scoped user ID.")


def _needed(content: Json, name: str, what: str) -> Any:
    value = content.get(name)
    if value is None or value in ("", {}, []):
        raise GraphError(131008, f"Parameter '{name}' is mandatory for {what}")
    return value


def _text(value: object, longest: int, what: str, *, empty: bool = False) -> None:
    if not isinstance(value, str) or (not value and not empty):
        raise GraphError(131009, f"Parameter '{what}' is not a valid string.")
    if len(value) > longest:
        raise GraphError(
            131009,
            f"Invalid {what} length. Length should not exceed {longest} characters.",
        )


def _body(content: Json) -> None:
    body = _needed(content, "body", "type 'text'")
    if isinstance(body, str) and len(body) > 4096:
        raise GraphError(
            131009,
            "Invalid message length. Message length should not exceed 4096 characters.",
        )
    _text(body, 4096, "body")


def _media(content: Json) -> None:
    if bool(content.get("id")) is bool(content.get("link")):
        raise GraphError(131009, "Exactly one of 'id' and 'link' must be given.")
    if (caption := content.get("caption")) is not None:
        _text(caption, 1024, "caption", empty=True)


def _location(content: Json) -> None:
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = _needed(content, name, "type 'location'")
        try:
            good = abs(float(value)) <= most
        except (TypeError, ValueError):
            good = False
        if not good:
            raise GraphError(131009, f"Parameter '{name}' is not valid.")


def _contacts(cards: list[Any]) -> None:
    for card in cards:
        name = card.get("name") if isinstance(card, dict) else None
        if not isinstance(name, dict) or not name.get("formatted_name"):
            raise GraphError(131008, "Parameter 'formatted_name' is mandatory for a contact")


def _reaction(content: Json) -> None:
    _needed(content, "message_id", "type 'reaction'")
    if not isinstance(content.get("emoji"), str):
        raise GraphError(131008, "Parameter 'emoji' is mandatory for type 'reaction'")


def _template(content: Json) -> None:
    _text(_needed(content, "name", "type 'template'"), 512, "template name")
    language = _needed(content, "language", "type 'template'")
    if not isinstance(language, dict) or not language.get("code"):
        raise GraphError(131008, "Parameter 'language.code' is mandatory for type 'template'")


def _interactive(content: Json) -> None:
    kind = _needed(content, "type", "type 'interactive'")
    action = _needed(content, "action", f"interactive '{kind}'")
    if not isinstance(action, dict):
        raise GraphError(131009, "Parameter 'action' has the wrong shape.")
    if kind in ("button", "list", "cta_url"):
        text = _needed(content, "body", f"interactive '{kind}'")
        _text(text.get("text") if isinstance(text, dict) else None, _body_limit(kind), "body")
    if isinstance(header := content.get("header"), dict) and "text" in header:
        _text(header["text"], 60, "header")
    if isinstance(footer := content.get("footer"), dict):
        _text(footer.get("text"), 60, "footer")
    if kind == "button":
        _buttons(action)
    elif kind == "list":
        _list(action)
    elif kind == "cta_url":
        parameters = _needed(action, "parameters", "interactive 'cta_url'")
        _text(parameters.get("display_text"), 20, "display_text")
        _needed(parameters, "url", "interactive 'cta_url'")


def _body_limit(kind: str) -> int:
    return 4096 if kind == "list" else 1024


def _buttons(action: Json) -> None:
    buttons = _needed(action, "buttons", "interactive 'button'")
    if len(buttons) > 3:
        raise GraphError(131009, "Invalid buttons count. Min allowed buttons: 1, Max: 3.")
    replies = [_needed(button, "reply", "a button") for button in buttons]
    for reply in replies:
        _text(reply.get("id"), 256, "button id")
        _text(reply.get("title"), 20, "button title")
    if len({reply["title"] for reply in replies}) != len(replies):
        raise GraphError(131009, "Duplicated button titles.")


def _list(action: Json) -> None:
    _text(_needed(action, "button", "interactive 'list'"), 20, "list button")
    sections = _needed(action, "sections", "interactive 'list'")
    rows = [row for section in sections for row in _needed(section, "rows", "a section")]
    if len(sections) > 10 or len(rows) > 10:
        raise GraphError(131009, "A list has at most 10 sections and 10 rows in all.")
    for section in sections:
        if len(sections) > 1 or "title" in section:
            _text(section.get("title"), 24, "section title")
    for row in rows:
        _text(row.get("id"), 200, "row id")
        _text(row.get("title"), 24, "row title")
        if (description := row.get("description")) is not None:
            _text(description, 72, "row description", empty=True)


_CHECKS = {
    "text": _body,
    "image": _media,
    "video": _media,
    "document": _media,
    "audio": _media,
    "sticker": _media,
    "location": _location,
    "reaction": _reaction,
    "interactive": _interactive,
    "template": _template,
}
