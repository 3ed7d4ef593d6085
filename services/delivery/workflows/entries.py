"""Records of the compacted topics, read."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from services.delivery.model import BotHook
from shared.contracts.base import Payload
from shared.contracts.directory import EntityKind, Secrets, split_directory_key
from shared.contracts.errors import PermanentError
from shared.contracts.records import InRecord

_P = TypeVar("_P", bound=Payload)


def place_of(record: InRecord) -> tuple[str, EntityKind | None, str]:
    """Tenant, kind and id of a directory record; no kind where this version does not know it."""
    try:
        return split_directory_key(record.key or b"")
    except ValueError:
        return "", None, ""


def parsed(model: type[_P], raw: bytes) -> _P:
    """Raises PermanentError."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as bad:
        raise PermanentError("bad_payload") from bad


def hook_of(secrets: Secrets) -> BotHook | None:
    """Where the number's bot is told, if it has one."""
    if secrets.bot_webhook_url is None or secrets.bot_secret is None:
        return None
    return BotHook(
        secrets.bot_webhook_url,
        secrets.bot_secret,
        secrets.bot_former_secret,
        secrets.bot_former_until,
    )
