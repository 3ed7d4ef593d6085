"""Keyed hashes for ids that must not appear in logs: a wamid contains the phone number."""

from __future__ import annotations

import hashlib
import secrets


class LogHash:
    """Maps a value to 12 hex digits; the same value gives the same digits under one key.

    Without a key a random one is made: digits then match within one process only.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def __call__(self, value: str | bytes | None) -> str:
        if value is None:
            return "-"
        raw = value.encode() if isinstance(value, str) else value
        return hashlib.blake2b(raw, key=self._key[:64], digest_size=6).hexdigest()


_PROCESS = LogHash()


def log_id(value: str | bytes | None) -> str:
    """A value as logs may show it; stable within the process."""
    return _PROCESS(value)
