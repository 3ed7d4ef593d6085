"""Structured logs: one JSON object a line on stdout, one wide line per batch or call.

Event names are `<area>.<past_verb>`. A guard drops what must never be logged; an exception is
logged as its type and places, never its message, which may quote the value that it refused.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import orjson
import structlog

from shared.observability.repeats import LEFT_OUT, Repeats

FORBIDDEN: Final = frozenset(
    {
        "text",
        "body",
        "payload",
        "value",
        "name",
        "username",
        "phone",
        "phone_number",
        "display_phone_number",
        "wa_id",
        "from",
        "to",
        "recipient_id",
        "user_id",
        "email",
        "token",
        "access_token",
        "secret",
        "password",
        "authorization",
        "wamid",
        "caption",
        "content",
        "headers",
        "key",
    }
)
REDACTED: Final = "[redacted]"
_FRAMES = 12
_Event = MutableMapping[str, Any]


def redact(_: Any, __: str, event: _Event) -> _Event:
    """Mark the values of forbidden keys, nested ones too."""
    for key, value in event.items():
        if key in FORBIDDEN:
            event[key] = REDACTED
        elif isinstance(value, dict):
            event[key] = redact(None, "", dict(value))
        elif isinstance(value, bytes):
            event[key] = f"[{len(value)} bytes]"
        elif isinstance(value, list | tuple):
            event[key] = [
                redact(None, "", dict(each)) if isinstance(each, dict) else each for each in value
            ]
    return event


def places(_: Any, __: str, event: _Event) -> _Event:
    """Replace `exc_info` by the exception's types and the places it went through."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[1] is not None:
        event["exception"] = _chain(info[1])
    return event


def _chain(error: BaseException) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(found) < 4:
        found.append({"type": type(current).__qualname__, "at": _frames(current.__traceback__)})
        current = current.__cause__ or current.__context__
    return found


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _json(event: _Event, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()


def configure_logging(
    *, service: str, level: str = "INFO", stream: TextIO | None = None, json: bool = True
) -> None:
    """Send structlog and the standard library's loggers through one chain; called once."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        places,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json)
        if json
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow={LEFT_OUT}),
                *shared,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "uvicorn.error", "faststream"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)
