"""Builds people, access and the directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.inbox.api import (
    accounts,
    admin,
    audit,
    auth,
    ledger,
    me,
    numbers,
    platform,
    sessions,
    stream,
)
from services.inbox.api import (
    api_keys as api_key_routes,
)
from services.inbox.app.foundation import Closing, Foundation, Part, Stopping, now
from services.inbox.decisions.lockout import Counted, LockoutRule
from services.inbox.decisions.signing import KeyRule
from services.inbox.settings import InboxSettings
from services.inbox.storage.accounts import AccountNewsStore
from services.inbox.storage.api_keys import API_KEYS, ApiKeyStore
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.channels import SendingStates
from services.inbox.storage.keys import SigningKeys
from services.inbox.storage.label_names import LabelNames
from services.inbox.storage.ledger import LedgerStore
from services.inbox.storage.passwords import Passwords
from services.inbox.storage.sessions import FailureStore, SessionStore
from services.inbox.workflows.agents import Agents
from services.inbox.workflows.api_keys import ApiKeys
from services.inbox.workflows.directory import Directory
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.hooks import ConversationHooks
from services.inbox.workflows.keyset import KeyRotation
from services.inbox.workflows.numbers import Numbers
from services.inbox.workflows.people import People
from services.inbox.workflows.requests import Creations
from services.inbox.workflows.resuming import Resuming
from services.inbox.workflows.sessions import SessionRule, Sessions
from services.inbox.workflows.signing_in import SigningIn
from services.inbox.workflows.tenants import Tenants
from services.inbox.workflows.tracing import Tracing
from shared.mongo.headlog import HeadLog

# Longer than the longest lock.
_FORGET_FAILURES = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PeoplePart:
    """The people part, and what the HTTP application needs of it."""

    part: Part
    people: People
    keys: SigningKeys
    api_keys: ApiKeys


def build_people(base: Foundation, hooks: ConversationHooks) -> PeoplePart:
    """People, access and the directory."""
    settings = base.settings
    passwords = Passwords()
    keys = SigningKeys(
        base.database,
        base.sealer,
        issuer=settings.token_issuer,
        rule=_key_rule(settings),
        clock=now,
    )
    rotation = KeyRotation(base.directory, keys, now)
    creations = Creations(base.ids, now)
    follow_ups = FollowUps(
        base.directory, hooks, topic_read=lambda: base.table.caught_up, clock=now
    )
    people = People(
        base.directory,
        keys,
        token_life=settings.token_life,
        ticket_life=settings.ticket_life,
        clock=now,
    )
    session_store = SessionStore(base.database)
    own_sessions = Sessions(
        base.directory, session_store, people, base.ids, rule=_session_rule(settings), clock=now
    )
    trail = AuditStore(base.database, kept=settings.audit_retention)
    keys_log = HeadLog(base.database, API_KEYS, base.publisher, faults=base.faults, clock=now)
    api_keys = ApiKeys(
        ApiKeyStore(base.database, keys_log), base.directory, creations, base.ids, now
    )
    failures = FailureStore(base.database, base.ids, forget=_FORGET_FAILURES)
    signing_in = SigningIn(
        base.directory,
        base.claims,
        passwords,
        own_sessions,
        failures,
        trail,
        rules={
            Counted.EMAIL: LockoutRule(settings.sign_in_failures),
            Counted.ADDRESS: LockoutRule(settings.sign_in_failures_per_address),
        },
        clock=now,
    )
    label_names = LabelNames(base.database, base.ids, now)
    entities = Directory(base.directory, creations, label_names)
    agents = Agents(
        base.directory,
        base.claims,
        passwords,
        creations,
        failures,
        follow_ups=follow_ups,
        clock=now,
    )
    tenants = Tenants(
        base.directory, base.claims, passwords, creations, follow_ups=follow_ups, ids=base.ids
    )
    own_numbers = Numbers(
        base.directory,
        base.claims,
        base.sealer,
        creations,
        follow_ups=follow_ups,
        hooks=hooks,
        clock=now,
        private_addresses=settings.bot_private_addresses,
    )
    states = SendingStates(base.database)
    items = LedgerStore(base.database, base.ids)
    resuming = Resuming(base.directory, states, base.publisher, trail=trail, clock=now)

    async def prepare() -> None:
        stores = (base.directory, session_store, failures, trail, api_keys.store, label_names)
        for store in stores:
            await store.ensure_indexes()
        await rotation.tend()

    part = Part(
        routers=(
            api_key_routes.router(api_keys),
            auth.router(people, signing_in, own_sessions, keys),
            sessions.own_router(signing_in, own_sessions),
            sessions.admin_router(own_sessions),
            me.router(people, base.directory),
            stream.router(people),
            admin.agents_router(agents, base.directory),
            admin.teams_router(entities, base.directory, follow_ups),
            admin.labels_router(entities, base.directory, follow_ups),
            admin.policy_router(entities),
            numbers.router(own_numbers, base.directory, states, resuming),
            platform.router(tenants, agents, base.directory),
            platform.keys_router(keys, rotation),
            audit.router(trail, base.view),
            accounts.router(AccountNewsStore(base.database)),
            ledger.router(items, Tracing(items, settings)),
        ),
        prepare=(prepare,),
        run=(base.directory.log.run, follow_ups.run, rotation.run, keys_log.run),
        components=(Closing(passwords.close), Stopping(keys_log.aclose)),
    )
    return PeoplePart(part, people, keys, api_keys)


def _longest_token(settings: InboxSettings) -> timedelta:
    """Until when a token may be alive, with an hour for clocks and for pods that are behind."""
    return max(settings.token_life, settings.ticket_life) + timedelta(hours=1)


def _key_rule(settings: InboxSettings) -> KeyRule:
    return KeyRule(
        life=settings.signing_key_life,
        announced=settings.signing_key_announced,
        kept=_longest_token(settings),
    )


def _session_rule(settings: InboxSettings) -> SessionRule:
    return SessionRule(
        idle=settings.session_idle,
        life=settings.session_life,
        grace=settings.refresh_grace,
        kept=_longest_token(settings),
    )
