"""Episodes as documents: written once, by the event that closes them."""

from __future__ import annotations

from datetime import timedelta

from services.inbox.model.episode import Episode
from services.inbox.model.events import ActorRef
from services.inbox.storage.documents import tenures_document, tenures_of
from shared.contracts.views import ActorKind
from shared.mongo.client import Document

EPISODES = "episodes"


def episode_document(it: Episode, version: int) -> Document:
    """`v` is the version of the event that closed it."""
    closed_by = it.closed_by
    return {
        "_id": it.id,
        "v": version,
        "tenant": it.tenant,
        "conversation": it.conversation,
        "episode": it.number,
        "number": it.number_id,
        "contact": it.contact,
        "team": it.team,
        "opened_at": it.opened_at,
        "first_response_at": it.first_response_at,
        "waiting_ms": int(it.waiting.total_seconds() * 1000),
        "holders": tenures_document(it.holders),
        "closed_at": it.closed_at,
        "closed_by": None if closed_by is None else [closed_by.kind.value, closed_by.id],
        "reason": it.reason,
    }


def episode_of(doc: Document) -> Episode:
    closed_by = doc["closed_by"]
    return Episode(
        id=doc["_id"],
        tenant=doc["tenant"],
        conversation=doc["conversation"],
        number=doc["episode"],
        number_id=doc["number"],
        contact=doc["contact"],
        team=doc["team"],
        opened_at=doc["opened_at"],
        first_response_at=doc["first_response_at"],
        waiting=timedelta(milliseconds=doc["waiting_ms"]),
        holders=tenures_of(doc["holders"]),
        closed_at=doc["closed_at"],
        closed_by=None if closed_by is None else ActorRef(ActorKind(closed_by[0]), closed_by[1]),
        reason=doc["reason"],
    )
