"""A password that is replaced while somebody signs in with it, or refreshes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.lockout import Counted, LockoutRule
from services.inbox.decisions.signing import KeyRule
from services.inbox.model.entities import Agent
from services.inbox.model.errors import RefusedError
from services.inbox.model.people import Person
from services.inbox.model.sessions import Session
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.keys import SigningKeys
from services.inbox.storage.passwords import Passwords
from services.inbox.storage.sessions import FailureStore, SessionStore
from services.inbox.workflows.keyset import KeyRotation
from services.inbox.workflows.people import People
from services.inbox.workflows.sessions import SessionRule, Sessions, SignedIn
from services.inbox.workflows.signing_in import Caller, SigningIn
from tests.integration.inbox.inbox_rig import TenantRig

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
CALLER = Caller("192.0.2.7", "test")
Between = Callable[[], Awaitable[None]]


async def nothing() -> None: ...


class SlowPasswords(Passwords):
    """`verified` happens behind the look at a password."""

    verified: Between = staticmethod(nothing)

    async def verify(self, stored: str | None, password: str) -> bool:
        right = await super().verify(stored, password)
        await self.verified()
        return right


class SlowSessions(SessionStore):
    """`before_add` and `rotated` happen in front of a new session and behind a spent token."""

    before_add: Between = staticmethod(nothing)
    rotated: Between = staticmethod(nothing)

    async def add(self, session: Session) -> None:
        await self.before_add()
        await super().add(session)

    async def rotate(self, session: Session, **members: Any) -> bool:
        done = await super().rotate(session, **members)
        await self.rotated()
        return done


@dataclass
class Pod:
    """A pod's signing in, and an agent whose password the admin replaces meanwhile."""

    tenant: TenantRig
    agent: str
    email: str
    passwords: SlowPasswords
    store: SlowSessions
    people: People
    sessions: Sessions
    signing_in: SigningIn

    async def reset(self) -> None:
        path = f"/v1/admin/agents/{self.agent}"
        answer = await self.tenant.admin("PATCH", path, {"password": "other"})
        assert answer.status == 200

    async def sign_in(self) -> SignedIn:
        return await self.signing_in.sign_in(self.email, "pw", CALLER)

    async def begun(self) -> list[Session]:
        return await self.sessions.of(self.tenant.id, self.agent)

    async def is_refused(self, signed: SignedIn) -> None:
        with pytest.raises(RefusedError, match="session_over"):
            await self.sessions.refresh(signed.refresh.text())
        with pytest.raises(RefusedError, match="unauthorized"):
            await self.people.recognise(signed.access.token)


@pytest.fixture
async def pod(tenant: TenantRig) -> AsyncIterator[Pod]:
    base = tenant.inbox.service._base
    settings = tenant.inbox.settings
    rule = KeyRule(life=HOUR * 24, announced=timedelta(), kept=HOUR)
    keys = SigningKeys(
        base.database, base.sealer, issuer=settings.token_issuer, rule=rule, clock=now
    )
    await KeyRotation(base.directory, keys, now).tend()
    people = People(base.directory, keys, token_life=HOUR, ticket_life=HOUR, clock=now)
    store, passwords = SlowSessions(base.database), SlowPasswords()
    sessions = Sessions(
        base.directory,
        store,
        people,
        base.ids,
        rule=SessionRule(HOUR, HOUR, timedelta(seconds=10), HOUR),
        clock=now,
    )
    signing_in = SigningIn(
        base.directory,
        base.claims,
        passwords,
        sessions,
        FailureStore(base.database, base.ids, forget=HOUR),
        AuditStore(base.database, kept=HOUR),
        rules={kind: LockoutRule(100) for kind in Counted},
        clock=now,
    )
    agent, _ = await tenant.agent()
    yield Pod(tenant, agent["id"], agent["email"], passwords, store, people, sessions, signing_in)
    passwords.close()


async def test_regression_a_password_that_was_replaced_while_it_was_verified_lets_nobody_in(
    pod: Pod,
) -> None:
    pod.passwords.verified = pod.reset
    with pytest.raises(RefusedError, match="invalid_credentials"):
        await pod.sign_in()
    assert await pod.begun() == []
    trail = await pod.tenant.admin("GET", "/v1/admin/audit?action=sign_in.failed")
    assert [each["target"]["id"] for each in trail.body["items"]] == [pod.agent]


async def test_regression_a_session_that_is_stored_behind_a_new_password_is_over(pod: Pod) -> None:
    pod.store.before_add = pod.reset
    signed = await pod.sign_in()
    assert await pod.begun() == []
    pod.store.before_add = nothing
    await pod.is_refused(signed)


async def test_regression_a_refresh_that_a_new_password_overtakes_is_over(pod: Pod) -> None:
    signed = await pod.sign_in()
    pod.store.rotated = pod.reset
    await pod.is_refused(signed)


async def test_regression_an_own_new_password_that_the_admins_overtakes_begins_nothing(
    pod: Pod,
) -> None:
    agent = await pod.tenant.inbox.service._base.directory.get(Agent, pod.tenant.id, pod.agent)
    person = Person(agent.id, agent.tenant, agent.name, agent.role, (), None)
    pod.store.before_add = pod.reset
    signed = await pod.signing_in.change_password(person, "pw", "mine", CALLER)
    assert await pod.begun() == []
    pod.store.before_add = nothing
    await pod.is_refused(signed)
