"""The tenant's message templates: kept as delivery reads them, asked for, judged at a send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from services.inbox.decisions.parsing import Recorded
from services.inbox.decisions.templates import (
    SENDABLE,
    check_parameters,
    slots,
    template_of,
)
from services.inbox.model.channels import Template, TemplateQuery
from services.inbox.model.errors import RefusedError, invalid
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.templates import TemplateStore
from shared.contracts import topics
from shared.contracts.commands import CommandType
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import TemplatesSynced
from shared.contracts.records import OutRecord
from shared.ids import new_id
from shared.kafka.publisher import Publisher

_FITTING = 5
_FIELDS = ("message_template_", "template_category_")


class TemplateBook:
    """The templates of every account, by tenant."""

    def __init__(
        self,
        store: TemplateStore,
        view: DirectoryView,
        publisher: Publisher,
        clock: Callable[[], datetime],
    ) -> None:
        self.store = store
        self._view = view
        self._publisher = publisher
        self._clock = clock

    # -- keeping

    async def on_synced(self, tenant: str, told: TemplatesSynced) -> None:
        """One part of a reading; the last one takes away what Meta has no more."""
        last = await self.store.read_at(tenant, told.waba_id)
        if last is not None and told.at < last:
            return  # told again: it would bring back what is gone
        found = [template for raw in told.templates if (template := template_of(raw)) is not None]
        await self.store.put(tenant, told.waba_id, found, told.at)
        if told.part == told.parts:
            await self.store.finish(tenant, told.waba_id, told.at)

    async def on_changes(self, changes: Sequence[Recorded]) -> None:
        """A webhook says that a template changed: its account is read again."""
        numbers: dict[tuple[str, str], str] = {}
        for change in changes:
            if not change.field.startswith(_FIELDS):
                continue
            waba_id = orjson.loads(change.raw).get("waba_id")
            for number in self._view.numbers(change.tenant):
                if waba_id and number.waba_id == waba_id:
                    numbers.setdefault((change.tenant, waba_id), number.id)
        if numbers:
            commands = [
                sync_command(tenant, number_id, self._clock())
                for (tenant, _), number_id in numbers.items()
            ]
            await self._publisher.publish(commands)

    async def ask(self, tenant: str, number_id: str) -> None:
        """Has the account of a number read now."""
        await self._publisher.publish([sync_command(tenant, number_id, self._clock())])

    # -- asking

    async def page(
        self,
        tenant: str,
        query: TemplateQuery,
        *,
        number_id: str | None,
        limit: int,
        after: str | None,
    ) -> tuple[list[Template], str | None]:
        """The tenant's templates, or those that one of its numbers can send."""
        if number_id is not None:
            number = self._view.number(tenant, number_id)
            if number is None:
                raise invalid("number", "unknown")
            if number.waba_id is None:
                return [], None
            query = TemplateQuery(
                number.waba_id, query.language, query.category, query.status, query.q
            )
        return await self.store.page(tenant, query, limit=limit, after=after)

    async def judge(self, tenant: str, number_id: str, request: Mapping[str, Any]) -> None:
        """Whether a template can be sent from a number as the request gives it.

        Refuses with `validation`, `unknown_template`, or `template_unavailable` with its status.
        While an account was never read, WhatsApp alone judges.
        """
        waba_id = self._waba(tenant, number_id)
        if waba_id is None:
            return
        name, language = request["name"], request["language"]["code"]
        template = await self.store.find(tenant, waba_id, name, language)
        if template is None:
            if await self.store.read_at(tenant, waba_id) is None:
                return
            errors = [{"field": "template.name", "code": "unknown"}]
            raise RefusedError("unknown_template", errors=errors)
        if template.status.upper() not in SENDABLE:
            raise RefusedError("template_unavailable", template_status=template.status)
        wrong = check_parameters(template, request)
        if wrong:
            raise RefusedError("validation", errors=wrong)

    async def fitting(self, tenant: str, number_id: str) -> list[dict[str, Any]]:
        """A few templates that could open the chat now: approved, the simplest first."""
        waba_id = self._waba(tenant, number_id)
        if waba_id is None:
            return []
        query = TemplateQuery(waba_id=waba_id, status="APPROVED")
        found, _ = await self.store.page(tenant, query, limit=100)
        found.sort(key=_effort)
        return [brief(template) for template in found[:_FITTING]]

    def _waba(self, tenant: str, number_id: str) -> str | None:
        number = self._view.number(tenant, number_id)
        return None if number is None else number.waba_id


def brief(template: Template) -> dict[str, Any]:
    """A template in a list of suggestions."""
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "category": template.category,
        "parameters": _parameters(template),
    }


def _parameters(template: Template) -> int:
    return sum(len(slot.names) for slot in slots(template))


def _effort(template: Template) -> tuple[bool, int, str]:
    return (template.category.upper() != "UTILITY", _parameters(template), template.name)


def sync_command(tenant: str, number_id: str, now: datetime) -> OutRecord:
    """The command that has an account's templates read."""
    envelope = Envelope(
        id=new_id(),
        type=CommandType.TEMPLATES_SYNC.value,
        source="inbox",
        time=timestamp(now),
        tenant=tenant,
    )
    value = orjson.dumps({"number_id": number_id})
    return OutRecord(topics.OUTBOUND, number_id.encode(), value, envelope.headers())
