"""The keys that sign access tokens: sealed in MongoDB, in memory to sign and to verify.

A new key is shown before it signs and the old one after: nobody is logged out by a rotation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from pymongo.errors import DuplicateKeyError

from services.inbox.decisions.signing import KeyPlan, KeyRule, KeyTimes, plan_keys
from shared.contracts.errors import TransientError
from shared.ids import new_id
from shared.mongo.client import Database, Document, transient_errors
from shared.sealing import Sealer

ALGORITHM = "EdDSA"
_FIRST = 1
_REMEMBERED = 10_000


class TokenError(Exception):
    """Not a token of ours, or one that is over."""


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key as the operator sees it."""

    kid: str
    created_at: datetime
    signs_from: datetime
    signing: bool


class SigningKeys:
    """Signs with one key and verifies with all that are shown. `tend` comes first, and often.

    The next key is inserted under the next `_id` if absent: pods that make one at once share it.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        issuer: str,
        rule: KeyRule,
        clock: Callable[[], datetime],
    ) -> None:
        self._collection = database["signing_keys"]
        self._sealer = sealer
        self._rule = rule
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

    async def tend(self) -> None:
        """Loads the keys; makes the next one when it is due and removes what nothing needs."""
        docs = await self._load()
        if not docs:
            docs = await self._add(_FIRST, signs_from=self._clock())
        plan = self._plan(docs)
        if plan.due:
            docs = await self._add_next(docs)
            plan = self._plan(docs)
        if plan.retired:
            with transient_errors():
                await self._collection.delete_many({"_id": {"$in": list(plan.retired)}})
        self._take(docs, plan)

    async def rotate(self) -> list[KeyState]:
        """Makes the next key now, unless one is already waiting to sign; what there is then."""
        docs = await self._load()
        now = self._clock()
        if docs and _signs_from(docs[-1]) <= now:
            await self._add_next(docs)
        await self.tend()
        return await self.states()

    async def states(self) -> list[KeyState]:
        """The keys that are shown, oldest first."""
        docs = await self._load()
        if not docs:
            return []
        plan = self._plan(docs)
        return [
            KeyState(doc["kid"], doc["created_at"], _signs_from(doc), doc["_id"] == plan.signing)
            for doc in docs
            if doc["_id"] in plan.shown
        ]

    def _plan(self, docs: Sequence[Document]) -> KeyPlan:
        times = [KeyTimes(doc["_id"], _signs_from(doc)) for doc in docs]
        return plan_keys(times, self._rule, self._clock())

    def _take(self, docs: Sequence[Document], plan: KeyPlan) -> None:
        public = {}
        for doc in docs:
            if doc["_id"] not in plan.shown:
                continue
            kid = doc["kid"]
            raw = self._sealer.open(doc["sealed"], owner=_owner(kid))
            private = Ed25519PrivateKey.from_private_bytes(raw)
            public[kid] = private.public_key()
            if doc["_id"] == plan.signing:
                self._signing = (kid, private)
        self._public = public
        self.jwks = [_jwk(kid, key) for kid, key in public.items()]

    async def _add_next(self, docs: Sequence[Document]) -> list[Document]:
        signs_from = self._clock() + self._rule.announced
        return await self._add(docs[-1]["_id"] + 1, signs_from=signs_from)

    async def _add(self, number: int, *, signs_from: datetime) -> list[Document]:
        try:
            with transient_errors():
                await self._collection.insert_one(self._new_key(number, signs_from))
        except DuplicateKeyError:
            pass  # another pod was first: its key is everybody's
        return await self._load()

    async def _load(self) -> list[Document]:
        with transient_errors():
            return await self._collection.find({}).sort("_id", 1).to_list(None)

    def _new_key(self, number: int, signs_from: datetime) -> Document:
        kid = new_id()
        raw = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )
        return {
            "_id": number,
            "kid": kid,
            "sealed": self._sealer.seal(raw, owner=_owner(kid)),
            "created_at": self._clock(),
            "signs_from": signs_from,
        }

    def sign(
        self,
        claims: Mapping[str, Any],
        *,
        audience: str,
        life: timedelta,
        at: datetime | None = None,
    ) -> str:
        """A JWT with these claims, issued `at` (None: now).

        Raises TransientError before the keys are loaded.
        """
        if self._signing is None:
            raise TransientError("the signing key is not loaded yet")
        kid, private = self._signing
        now = (at or self._clock()).timestamp()
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


def _signs_from(doc: Document) -> datetime:
    found: datetime = doc["signs_from"] if "signs_from" in doc else doc["created_at"]
    return found


def _owner(kid: str) -> str:
    return f"signing-key:{kid}"


def _jwk(kid: str, key: Ed25519PublicKey) -> dict[str, Any]:
    members = OKPAlgorithm.to_jwk(key, as_dict=True)
    return {"kty": "OKP", "crv": "Ed25519", "x": members["x"]} | {
        "kid": kid,
        "use": "sig",
        "alg": ALGORITHM,
    }
