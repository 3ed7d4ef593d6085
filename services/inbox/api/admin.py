"""What the admin of a tenant keeps: agents, teams, labels, the policy."""

from typing import Annotated, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Path
from pydantic import AfterValidator, Field

from services.inbox.api.bodies import (
    Body,
    Cursor,
    Email,
    EntityId,
    Items,
    Limit,
    Line,
    Password,
    Whole,
    YesNo,
    from_cursor,
    patch_of,
    to_cursor,
)
from services.inbox.api.conversations import encodable
from services.inbox.api.problems import responses
from services.inbox.api.security import AdminPerson, IdempotencyKey
from services.inbox.api.views import AgentView, LabelView, TeamView
from services.inbox.model.entities import Agent, Label, Team
from services.inbox.storage.directory import DirectoryStore
from services.inbox.workflows.agents import AgentPatch, Agents, NewAgent
from services.inbox.workflows.directory import Directory, LabelPatch
from services.inbox.workflows.follow_ups import FollowUps
from shared.contracts.directory import Policy
from shared.contracts.hours import Day
from shared.contracts.views import Role

Skills = Annotated[list[Line], Field(max_length=100)]
TeamIds = Annotated[list[EntityId], Field(max_length=100)]
Capacity = Annotated[int, Field(ge=0, le=1000, strict=True)]
Color = Annotated[str, Field(max_length=32, pattern=r"^[#a-zA-Z0-9(),.% -]+$")]
PathId = Annotated[str, Path(max_length=200)]


class AgentBody(Body):
    email: Email
    name: Line
    password: Password
    role: Role
    team_ids: TeamIds = []
    capacity: Capacity = 5
    skills: Skills = []


class AgentChange(Body):
    """`email` cannot be changed: it is who the person is on the platform."""

    name: Line = ""
    password: Password = ""
    role: Role = Role.AGENT
    team_ids: TeamIds = []
    capacity: Capacity = 5
    skills: Skills = []
    available: YesNo = True


class TeamBody(Body):
    name: Line


class TeamChange(Body):
    name: Line = ""


class LabelBody(Body):
    name: Line
    color: Color | None = None


class LabelChange(Body):
    name: Line = ""
    color: Color | None = None


class LabelMerge(Body):
    """The label that is left."""

    into: EntityId


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as bad:
        raise ValueError("not a time zone") from bad
    return name


class ShiftBody(Body):
    """As `shared.contracts.hours.Shift`; a night is two shifts."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7)]
    opens: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["09:00"])]
    closes: Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$", examples=["18:00"])]


class HoursBody(Body):
    """As `shared.contracts.hours.BusinessHours`."""

    timezone: Annotated[
        str, Field(min_length=1, max_length=64, examples=["UTC"]), AfterValidator(_zone)
    ]
    shifts: Annotated[list[ShiftBody], Field(max_length=50)]
    text: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(encodable)] | None = (
        None
    )


class PolicyBody(Body):
    """As `shared.contracts.directory.Policy`; what is absent has its default."""

    strategy: Literal["manual", "least_busy", "round_robin"] = "manual"
    sticky: YesNo = False
    presence_grace_seconds: Whole = Field(default=45, ge=0, le=86_400)
    window_warning_minutes: Whole = Field(default=60, ge=0, le=1_440)
    business_hours: HoursBody | None = None


def _router(name: str) -> APIRouter:
    return APIRouter(
        prefix=f"/v1/admin/{name}",
        tags=["admin"],
        responses=responses("unauthorized", "forbidden", "not_found", "validation", "unavailable"),
    )


def _unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def agents_router(agents: Agents, directory: DirectoryStore) -> APIRouter:
    """`/v1/admin/agents`."""
    routes = _router("agents")

    @routes.get("")
    async def agents_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[AgentView]:
        page = await directory.page(Agent, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(AgentView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201, responses=responses("email_taken"))
    async def create_agent(
        person: AdminPerson, body: AgentBody, key: IdempotencyKey = None
    ) -> AgentView:
        new = NewAgent(
            email=body.email,
            name=body.name,
            password=body.password,
            role=body.role,
            team_ids=_unique(body.team_ids),
            capacity=body.capacity,
            skills=_unique(body.skills),
        )
        return AgentView.of(await agents.create(person.tenant, new, key))

    @routes.get("/{agent_id}")
    async def agent(person: AdminPerson, agent_id: PathId) -> AgentView:
        return AgentView.of(await directory.get(Agent, person.tenant, agent_id))

    @routes.patch("/{agent_id}", responses=responses("last_admin"))
    async def change_agent(person: AdminPerson, agent_id: PathId, body: AgentChange) -> AgentView:
        patch = cast("AgentPatch", patch_of(body))
        return AgentView.of(await agents.change(person.tenant, agent_id, patch))

    @routes.delete("/{agent_id}", status_code=204, responses=responses("last_admin"))
    async def delete_agent(person: AdminPerson, agent_id: PathId) -> None:
        await agents.delete(person.tenant, agent_id)

    return routes


def teams_router(
    entities: Directory, directory: DirectoryStore, follow_ups: FollowUps
) -> APIRouter:
    """`/v1/admin/teams`."""
    routes = _router("teams")

    @routes.get("")
    async def teams_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[TeamView]:
        page = await directory.page(Team, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(TeamView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201)
    async def create_team(
        person: AdminPerson, body: TeamBody, key: IdempotencyKey = None
    ) -> TeamView:
        return TeamView.of(await entities.create_team(person.tenant, body.name, key))

    @routes.get("/{team_id}")
    async def team(person: AdminPerson, team_id: PathId) -> TeamView:
        return TeamView.of(await directory.get(Team, person.tenant, team_id))

    @routes.patch("/{team_id}")
    async def change_team(person: AdminPerson, team_id: PathId, body: TeamChange) -> TeamView:
        return TeamView.of(await entities.rename_team(person.tenant, team_id, body.name or None))

    @routes.delete("/{team_id}", status_code=204)
    async def delete_team(person: AdminPerson, team_id: PathId) -> None:
        await follow_ups.delete(Team, person.tenant, team_id)

    return routes


def labels_router(
    entities: Directory, directory: DirectoryStore, follow_ups: FollowUps
) -> APIRouter:
    """`/v1/admin/labels`."""
    routes = _router("labels")

    @routes.get("")
    async def labels_page(
        person: AdminPerson, limit: Limit = 100, cursor: Cursor = None
    ) -> Items[LabelView]:
        page = await directory.page(Label, person.tenant, limit=limit, after=from_cursor(cursor))
        return Items(items=[*map(LabelView.of, page.items)], next_cursor=to_cursor(page.after))

    @routes.post("", status_code=201, responses=responses("label_taken"))
    async def create_label(
        person: AdminPerson, body: LabelBody, key: IdempotencyKey = None
    ) -> LabelView:
        label = await entities.create_label(person.tenant, body.name, body.color, key)
        return LabelView.of(label)

    @routes.get("/{label_id}")
    async def label(person: AdminPerson, label_id: PathId) -> LabelView:
        return LabelView.of(await directory.get(Label, person.tenant, label_id))

    @routes.patch("/{label_id}", responses=responses("label_taken"))
    async def change_label(person: AdminPerson, label_id: PathId, body: LabelChange) -> LabelView:
        patch = cast("LabelPatch", patch_of(body))
        return LabelView.of(await entities.change_label(person.tenant, label_id, patch))

    @routes.post("/{label_id}/merge", responses=responses("unknown_label"))
    async def merge_label(person: AdminPerson, label_id: PathId, body: LabelMerge) -> LabelView:
        """Deletes the label; its contacts get the other one. Answers with that one."""
        kept = await follow_ups.merge_label(person.tenant, label_id, body.into, person.id)
        return LabelView.of(kept)

    @routes.delete("/{label_id}", status_code=204)
    async def delete_label(person: AdminPerson, label_id: PathId) -> None:
        """Its contacts lose it behind the answer."""
        await follow_ups.delete_label(person.tenant, label_id, person.id)

    return routes


def policy_router(entities: Directory) -> APIRouter:
    """`/v1/admin/policy`."""
    routes = _router("policy")

    @routes.get("")
    async def policy(person: AdminPerson) -> Policy:
        return await entities.policy(person.tenant)

    @routes.put("")
    async def set_policy(person: AdminPerson, body: PolicyBody) -> Policy:
        return await entities.set_policy(person.tenant, Policy(**body.model_dump()))

    return routes
