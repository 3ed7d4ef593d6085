"""Builds people, access and the directory."""

from __future__ import annotations

from dataclasses import dataclass

from services.inbox.api import admin, auth, me, numbers, platform, stream
from services.inbox.app.foundation import Closing, Foundation, Part, now
from services.inbox.storage.keys import SigningKeys
from services.inbox.storage.passwords import Passwords
from services.inbox.workflows.agents import Agents
from services.inbox.workflows.directory import Directory
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.hooks import ConversationHooks
from services.inbox.workflows.keyset import publish_keyset
from services.inbox.workflows.numbers import Numbers
from services.inbox.workflows.people import People
from services.inbox.workflows.requests import Creations
from services.inbox.workflows.tenants import Tenants


@dataclass(frozen=True, slots=True)
class PeoplePart:
    """The people part, and what the HTTP application needs of it."""

    part: Part
    people: People
    keys: SigningKeys


def build_people(base: Foundation, hooks: ConversationHooks) -> PeoplePart:
    """People, access and the directory."""
    settings = base.settings
    passwords = Passwords()
    keys = SigningKeys(base.database, base.sealer, issuer=settings.token_issuer, clock=now)
    creations = Creations(base.ids, now)
    follow_ups = FollowUps(base.directory, hooks, topic_read=lambda: base.table.caught_up)
    people = People(
        base.directory,
        base.claims,
        keys,
        passwords,
        token_life=settings.token_life,
        ticket_life=settings.ticket_life,
        clock=now,
    )
    entities = Directory(base.directory, creations)
    agents = Agents(base.directory, base.claims, passwords, creations, now)
    tenants = Tenants(
        base.directory, base.claims, passwords, creations, follow_ups=follow_ups, ids=base.ids
    )
    own_numbers = Numbers(
        base.directory, base.claims, base.sealer, creations, follow_ups=follow_ups, hooks=hooks
    )

    async def prepare() -> None:
        await base.directory.ensure_indexes()
        await keys.ensure()
        await publish_keyset(base.directory, keys, now)

    part = Part(
        routers=(
            auth.router(people, keys),
            me.router(people, base.directory),
            stream.router(people),
            admin.agents_router(agents, base.directory, follow_ups),
            admin.teams_router(entities, base.directory, follow_ups),
            admin.labels_router(entities, base.directory, follow_ups),
            admin.policy_router(entities),
            numbers.router(own_numbers, base.directory),
            platform.router(tenants, base.directory),
        ),
        prepare=(prepare,),
        run=(base.directory.log.run, follow_ups.run),
        components=(Closing(passwords.close),),
    )
    return PeoplePart(part, people, keys)
