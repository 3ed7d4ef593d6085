"""A send of unknown outcome is told at once; once it has stayed so, its agent is asked."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.doubts import UNKNOWN_GRACE, questions
from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.decisions.sending import discard, resend
from services.inbox.decisions.timers import Terms, next_due, settle, with_due
from services.inbox.model.conversation import AuthorRef, ContactSnapshot, Message, Stamp
from services.inbox.model.events import SYSTEM, ActorRef, Emitted
from services.inbox.model.items import Fact, MessageFact, OutcomeFact, ReactionFact, StatusFact
from services.inbox.storage.documents import (
    conversation_document,
    conversation_of,
    message_document,
    message_of,
)
from shared.contracts.events import EventType
from shared.contracts.views import ActorKind, MessageStatus, Status
from shared.value import evolve

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LUZ = ContactSnapshot("k1")
ANA = ActorRef(ActorKind.AGENT, "a1")
TERMS = Terms(bot_silence=60 * SECOND, window_warning=timedelta())
QUEUED, UNKNOWN, FAILED = MessageStatus.QUEUED, MessageStatus.UNKNOWN, MessageStatus.FAILED


def queued(message_id: str) -> Message:
    return Message(
        id=message_id,
        tenant="t1",
        number_id="n1",
        conversation_id="c1",
        v=1,
        seq=1,
        direction="out",
        type="text",
        received_at=START,
        author=AuthorRef("agent", "a1"),
        text="Hola",
        status=QUEUED,
        outcome=QUEUED,
    )


class Chat:
    """An open chat with queued messages, and the seconds at which it is changed or looked at."""

    def __init__(self, *message_ids: str) -> None:
        self.at = START
        self.index = MessageIndex(map(queued, message_ids))
        it = blank(
            "c1",
            tenant="t1",
            number_id="n1",
            contact=LUZ,
            group_id=None,
            generation=1,
            now=START,
        )
        self.it = evolve(it, version=1, status=Status.OPEN, assignee="a1", unread=2, epoch=3)

    def message(self, message_id: str = "m1") -> Message:
        found = self.index.get(message_id)
        assert found is not None
        return found

    def tell(self, fact: MessageFact, message_id: str = "m1") -> list[Emitted]:
        item = Fact(f"f{self.it.version}", (message_id,), fact)
        folded = fold(self.it, [item], self.index, Surroundings(self.at, LUZ))
        self.it = with_due(folded.conversation, TERMS, self.at)
        return folded.events

    def _keep(self, draft: Draft) -> list[Emitted]:
        self.it = with_due(draft.conversation, TERMS, self.at)
        for event in draft.events:
            if event.message is not None:
                self.index.put(event.message)
        return draft.events

    def act(self, what: str) -> None:
        draft = Draft(self.it, self.at)
        match what:
            case "resend":
                resend(draft, self.message(), ANA, None)
            case "discard":
                discard(draft, self.message(), ANA)
            case _:
                assert draft.move(Move(Trigger(what), self.at), actor=ANA)
        self._keep(draft)

    def look(self) -> list[Emitted]:
        """As a pod does each second."""
        if self.it.due_at is None or self.it.due_at > self.at:
            return []
        draft = Draft(self.it, self.at)
        settle(draft, TERMS, self.index)
        if not draft.events:  # nothing is written but when to look again
            self.it = evolve(self.it, due_at=next_due(draft.conversation, TERMS, self.at))
            return []
        return self._keep(draft)


def outcome(status: MessageStatus, attempt: int = 1) -> OutcomeFact:
    return OutcomeFact(status, attempt, START)


Step = tuple[int, MessageFact | str]
REACTED = ReactionFact("contact", "k1", "👍", Stamp(START, "wamid.1"))
DOUBT: Step = (0, outcome(UNKNOWN))


@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        pytest.param([DOUBT], [60], id="nothing settles it"),
        pytest.param([DOUBT, (30, outcome(UNKNOWN))], [60], id="told twice"),
        pytest.param([DOUBT, (30, REACTED)], [60], id="it changes otherwise"),
        pytest.param([DOUBT, (90, REACTED)], [60], id="it changes after the question"),
        pytest.param([DOUBT, (30, "close")], [60], id="the chat is closed"),
        pytest.param([DOUBT, (30, StatusFact("sent", START))], [], id="a status"),
        pytest.param([DOUBT, (60, StatusFact("read", START))], [], id="a status in time"),
        pytest.param([DOUBT, (30, StatusFact("failed", START))], [], id="a status of failure"),
        pytest.param([DOUBT, (30, outcome(MessageStatus.ACCEPTED))], [], id="a late 200"),
        pytest.param([DOUBT, (30, "resend")], [], id="resent"),
        pytest.param([DOUBT, (30, "discard")], [], id="discarded"),
        pytest.param([DOUBT, (30, "delete")], [], id="deleted"),
        pytest.param([DOUBT, (30, "resend"), (40, outcome(UNKNOWN, 2))], [100], id="unknown again"),
        pytest.param(
            [DOUBT, (70, "resend"), (80, outcome(UNKNOWN, 2))], [60, 140], id="each attempt once"
        ),
        pytest.param([DOUBT, (30, outcome(UNKNOWN, 2))], [90], id="a later attempt"),
        pytest.param([(0, StatusFact("sent", START)), DOUBT], [], id="a status came first"),
        pytest.param([(0, outcome(MessageStatus.ACCEPTED))], [], id="accepted"),
        pytest.param([(0, outcome(FAILED))], [], id="failed"),
        pytest.param([], [], id="queued"),
    ],
)
def test_agent_is_asked_once_about_an_attempt_that_stays_unknown(
    steps: Sequence[Step], asked: list[int]
):
    chat = Chat("m1")
    found = []
    for second in range(240):
        chat.at = START + second * SECOND
        for at, step in steps:
            if at == second:
                chat.act(step) if isinstance(step, str) else chat.tell(step)
        found += [second for _ in chat.look()]
    assert found == asked
    assert (chat.it.doubts, chat.it.due_at) == ((), None)


def test_it_is_told_at_once_and_the_question_is_an_event_of_the_system():
    chat = Chat("m1")
    (told,) = chat.tell(outcome(UNKNOWN))
    assert told.message is not None
    assert (told.type, told.message.status) == (EventType.MESSAGE_STATUS, UNKNOWN)
    assert told.message.asked_at is None
    before = chat.it
    chat.at += UNKNOWN_GRACE
    (asked,) = chat.look()
    assert (asked.type, asked.actor) == (EventType.MESSAGE_STATUS, SYSTEM)
    assert asked.message == replace(told.message, v=before.version + 1, asked_at=chat.at)
    after = evolve(before, version=before.version + 1, updated_at=chat.at, doubts=(), due_at=None)
    assert chat.it == after


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(StatusFact("delivered", START), id="status"),
        pytest.param(StatusFact("failed", START), id="status of failure"),
        pytest.param(outcome(MessageStatus.ACCEPTED), id="late 200"),
        pytest.param("resend", id="resend"),
        pytest.param("discard", id="discard"),
    ],
)
def test_question_is_over_when_the_message_is_settled(how: MessageFact | str):
    chat = Chat("m1")
    chat.tell(outcome(UNKNOWN))
    chat.at += UNKNOWN_GRACE
    chat.look()
    assert chat.message().asked_at == chat.at
    chat.act(how) if isinstance(how, str) else chat.tell(how)
    assert chat.message().asked_at is None


def test_question_stays_while_the_message_changes_otherwise():
    chat = Chat("m1")
    chat.tell(outcome(UNKNOWN))
    chat.at += UNKNOWN_GRACE
    chat.look()
    chat.tell(REACTED)
    assert (chat.message().status, chat.message().asked_at) == (UNKNOWN, chat.at)


def test_each_message_has_its_own_time():
    chat = Chat("m1", "m2")
    chat.tell(outcome(UNKNOWN), "m1")
    chat.at += 20 * SECOND
    chat.tell(outcome(UNKNOWN), "m2")
    chat.at = START + UNKNOWN_GRACE
    assert [event.message.id for event in chat.look() if event.message] == ["m1"]
    assert chat.it.due_at == START + UNKNOWN_GRACE
    chat.at += 20 * SECOND
    assert [event.message.id for event in chat.look() if event.message] == ["m2"]


def test_many_questions_at_once_are_spread_over_several_looks():
    ids = [f"m{n}" for n in range(40)]
    chat = Chat(*ids)
    for each in ids:
        chat.tell(outcome(UNKNOWN), each)
    chat.at += UNKNOWN_GRACE
    looks = [[event.message.id for event in chat.look() if event.message] for _ in range(4)]
    assert [len(each) for each in looks] == [16, 16, 8, 0]
    assert [each for look in looks for each in look] == ids


def test_message_that_is_not_there_is_not_looked_for_each_second():
    chat = Chat("m1")
    chat.tell(outcome(UNKNOWN))
    chat.at += UNKNOWN_GRACE
    draft = Draft(chat.it, chat.at)
    settle(draft, TERMS, MessageIndex())
    assert draft.events == []
    assert next_due(draft.conversation, TERMS, chat.at) is None


def test_doubts_are_stored_and_nothing_is_where_there_are_none():
    chat = Chat("m1")
    assert "doubts" not in conversation_document(chat.it)
    assert "asked_at" not in message_document(chat.message())
    chat.tell(outcome(UNKNOWN))
    state = conversation_document(chat.it)
    assert conversation_of("c1", chat.it.version, state).doubts == chat.it.doubts
    assert questions(chat.it, START + UNKNOWN_GRACE) == ("m1",)
    chat.at += UNKNOWN_GRACE
    chat.look()
    assert message_of(message_document(chat.message())) == chat.message()
    assert "doubts" not in conversation_document(chat.it)
