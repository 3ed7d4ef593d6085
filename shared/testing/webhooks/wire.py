"""The bytes of a webhook and their signature."""

import hashlib
import hmac
import io
import re

import orjson

SIGNATURE_HEADER = "X-Hub-Signature-256"
MAX_BYTES = 3_000_000  # of one webhook, Meta's documented bound


# Structural JSON has none of these, so replacing them in the whole document is exact.
_ESCAPES = ((b"/", rb"\/"), (b"<", rb"\u003C"), (b"%", rb"\u0025"), (b"@", rb"\u0040"))
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


def encode(payload: object) -> bytes:
    r"""Return the body as Meta puts it on the wire.

    ASCII only: `\uXXXX` with lower-case hex (surrogate pairs above the BMP), `/` as `\/`, and
    `<`, `%`, `@` as `\u003C`, `\u0025`, `\u0040`.
    """
    body = orjson.dumps(payload)
    if not body.isascii():
        body = _NON_ASCII.sub(_escape_units, body.decode()).encode()
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)
    return body


def _escape_units(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def sign(body: bytes, secret: str) -> str:
    """Return the value of `X-Hub-Signature-256` for the raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_headers(body: bytes, secret: str) -> dict[str, str]:
    return {"Content-Type": "application/json", SIGNATURE_HEADER: sign(body, secret)}


def upload(body: bytes) -> bytes | io.BytesIO:
    """Return what aiohttp takes as the data of a POST: it warns of bytes above 1 MiB."""
    return body if len(body) < 2**20 else io.BytesIO(body)
