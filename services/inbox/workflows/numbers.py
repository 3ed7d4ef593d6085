"""A tenant's WhatsApp numbers and their secrets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

from services.inbox.model.entities import Number, Team
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.hooks import ConversationHooks
from services.inbox.workflows.requests import Creations, create_claimed
from shared.contracts.directory import AppSecrets, Secrets
from shared.sealing import Sealer


@dataclass(frozen=True, slots=True)
class NewNumber:
    """A number to create; `app` None: it belongs to the platform's own Meta app."""

    phone_number_id: str
    display_phone_number: str | None
    waba_id: str | None
    access_token: str
    app: AppSecrets | None
    team_id: str | None
    bot_webhook_url: str | None


class NumberPatch(TypedDict, total=False):
    """The members of a number to replace; what is absent stays, what is None is taken away."""

    display_phone_number: str | None
    waba_id: str | None
    access_token: str
    app: AppSecrets | None
    team_id: str | None
    bot_webhook_url: str | None


class Numbers:
    """Creates, changes and deletes numbers. Secrets go in and never come out."""

    def __init__(
        self,
        directory: DirectoryStore,
        claims: Claims,
        sealer: Sealer,
        creations: Creations,
        *,
        follow_ups: FollowUps,
        hooks: ConversationHooks,
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._sealer = sealer
        self._creations = creations
        self._follow_ups = follow_ups
        self._hooks = hooks

    async def create(self, tenant: str, new: NewNumber, key: str | None) -> Number:
        """Refuses with `number_taken`, or `validation` for a team that is not there."""
        await self._require_team(tenant, new.team_id)
        creation = self._creations.begin("number", tenant, key)
        secrets = Secrets(
            access_token=new.access_token, app=new.app, bot_webhook_url=new.bot_webhook_url
        )

        async def create(number_id: str) -> Number:
            return await self._directory.create(
                Number(
                    id=number_id,
                    tenant=tenant,
                    created_by=creation.created_by,
                    created_at=creation.at,
                    changed_at=creation.at,
                    phone_number_id=new.phone_number_id,
                    sealed=self._sealed(number_id, secrets),
                    display_phone_number=new.display_phone_number,
                    waba_id=new.waba_id,
                    app_id=None if new.app is None else new.app.id,
                    team_id=new.team_id,
                    bot_webhook_url=new.bot_webhook_url,
                )
            )

        found = await create_claimed(self._claims, "phone_number_id", new.phone_number_id, create)
        if found.created_by != creation.created_by:
            raise RefusedError("number_taken")
        return found

    async def change(self, tenant: str, number_id: str, patch: NumberPatch) -> Number:
        """Replaces members; the secrets are sealed anew when one of them changes."""
        await self._require_team(tenant, patch.get("team_id"))

        def changed(number: Number) -> Number:
            held = Secrets.model_validate_json(self._sealer.open(number.sealed, owner=number.id))
            app = patch.get("app", held.app)
            bot = patch.get("bot_webhook_url", held.bot_webhook_url)
            secrets = Secrets(
                access_token=patch.get("access_token", held.access_token),
                app=app,
                bot_webhook_url=bot,
            )
            return replace(
                number,
                display_phone_number=patch.get("display_phone_number", number.display_phone_number),
                waba_id=patch.get("waba_id", number.waba_id),
                team_id=patch.get("team_id", number.team_id),
                app_id=None if app is None else app.id,
                bot_webhook_url=bot,
                # Sealing the same text gives another one: only a change may do it.
                sealed=number.sealed if secrets == held else self._sealed(number.id, secrets),
            )

        return await self._directory.change(Number, tenant, number_id, changed)

    async def delete(self, tenant: str, number_id: str) -> None:
        """Refuses with `number_has_open_chats`, which its agents would lose."""
        await self._directory.get(Number, tenant, number_id)
        if await self._hooks.has_open_chats(tenant, number_id):
            raise RefusedError("number_has_open_chats")
        await self._follow_ups.delete(Number, tenant, number_id)

    async def by_phone_number_id(self, phone_number_id: str) -> Number | None:
        """The number of any tenant, for an item that is ahead of the directory in memory."""
        owner = await self._claims.owner("phone_number_id", phone_number_id)
        return None if owner is None else await self._directory.find_any(Number, owner)

    async def _require_team(self, tenant: str, team_id: str | None) -> None:
        if team_id is not None and await self._directory.find(Team, tenant, team_id) is None:
            raise invalid("team_id", "unknown")

    def _sealed(self, number_id: str, secrets: Secrets) -> str:
        return self._sealer.seal(secrets.model_dump_json().encode(), owner=number_id)
