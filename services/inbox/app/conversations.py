"""Builds the conversations' part of the service: logs, intake, handlers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from faststream.kafka import KafkaBroker

from services.inbox.app.foundation import Foundation, Part, Stopping, now
from services.inbox.decisions.doubts import UNKNOWN_GRACE
from services.inbox.decisions.parsing import Recorded
from services.inbox.handlers import subscribe_all
from services.inbox.storage.accounts import AccountNewsStore
from services.inbox.storage.channels import SendingStates
from services.inbox.storage.contacts import CONTACTS, IdentityStore
from services.inbox.storage.conversations import ConversationStore
from services.inbox.storage.directory_view import DirectoryView
from services.inbox.storage.entries import CONVERSATIONS, MESSAGES
from services.inbox.storage.existence import Existence
from services.inbox.storage.loads import Loads
from services.inbox.storage.messages import ChangeStore, MessageStore, PendingFacts
from services.inbox.storage.names import DirectoryNames
from services.inbox.storage.tallies import TallyStore
from services.inbox.storage.templates import TemplateStore
from services.inbox.workflows.accounting import Accounting
from services.inbox.workflows.accounts import Accounts
from services.inbox.workflows.changing import Changing
from services.inbox.workflows.channels import Channels
from services.inbox.workflows.contacts import ContactResolver
from services.inbox.workflows.intake import Intake
from services.inbox.workflows.labelling import Labelling
from services.inbox.workflows.outcomes import Outcomes
from services.inbox.workflows.readdressing import Readdressing
from services.inbox.workflows.templates import TemplateBook
from services.inbox.workflows.writer import ConversationWriter
from shared.faults import FaultPoints
from shared.ids import IdHasher
from shared.kafka.publisher import Publisher
from shared.kafka.settings import KafkaSettings
from shared.kafka.subscribe import ConsumerRuntime, create_broker
from shared.mongo.client import Database
from shared.mongo.headlog import HeadLog, HeadLogOptions, Publication
from shared.mongo.parking import MongoParking
from shared.observability.metrics import Metrics


class Conversations:
    """Everything that changes conversations, on one database and one publisher.

    The types are members so that a test can leave one rule of the write path out.
    """

    log_type: type[HeadLog] = HeadLog
    writer_type: type[ConversationWriter] = ConversationWriter
    intake_type: type[Intake] = Intake

    def __init__(
        self,
        settings: KafkaSettings,
        database: Database,
        publisher: Publisher,
        *,
        view: DirectoryView,
        ids: IdHasher,
        metrics: Metrics,
        faults: FaultPoints,
        clock: Callable[[], datetime],
        unknown_grace: timedelta = UNKNOWN_GRACE,
    ) -> None:
        self.names = DirectoryNames(view)
        self.messages = MessageStore(database)
        self.pending = PendingFacts(database)
        self.changes = ChangeStore(database)
        self.identities = IdentityStore(database, ids)
        self.loads = Loads(database, view)
        self.existence = Existence(database, view)
        self.parking = MongoParking(database)
        self.log = self.log_type(
            database,
            CONVERSATIONS,
            publisher,
            options=HeadLogOptions(
                settle=self._settle,
                settled=MESSAGES,
                oldest=metrics.outbox_oldest.set,
                committed=self._committed,
            ),
            faults=faults,
            clock=clock,
        )
        self.contacts = HeadLog(database, CONTACTS, publisher, faults=faults, clock=clock)
        self._metrics = metrics
        self.writer = self.writer_type(
            self.log,
            self.messages,
            self.names,
            ids,
            clock,
            free_slots=self.loads.free_slots,
            gone_teams=self.existence.gone_teams,
            faults=faults,
            unknown_grace=unknown_grace,
        )
        self.resolver = ContactResolver(self.identities, self.contacts, ids, clock, self.names)
        self.templates = TemplateBook(TemplateStore(database), view, publisher, clock)
        self.accounts = Accounts(AccountNewsStore(database), view, self.identities, publisher)
        self.accounting = Accounting(TallyStore(database), faults)
        changing = Changing(self.log, self.names, ids, clock, self.existence)
        store = ConversationStore(database)
        readdressing = Readdressing(changing, self.contacts, store)
        self.labelling = Labelling(changing, self.contacts, store)
        self.contacts.options.settle = self.labelling.follow
        self.intake = self.intake_type(
            conversations=self.log,
            contacts=self.contacts,
            resolver=self.resolver,
            writer=self.writer,
            messages=self.messages,
            pending=self.pending,
            changes=self.changes,
            ids=ids,
            count=self._count,
            follow=self._follow,
            readdress=readdressing.follow,
            note=self.accounting.note,
            erased=self.existence.erased_tenants,
            faults=faults,
        )
        outcomes = Outcomes(self.log, self.writer, ids, self._count)
        self.runtime = ConsumerRuntime(settings, publisher, parking=self.parking, metrics=metrics)
        self.broker: KafkaBroker = create_broker(settings, client_id="atrio-inbox")
        channels = Channels(SendingStates(database), self.templates, outcomes)
        subscribe_all(
            self.broker, self.runtime, self.intake, outcomes, channels, accounts=self.accounting
        )

    async def _settle(self, publications: Sequence[Publication]) -> None:
        await self.intake.settle(publications)
        await self.labelling.greet(publications)

    async def _follow(self, changes: Sequence[Recorded]) -> None:
        await self.templates.on_changes(changes)
        await self.accounts.on_changes(changes)

    def _committed(self, won: int, lost: int) -> None:
        self._metrics.cas.labels("won").inc(won)
        if lost:
            self._metrics.cas.labels("lost").inc(lost)

    def _count(self, fates: Counter[str]) -> None:
        for fate, number in fates.items():
            self._metrics.items.labels(fate).inc(number)

    async def prepare(self) -> None:
        """Indexes."""
        for store in (
            self.log,
            self.contacts,
            self.messages,
            self.pending,
            self.changes,
            self.identities,
            self.parking,
            self.templates.store,
            self.accounts.store,
            self.accounting.store,
        ):
            await store.ensure_indexes()

    async def aclose(self) -> None:
        """Finishes what is being published."""
        await self.log.aclose()
        await self.contacts.aclose()


def build_conversations(base: Foundation) -> tuple[Conversations, Part]:
    """Conversations, and the consumers that change them."""
    conversations = Conversations(
        base.settings,
        base.database,
        base.publisher,
        view=base.view,
        ids=base.ids,
        metrics=base.metrics,
        faults=base.faults,
        clock=now,
        unknown_grace=base.settings.unknown_grace,
    )

    async def consume() -> None:
        # Names, teams and bots come from the directory: nothing is folded without it.
        await base.table.wait_caught_up(timedelta(days=365))
        await conversations.runtime.start()

    part = Part(
        prepare=(conversations.prepare,),
        run=(conversations.log.run, conversations.contacts.run, consume),
        components=(Stopping(conversations.aclose), Stopping(conversations.runtime.aclose)),
    )
    return conversations, part
