"""Builds the people's part of the conversations: what the REST API does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from fastapi import APIRouter

from services.inbox.api.bulk import Desk as BulkDesk
from services.inbox.api.bulk import bulk_router
from services.inbox.api.catalogue import close_reasons_router
from services.inbox.api.contacts import contacts_router
from services.inbox.api.conversations import conversations_router
from services.inbox.api.episodes import episodes_router
from services.inbox.api.internal import internal_router
from services.inbox.api.mentions import mentions_router
from services.inbox.api.messages import messages_router
from services.inbox.api.notes import notes_router
from services.inbox.api.search import search_router
from services.inbox.api.templates import templates_router
from services.inbox.api.writing import canned_replies_router, writing_router
from services.inbox.app.conversations import Conversations
from services.inbox.app.foundation import Foundation, Part, Stopping, now
from services.inbox.handlers import subscribe_presence, subscribe_search
from services.inbox.storage.audit import AuditStore
from services.inbox.storage.blocked import BlockedStore
from services.inbox.storage.catalogue import CATALOGUE, CatalogueStore
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.counting import CountStore
from services.inbox.storage.directory import DirectoryStore
from services.inbox.storage.drafts import DraftStore
from services.inbox.storage.existence import Existence
from services.inbox.storage.listing import ListStore
from services.inbox.storage.mentions import MentionStore
from services.inbox.storage.messages import MessageStore
from services.inbox.storage.names import DirectoryNames
from services.inbox.storage.presence import PresenceStore
from services.inbox.storage.searching import SearchStore
from services.inbox.storage.sights import SightStore
from services.inbox.storage.threads import ThreadStore
from services.inbox.workflows.actions import Actions
from services.inbox.workflows.catalogue import Catalogue
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.counting import Counting
from services.inbox.workflows.holders import Holders
from services.inbox.workflows.labelling import Labelling
from services.inbox.workflows.mentions import Mentions
from services.inbox.workflows.notes import Notes
from services.inbox.workflows.reading import Reading
from services.inbox.workflows.releasing import Releasing
from services.inbox.workflows.requests import Creations
from services.inbox.workflows.searching import Indexing, Searching
from services.inbox.workflows.sending import MediaCatalogue, Sending
from services.inbox.workflows.syncing import Syncing
from services.inbox.workflows.templates import TemplateBook
from services.inbox.workflows.timers import Timers
from services.inbox.workflows.typing_indicator import TypingIndicator
from services.inbox.workflows.writing import Writing
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.mongo.client import Database
from shared.mongo.headlog import HeadLog


class Desk:
    """Reading, acting, sending and labelling."""

    def __init__(
        self,
        database: Database,
        directory: DirectoryStore,
        publisher: Publisher,
        *,
        conversations: HeadLog,
        labelling: Labelling,
        catalogue_log: HeadLog,
        trail: AuditStore,
        templates: TemplateBook,
        ids: IdHasher,
        clock: Callable[[], datetime],
        media: MediaCatalogue | None = None,
    ) -> None:
        names = DirectoryNames(directory.view)
        existence = Existence(database, directory.view)
        changing = Changing(conversations, names, ids, clock, existence)
        self.store = ConversationStore(database)
        threads = ThreadStore(database)
        items = CatalogueStore(database, catalogue_log)
        drafts = DraftStore(database)
        self.search = SearchStore(database)
        self.mentions = MentionStore(database)
        self.blocked = BlockedStore(database)
        sights = SightStore(database)
        notes = Notes(changing, threads)
        catalogue = Catalogue(items, Creations(ids, clock), clock)
        self.reading = Reading(conversations, ListStore(database), threads, items, names, clock)
        self.actions = Actions(changing, directory, items)
        messages = MessageStore(database)
        self.sending = Sending(changing, messages, templates, media)
        self.timers = Timers(changing, self.store, messages)
        self.holders = Holders(
            changing,
            self.store,
            PresenceStore(database),
            grace=lambda tenant: timedelta(seconds=names.policy(tenant).presence_grace_seconds),
        )
        self.releasing = Releasing(changing, self.store, labelling)
        self.prepare: tuple[Callable[[], Awaitable[None]], ...] = (
            self.store.ensure_indexes,
            threads.ensure_indexes,
            items.ensure_indexes,
            drafts.ensure_indexes,
            self.search.ensure_indexes,
            self.mentions.ensure_indexes,
            self.blocked.ensure_indexes,
            self.holders.presence.ensure_indexes,
        )
        self.routers: tuple[APIRouter, ...] = (
            bulk_router(BulkDesk(self.reading, self.actions, notes, labelling), names),
            conversations_router(
                self.reading, Counting(CountStore(database), clock), self.actions, names
            ),
            messages_router(self.reading, self.sending, names),
            contacts_router(labelling, self.blocked, names),
            episodes_router(self.reading, names),
            search_router(Searching(self.search, sights, self.reading), names),
            mentions_router(Mentions(self.mentions, sights, clock), names),
            notes_router(notes, names),
            close_reasons_router(catalogue),
            canned_replies_router(catalogue),
            writing_router(
                Writing(self.reading, drafts, items, clock), TypingIndicator(changing, publisher)
            ),
            internal_router(self.store),
            templates_router(templates, Syncing(templates, directory, trail, clock)),
        )


def build_desk(
    base: Foundation, conversations: Conversations, media: MediaCatalogue
) -> tuple[Desk, Part]:
    """What people do with conversations."""
    catalogue_log = HeadLog(base.database, CATALOGUE, base.publisher, faults=base.faults, clock=now)
    desk = Desk(
        base.database,
        base.directory,
        base.publisher,
        conversations=conversations.log,
        labelling=conversations.labelling,
        catalogue_log=catalogue_log,
        trail=AuditStore(base.database, kept=base.settings.audit_retention),
        templates=conversations.templates,
        ids=base.ids,
        clock=now,
        media=media,
    )

    if base.settings.inbox_search:
        indexing = Indexing(desk.search, lambda tenant: base.view.tenant(tenant) is not None)
        subscribe_search(conversations.broker, conversations.runtime, indexing)

    async def run_timers() -> None:
        # What is due depends on the directory: numbers and policies.
        await base.table.wait_caught_up(timedelta(days=365))
        await asyncio.gather(desk.timers.run(), desk.holders.run())

    subscribe_presence(conversations.broker, conversations.runtime, desk.holders)

    return desk, Part(
        routers=desk.routers,
        prepare=desk.prepare,
        run=(run_timers, catalogue_log.run),
        components=(Stopping(catalogue_log.aclose),),
    )
