"""Whether a token is genuine and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from services.notifier.model import Claims

ACCESS_AUDIENCE = "atrio"
TICKET_AUDIENCE = "atrio-stream"
TOKEN_LIMIT = 8 * 1024


class TokenError(Exception):
    """The token is not genuine, not for us, or expired; the text is a code without its content."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of an issuer."""

    issuer: str
    key_id: str | None
    algorithm: str
    key: Any


def parse_keys(issuer: str, keys: Iterable[Mapping[str, Any]]) -> tuple[VerificationKey, ...]:
    """The usable keys of a JWKS; keys of other kinds are left out."""
    found = []
    for entry in keys:
        algorithm = {"OKP": "EdDSA", "EC": "ES256"}.get(str(entry.get("kty")))
        if algorithm is None or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(dict(entry), algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        found.append(VerificationKey(issuer, entry.get("kid"), algorithm, key))
    return tuple(found)


def read_token(text: str, keys: Sequence[VerificationKey], now: float) -> Claims:
    """The claims of an access token or a stream ticket. Raises TokenError."""
    if len(text) > TOKEN_LIMIT:
        raise TokenError("too_long")
    try:
        header = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError) as error:
        raise TokenError("not_a_token") from error
    kid, algorithm = header.get("kid"), header.get("alg")
    for key in keys:
        if key.algorithm != algorithm or (kid is not None and key.key_id not in (None, kid)):
            continue
        try:
            payload = jwt.decode(
                text,
                key.key,
                algorithms=[key.algorithm],
                audience=[ACCESS_AUDIENCE, TICKET_AUDIENCE],
                # Times are compared here, with the caller's clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenError("refused") from error
        if payload.get("iss", key.issuer) != key.issuer:
            raise TokenError("wrong_issuer")
        return _claims(payload, now)
    raise TokenError("unknown_key")


def _claims(payload: Mapping[str, Any], now: float) -> Claims:
    audience = payload["aud"]
    session = payload.get("sid")
    try:
        claims = Claims(
            tenant=_text(payload["tenant"]),
            agent=_text(payload["sub"]),
            issued_at=float(payload["iat"]),
            expires_at=float(payload["exp"]),
            token_id=_text(payload["jti"]),
            ticket=ACCESS_AUDIENCE not in ([audience] if isinstance(audience, str) else audience),
            session=None if session is None else _text(session),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TokenError("claims_missing") from error
    if now >= claims.expires_at:
        raise TokenError("expired")
    return claims


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value
