"""Conversations: lists, counts, one of them, and what people do with it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, model_validator

from services.inbox.api.bodies import Body, Cursor, EntityId, Limit, Moment, require_one
from services.inbox.api.etags import IfMatch, IfNoneMatch, etag_of, is_held, versions_of
from services.inbox.api.problems import responses
from services.inbox.api.security import AnyPerson, IdempotencyKey, PersonOrBot
from services.inbox.decisions.listing import Filters, Scope, Sort
from services.inbox.decisions.views import Names, actor_view, conversation_view, iso
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.events import Line
from services.inbox.model.people import Person
from services.inbox.workflows.actions import Actions
from services.inbox.workflows.changing import Call, viewer_of
from services.inbox.workflows.counting import Counting
from services.inbox.workflows.reading import Reading
from shared.contracts import views
from shared.contracts.views import Priority, Status

PathId = Annotated[str, Path(max_length=200)]
KnownEpoch = Annotated[int, Field(ge=0, le=2**62, strict=True)]
Epoch = KnownEpoch | None
Q = Annotated[str | None, Query(max_length=100)]
FilterId = Annotated[str | None, Query(max_length=64)]


def encodable(text: str) -> str:
    """Text that can be stored."""
    text.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return text


Note = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(encodable)]


class Action(Body):
    """`epoch`: the assignment that the caller knows of; a stale one is refused."""

    epoch: Epoch = None


class Close(Action):
    """Why, from the tenant's close reasons; the note goes into the internal log."""

    reason: EntityId | None = None
    note: Note | None = None


class Handoff(Action):
    """From the bot to the queue of a team; without one to that of the conversation's own."""

    team_id: EntityId | None = None


class Transfer(Action):
    """To one agent or to one team; the note goes into the internal log."""

    agent_id: EntityId | None = None
    team_id: EntityId | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        require_one(self, "agent_id", "team_id")
        return self


class Counts(Body):
    """How many one sees in each view; `unread`: of the open and On Hold ones, with unread.

    `snoozed` ones are in none of the others.
    """

    open: int
    on_hold: int
    closed: int
    bot: int
    unread: int
    snoozed: int


class ConversationPage(Body):
    """With `q` a page may be short, even empty, though a cursor follows."""

    items: list[views.Conversation]
    next_cursor: str | None


class ActivityPage(Body):
    items: list[views.Activity]
    next_cursor: int | None


def as_json(value: Any, status: int = 200) -> Response:
    """Plain dicts, rendered without a model: tests hold them to the contracts."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def line_view(tenant: str, line: Line, names: Names, contact: ContactSnapshot) -> dict[str, Any]:
    """A line of the internal log."""
    return {
        "id": line.id,
        "version": line.version,
        "type": line.type,
        "at": iso(line.at),
        "actor": actor_view(tenant, line.actor, names, contact),
        "data": line.data,
    }


def call_of(
    person: Person,
    conversation_id: str,
    body: Action | None,
    key: str | None,
    match: str | None = None,
) -> Call:
    """The call that a request makes; no body is an empty one."""
    epoch = None if body is None else body.epoch
    return Call(viewer_of(person), conversation_id, epoch, key, versions_of(match))


def conversation_answer(conversation: Conversation, names: Names) -> Response:
    """The conversation, its version as the entity tag."""
    answer = as_json(conversation_view(conversation, names))
    answer.headers["etag"] = etag_of(conversation.version)
    return answer


def conversations_router(
    reading: Reading, counting: Counting, actions: Actions, names: Names
) -> APIRouter:
    """`/v1/conversations` without its messages."""
    routes = APIRouter(
        prefix="/v1/conversations",
        tags=["conversations"],
        responses=responses("unauthorized", "not_found", "validation", "unavailable"),
    )
    _add_reads(routes, reading, counting, names)
    _add_actions(routes, actions, names)
    return routes


def _add_reads(routes: APIRouter, reading: Reading, counting: Counting, names: Names) -> None:
    @routes.get("", response_model=ConversationPage, responses=responses("forbidden"))
    async def conversations(
        person: AnyPerson,
        view: Status = Status.OPEN,
        scope: Scope = Scope.MINE,
        sort: Sort | None = None,
        agent: FilterId = None,
        team: FilterId = None,
        label: FilterId = None,
        unread: bool | None = None,  # noqa: FBT001 - a filter of the query
        snoozed: bool = False,  # noqa: FBT001, FBT002 - the same
        priority: Priority | None = None,
        number: FilterId = None,
        since: Annotated[Moment | None, Query(alias="from")] = None,
        before: Annotated[Moment | None, Query(alias="to")] = None,
        q: Q = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        filters = Filters(
            view,
            scope,
            sort,
            agent=agent,
            team=team,
            label=label,
            unread=unread,
            snoozed=snoozed,
            priority=priority,
            number=number,
            since=since,
            before=before,
            q=q,
        )
        page = await reading.page(viewer_of(person), filters, limit=limit, cursor=cursor)
        items = [conversation_view(each, names) for each in page.items]
        return as_json({"items": items, "next_cursor": page.next_cursor})

    @routes.get("/counts", response_model=Counts)
    async def counts(person: AnyPerson) -> Response:
        return as_json(await counting.counts(viewer_of(person)))

    @routes.get(
        "/{conversation_id}",
        response_model=views.Conversation,
        responses={304: {"description": "The version is one of If-None-Match."}},
    )
    async def conversation(
        person: PersonOrBot, conversation_id: PathId, none_match: IfNoneMatch = None
    ) -> Response:
        found = await reading.conversation(viewer_of(person), conversation_id)
        if is_held(found.version, none_match):
            return Response(status_code=304, headers={"etag": etag_of(found.version)})
        return conversation_answer(found, names)

    @routes.get("/{conversation_id}/activities", response_model=ActivityPage)
    async def activities(
        person: AnyPerson,
        conversation_id: PathId,
        limit: Limit = 50,
        cursor: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    ) -> Response:
        page = await reading.activities(
            viewer_of(person), conversation_id, before=cursor, limit=limit
        )
        contact = page.conversation.contact
        items = [line_view(person.tenant, each, names, contact) for each in page.items]
        return as_json({"items": items, "next_cursor": page.older})


Act = Callable[[Call], Awaitable[Conversation]]


def _add_actions(routes: APIRouter, actions: Actions, names: Names) -> None:
    def shown(conversation: Conversation) -> Response:
        return conversation_answer(conversation, names)

    def add(name: str, act: Act, *codes: str) -> None:
        @routes.post(
            f"/{{conversation_id}}/{name}",
            response_model=views.Conversation,
            responses=responses("stale_epoch", "version_mismatch", *codes),
            name=f"{name}_conversation",
        )
        async def act_on(
            person: AnyPerson,
            conversation_id: PathId,
            body: Action | None = None,
            key: IdempotencyKey = None,
            match: IfMatch = None,
        ) -> Response:
            return shown(await act(call_of(person, conversation_id, body, key, match)))

    add("accept", actions.accept, "already_assigned", "invalid_transition")
    add("reopen", actions.reopen, "not_holder", "number_deleted", "invalid_transition")
    add("hold", actions.hold, "not_holder", "invalid_transition")
    add("bot", actions.give_to_bot, "no_bot", "not_holder", "invalid_transition")
    add("read", actions.mark_read, "not_holder")
    add("unread", actions.mark_unread, "not_holder")

    @routes.post(
        "/{conversation_id}/handoff",
        response_model=views.Conversation,
        responses=responses(
            "stale_epoch", "version_mismatch", "invalid_transition", "unknown_team"
        ),
    )
    async def handoff_conversation(
        person: PersonOrBot,
        conversation_id: PathId,
        body: Handoff | None = None,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key, match)
        return shown(await actions.hand_off(call, None if body is None else body.team_id))

    @routes.post(
        "/{conversation_id}/close",
        response_model=views.Conversation,
        responses=responses(
            "stale_epoch",
            "version_mismatch",
            "not_holder",
            "invalid_transition",
            "unknown_close_reason",
        ),
    )
    async def close_conversation(
        person: AnyPerson,
        conversation_id: PathId,
        body: Close | None = None,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key, match)
        reason, note = (None, None) if body is None else (body.reason, body.note)
        return shown(await actions.close(call, reason, note))

    @routes.post(
        "/{conversation_id}/transfer",
        response_model=views.Conversation,
        responses=responses(
            "stale_epoch",
            "version_mismatch",
            "not_holder",
            "invalid_transition",
            "unknown_agent",
            "unknown_team",
        ),
    )
    async def transfer_conversation(
        person: AnyPerson,
        conversation_id: PathId,
        body: Transfer,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> Response:
        call = call_of(person, conversation_id, body, key, match)
        if body.agent_id is not None:
            return shown(await actions.transfer_to_agent(call, body.agent_id, body.note))
        return shown(await actions.transfer_to_team(call, body.team_id or "", body.note))

    @routes.delete(
        "/{conversation_id}",
        status_code=204,
        responses=responses("stale_epoch", "version_mismatch", "not_holder"),
    )
    async def delete_conversation(
        person: AnyPerson,
        conversation_id: PathId,
        body: Action | None = None,
        key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> None:
        await actions.delete(call_of(person, conversation_id, body, key, match))
