"""Signing in and changing one's password: what asks for a password, and how often it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from services.inbox.decisions.lockout import (
    Counted,
    LockoutRule,
    locked_until,
    network_of,
    wait_seconds,
)
from services.inbox.model.audit import ANONYMOUS_ACTOR, AuditActor, AuditRecord
from services.inbox.model.entities import PLATFORM, Agent, Tenant
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.model.people import Person
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.passwords import Passwords
from services.inbox.storage.sessions import FailureStore
from services.inbox.workflows.sessions import Sessions, SignedIn
from shared.ids import new_id

log = structlog.get_logger()
_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from: the address and the User-Agent."""

    address: str
    client: str


class SigningIn:
    """Asks for passwords; failures are counted for the e-mail and for the address.

    They are counted after the password was looked at: people who sign in at once do not lock each
    other out, and what may be tried beside each other is bounded by the queue of `Passwords`.
    """

    def __init__(
        self,
        directory: DirectoryStore,
        claims: Claims,
        passwords: Passwords,
        sessions: Sessions,
        failures: FailureStore,
        audit: AuditStore,
        *,
        rules: Mapping[Counted, LockoutRule],
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._passwords = passwords
        self._sessions = sessions
        self._failures = failures
        self._audit = audit
        self._rules = rules
        self._clock = clock

    async def sign_in(self, email: str, password: str, caller: Caller) -> SignedIn:
        """A session for an agent of an active tenant.

        Refuses with `invalid_credentials`, or `locked_out` without looking at the password.
        """
        failed_before = await self._require_unlocked(email, caller)
        agent = await self._agent(email)
        signed: SignedIn | None = None
        if await self._matches(agent, password) and agent is not None:
            signed = await self._sessions.begin(agent, caller.client)
        if agent is None or signed is None:
            await self._failed(email, caller, agent)
            raise RefusedError("invalid_credentials")
        if failed_before:
            await self._failures.clear(Counted.EMAIL, email)
        await self._note(
            agent,
            "sign_in.succeeded",
            AuditActor("agent", agent.id),
            caller,
            session=signed.refresh.session,
        )
        return signed

    async def change_password(
        self, person: Person, current: str, new: str, caller: Caller
    ) -> SignedIn:
        """Replaces one's own password; every session ends, and a new one begins.

        Refuses with `validation` for a wrong `current`, and with `locked_out`.
        """
        agent = await self._directory.get(Agent, person.tenant, person.id)
        await self._require_unlocked(agent.email, caller)
        if not await self._passwords.verify(agent.password_hash, current):
            await self._failed(agent.email, caller, agent)
            raise invalid("current", "wrong")
        password_hash = await self._passwords.hash(new)
        seen = agent.password_hash

        def changed(held: Agent) -> Agent:
            if held.password_hash != seen:  # an admin was faster: `current` is wrong by now
                raise invalid("current", "wrong")
            return replace(held, password_hash=password_hash, tokens_valid_after=self._clock())

        agent = await self._directory.change(Agent, person.tenant, person.id, changed)
        signed = await self._sessions.begin(agent, caller.client)
        if signed is None:
            raise invalid("current", "wrong")
        return signed

    async def _agent(self, email: str) -> Agent | None:
        # Both are read for an e-mail of nobody too: the time tells nothing.
        owner = await self._claims.owner("email", email)
        agent = await self._directory.find_any(Agent, owner or _NOBODY)
        return agent if agent is not None and agent.email == email else None

    async def _matches(self, agent: Agent | None, password: str) -> bool:
        """Whether the password is right and lets in; takes as long for nobody's e-mail."""
        stored = None if agent is None else agent.password_hash
        matches = await self._passwords.verify(stored, password)
        if agent is None or not matches:
            return False
        tenant = await self._directory.find(Tenant, agent.tenant, agent.tenant)
        return tenant is not None and tenant.status == "active"

    async def _require_unlocked(self, email: str, caller: Caller) -> bool:
        """Refuses with `locked_out`. Whether the e-mail has failures."""
        now = self._clock()
        counted = self._counted(email, caller)
        found = await self._failures.of(counted, now)
        waits = [
            wait_seconds(locked_until(failures, self._rules[kind]), now)
            for (kind, _), failures in zip(counted, found, strict=True)
        ]
        if any(waits):
            raise RefusedError("locked_out", retry_after=max(waits))
        return found[0] is not None

    async def _failed(self, email: str, caller: Caller, agent: Agent | None) -> None:
        now = self._clock()
        counted = self._counted(email, caller)
        totals = await asyncio.gather(
            *(self._failures.add(kind, value, now) for kind, value in counted)
        )
        locked = {
            kind: failures.count
            for (kind, _), failures in zip(counted, totals, strict=True)
            if locked_until(failures, self._rules[kind]) is not None
        }
        for kind, count in locked.items():
            log.warning("sign_in.locked", by=kind.value, failures=count)
        action = "sign_in.locked_out" if Counted.EMAIL in locked else "sign_in.failed"
        await self._note(agent, action, ANONYMOUS_ACTOR, caller)

    async def _note(
        self, agent: Agent | None, action: str, actor: AuditActor, caller: Caller, **members: str
    ) -> None:
        """Adds to the trail; what is tried with an e-mail of nobody is in the platform's."""
        await self._audit.add(
            AuditRecord(
                id=new_id(),
                tenant=PLATFORM if agent is None else agent.tenant,
                at=self._clock(),
                actor=actor,
                action=action,
                target=("agent", _NOBODY if agent is None else agent.id),
                after={"address": network_of(caller.address), **members},
            )
        )

    @staticmethod
    def _counted(email: str, caller: Caller) -> list[tuple[Counted, str]]:
        return [(Counted.EMAIL, email), (Counted.ADDRESS, network_of(caller.address))]
