"""Tells what Meta says of accounts: kept for the admin, and an event for whoever listens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from services.inbox.decisions.accounts import Told, number_with, told_by
from services.inbox.decisions.identity import identities
from services.inbox.decisions.parsing import Recorded
from services.inbox.model.accounts import AccountNews
from services.inbox.storage.accounts import AccountNewsStore
from services.inbox.storage.contacts import IdentityStore
from services.inbox.storage.directory_view import DirectoryView
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.events import AccountChanged, EventType, TemplateName
from shared.contracts.records import OutRecord
from shared.contracts.topics import ACCOUNT_EVENTS
from shared.kafka.publisher import Publisher


class Accounts:
    """Called for each batch before its offsets are committed: a repeat tells the same again."""

    def __init__(
        self,
        store: AccountNewsStore,
        view: DirectoryView,
        contacts: IdentityStore,
        publisher: Publisher,
    ) -> None:
        self.store = store
        self._view = view
        self._contacts = contacts
        self._publisher = publisher

    async def on_changes(self, changes: Sequence[Recorded]) -> None:
        """Keeps and tells those that are news. Raises TransientError."""
        told = [found for change in changes if (found := told_by(change)) is not None]
        if told:
            news = await self.store.add([await self._complete(each) for each in told])
            await self._publisher.publish([record_of(each) for each in news])

    async def _complete(self, told: Told) -> AccountNews:
        news = told.news
        if news.number_id is None and told.phone is not None:
            numbers = self._view.numbers(news.tenant)
            news = replace(news, number_id=number_with(told.phone, news.waba_id, numbers))
        keys = [self._contacts.key(news.tenant, each) for each in identities(told.person)]
        known = await self._contacts.find(keys)
        contact = next((known[key].contact for key in keys if key in known), None)
        return replace(news, contact_id=contact)


def record_of(news: AccountNews) -> OutRecord:
    """The event of a piece of news; those of an account stay in order."""
    template = news.template
    told = AccountChanged(
        id=news.id,
        at=news.at,
        field=news.field,
        change=news.change,
        waba_id=news.waba_id,
        number_id=news.number_id,
        contact_id=news.contact_id,
        template=None
        if template is None
        else TemplateName(id=template.id, name=template.name, language=template.language),
        details=news.details,
    )
    envelope = Envelope(
        id=news.id,
        type=EventType.ACCOUNT_CHANGED.value,
        source="inbox",
        time=timestamp(news.at),
        tenant=news.tenant,
    )
    key = f"{news.tenant}:{news.waba_id or news.number_id or ''}"
    value = orjson.dumps(told.model_dump(mode="json"))
    return OutRecord(ACCOUNT_EVENTS, key.encode(), value, envelope.headers())
