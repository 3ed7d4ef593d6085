"""`POST /v1/conversations/bulk`: one action on up to a hundred conversations."""

from typing import Annotated, Any, Literal, Self, assert_never

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, model_validator

from services.inbox.api.bodies import Body, EntityId, require_one
from services.inbox.api.conversations import KnownEpoch, Note, as_json
from services.inbox.api.notes import Until
from services.inbox.api.problems import CODES, responses
from services.inbox.api.security import AnyPerson, IdempotencyKey
from services.inbox.decisions.views import Names, conversation_view
from services.inbox.model.conversation import Conversation
from services.inbox.workflows.actions import Actions
from services.inbox.workflows.bulk import Act, Outcome, on_each
from services.inbox.workflows.changing import Call, viewer_of
from services.inbox.workflows.labelling import Labelling
from services.inbox.workflows.notes import Notes
from services.inbox.workflows.reading import Reading
from shared.contracts import views
from shared.contracts.views import Priority


class _Bulk(Body):
    """`epochs`: the assignments that the caller knows of, by id; a stale one is refused."""

    ids: Annotated[list[EntityId], Field(min_length=1, max_length=100)]
    epochs: Annotated[dict[EntityId, KnownEpoch], Field(max_length=100)] = {}


class BulkAction(_Bulk):
    """An action that needs nothing else."""

    action: Literal["accept", "reopen", "hold", "read", "unread", "delete", "wake"]


class BulkClose(_Bulk):
    action: Literal["close"]
    reason: EntityId | None = None
    note: Note | None = None


class BulkTransfer(_Bulk):
    """To one agent or to one team."""

    action: Literal["transfer"]
    agent_id: EntityId | None = None
    team_id: EntityId | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        require_one(self, "agent_id", "team_id")
        return self


class BulkPriority(_Bulk):
    action: Literal["priority"]
    priority: Priority


class BulkSnooze(_Bulk):
    action: Literal["snooze"]
    until: Until


class BulkLabel(_Bulk):
    """Labels to add to the contacts of these conversations, and to take away."""

    action: Literal["label"]
    add: Annotated[list[EntityId], Field(max_length=20)] = []
    remove: Annotated[list[EntityId], Field(max_length=20)] = []


BulkBody = Annotated[
    BulkAction | BulkClose | BulkTransfer | BulkPriority | BulkSnooze | BulkLabel,
    Field(discriminator="action"),
]


class BulkItem(BaseModel):
    """As the single call would answer; `code` and its parameters where it would be a problem."""

    id: str
    status: int
    conversation: views.Conversation | None = None
    code: str | None = None


class BulkItems(BaseModel):
    items: list[BulkItem]


class Desk:
    """What may be done with each."""

    def __init__(
        self, reading: Reading, actions: Actions, notes: Notes, labelling: Labelling
    ) -> None:
        self._reading = reading
        self._actions = actions
        self._notes = notes
        self._labelling = labelling

    def act(self, body: BulkBody) -> Act:
        """The call that the body asks for."""
        actions, notes = self._actions, self._notes
        match body:
            case BulkAction():
                return self._plain(body.action)
            case BulkClose(reason=reason, note=note):
                return lambda call: actions.close(call, reason, note)
            case BulkTransfer(agent_id=str(agent), note=note):
                return lambda call: actions.transfer_to_agent(call, agent, note)
            case BulkTransfer(team_id=team, note=note):
                return lambda call: actions.transfer_to_team(call, team or "", note)
            case BulkPriority(priority=priority):
                return lambda call: notes.set_priority(call, priority)
            case BulkSnooze(until=until):
                return lambda call: notes.snooze(call, until)
            case BulkLabel(add=add, remove=remove):

                async def label(call: Call) -> Conversation:
                    seen = await self._reading.conversation(call.viewer, call.conversation_id)
                    await self._labelling.relabel(call.viewer, seen.contact.id, add, remove)
                    return await self._reading.conversation(call.viewer, call.conversation_id)

                return label
            case _:
                assert_never(body)

    def _plain(self, action: str) -> Act:
        actions = self._actions
        table: dict[str, Act] = {
            "accept": actions.accept,
            "reopen": actions.reopen,
            "hold": actions.hold,
            "read": actions.mark_read,
            "unread": actions.mark_unread,
            "delete": actions.delete,
            "wake": self._notes.wake,
        }
        return table[action]


def bulk_router(desk: Desk, names: Names) -> APIRouter:
    """`/v1/conversations/bulk`."""
    routes = APIRouter(
        prefix="/v1/conversations",
        tags=["conversations"],
        responses=responses("unauthorized", "validation", "unavailable"),
    )

    def shown(outcome: Outcome) -> dict[str, Any]:
        refused, conversation = outcome.refused, outcome.conversation
        if refused is not None:
            told = {**refused.members, "code": refused.code}
            return {**told, "id": outcome.id, "status": CODES[refused.code]}
        if conversation is None:
            return {"id": outcome.id, "status": 204}
        view = conversation_view(conversation, names)
        return {"id": outcome.id, "status": 200, "conversation": view}

    @routes.post("/bulk", response_model=BulkItems)
    async def act_on_many(
        person: AnyPerson, body: BulkBody, key: IdempotencyKey = None
    ) -> Response:
        """Each is answered as its own call would be; the whole is 200."""
        outcomes = await on_each(viewer_of(person), body.ids, body.epochs, key, desk.act(body))
        return as_json({"items": [shown(each) for each in outcomes]})

    return routes
