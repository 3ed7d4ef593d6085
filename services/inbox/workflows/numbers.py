"""A tenant's WhatsApp numbers and their secrets."""

from __future__ import annotations

import base64
import secrets as chance
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from services.inbox.model.entities import Number, Team
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.storage.claims import Claims
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.follow_ups import FollowUps
from services.inbox.workflows.hooks import ConversationHooks
from services.inbox.workflows.requests import Creations, create_claimed
from shared.addresses import leads_inside
from shared.contracts.directory import AppSecrets, Secrets
from shared.sealing import Sealer

FORMER_SECRET_COUNTS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bot:
    """Where a number's bot is told of its chats, and how long it may be silent."""

    webhook_url: str
    silence_seconds: int


@dataclass(frozen=True, slots=True)
class NewNumber:
    """A number to create; `app` None: it belongs to the platform's own Meta app."""

    phone_number_id: str
    display_phone_number: str | None
    waba_id: str | None
    access_token: str
    app: AppSecrets | None
    team_id: str | None
    bot: Bot | None


class NumberPatch(TypedDict, total=False):
    """The members of a number to replace; what is absent stays, what is None is taken away."""

    display_phone_number: str | None
    waba_id: str | None
    access_token: str
    app: AppSecrets | None
    team_id: str | None
    bot: Bot | None


@dataclass(frozen=True, slots=True)
class Known:
    """A number, and the secret of its bot where the call made that one."""

    number: Number
    bot_secret: str | None = None


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
        clock: Callable[[], datetime],
        private_addresses: bool,
    ) -> None:
        self._directory = directory
        self._claims = claims
        self._sealer = sealer
        self._creations = creations
        self._follow_ups = follow_ups
        self._hooks = hooks
        self._clock = clock
        self._private_addresses = private_addresses

    async def create(self, tenant: str, new: NewNumber, key: str | None) -> Known:
        """Refuses with `number_taken`, or `validation` for the team or the bot's address.

        A repeat of the same creation tells the same secret of the bot again.
        """
        await self._require_team(tenant, new.team_id)
        bot = new.bot
        await self._require_public(bot)
        creation = self._creations.begin("number", tenant, key)
        secrets = Secrets(
            access_token=new.access_token,
            app=new.app,
            bot_webhook_url=None if bot is None else bot.webhook_url,
            bot_secret=None if bot is None else _new_secret(),
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
                    bot_webhook_url=None if bot is None else bot.webhook_url,
                    bot_silence_seconds=_silence(bot),
                )
            )

        found = await create_claimed(self._claims, "phone_number_id", new.phone_number_id, create)
        if found.created_by != creation.created_by:
            raise RefusedError("number_taken")
        return Known(found, self._secrets(found).bot_secret)

    async def change(self, tenant: str, number_id: str, patch: NumberPatch) -> Known:
        """Replaces members; the secrets are sealed anew when one of them changes.

        A bot that was not there gets a secret; another address of it keeps the one it has.
        """
        await self._require_team(tenant, patch.get("team_id"))
        await self._require_public(patch.get("bot"))
        minted: list[str] = []

        def changed(number: Number) -> Number:
            minted.clear()
            held = self._secrets(number)
            app = patch.get("app", held.app)
            secrets = held.model_copy(
                update={"access_token": patch.get("access_token", held.access_token), "app": app}
            )
            if "bot" in patch:
                bot = patch["bot"]
                number = replace(
                    number,
                    bot_webhook_url=None if bot is None else bot.webhook_url,
                    bot_silence_seconds=_silence(bot),
                )
                secrets = secrets.model_copy(update=_bot_members(bot, held, minted))
            return replace(
                number,
                display_phone_number=patch.get("display_phone_number", number.display_phone_number),
                waba_id=patch.get("waba_id", number.waba_id),
                team_id=patch.get("team_id", number.team_id),
                app_id=None if app is None else app.id,
                # Sealing the same text gives another one: only a change may do it.
                sealed=number.sealed if secrets == held else self._sealed(number.id, secrets),
            )

        number = await self._directory.change(Number, tenant, number_id, changed)
        return Known(number, minted[0] if minted else None)

    async def rotate_bot_secret(self, tenant: str, number_id: str) -> str:
        """A new secret for the bot; what was the secret signs too for a day. Or `no_bot`."""
        fresh = _new_secret()

        def changed(number: Number) -> Number:
            held = self._secrets(number)
            if held.bot_webhook_url is None:
                raise RefusedError("no_bot")
            secrets = held.model_copy(
                update={
                    "bot_secret": fresh,
                    "bot_former_secret": held.bot_secret,
                    "bot_former_until": self._clock() + FORMER_SECRET_COUNTS,
                }
            )
            return replace(number, sealed=self._sealed(number.id, secrets))

        await self._directory.change(Number, tenant, number_id, changed)
        return fresh

    async def delete(self, tenant: str, number_id: str) -> None:
        """Refuses with `number_has_open_chats`, which its agents would lose."""
        await self._directory.get(Number, tenant, number_id)
        if await self._hooks.has_open_chats(tenant, number_id):
            raise RefusedError("number_has_open_chats")
        await self._follow_ups.delete(Number, tenant, number_id)

    async def _require_team(self, tenant: str, team_id: str | None) -> None:
        if team_id is not None and await self._directory.find(Team, tenant, team_id) is None:
            raise invalid("team_id", "unknown")

    async def _require_public(self, bot: Bot | None) -> None:
        if bot is None or self._private_addresses:
            return
        if await leads_inside(bot.webhook_url):
            raise invalid("bot.webhook_url", "address_not_allowed")

    def _secrets(self, number: Number) -> Secrets:
        return Secrets.model_validate_json(self._sealer.open(number.sealed, owner=number.id))

    def _sealed(self, number_id: str, secrets: Secrets) -> str:
        return self._sealer.seal(secrets.model_dump_json().encode(), owner=number_id)


def _silence(bot: Bot | None) -> int:
    return 60 if bot is None else bot.silence_seconds


def _new_secret() -> str:
    """As Standard Webhooks writes them: 256 bits in base64 behind `whsec_`."""
    return "whsec_" + base64.b64encode(chance.token_bytes(32)).decode()


def _bot_members(bot: Bot | None, held: Secrets, minted: list[str]) -> dict[str, str | None]:
    if bot is None:
        return {
            "bot_webhook_url": None,
            "bot_secret": None,
            "bot_former_secret": None,
            "bot_former_until": None,
        }
    if held.bot_secret is None:
        minted.append(_new_secret())
    secret = held.bot_secret or minted[0]
    return {"bot_webhook_url": bot.webhook_url, "bot_secret": secret}
