"""What a refresh token is good for, and which sessions of an agent are over."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.inbox.model.sessions import RefreshToken, Session

_FORM: Final = re.compile(r"([0-9a-f]{32})\.([0-9]{1,6})\.([0-9a-f]{32})")
# A session of 90 days that is refreshed every quarter of an hour has 8,640 tokens.
MOST_STEPS: Final = 20_000
MOST_REVOKED: Final = 500
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Rotate:
    """The present token: `token` replaces it."""

    token: RefreshToken


@dataclass(frozen=True, slots=True)
class Repeat:
    """The one before, a moment ago: its answer was lost, `token` is what it said."""

    token: RefreshToken


@dataclass(frozen=True, slots=True)
class Reused:
    """A token that was replaced long ago: somebody has a copy. The session must end."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """No token of this session."""


@dataclass(frozen=True, slots=True)
class Over:
    """The session expired or was revoked."""


RefreshVerdict = Rotate | Repeat | Reused | NotOurs | Over


def read_refresh_token(text: str) -> RefreshToken | None:
    """The parts of a token; None for what has another form."""
    found = _FORM.fullmatch(text)
    return None if found is None else RefreshToken(found[1], int(found[2]), found[3])


def hash_secret(secret: str) -> str:
    """What is stored of a secret. It is random: nothing slower is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def judge_refresh(
    session: Session,
    token: RefreshToken,
    successor: Callable[[str], str],
    *,
    now: datetime,
    grace: timedelta,
) -> RefreshVerdict:
    """What to do with a token of this session.

    Each secret is `successor` (a keyed hash) of the one before. So every old token of the session
    is recognised by following it to the present one, though the present one's hash is all that
    is stored; and the same old token twice within `grace` gets the same answer twice.
    """
    steps = session.generation - token.generation
    if session.revoked_at is not None or now >= session.expires_at:
        return Over()
    if not 0 <= steps <= MOST_STEPS:
        return NotOurs()
    secret = token.secret
    for _ in range(steps):
        secret = successor(secret)
    if not hmac.compare_digest(hash_secret(secret), session.token_hash):
        return NotOurs()
    if steps == 0:
        following = successor(secret)
        return Rotate(RefreshToken(session.id, session.generation + 1, following))
    if steps == 1 and now - session.used_at <= grace:
        return Repeat(RefreshToken(session.id, session.generation, secret))
    return Reused()


def expiry(created_at: datetime, now: datetime, *, idle: timedelta, life: timedelta) -> datetime:
    """When a session that is used now ends by itself."""
    return min(now + idle, created_at + life)


def outlived(created_at: datetime, tokens_valid_after: datetime | None) -> bool:
    """Whether a new password ended what began before it (times are in whole milliseconds)."""
    return tokens_valid_after is not None and created_at + _MILLISECOND <= tokens_valid_after


def with_revoked(
    revoked: Mapping[str, datetime], session: str, *, now: datetime, kept: timedelta
) -> dict[str, datetime] | None:
    """The revoked sessions that tokens may still be alive of, with one more.

    `kept` is longer than any access token lives. None: there are too many, and all sessions of
    the agent are to end by `tokens_valid_after` instead.
    """
    alive = {each: at for each, at in revoked.items() if now - at < kept}
    alive.setdefault(session, now)
    return alive if len(alive) <= MOST_REVOKED else None
