"""A tenant with very many chats, as the documents that inbox writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from services.inbox.decisions.draft import blank
from services.inbox.decisions.searching import words_of
from services.inbox.decisions.views import activity_id
from services.inbox.model.contact import Contact
from services.inbox.model.conversation import AuthorRef, Conversation, LastLine, Message
from services.inbox.storage.contacts import CONTACTS, contact_document
from services.inbox.storage.conversations import SEARCH
from services.inbox.storage.documents import conversation_document, message_document
from services.inbox.storage.entries import ACTIVITIES, CONVERSATIONS, MESSAGES
from shared.contracts.events import EventType
from shared.contracts.views import Status
from shared.value import evolve

BATCH: Final = 1000
COMMON, RARE, TWO = "cafe", "zarzamora", "cafe grande"
SENTENCES: Final = 50_000
YEAR: Final = 31_536_000
_SHARES: Final = ((Status.ON_HOLD, 0.01), (Status.OPEN, 0.02), (Status.BOT, 0.005))
_SYLLABLES: Final = ("ca", "fe", "lo", "mi", "ran", "te", "so", "pu", "ni", "dor", "ba", "qui")
_FIRST: Final = [
    "María",
    "José",
    "Juan",
    "Ana",
    "Luis",
    "Sofía",
    "Carlos",
    "Lucía",
    "Jesús",
    "Elena",
    "Miguel",
    "Camila",
    "Jorge",
    "Paula",
    "Andrés",
    "Inés",
    "Raúl",
    "Marta",
    "Óscar",
    "Noelia",
    "Hugo",
    "Aurora",
    "Íñigo",
    "Zoé",
]
_LAST: Final = [
    "González",
    "Hernández",
    "García",
    "Martínez",
    "López",
    "Pérez",
    "Sánchez",
    "Ramírez",
    "Núñez",
    "Muñoz",
    "Ibáñez",
    "Peña",
    "Güemes",
    "Ávila",
    "Ortiz",
    "Vázquez",
    "Quiñones",
    "Zárate",
]
# Ids are hashes: what is near in time is far in every index by id.
_SCATTER: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
_PHONE_STEP: Final = 7_654_321_937


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who and what there is, as the inbox made it. The last of each list is the rare one."""

    id: str
    filled_at: datetime
    agent: str
    boss: str
    newcomer: str
    """E-mail addresses: of the first agent, a supervisor, and the last agent."""
    numbers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


def scattered(number: int) -> str:
    return f"{number * _SCATTER % 2**128:032x}"


def phone_of(number: int) -> str:
    return f"521{number * _PHONE_STEP % 10**10:010d}"


@dataclass(slots=True)
class Batch:
    """Documents by collection."""

    chats: int = 0
    documents: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: [] for name in (CONVERSATIONS, MESSAGES, SEARCH, CONTACTS, ACTIVITIES)
        }
    )


class Crowd:
    """Documents of a tenant, always the same for one tenant."""

    def __init__(self, tenant: Tenant, conversations: int, messages: int) -> None:
        self._tenant = tenant
        self._random = random.Random(7)
        self._each = max(1, messages // conversations)
        self.conversations = conversations
        made = ["".join(each) for each in itertools.product(_SYLLABLES, repeat=3)]
        self._surnames = [word.title() for word in made]
        words = [COMMON, "grande", *made]
        said = [self._sentence(words) for _ in range(SENTENCES)]
        self._said = [(text, words_of(text)) for text in said]
        self._message = message_document(
            Message(
                id="",
                tenant=tenant.id,
                number_id="",
                conversation_id="",
                v=1,
                seq=1,
                direction="in",
                type="text",
                received_at=tenant.filled_at,
                author=AuthorRef("contact"),
                text="-",
                sent_at=tenant.filled_at,
            )
        )

    def _sentence(self, words: list[str]) -> str:
        """Few words are in very many sentences."""
        last = len(words) - 1
        chosen = (min(last, int(self._random.paretovariate(0.6)) - 1) for _ in range(8))
        return " ".join(words[each] for each in chosen)

    def batches(self) -> Iterator[Batch]:
        """Conversations with their contacts, messages, and what search keeps of those."""
        for start in range(0, self.conversations, BATCH):
            batch = Batch()
            for number in range(start, min(start + BATCH, self.conversations)):
                self._chat(number, batch)
                batch.chats += 1
            yield batch

    def _status(self, number: int) -> Status:
        place = (number * 7919) % 1000 / 1000
        for status, share in _SHARES:
            if place < share:
                return status
            place -= share
        return Status.CLOSED

    def _holder(self, number: int) -> str:
        """The last one has very few."""
        agents = self._tenant.agents
        return agents[-1] if number % 9973 == 0 else agents[number % (len(agents) - 1)]

    def _contact(self, number: int, at: datetime) -> Contact:
        name = (
            self._random.choice(_FIRST),
            self._random.choice(_LAST),
            self._surnames[number * 31 % len(self._surnames)],
        )
        return Contact(
            id=scattered(number + 1),
            tenant=self._tenant.id,
            version=1,
            created_at=at,
            name=" ".join(name),
            wa_id=phone_of(number),
        )

    def _chat(self, number: int, batch: Batch) -> None:
        tenant, status = self._tenant, self._status(number)
        at = tenant.filled_at - timedelta(seconds=number * 31 % YEAR)
        contact = self._contact(number, at)
        conversation_id = scattered(number * 2 + 1)
        rare_number, rare_team = number % 9001 == 7, number % 7001 == 7
        number_id = tenant.numbers[-1 if rare_number else number % 10 == 0]
        lines = []
        for seq in range(1, self._each + 1):
            place = number * self._each + seq
            text, words = self._said[place * 7919 % SENTENCES]
            if place % 997 == 0:
                text, words = f"{text} {RARE}", [*words, RARE]
            moment = at - timedelta(minutes=self._each - seq)
            line = {
                **self._message,
                "_id": scattered(place),
                "number": number_id,
                "conversation": conversation_id,
                "seq": seq,
                "v": seq + 1,
                "received_at": moment,
                "sent_at": moment,
                "text": text,
            }
            lines.append(line)
            batch.documents[SEARCH].append(
                {
                    "_id": line["_id"],
                    "tenant": tenant.id,
                    "conversation": conversation_id,
                    "seq": seq,
                    "at": moment,
                    "words": words,
                }
            )
        last = lines[-1]
        held = status in (Status.OPEN, Status.CLOSED)
        labels = [tenant.labels[0]] if number % 20 == 0 else []
        if number % 20011 == 11:
            labels.append(tenant.labels[-1])
        new = blank(
            conversation_id,
            tenant=tenant.id,
            number_id=number_id,
            contact=contact.snapshot(),
            group_id=None,
            generation=1,
            now=at,
        )
        conversation = evolve(
            new,
            version=self._each + 1,
            status=status,
            episode=1,
            epoch=2,
            assignee=self._holder(number) if held else None,
            team=tenant.teams[-1]
            if rare_team
            else (None, *tenant.teams[:-1])[number % len(tenant.teams)],
            labels=tuple(labels),
            unread=0 if status is Status.CLOSED and number % 5003 else number % 3,
            seq=self._each,
            opened_at=at,
            closed_at=at if status is Status.CLOSED else None,
            waiting_since=at if status is Status.ON_HOLD else None,
            window_closes_at=at + timedelta(hours=24),
            last_message=LastLine(
                last["_id"], last["seq"], "in", "text", last["text"], last["sent_at"], None
            ),
        )
        head = {"version": 1, "outbox": []}
        chat = {**conversation_document(conversation), **head, "version": conversation.version}
        batch.documents[CONVERSATIONS].append({**chat, "_id": conversation_id})
        batch.documents[CONTACTS].append({**contact_document(contact), **head, "_id": contact.id})
        batch.documents[MESSAGES] += lines
        if number % 50 == 0:
            batch.documents[ACTIVITIES].append(self._note(conversation, number))

    def _note(self, conversation: Conversation, number: int) -> Any:
        """A note that mentions somebody, mostly who held the chat."""
        mentioned = conversation.assignee or self._tenant.agents[0]
        if number % 250 == 0:
            mentioned = self._tenant.agents[number // 250 % len(self._tenant.agents)]
        return {
            "_id": activity_id(conversation.id, conversation.version),
            "v": conversation.version,
            "tenant": conversation.tenant,
            "conversation": conversation.id,
            "type": EventType.CONVERSATION_UPDATED.value,
            "at": conversation.updated_at,
            "actor": ["agent", self._tenant.agents[1]],
            "data": {
                "kind": "note",
                "text": "Mira esto",
                "mentions": [{"id": mentioned, "name": "Agent"}],
            },
        }
