"""Secrets at rest: AES-256-GCM with a key of the installation, bound to what they belong to."""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SealError(Exception):
    """The text was sealed with another key, for another owner, or was changed."""


class Sealer:
    """Seals short secrets. `key` is 32 bytes in base64 (ATRIO_MASTER_KEY)."""

    def __init__(self, key: str) -> None:
        raw = base64.b64decode(key)
        if len(raw) != 32:
            raise ValueError("the master key must be 32 bytes in base64")
        self._aead = AESGCM(raw)

    def seal(self, plain: bytes, *, owner: str) -> str:
        """Base64 of nonce and ciphertext; only `open` with the same owner reads it."""
        nonce = os.urandom(_NONCE)
        return base64.b64encode(nonce + self._aead.encrypt(nonce, plain, owner.encode())).decode()

    def open(self, sealed: str, *, owner: str) -> bytes:
        """The plain bytes. Raises SealError."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._aead.decrypt(raw[:_NONCE], raw[_NONCE:], owner.encode())
        except (InvalidTag, ValueError) as bad:
            raise SealError("cannot be opened") from bad
