"""The stream's frames, both ways. An event's JSON was made once and is only spliced here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.notifier.model import Activity, Change

PONG = b'{"type":"pong"}'
_ID_LIMIT = 128

Item = tuple[Change, bytes]


class BadFrameError(Exception):
    """The client's frame is not of the protocol."""


@dataclass(frozen=True, slots=True)
class Hello:
    token: str
    cursor: str | None
    scope: str | None


@dataclass(frozen=True, slots=True)
class Rescope:
    scope: str


@dataclass(frozen=True, slots=True)
class Renew:
    token: str


@dataclass(frozen=True, slots=True)
class Viewing:
    conversation: str | None
    typing: bool


@dataclass(frozen=True, slots=True)
class Ping:
    pass


def welcome(*, resumed: bool, cursor: str) -> bytes:
    return orjson.dumps({"type": "welcome", "resumed": resumed, "cursor": cursor})


def resync(cursor: str) -> bytes:
    return orjson.dumps({"type": "resync", "cursor": cursor})


def error(code: str) -> bytes:
    return orjson.dumps({"type": "error", "code": code})


def events(cursor: str, items: Sequence[Item]) -> bytes:
    """One event's frame, or the form that carries several."""
    if len(items) == 1:
        change, body = items[0]
        return b'{"type":"event","cursor":"%b","change":"%b","event":%b}' % (
            cursor.encode(),
            change.value.encode(),
            body,
        )
    several = b",".join(
        b'{"change":"%b","event":%b}' % (change.value.encode(), body) for change, body in items
    )
    return b'{"type":"events","cursor":"%b","events":[%b]}' % (cursor.encode(), several)


def activity(told: Activity) -> bytes:
    """What another person does in a chat now. Not part of the feed: it has no cursor."""
    return orjson.dumps(
        {
            "type": "presence",
            "conversation_id": told.conversation,
            "agent": {"id": told.agent, "name": told.name},
            "viewing": told.viewing,
            "typing": told.typing,
        }
    )


def read_hello(text: str | bytes) -> Hello:
    """The first frame. Raises BadFrameError."""
    frame = _object(text)
    token, cursor, scope = frame.get("token"), frame.get("cursor"), frame.get("scope")
    if (
        frame.get("type") != "hello"
        or not isinstance(token, str)
        or not isinstance(cursor, str | None)
        or not isinstance(scope, str | None)
    ):
        raise BadFrameError("hello")
    return Hello(token, cursor, scope)


def read_frame(text: str | bytes) -> Rescope | Renew | Viewing | Ping | None:
    """A later frame; None for a type of a newer client. Raises BadFrameError."""
    frame = _object(text)
    match frame:
        case {"type": "ping"}:
            return Ping()
        case {"type": "scope", "scope": str(scope)}:
            return Rescope(scope)
        case {"type": "token", "token": str(token)}:
            return Renew(token)
        case {"type": "presence"}:
            return _viewing(frame)
        case {"type": "scope" | "token"}:
            raise BadFrameError("member")
        case {"type": str()}:
            return None
        case _:
            raise BadFrameError("type")


def _viewing(frame: dict[str, Any]) -> Viewing:
    conversation, typing = frame.get("viewing"), frame.get("typing", False)
    if not isinstance(conversation, str | None) or not isinstance(typing, bool):
        raise BadFrameError("presence")
    if conversation is not None and not 0 < len(conversation) <= _ID_LIMIT:
        raise BadFrameError("presence")
    return Viewing(conversation, typing and conversation is not None)


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error_:
        raise BadFrameError("json") from error_
    if not isinstance(frame, dict):
        raise BadFrameError("object")
    return frame
