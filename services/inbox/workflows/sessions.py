"""Sessions: begun by a sign-in, kept up by refresh tokens, ended by people or by a stolen token."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from services.inbox.decisions.sessions import (
    NotOurs,
    Over,
    Repeat,
    Reused,
    Rotate,
    expiry,
    hash_secret,
    judge_refresh,
    outlived,
    read_refresh_token,
    with_revoked,
)
from services.inbox.model.audit import AuditActor, acting
from services.inbox.model.entities import Agent, Tenant
from services.inbox.model.errors import RefusedError, not_found
from services.inbox.model.people import AccessToken, Person
from services.inbox.model.sessions import RefreshToken, Session
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.sessions import SessionStore, revocation
from services.inbox.workflows.people import People
from shared.ids import IdHasher, new_id
from shared.mongo.headlog import ROUNDS, ContentionError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SessionRule:
    """A session ends `idle` after its last refresh and `life` after its sign-in.

    `grace`: how long an answer that was lost may be asked for again. `kept`: how long a revoked
    session is named to everybody, more than an access token lives.
    """

    idle: timedelta
    life: timedelta
    grace: timedelta
    kept: timedelta


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a client gets: both tokens, and how long the refresh token holds, in whole seconds."""

    access: AccessToken
    refresh: RefreshToken
    refresh_expires_in: int


class Sessions:
    """Every sign-in's session. Revoking one is a change of its agent, which everybody is told."""

    def __init__(
        self,
        directory: DirectoryStore,
        store: SessionStore,
        people: People,
        ids: IdHasher,
        *,
        rule: SessionRule,
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._store = store
        self._people = people
        self._ids = ids
        self._rule = rule
        self._clock = clock

    async def begin(self, agent: Agent, client: str) -> SignedIn | None:
        """A new session of an agent whose password was right; None where it is another by now.

        What ends the agent's sessions after this look ends the new one too: it begins before it.
        """
        now = self._clock()
        present = await self._directory.find(Agent, agent.tenant, agent.id)
        if present is None or present.password_hash != agent.password_hash:
            return None
        secret = secrets.token_hex(16)
        session = Session(
            id=new_id(),
            tenant=agent.tenant,
            agent=agent.id,
            created_at=now,
            used_at=now,
            expires_at=expiry(now, now, idle=self._rule.idle, life=self._rule.life),
            generation=0,
            token_hash=hash_secret(secret),
            client=client,
        )
        await self._store.add(session)
        return self._signed_in(session, present, RefreshToken(session.id, 0, secret), now)

    async def refresh(self, text: str) -> SignedIn:
        """New tokens for a refresh token, which is then spent. Refuses with `session_over`.

        A spent one that comes again ends its session, unless its answer may have been lost.
        """
        token = read_refresh_token(text)
        if token is None:
            raise RefusedError("session_over")
        for _ in range(ROUNDS):
            session = await self._store.find_any(token.session)
            if session is None:
                raise RefusedError("session_over")
            agent = await self._agent_of(session)
            now = self._clock()
            verdict = judge_refresh(
                session, token, self._successor(session.id), now=now, grace=self._rule.grace
            )
            match verdict:
                case Rotate():
                    until = expiry(
                        session.created_at, now, idle=self._rule.idle, life=self._rule.life
                    )
                    spent = await self._store.rotate(
                        session,
                        token_hash=hash_secret(verdict.token.secret),
                        now=now,
                        expires_at=until,
                    )
                    if spent:
                        session = replace(session, used_at=now, expires_at=until)
                        return await self._renewed(session, verdict.token)
                case Repeat():
                    return await self._renewed(session, verdict.token)
                case Reused():
                    log.warning("session.token_reused", tenant=agent.tenant, agent=agent.id)
                    await self._revoke(session)
                    raise RefusedError("session_over")
                case NotOurs() | Over():
                    raise RefusedError("session_over")
                case _:
                    assert_never(verdict)
        raise ContentionError("the refresh token changes too fast")

    async def end_by_token(self, text: str) -> None:
        """Ends the session of a refresh token, present or spent; others are no concern of it."""
        token = read_refresh_token(text)
        session = None if token is None else await self._store.find_any(token.session)
        if token is None or session is None:
            return
        verdict = judge_refresh(
            session,
            token,
            self._successor(session.id),
            now=self._clock(),
            grace=self._rule.grace,
        )
        if not isinstance(verdict, NotOurs | Over):
            with acting(AuditActor("agent", session.agent)):
                await self._revoke(session)

    async def leave(self, person: Person) -> None:
        """Ends the session of the access token that somebody came with, if it is of one."""
        if person.session is not None:
            with acting(AuditActor("agent", person.id)):
                await self.end(person.tenant, person.id, person.session)

    async def end(self, tenant: str, agent_id: str, session_id: str) -> None:
        """Ends a session of an agent. Refuses with `not_found`."""
        session = await self._store.find(tenant, agent_id, session_id)
        if session is None:
            raise not_found()
        if session.revoked_at is None:
            await self._revoke(session)

    async def of(self, tenant: str, agent_id: str) -> list[Session]:
        """The latest sessions of an agent that are not over. Refuses with `not_found`."""
        agent = await self._directory.get(Agent, tenant, agent_id)
        found = await self._store.of(tenant, agent_id, self._clock())
        return [session for session in found if _holds(session, agent)]

    async def _agent_of(self, session: Session) -> Agent:
        agent = await self._directory.find(Agent, session.tenant, session.agent)
        tenant = await self._directory.find(Tenant, session.tenant, session.tenant)
        if (
            agent is None
            or tenant is None
            or tenant.status != "active"
            or not _holds(session, agent)
        ):
            raise RefusedError("session_over")
        return agent

    async def _revoke(self, session: Session) -> None:
        now = self._clock()

        def revoked(agent: Agent) -> Agent:
            if session.id in agent.revoked_sessions:
                return agent
            alive = with_revoked(agent.revoked_sessions, session.id, now=now, kept=self._rule.kept)
            if alive is None:
                return replace(agent, revoked_sessions={}, tokens_valid_after=now)
            return replace(agent, revoked_sessions=alive)

        try:
            await self._directory.change(
                Agent,
                session.tenant,
                session.agent,
                revoked,
                effects=lambda agent: (revocation(session.id, agent.version, now),),
            )
        except RefusedError:
            return  # the agent is deleted, and every session of theirs with them

    async def _renewed(self, session: Session, token: RefreshToken) -> SignedIn:
        """Refuses with `session_over` where it ended while its refresh token was looked at."""
        at = self._clock()
        return self._signed_in(session, await self._agent_of(session), token, at)

    def _signed_in(
        self, session: Session, agent: Agent, token: RefreshToken, at: datetime
    ) -> SignedIn:
        left = session.expires_at - at
        access = self._people.access_token(agent, session.id, at)
        return SignedIn(access, token, max(0, int(left.total_seconds())))

    def _successor(self, session_id: str) -> Callable[[str], str]:
        return lambda secret: self._ids.of("refresh", session_id, secret)


def _holds(session: Session, agent: Agent) -> bool:
    return session.id not in agent.revoked_sessions and not outlived(
        session.created_at, agent.tokens_valid_after
    )
