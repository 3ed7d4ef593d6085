"""Entities as the API shows them. What is not here is not shown: no secret has a member."""

from typing import Any, Literal

from pydantic import BaseModel
from typing_extensions import override

from services.inbox.model.entities import Agent, Label, Number, Team, Tenant
from services.inbox.model.sessions import Session
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.base import Time
from shared.contracts.views import Ref, Role


class TokenView(BaseModel):
    """`refresh_token` is null when it is in the cookie."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - RFC 6750's word
    expires_in: int
    refresh_token: str | None = None


class SessionView(BaseModel):
    """`current` is the session of the token that asks."""

    id: str
    created_at: Time
    used_at: Time
    expires_at: Time
    client: str
    current: bool

    @classmethod
    def of(cls, session: Session, current: str | None) -> "SessionView":
        return cls(
            id=session.id,
            created_at=session.created_at,
            used_at=session.used_at,
            expires_at=session.expires_at,
            client=session.client,
            current=session.id == current,
        )


class TicketView(BaseModel):
    ticket: str
    expires_in: int


class MeView(BaseModel):
    id: str
    name: str
    email: str
    role: Role
    tenant: Ref
    teams: list[Ref]
    available: bool
    capacity: int

    @classmethod
    def of(cls, agent: Agent, directory: DirectoryView) -> "MeView":
        tenant = directory.tenant(agent.tenant)
        teams = [directory.team(agent.tenant, team_id) for team_id in agent.team_ids]
        return cls(
            id=agent.id,
            name=agent.name,
            email=agent.email,
            role=agent.role,
            tenant=Ref(id=agent.tenant, name=None if tenant is None else tenant.name),
            teams=[Ref(id=team.id, name=team.name) for team in teams if team is not None],
            available=agent.available,
            capacity=agent.capacity,
        )


class ColleagueView(BaseModel):
    """An agent as everybody of the tenant sees them."""

    id: str
    name: str
    role: Role
    team_ids: list[str]
    available: bool

    @classmethod
    def of(cls, agent: Agent) -> "ColleagueView":
        return cls(
            id=agent.id,
            name=agent.name,
            role=agent.role,
            team_ids=list(agent.team_ids),
            available=agent.available,
        )


class AgentView(ColleagueView):
    """An agent as the admin sees them."""

    email: str
    capacity: int
    skills: list[str]
    created_at: Time
    version: int

    @classmethod
    @override
    def of(cls, agent: Agent) -> "AgentView":
        return cls(
            id=agent.id,
            name=agent.name,
            role=agent.role,
            team_ids=list(agent.team_ids),
            available=agent.available,
            email=agent.email,
            capacity=agent.capacity,
            skills=list(agent.skills),
            created_at=agent.created_at,
            version=agent.version,
        )


class TeamView(BaseModel):
    id: str
    name: str
    version: int

    @classmethod
    def of(cls, team: Team) -> "TeamView":
        return cls(id=team.id, name=team.name, version=team.version)


class LabelView(BaseModel):
    id: str
    name: str
    color: str | None
    version: int

    @classmethod
    def of(cls, label: Label) -> "LabelView":
        return cls(id=label.id, name=label.name, color=label.color, version=label.version)


class BotView(BaseModel):
    """A number's bot. `secret` is in the one answer that tells of a new one, else null."""

    webhook_url: str
    silence_seconds: int
    secret: str | None = None


class BotSecretView(BaseModel):
    secret: str


class NumberView(BaseModel):
    """A number; of its app only the id, of its secrets nothing but a new one of its bot."""

    id: str
    phone_number_id: str
    display_phone_number: str | None
    waba_id: str | None
    app: dict[Literal["id"], str] | None
    team_id: str | None
    bot: BotView | None
    created_at: Time
    version: int

    @classmethod
    def of(cls, number: Number, secret: str | None = None) -> "NumberView":
        app: Any = None if number.app_id is None else {"id": number.app_id}
        bot = None
        if number.bot_webhook_url is not None:
            bot = BotView(
                webhook_url=number.bot_webhook_url,
                silence_seconds=number.bot_silence_seconds,
                secret=secret,
            )
        return cls(
            id=number.id,
            phone_number_id=number.phone_number_id,
            display_phone_number=number.display_phone_number,
            waba_id=number.waba_id,
            app=app,
            team_id=number.team_id,
            bot=bot,
            created_at=number.created_at,
            version=number.version,
        )


class TenantView(BaseModel):
    id: str
    name: str
    status: Literal["active", "suspended"]
    created_at: Time
    version: int

    @classmethod
    def of(cls, tenant: Tenant) -> "TenantView":
        return cls(
            id=tenant.id,
            name=tenant.name,
            status=tenant.status,
            created_at=tenant.created_at,
            version=tenant.version,
        )


class AdminView(BaseModel):
    id: str
    email: str
    name: str


class NewTenantView(TenantView):
    """A tenant as its creation answers: with its first admin."""

    admin: AdminView

    @classmethod
    def with_admin(cls, tenant: Tenant, admin: Agent) -> "NewTenantView":
        return cls(
            **TenantView.of(tenant).model_dump(),
            admin=AdminView(id=admin.id, email=admin.email, name=admin.name),
        )
