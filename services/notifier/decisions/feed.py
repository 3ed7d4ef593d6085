"""Who may see an event, what it does to their view, and where a client stands in the feed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.notifier.model import (
    ALL,
    EVERYBODY,
    NOBODY,
    Agent,
    Change,
    Claims,
    CloseCode,
    Cursor,
    Entry,
    Page,
    Scope,
    Tags,
)
from shared.contracts.events import EventType
from shared.contracts.views import Status

_CURSOR = re.compile(r"^([0-9a-f]{8,64})\.([0-9]{1,16})\.([0-9a-f]{8,64})$", re.ASCII)
CURSOR_LIMIT = 200


def agent_tag(agent: str) -> str:
    """The stream of what is this agent's own."""
    return f"agent:{agent}"


def queue_tag(team: str | None) -> str:
    """The stream of what waits On Hold of a team, or of none."""
    return f"queue:{team or 'none'}"


def audience(status: str | None, assignee: str | None, team: str | None) -> Tags:
    """Who sees a conversation that stands so, supervisors aside.

    Open and closed chats belong to their (last) holder, On Hold ones to the team or, without one,
    to everybody of the tenant; bot chats and what does not exist to nobody.
    """
    match status:
        case Status.ON_HOLD:
            return frozenset((queue_tag(team),))
        case Status.OPEN | Status.CLOSED if assignee is not None:
            return frozenset((agent_tag(assignee),))
        case _:
            return NOBODY


def audiences(
    kind: str, before: Mapping[str, Any], conversation: Mapping[str, Any]
) -> tuple[Tags, Tags]:
    """The audience before and after a conversation's event, supervisors (`all`) included.

    Raises KeyError or TypeError when the payload is not of the contract's shape.
    """
    was = audience(before["status"], before["assignee"], before["team"])
    if before["status"] is not None:
        was |= {ALL}
    if kind == EventType.CONVERSATION_DELETED:
        return was, NOBODY
    assignee, team = conversation["assignee"], conversation["team"]
    now = audience(
        conversation["status"],
        None if assignee is None else assignee["id"],
        None if team is None else team["id"],
    )
    return was, now | {ALL}


def tags_of(agent: Agent, scope: Scope) -> Tags:
    """The streams that a client follows."""
    if scope is Scope.ALL and agent.supervises:
        return frozenset((ALL, EVERYBODY))
    # The list of who waits knows no scope, so neither does its feed.
    return own_tags(agent).union(map(queue_tag, agent.others))


def own_tags(agent: Agent) -> Tags:
    """The streams of an agent without regard to the role."""
    return frozenset(
        (agent_tag(agent.id), queue_tag(None), EVERYBODY, *map(queue_tag, agent.teams))
    )


def streams_to_read(tags: Tags) -> tuple[str, ...]:
    """The rings that hold everything for these tags; `all` holds every event."""
    return (ALL,) if ALL in tags else tuple(sorted(tags))


def change_for(before: Tags, after: Tags, tags: Tags) -> Change | None:
    """What an event does to the view of a client with these tags; None: nothing of theirs."""
    match (not tags.isdisjoint(before), not tags.isdisjoint(after)):
        case (False, True):
            return Change.ENTER
        case (True, True):
            return Change.UPDATE
        case (True, False):
            return Change.LEAVE
        case _:
            return None


def hash_tags(tags: Tags) -> str:
    """A short digest of a tag set, part of a cursor."""
    return hashlib.blake2b("\n".join(sorted(tags)).encode(), digest_size=6).hexdigest()


def write_cursor(cursor: Cursor) -> str:
    """The opaque text of a cursor."""
    return f"{cursor.epoch}.{cursor.seq}.{cursor.tags_hash}"


def read_cursor(text: str | None) -> Cursor | None:
    """The cursor of a text; None for anything that is none of ours: the client resyncs."""
    if text is None or len(text) > CURSOR_LIMIT:
        return None
    found = _CURSOR.match(text)
    if found is None:
        return None
    epoch, seq, tags_hash = found.groups()
    return Cursor(epoch, int(seq), tags_hash)


def can_resume(cursor: Cursor, page: Page, tags_hash: str) -> bool:
    """Whether the rings hold everything after this cursor for these tags."""
    return (
        cursor.epoch == page.position.epoch
        and cursor.tags_hash == tags_hash
        and page.floor <= cursor.seq <= page.position.seq
    )


def merge(page: Page) -> tuple[list[Entry], int, bool]:
    """The entries of a page in feed order, the place reached, and whether more is to be read.

    A ring that gave `limit` entries may hold more: nothing above the smallest last id of such a
    ring may be delivered yet (without this cut an event of another ring overtakes).
    """
    bounds = [s[-1].seq for s in page.streams if len(s) >= page.limit]
    bound = min(bounds) if bounds else page.position.seq
    unique = {e.seq: e for stream in page.streams for e in stream if e.seq <= bound}
    return [unique[seq] for seq in sorted(unique)], bound, bool(bounds)


def choose_scope(asked: str | None, agent: Agent) -> tuple[Scope, bool]:
    """The scope that a client gets, and whether it was refused a wider one.

    Raises ValueError for a word that is no scope.
    """
    if asked is None:
        return (Scope.ALL if agent.supervises else Scope.MINE), False
    scope = Scope(asked)
    if scope is Scope.ALL and not agent.supervises:
        return Scope.MINE, True
    return scope, False


def may_stream(
    claims: Claims, agent: Agent | None, *, tenant_active: bool, now: float
) -> CloseCode | None:
    """Why a person may not (or no longer) be connected; None: they may."""
    if (
        agent is None
        or not tenant_active
        or now >= claims.expires_at
        or agent.valid_after > claims.issued_at
        or claims.session in agent.revoked
    ):
        return CloseCode.BAD_TOKEN
    return None


def heard_by(agent: Agent, conversation: Tags) -> Tags:
    """Who is told what this agent does in a chat with this audience.

    Agents do not learn that a supervisor looks into their chats: that is told to `all` only.
    """
    if not own_tags(agent).isdisjoint(conversation):
        return conversation
    return conversation & {ALL} if agent.supervises else NOBODY


def origin_allowed(origin: str | None, allowed: Iterable[str]) -> bool:
    """Whether a page of this origin may connect; clients that send none are no browsers."""
    return origin is None or origin.rstrip("/") in allowed
