"""A tenant's WhatsApp numbers, as its admin keeps them. Secrets are write-only."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self, cast

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, StringConstraints

from services.inbox.api.bodies import (
    Body,
    Cursor,
    EntityId,
    Items,
    Limit,
    Line,
    Token,
    Whole,
    from_cursor,
    patch_of,
    to_cursor,
)
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, IdempotencyKey
from services.inbox.api.views import BotSecretView, NumberView
from services.inbox.model.channels import SendingState
from services.inbox.model.entities import Number
from services.inbox.storage.channels import SendingStates
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.numbers import Bot, Known, NewNumber, NumberPatch, Numbers
from services.inbox.workflows.resuming import Resuming
from shared.contracts.base import Time
from shared.contracts.directory import AppSecrets
from shared.contracts.views import MessageError

PathId = Annotated[str, Path(max_length=200)]
MetaId = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
WebhookUrl = Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://[\x21-\x7e]+$")]


class AppBody(Body):
    """A tenant's own Meta app."""

    id: MetaId
    secret: Token
    verify_token: Token


class BotBody(Body):
    """A bot that says nothing for `silence_seconds` loses the chat."""

    webhook_url: WebhookUrl
    silence_seconds: Whole = Field(default=60, ge=1, le=86_400)


class NumberBody(Body):
    """`app` null: the platform's own Meta app."""

    phone_number_id: MetaId
    display_phone_number: Line | None = None
    waba_id: MetaId | None = None
    access_token: Token
    app: AppBody | None = None
    team_id: EntityId | None = None
    bot: BotBody | None = None


class NumberChange(Body):
    """Absent members stay, null takes away. `phone_number_id` cannot be changed."""

    display_phone_number: Line | None = None
    waba_id: MetaId | None = None
    access_token: Token = ""
    app: AppBody | None = None
    team_id: EntityId | None = None
    bot: BotBody | None = None


class SendingView(BaseModel):
    """Whether messages go out of a number.

    `limited`: not until `until`, then by itself. `stopped`: not until somebody ends the `cause`
    (a new token resumes at once, so does `POST .../resume`). `error` is WhatsApp's own.
    """

    state: Literal["ok", "limited", "stopped"]
    cause: str | None
    since: Time | None
    until: Time | None
    error: MessageError | None


class AdminNumber(NumberView):
    """A number, and how sending from it goes."""

    sending: SendingView

    @classmethod
    def with_state(cls, number: Number, state: SendingState, secret: str | None = None) -> Self:
        members = NumberView.of(number, secret).model_dump()
        return cls(**members, sending=SendingView(**asdict(state)))


def _app(body: AppBody | None) -> AppSecrets | None:
    if body is None:
        return None
    return AppSecrets(id=body.id, secret=body.secret, verify_token=body.verify_token)


def _bot(body: BotBody | None) -> Bot | None:
    return None if body is None else Bot(body.webhook_url, body.silence_seconds)


def _patch(body: NumberChange) -> NumberPatch:
    members: dict[str, Any] = patch_of(body)
    if "app" in members:
        members["app"] = _app(body.app)
    if "bot" in members:
        members["bot"] = _bot(body.bot)
    return cast("NumberPatch", members)


def router(
    numbers: Numbers, directory: DirectoryStore, states: SendingStates, resuming: Resuming
) -> APIRouter:
    """`/v1/admin/numbers`."""

    async def shown(*found: Number) -> list[AdminNumber]:
        held = await states.of([(number.tenant, number.id) for number in found])
        return [AdminNumber.with_state(number, held[number.id]) for number in found]

    async def told(known: Known) -> AdminNumber:
        number = known.number
        held = await states.of([(number.tenant, number.id)])
        return AdminNumber.with_state(number, held[number.id], known.bot_secret)

    routes = APIRouter(
        prefix="/v1/admin/numbers",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )

    @routes.get("")
    async def numbers_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[AdminNumber]:
        page = await directory.page(Number, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=await shown(*page.items), next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201, responses=responses("number_taken"))
    async def create_number(
        person: AdminPerson, body: NumberBody, key: IdempotencyKey = None
    ) -> AdminNumber:
        new = NewNumber(
            phone_number_id=body.phone_number_id,
            display_phone_number=body.display_phone_number,
            waba_id=body.waba_id,
            access_token=body.access_token,
            app=_app(body.app),
            team_id=body.team_id,
            bot=_bot(body.bot),
        )
        return await told(await numbers.create(person.tenant, new, key))

    @routes.get("/{number_id}")
    async def number(person: AdminPerson, number_id: PathId) -> AdminNumber:
        return (await shown(await directory.get(Number, person.tenant, number_id)))[0]

    @routes.patch("/{number_id}")
    async def change_number(
        person: AdminPerson, number_id: PathId, body: NumberChange
    ) -> AdminNumber:
        return await told(await numbers.change(person.tenant, number_id, _patch(body)))

    @routes.post("/{number_id}/resume", status_code=202)
    async def resume_number(person: AdminPerson, number_id: PathId) -> AdminNumber:
        """Try again now: the cause is mended at Meta. `sending` changes once messages go out.

        If WhatsApp refuses again, the number stops again. Nothing happens when it is not stopped.
        """
        return (await shown(await resuming.ask(person.tenant, number_id)))[0]

    @routes.post("/{number_id}/bot/secret", responses=responses("no_bot"))
    async def rotate_bot_secret(person: AdminPerson, number_id: PathId) -> BotSecretView:
        """A new secret; the one before signs too for a day."""
        return BotSecretView(secret=await numbers.rotate_bot_secret(person.tenant, number_id))

    @routes.delete("/{number_id}", status_code=204, responses=responses("number_has_open_chats"))
    async def delete_number(person: AdminPerson, number_id: PathId) -> None:
        await numbers.delete(person.tenant, number_id)

    return routes
