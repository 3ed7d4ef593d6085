"""An admin says that a stopped number may send again: the cause is mended at Meta."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import orjson

from services.inbox.model.audit import AuditRecord, actor_now
from services.inbox.model.channels import SendingState
from services.inbox.model.entities import Number
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.channels import SendingStates
from services.inbox.storage.directory import DirectoryStore
from shared.contracts import topics
from shared.contracts.commands import CommandType
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.records import OutRecord
from shared.ids import new_id
from shared.kafka.publisher import Publisher


class Resuming:
    """Asks delivery; what becomes of it is shown as the number's `sending`, as ever."""

    def __init__(
        self,
        directory: DirectoryStore,
        states: SendingStates,
        publisher: Publisher,
        *,
        trail: AuditStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._states = states
        self._publisher = publisher
        self._trail = trail
        self._clock = clock

    async def ask(self, tenant: str, number_id: str) -> Number:
        """Have the present stop ended; nothing to ask for when the number sends.

        Refuses with `not_found`.
        """
        number = await self._directory.get(Number, tenant, number_id)
        state = (await self._states.of([(tenant, number_id)]))[number_id]
        if state.state == "ok" or state.since is None:
            return number
        now = self._clock()
        # Noted first: a command that nobody is known to have given would be worse than the reverse.
        await self._trail.add(_noted(tenant, number_id, state, now))
        await self._publisher.publish([resume_command(tenant, number_id, state.since, now)])
        return number


def _noted(tenant: str, number_id: str, state: SendingState, now: datetime) -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant=tenant,
        at=now,
        actor=actor_now(),
        action="number.resume_asked",
        target=("number", number_id),
        before={"sending": state.state, "cause": state.cause},
    )


def resume_command(tenant: str, number_id: str, stopped_at: datetime, now: datetime) -> OutRecord:
    """The command that ends one stop of a number, and no later one."""
    envelope = Envelope(
        id=new_id(),
        type=CommandType.NUMBER_RESUME.value,
        source="inbox",
        time=timestamp(now),
        tenant=tenant,
    )
    value = orjson.dumps({"number_id": number_id, "stopped_at": timestamp(stopped_at)})
    return OutRecord(topics.OUTBOUND, number_id.encode(), value, envelope.headers())
