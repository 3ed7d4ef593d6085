"""The keys that sign access tokens: sealed in MongoDB, in memory to sign and to verify."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from pymongo.errors import DuplicateKeyError

from shared.contracts.errors import TransientError
from shared.ids import new_id
from shared.mongo.client import Database, Document, transient_errors
from shared.sealing import Sealer

ALGORITHM = "EdDSA"
_FIRST = 1
_REMEMBERED = 10_000


class TokenError(Exception):
    """Not a token of ours, or one that is over."""


class SigningKeys:
    """Signs with the newest key and verifies with all. `ensure` comes first.

    The first key is inserted under a fixed `_id` if absent: pods that start at once share it.
    """

    def __init__(
        self, database: Database, sealer: Sealer, *, issuer: str, clock: Callable[[], datetime]
    ) -> None:
        self._collection = database["signing_keys"]
        self._sealer = sealer
        self._clock = clock
        self.issuer = issuer
        self._signing: tuple[str, Ed25519PrivateKey] | None = None
        self._public: dict[str, Ed25519PublicKey] = {}
        self._verified: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()
        self.jwks: list[dict[str, Any]] = []
        """The public keys as JWK (RFC 8037)."""

    @property
    def ready(self) -> bool:
        return self._signing is not None

    async def ensure(self) -> None:
        """Loads the keys, and makes the first one when there is none."""
        docs = await self._load()
        if not docs:
            try:
                with transient_errors():
                    await self._collection.insert_one(self._new_key())
            except DuplicateKeyError:
                pass  # another pod was first: its key is everybody's
            docs = await self._load()
        for doc in docs:
            kid = doc["kid"]
            raw = self._sealer.open(doc["sealed"], owner=_owner(kid))
            private = Ed25519PrivateKey.from_private_bytes(raw)
            self._signing = (kid, private)
            self._public[kid] = private.public_key()
        self.jwks = [_jwk(kid, key) for kid, key in self._public.items()]

    async def _load(self) -> list[Document]:
        with transient_errors():
            return await self._collection.find({}).sort("_id", 1).to_list(None)

    def _new_key(self) -> Document:
        kid = new_id()
        raw = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )
        return {
            "_id": _FIRST,
            "kid": kid,
            "sealed": self._sealer.seal(raw, owner=_owner(kid)),
            "created_at": self._clock(),
        }

    def sign(self, claims: Mapping[str, Any], *, audience: str, life: timedelta) -> str:
        """A JWT with these claims. Raises TransientError before the keys are loaded."""
        if self._signing is None:
            raise TransientError("the signing key is not loaded yet")
        kid, private = self._signing
        now = self._clock().timestamp()
        # Milliseconds in `iat`: a password change revokes what was issued a moment before it.
        times = {"iat": round(now, 3), "exp": int(now + life.total_seconds())}
        payload = {"iss": self.issuer, "aud": audience, "jti": new_id(), **times, **claims}
        return jwt.encode(payload, private, algorithm=ALGORITHM, headers={"kid": kid})

    def verify(self, token: str, *, audience: str) -> Mapping[str, Any]:
        """The claims of a token that is ours and holds.

        Raises TokenError, or TransientError before the keys are loaded.
        """
        if not self._public:
            raise TransientError("the signing keys are not loaded yet")
        known = self._verified.get((token, audience))
        if known is not None and known["exp"] > self._clock().timestamp():
            return known
        try:
            key = self._public[jwt.get_unverified_header(token)["kid"]]
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=self.issuer,
                options={"require": ["iss", "aud", "sub", "iat", "exp", "jti"]},
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError) as bad:
            raise TokenError("not a valid token") from bad
        self._verified[token, audience] = claims
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return claims


def _owner(kid: str) -> str:
    return f"signing-key:{kid}"


def _jwk(kid: str, key: Ed25519PublicKey) -> dict[str, Any]:
    members = OKPAlgorithm.to_jwk(key, as_dict=True)
    return {"kty": "OKP", "crv": "Ed25519", "x": members["x"]} | {
        "kid": kid,
        "use": "sig",
        "alg": ALGORITHM,
    }
