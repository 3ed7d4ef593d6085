"""A tenant with very many chats, as the documents that inbox writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.inbox.decisions.draft import blank
from services.inbox.decisions.searching import words_of
from services.inbox.model.conversation import AuthorRef, ContactSnapshot, LastLine, Message
from services.inbox.storage.documents import conversation_document, message_document
from shared.contracts.views import Status
from shared.value import evolve

BATCH: Final = 1000
COMMON, RARE, TWO = "cafe", "zarzamora", "cafe grande"
_SHARES: Final = ((Status.ON_HOLD, 0.01), (Status.OPEN, 0.02), (Status.BOT, 0.005))
_SYLLABLES: Final = ("ca", "fe", "lo", "mi", "ran", "te", "so", "pu", "ni", "dor", "ba", "qui")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who and what there is, as the inbox made it."""

    id: str
    number: str
    teams: tuple[str, ...]
    labels: tuple[str, ...]
    agents: tuple[str, ...]
    agent_token: str
    boss_token: str


class Crowd:
    """Documents of a tenant, always the same for one seed."""

    def __init__(self, tenant: Tenant, conversations: int, messages: int) -> None:
        self._tenant = tenant
        self._random = random.Random(7)
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._each = max(1, messages // conversations)
        self.conversations = conversations
        words = ("".join(each) for each in itertools.product(_SYLLABLES, repeat=3))
        self._words = [COMMON, "grande", *words]

    def text(self, number: int) -> str:
        """A sentence: few words are in very many, one in a thousand has the rare one."""
        last = len(self._words) - 1
        chosen = [min(last, int(self._random.paretovariate(0.6)) - 1) for _ in range(8)]
        said = " ".join(self._words[each] for each in chosen)
        return f"{said} {RARE}" if number % 997 == 0 else said

    def batches(self) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
        """Conversations, their messages, and what search keeps of those."""
        for start in range(0, self.conversations, BATCH):
            numbers = range(start, min(start + BATCH, self.conversations))
            chats, said, found = [], [], []
            for number in numbers:
                chat, messages = self._chat(number)
                chats.append(chat)
                said += messages
                found += [self._findable(each) for each in messages]
            yield chats, said, found

    def _status(self, number: int) -> Status:
        place = (number * 7919) % 1000 / 1000
        for status, share in _SHARES:
            if place < share:
                return status
            place -= share
        return Status.CLOSED

    def _chat(self, number: int) -> tuple[Any, list[Any]]:
        tenant, status = self._tenant, self._status(number)
        at = self._now - timedelta(seconds=number * 31 % 31_536_000)
        contact = ContactSnapshot(f"p{number:031x}", f"Contacto {number}", f"52{number:011d}")
        conversation_id = f"{number:032x}"
        held = status in (Status.OPEN, Status.CLOSED)
        lines = [self._message(conversation_id, seq, at) for seq in range(1, self._each + 1)]
        last = lines[-1]
        conversation = evolve(
            blank(
                conversation_id,
                tenant=tenant.id,
                number_id=tenant.number,
                contact=contact,
                group_id=None,
                generation=1,
                now=at,
            ),
            version=self._each + 1,
            status=status,
            episode=1,
            epoch=2,
            assignee=tenant.agents[number % len(tenant.agents)] if held else None,
            team=(None, *tenant.teams)[number % (len(tenant.teams) + 1)],
            labels=(tenant.labels[0],) if number % 20 == 0 else (),
            unread=number % 3 if status is not Status.CLOSED else 0,
            seq=self._each,
            opened_at=at,
            closed_at=at if status is Status.CLOSED else None,
            waiting_since=at if status is Status.ON_HOLD else None,
            window_closes_at=at + timedelta(hours=24),
            last_message=LastLine(
                last["_id"], last["seq"], "in", "text", last["text"], last["sent_at"], None
            ),
        )
        document = conversation_document(conversation)
        whole = {**document, "_id": conversation_id, "version": conversation.version, "outbox": []}
        return whole, lines

    def _message(self, conversation: str, seq: int, at: datetime) -> Any:
        number = int(conversation, 16) * self._each + seq
        moment = at - timedelta(minutes=self._each - seq)
        return message_document(
            Message(
                id=f"{number:032x}",
                tenant=self._tenant.id,
                number_id=self._tenant.number,
                conversation_id=conversation,
                v=seq + 1,
                seq=seq,
                direction="in",
                type="text",
                received_at=moment,
                author=AuthorRef("contact"),
                text=self.text(number),
                sent_at=moment,
            )
        )

    @staticmethod
    def _findable(message: Any) -> Any:
        return {
            "_id": message["_id"],
            "tenant": message["tenant"],
            "conversation": message["conversation"],
            "seq": message["seq"],
            "at": message["sent_at"],
            "words": words_of(message["text"]),
        }
