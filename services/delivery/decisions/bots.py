"""What a bot is told, signed, and what its answer means. Pure.

Source: the Standard Webhooks specification, "Webhook headers", "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import orjson

from services.delivery.model import BotAnswer, BotDone, BotFailed, BotLater, BotVerdict
from shared.contracts.commands import NotifyBot
from shared.contracts.envelope import timestamp

RETRIES = 5
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(seconds=30)
_PREFIX = "whsec_"
TOO_MANY_REQUESTS = 429


def signature(secret: str, webhook_id: str, moment: int, body: bytes) -> str:
    """`v1,<base64>`: HMAC-SHA256 over id, seconds and body. Raises ValueError for a bad secret."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as bad:
        raise ValueError("the secret is not base64") from bad
    signed = b".".join((webhook_id.encode(), str(moment).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers(secrets: Sequence[str], webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The headers of one attempt: signed with every secret that counts now."""
    moment = int(now.timestamp())
    signatures = (signature(secret, webhook_id, moment, body) for secret in secrets)
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": " ".join(signatures),
    }


def webhook_id(command: NotifyBot) -> str:
    """The event's own id, the same in every attempt: the bot drops what it has had."""
    return f"{command.conversation_id}:{command.version}"


def body_of(command: NotifyBot) -> bytes:
    """The body, byte for byte the same in every attempt."""
    return orjson.dumps(
        {
            "type": command.type,
            "timestamp": timestamp(command.at),
            "conversation_id": command.conversation_id,
            "version": command.version,
            "data": command.data,
        }
    )


def judge(answer: BotAnswer, *, retries: int, jitter: Callable[[], float]) -> BotVerdict:
    """Told, to be told again, or never to be told.

    A 4xx other than 429 is the bot's own word that it does not want the event.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return BotDone()
    reason = answer.reason or f"http_{answer.status}"
    if answer.status is not None and 300 <= answer.status < 400:
        return BotFailed("redirected")
    refused = answer.status is not None and 400 <= answer.status < 500
    if answer.final or (refused and answer.status != TOO_MANY_REQUESTS) or retries >= RETRIES:
        return BotFailed(reason)
    delay = _FIRST_DELAY * 2**retries
    if answer.retry_after is not None:
        delay = max(delay, answer.retry_after)
    return BotLater(min(delay, _LONGEST_DELAY) * (1 + 0.2 * jitter()), reason)
