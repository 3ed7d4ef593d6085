"""What a deletion brings with it, done at once and again by any pod until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from services.inbox.model.entities import (
    KINDS,
    Agent,
    Entity,
    Label,
    Number,
    Team,
    Tenant,
    TenantPolicy,
)
from services.inbox.model.errors import RefusedError
from services.inbox.storage.directory import DirectoryStore, Pending
from services.inbox.storage.directory_documents import entity_of, head_id
from services.inbox.workflows.hooks import ConversationHooks
from shared.contracts.errors import TransientError

log = structlog.get_logger()
_EVERY = timedelta(seconds=2)
_RETELL_EVERY_ROUNDS = 150
LOOK_AGAIN = timedelta(minutes=1)
"""Longer than a call or a batch takes that found the entity there, and than pods are behind."""


class FollowUps:
    """Deletes entities and follows up; also keeps the topic true (`DirectoryStore.retell`)."""

    def __init__(
        self,
        directory: DirectoryStore,
        hooks: ConversationHooks,
        *,
        topic_read: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._hooks = hooks
        self._topic_read = topic_read
        self._clock = clock

    async def delete(self, kind: type[Entity], tenant: str, entity_id: str) -> None:
        """Deletes an entity; what follows is tried at once. Refuses with `not_found`."""
        entity = await self._directory.change(
            kind, tenant, entity_id, _emptied, audited=kind is not Tenant
        )
        try:
            await self.follow_up(entity)
        except TransientError:
            return  # it is noted on the tombstone: the loop does it

    async def merge_label(self, tenant: str, label_id: str, into: str, by: str) -> Label:
        """Deletes a label in favour of another, which it answers with.

        Its contacts follow behind the answer: there may be very many. Refuses with `not_found`,
        `unknown_label`.
        """
        await self._directory.get(Label, tenant, label_id)
        kept = await self._directory.find(Label, tenant, into)
        if kept is None or label_id == into:
            errors = [{"field": "into", "code": "unknown"}]
            raise RefusedError("unknown_label", errors=errors)
        await self._directory.change(
            Label,
            tenant,
            label_id,
            lambda held: replace(held, deleted=True, name="", merged_into=into, deleted_by=by),
        )
        return kept

    async def delete_label(self, tenant: str, label_id: str, by: str) -> None:
        """Deletes a label; its contacts lose it behind the answer. Refuses with `not_found`."""
        await self._directory.change(
            Label,
            tenant,
            label_id,
            lambda held: replace(held, deleted=True, name="", deleted_by=by),
        )

    async def _replace_label(self, label: Label) -> None:
        """Who has the label gets the one that it was merged into, on and on, or none."""
        seen: set[str] = set()
        while label.deleted and label.deleted_by and label.id not in seen:
            seen.add(label.id)
            into = label.merged_into
            await self._hooks.replace_label(label.tenant, label.id, into, label.deleted_by)
            if into is None:
                return
            head = (await self._directory.log.load([head_id(Label, into)])).get(
                head_id(Label, into)
            )
            entity = None if head is None else entity_of({**head.state, "version": head.version})
            if not isinstance(entity, Label):
                return
            label = entity

    async def follow_up(self, entity: Entity, *, looked: bool = False) -> None:
        """Everything that the deletion of `entity` brings with it; idempotent.

        It is done when it was looked for twice (`looked`: once before): what was under way at
        the first time may have taken the entity for there and have been written since.
        """
        match entity:
            case Agent():
                await self._hooks.release_agent(entity.tenant, entity.id)
            case Team():
                await self._leave_team(entity)
                await self._hooks.release_team(entity.tenant, entity.id)
            case Tenant():
                await self._empty_tenant(entity.id)
                await self._hooks.erase_tenant(entity.id)
            case Label():
                await self._replace_label(entity)
            case _:
                looked = True
        if looked:
            await self._directory.followed_up(entity)
        else:
            await self._directory.follow_up_at(entity, self._clock() + LOOK_AGAIN, looked=True)

    async def _leave_team(self, team: Team) -> None:
        async for agent in self._directory.every(Agent, team.tenant):
            if team.id in agent.team_ids:
                await self._change_if_there(agent, team)
        async for number in self._directory.every(Number, team.tenant):
            if number.team_id == team.id:
                await self._change_if_there(number, team)

    async def _change_if_there(self, entity: Entity, team: Team) -> None:
        def left(one: Entity) -> Entity:
            if isinstance(one, Agent):
                return replace(one, team_ids=tuple(t for t in one.team_ids if t != team.id))
            if isinstance(one, Number) and one.team_id == team.id:
                return replace(one, team_id=None)
            return one

        try:
            await self._directory.change(type(entity), entity.tenant, entity.id, left)
        except RefusedError:
            return  # deleted meanwhile

    async def _empty_tenant(self, tenant: str) -> None:
        kinds: tuple[type[Entity], ...] = (Agent, Number, Team, Label, TenantPolicy)
        for kind in kinds:
            async for entity in self._directory.every(kind, tenant):
                try:
                    gone = await self._directory.change(
                        kind, tenant, entity.id, _emptied, audited=False
                    )
                except RefusedError:
                    continue  # deleted meanwhile
                # Its chats are erased with the tenant: nothing else follows.
                await self._directory.followed_up(gone)

    async def run(self) -> None:
        """Follows up and retells until cancelled."""
        rounds = 0
        while True:
            try:
                await self.follow_up_due()
                rounds = await self._retell(rounds)
            except TransientError as error:
                log.warning("follow_up.postponed", error=str(error))
            await asyncio.sleep(_EVERY.total_seconds())

    async def follow_up_due(self) -> None:
        """One round. An error that is no TransientError puts off the entity, and only that."""
        for pending in await self._directory.to_follow_up(self._clock()):
            await self._follow_up_guarded(pending)

    async def _follow_up_guarded(self, pending: Pending) -> None:
        entity = pending.entity
        try:
            await self.follow_up(entity, looked=pending.looked)
        except TransientError:
            raise
        except Exception:
            # A bug: every pod would end by it, again and again, and with it all that it serves.
            kind = KINDS[type(entity)].value
            log.exception("follow_up.failed", tenant=entity.tenant, kind=kind, id=entity.id)
            later = self._clock() + LOOK_AGAIN
            await self._directory.follow_up_at(entity, later, looked=pending.looked)

    async def _retell(self, rounds: int) -> int:
        again = await self._directory.retell_behind()
        if rounds % _RETELL_EVERY_ROUNDS == 0:
            if not self._topic_read():
                return rounds
            again += await self._directory.retell()
        if again:
            log.warning("directory.retold", entities=again)
        return rounds + 1


def _emptied(entity: Entity) -> Entity:
    """The tombstone: ids and versions stay, names and secrets go."""
    match entity:
        case Agent():
            return replace(entity, deleted=True, name="", email="", password_hash="", skills=())
        case Number():
            return replace(entity, deleted=True, sealed="", bot_webhook_url=None)
        case Team() | Label() | Tenant():
            return replace(entity, deleted=True, name="")
        case _:
            return replace(entity, deleted=True)
