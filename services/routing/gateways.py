"""Calls to the outside: inbox's internal list, and the decision records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import aiohttp
import orjson

from services.routing.model import Assign, Change, Decision, Head, Park, Reservation, Waiting
from shared.contracts.envelope import Envelope, parse_timestamp, timestamp
from shared.contracts.errors import TransientError
from shared.contracts.events import DecisionType
from shared.contracts.records import OutRecord
from shared.contracts.topics import ROUTING_DECISIONS
from shared.contracts.views import Status

SOURCE = "/routing"
PAGE = 1000


class InboxUnavailableError(TransientError):
    """Inbox cannot be reached, or does not answer as agreed."""


class InboxClient:
    """Inbox's internal routes."""

    def __init__(self, url: str, token: str, *, timeout: timedelta) -> None:
        self._url = f"{url.rstrip('/')}/internal/v1/conversations"
        self._headers = {"authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def conversations(self, tenant: str | None = None) -> AsyncIterator[list[Change]]:
        """All conversations that are not closed, page by page; of one tenant, or of all.

        Raises InboxUnavailableError.
        """
        cursor: str | None = None
        while True:
            query = {"limit": str(PAGE)}
            if tenant is not None:
                query["tenant"] = tenant
            if cursor is not None:
                query["cursor"] = cursor
            page = await self._get(query)
            try:
                changes = [listed(item) for item in page["items"]]
                cursor = page["next_cursor"]
            except (KeyError, TypeError, ValueError) as bad:
                raise InboxUnavailableError("the list has another shape") from bad
            yield changes
            if cursor is None:
                return

    async def _get(self, query: Mapping[str, str]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(
                self._url, params=query, headers=self._headers
            ) as response:
                if response.status != 200:
                    raise InboxUnavailableError(f"inbox answers {response.status}")
                return orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise InboxUnavailableError(type(error).__name__) from error


class Records(Protocol):
    """Where records go: Kafka, or a test's list."""

    async def publish(self, records: Sequence[OutRecord]) -> None:
        """Return when all are durable. Raises PublishError."""
        ...


class DecisionLog:
    """routing.decisions.v1. Raises PublishError when a record is not known to be durable."""

    def __init__(self, publisher: Records) -> None:
        self._publisher = publisher

    async def assigned(self, tenant: str, reservations: Sequence[Reservation]) -> None:
        """Publish the records of these reservations; a repeat is byte-identical."""
        await self._publisher.publish(
            [
                _record(tenant, DecisionType.ASSIGN, one.payload, one.agent_id, one.attempt)
                for one in reservations
            ]
        )

    async def parked(self, tenant: str, park: Park, heads: Sequence[Head], now: datetime) -> None:
        """Publish the park records of these conversations."""
        await self._publisher.publish(
            [
                _record(
                    tenant,
                    DecisionType.PARK,
                    to_payload(head.waiting, park, now),
                    park.reason,
                    head.attempt + 1,
                )
                for head in heads
            ]
        )


def to_payload(conversation: Waiting, decision: Decision, now: datetime) -> bytes:
    """The value of a record: the JSON of `RoutingDecision`."""
    agent = decision.agent_id if isinstance(decision, Assign) else None
    return orjson.dumps(
        {
            "kind": "park" if agent is None else "assign",
            "conversation_id": conversation.id,
            "episode": conversation.episode,
            "epoch": conversation.epoch,
            "agent_id": agent,
            "reason": decision.reason,
            "explanation": decision.explanation.to_json(),
            "decided_at": timestamp(now),
        }
    )


def _record(tenant: str, kind: DecisionType, payload: bytes, what: str, attempt: int) -> OutRecord:
    value = orjson.loads(payload)
    conversation = value["conversation_id"]
    envelope = Envelope(
        id=f"{conversation}:{value['episode']}:{value['epoch']}:{value['kind']}:{what}/{attempt}",
        type=kind,
        source=SOURCE,
        time=value["decided_at"],
        tenant=tenant,
        subject=conversation,
    )
    return OutRecord(ROUTING_DECISIONS, conversation.encode(), payload, envelope.headers())


def listed(item: Mapping[str, Any]) -> Change:
    """The conversation's state as inbox lists it. Raises KeyError, TypeError, ValueError."""
    since = item["waiting_since"]
    return Change(
        tenant=item["tenant"],
        id=item["id"],
        version=int(item["version"]),
        status=Status(item["status"]),
        episode=int(item["episode"]),
        epoch=int(item["epoch"]),
        assignee=_id(item["assignee"]),
        team=_id(item["team"]),
        waiting_since=None if since is None else parse_timestamp(since),
        held=is_held(item),
        listed=True,
    )


def is_held(conversation: Mapping[str, Any]) -> bool:
    """Whether a conversation of an event or of inbox's list is parked by hand or snoozed."""
    return bool(conversation.get("held_by_agent") or conversation.get("snoozed_until"))


def _id(value: Any) -> str | None:
    # An id, or a reference with one.
    found = value["id"] if isinstance(value, dict) else value
    return None if found is None else str(found)
