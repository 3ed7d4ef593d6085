"""Addresses of files that need no header, for a short time: `<img>` and `<audio>` send none. Pure.

A link names who asked for it and their session, and is judged like their token when it is used.
The signature covers all of it and the file; its key is derived from ATRIO_KEY_SECRET for this use
alone.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LINK_LIFE = timedelta(minutes=5)
_USE = b"atrio media link v1"


def link_key(secret: str) -> bytes:
    """The key of the signatures."""
    return hmac.digest(secret.encode(), _USE, hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Link:
    """What an address carries. `expires` is in milliseconds since 1970."""

    tenant: str
    agent: str
    session: str
    """Empty where the token was of none."""
    expires: int
    signature: str = ""

    @property
    def issued_at(self) -> datetime:
        return datetime.fromtimestamp(self.expires / 1000, UTC) - LINK_LIFE


def sign(key: bytes, media_id: str, tenant: str, agent: str, session: str, now: datetime) -> Link:
    """A link to the file that holds from now on for LINK_LIFE."""
    expires = round((now + LINK_LIFE).timestamp() * 1000)
    link = Link(tenant, agent, session, expires)
    return Link(tenant, agent, session, expires, _signature(key, media_id, link))


def holds(key: bytes, media_id: str, link: Link, now: datetime) -> bool:
    """Whether the signature is ours and the link still lives."""
    expected = _signature(key, media_id, link)
    same = hmac.compare_digest(expected.encode(), link.signature.encode(errors="replace"))
    return same and now.timestamp() * 1000 < link.expires


def _signature(key: bytes, media_id: str, link: Link) -> str:
    parts = (media_id, link.tenant, link.agent, link.session, str(link.expires))
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.digest(key, text.encode(errors="replace"), hashlib.sha256).hex()
