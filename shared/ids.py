"""Ids: keyed hashes where the same thing must get the same id, random ones elsewhere."""

from __future__ import annotations

import hashlib
import secrets

_REMEMBERED = 50_000


class IdHasher:
    """Derives ids from parts with the installation's key, which never changes (ATRIO_KEY_SECRET).

    A wamid and a phone number are personal data: their plain hash could be guessed, the keyed
    one cannot.
    """

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ValueError("the key secret is empty")
        key = hashlib.blake2b(secret.encode(), digest_size=32).digest()
        self._remembered: dict[tuple[str, tuple[str, ...]], str] = {}
        self._keyed = hashlib.blake2b(digest_size=16, key=key)

    def of(self, kind: str, *parts: str) -> str:
        """32 hex digits of (kind, parts). Parts are length-prefixed: ('a', 'bc') != ('ab', 'c')."""
        text = kind + "".join([f"\x1f{len(part)}:{part}" for part in parts])
        hashed = self._keyed.copy()
        hashed.update(text.encode())
        return hashed.hexdigest()

    def known(self, kind: str, *parts: str) -> str:
        """As `of`, remembering the answers: for what comes again and again."""
        found = self._remembered.get((kind, parts))
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = self._remembered[kind, parts] = self.of(kind, *parts)
        return found

    def conversation(self, tenant: str, number: str, party: str, generation: int) -> str:
        """`party` is `contact:<id>` or `group:<id>`."""
        return self.known("conversation", tenant, number, party, str(generation))

    def inbound_message(self, tenant: str, number: str, wamid: str) -> str:
        return self.of("message", tenant, number, wamid)

    def outgoing_message(self, tenant: str, conversation: str, client_id: str) -> str:
        return self.of("outgoing", tenant, conversation, client_id)


def new_id() -> str:
    """A random id of 32 hex digits."""
    return secrets.token_hex(16)
