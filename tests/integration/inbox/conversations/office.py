"""A tenant at work: two teams, agents, a supervisor, numbers; and chats that arrive by hand."""

import itertools
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from services.inbox.app.foundation import now
from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.decisions.views import iso
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import Conversation
from services.inbox.model.events import SYSTEM, Emitted
from services.inbox.model.items import Body, Fact, Incoming, Item, OutcomeFact, Person
from services.inbox.storage.contacts import CONTACTS, contact_change
from services.inbox.storage.documents import conversation_document, conversation_of
from services.inbox.storage.entries import CONVERSATIONS, render
from services.inbox.storage.messages import MessageStore, overlay
from services.inbox.storage.names import DirectoryNames
from shared.contracts.envelope import Envelope
from shared.contracts.inbound import InboundType
from shared.contracts.records import OutRecord
from shared.contracts.topics import INBOUND
from shared.contracts.views import MessageStatus
from shared.mongo.headlog import Change, HeadLog, published
from tests.integration.inbox.inbox_rig import Answer, Http, TenantRig

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Member:
    """An agent who calls."""

    id: str
    http: Http

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http(method, f"/v1{path}", body, named)

    async def act(self, conversation: str, action: str, **body: Any) -> Answer:
        return await self("POST", f"/conversations/{conversation}/{action}", body or None)

    async def get(self, conversation: str) -> dict[str, Any]:
        answer = await self("GET", f"/conversations/{conversation}")
        assert answer.status == 200, answer.raw
        return dict(answer.body)

    async def send(self, conversation: str, **body: Any) -> Answer:
        content = {"client_id": uuid.uuid4().hex, "type": "text", "text": "Hola", **body}
        return await self("POST", f"/conversations/{conversation}/messages", content)

    async def ids(self, query: str) -> list[str]:
        """The conversations of a whole list, page by page."""
        found: list[str] = []
        cursor = ""
        while True:
            answer = await self("GET", f"/conversations?{query}{cursor}")
            assert answer.status == 200, answer.raw
            found += [each["id"] for each in answer.body["items"]]
            if answer.body["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.body['next_cursor']}"


@dataclass(frozen=True, slots=True)
class Office:
    """`ana` and `bea` are of team `sales`, `carl` of `support`, `dora` of none; `sue` supervises.

    `number` has a bot, `plain` has none.
    """

    tenant: TenantRig
    sales: str
    support: str
    ana: Member
    bea: Member
    carl: Member
    dora: Member
    sue: Member
    number: str
    plain: str

    @property
    def base(self) -> Any:
        return self.tenant.inbox.service._base

    def log(self, collection: str = CONVERSATIONS) -> HeadLog:
        """A log as another process would have it."""
        return HeadLog(self.base.database, collection, self.base.publisher, clock=now)

    def document(self, conversation: str) -> Any:
        return self.base.database[CONVERSATIONS].find_one({"_id": conversation})

    async def contact(self, name: str = "Luz", **members: Any) -> Contact:
        contact = Contact(
            id=self.base.ids.of("contact", uuid.uuid4().hex),
            tenant=self.tenant.id,
            version=0,
            created_at=now(),
            name=name,
            **{"wa_id": f"52155{next(_numbers):08d}", **members},
        )
        change = contact_change(
            contact, labels=(), at=iso(now()), actor={"kind": "system", "id": None, "name": None}
        )
        await self.log(CONTACTS).commit([change])
        return replace(contact, version=1)

    async def arrive(
        self,
        text: str = "Buenas",
        *,
        contact: Contact | None = None,
        number: str | None = None,
        team: str | None = None,
        bot: bool = False,
        sent_at: datetime | None = None,
        publish: bool = True,
    ) -> str:
        """A customer writes for the first time; the id of the conversation."""
        contact = contact or await self.contact()
        number_id = number or self.number
        party = f"contact:{contact.id}"
        conversation_id = self.base.ids.conversation(self.tenant.id, number_id, party, 1)
        conversation = blank(
            conversation_id,
            tenant=self.tenant.id,
            number_id=number_id,
            contact=contact.snapshot(),
            group_id=None,
            generation=1,
            now=now(),
        )
        around = Surroundings(now(), contact.snapshot(), bot, team)
        item = self.incoming(number_id, text, sent_at)
        folded = fold(conversation, [item], MessageIndex(), around)
        assert await self._write(
            conversation, folded.conversation, folded.events, (), publish=publish
        )
        return conversation_id

    def incoming(self, number_id: str, text: str, sent_at: datetime | None = None) -> Incoming:
        wamid = f"wamid.{uuid.uuid4().hex}"
        return Incoming(
            id=self.base.ids.inbound_message(self.tenant.id, number_id, wamid),
            wamid=wamid,
            sent_at=sent_at or now(),
            received_at=now(),
            person=Person(),
            body=Body("text", text, None, {}),
            raw=b"{}",
            origin="customer",
        )

    def came(self, kind: InboundType, phone: str, item: dict[str, Any], **known: str) -> OutRecord:
        """A record as ingest writes it. `known`: what `contacts[]` says beside the name."""
        at = iso(now())
        value = {
            "field": "messages",
            "item": {"timestamp": str(int(now().timestamp())), **item},
            "contacts": [{**(known or {"wa_id": phone}), "profile": {"name": "Luz"}}],
            "number_id": self.plain,
            "received_at": at,
        }
        envelope = Envelope(uuid.uuid4().hex, kind.value, "ingest", at, self.tenant.id)
        return OutRecord(INBOUND, phone.encode(), json.dumps(value).encode(), envelope.headers())

    async def write(
        self, conversation_id: str, *texts: str, publish: bool = True, sent_at: Any = None
    ) -> None:
        """The customer writes on."""
        document = await self.document(conversation_id)
        number = document["number"]
        items = [self.incoming(number, text, sent_at) for text in texts]
        await self.fold(conversation_id, items, publish=publish)

    async def outcome(self, conversation_id: str, message_id: str, outcome: MessageStatus) -> None:
        """Delivery tells of a message."""
        accepted = outcome is MessageStatus.ACCEPTED
        fact = OutcomeFact(outcome, 1, now(), f"wamid.{uuid.uuid4().hex}" if accepted else None)
        await self.fold(conversation_id, [Fact(uuid.uuid4().hex, (message_id,), fact)])

    async def fold(
        self, conversation_id: str, items: Sequence[Item], *, publish: bool = True
    ) -> None:
        """Again where the running services were faster."""
        done = False
        while not done:
            head = (await self.log().load([conversation_id]))[conversation_id]
            before = conversation_of(head.id, head.version, head.state)
            refs = [ref for item in items if isinstance(item, Fact) for ref in item.refs]
            index = MessageIndex(await MessageStore(self.base.database).look_up(refs, ()))
            overlay(index, head.unpublished)
            folded = fold(before, list(items), index, Surroundings(now(), before.contact))
            done = await self._write(
                before, folded.conversation, folded.events, head.unpublished, publish=publish
            )

    async def move(
        self,
        conversation_id: str,
        trigger: Trigger,
        agent: str | None = None,
        team: str | None = None,
    ) -> None:
        """A row of the table, as routing or the system would take it."""
        done = False
        while not done:
            head = (await self.log().load([conversation_id]))[conversation_id]
            before = conversation_of(head.id, head.version, head.state)
            draft = Draft(before, now())
            draft.move(Move(trigger, draft.now, agent=agent, team=team), actor=SYSTEM)
            done = await self._write(before, draft.conversation, draft.events, head.unpublished)

    async def _write(
        self,
        before: Conversation,
        after: Conversation,
        events: Sequence[Emitted],
        carried: Any,
        *,
        publish: bool = True,
    ) -> bool:
        log = self.log()
        names = DirectoryNames(self.base.view)
        change = Change(
            id=after.id,
            expected=before.version,
            state=conversation_document(after),
            entries=tuple(render(event, names) for event in events),
            carried=carried,
        )
        won = bool(await log.commit([change]))
        if won and publish:
            await log.publish([published(change)])
        return won

    async def opened_by(self, member: Member, **arrival: Any) -> str:
        conversation = await self.arrive(**arrival)
        answer = await member.act(conversation, "accept")
        assert answer.status == 200, answer.raw
        return conversation

    async def events(self, conversation: str, *types: str) -> list[dict[str, Any]]:
        """What the outbox of a conversation still holds of these types, oldest first."""
        document = await self.document(conversation)
        return [
            json.loads(record["b"])
            for entry in document["outbox"]
            for record in entry["r"]
            if record["e"][1] in types
        ]


async def open_office(tenant: TenantRig) -> Office:
    """Makes the people and places."""
    teams = {}
    for name in ("sales", "support"):
        answer = await tenant.admin("POST", "/v1/admin/teams", {"name": name})
        assert answer.status == 201, answer.raw
        teams[name] = answer.body["id"]
    members = {}
    for name, role, own in (
        ("ana", "agent", ["sales"]),
        ("bea", "agent", ["sales"]),
        ("carl", "agent", ["support"]),
        ("dora", "agent", []),
        ("sue", "supervisor", []),
    ):
        made, http = await tenant.agent(role, name=name, team_ids=[teams[each] for each in own])
        members[name] = Member(made["id"], http)
    number = await tenant.number(bot={"webhook_url": "https://bot.test/hook"})
    plain = await tenant.number()
    return Office(
        tenant, teams["sales"], teams["support"], number=number["id"], plain=plain["id"], **members
    )


def days_ago(days: float) -> datetime:
    return now() - timedelta(days=days)
