"""Addresses of files that need no header, for a short time: `<img>` and `<audio>` send none. Pure.

The signature covers tenant, file and end of life; its key is derived from ATRIO_KEY_SECRET for
this use alone.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

_USE = b"atrio media link v1"


def link_key(secret: str) -> bytes:
    """The key of the signatures."""
    return hmac.digest(secret.encode(), _USE, hashlib.sha256)


def signature(key: bytes, tenant: str, media_id: str, expires: int) -> str:
    """The signature of a link that lives until `expires` (Unix seconds)."""
    text = f"{len(tenant)}:{tenant}:{len(media_id)}:{media_id}:{expires}"
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()


def holds(key: bytes, tenant: str, media_id: str, expires: int, signed: str, now: datetime) -> bool:
    """Whether the signature is ours and the link still lives."""
    expected = signature(key, tenant, media_id, expires)
    same = hmac.compare_digest(expected.encode(), signed.encode(errors="replace"))
    return same and now.timestamp() < expires
