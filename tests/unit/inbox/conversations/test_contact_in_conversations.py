"""What a conversation knows of its contact: blocks, labels, and nothing once it is deleted."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import Fate, Folded, MessageIndex, Surroundings, fold
from services.inbox.decisions.lifecycle import Move, Trigger
from services.inbox.model.conversation import ContactSnapshot, Conversation
from services.inbox.model.events import SYSTEM
from services.inbox.model.items import Body, Incoming, Person
from shared.contracts.views import Status
from shared.value import evolve

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LUZ = ContactSnapshot("k1", name="Luz", wa_id="5215500000001", labels=("vip",))


def conversation() -> Conversation:
    return blank("c1", tenant="t", number_id="n", contact=LUZ, group_id=None, generation=1, now=NOW)


def message(place: int, origin: str = "customer") -> Incoming:
    return Incoming(
        id=f"m{place}",
        wamid=f"wamid.{place}",
        sent_at=NOW,
        received_at=NOW,
        person=Person(),
        body=Body("text", "Hola", None, {}),
        raw=b"{}",
        origin=origin,
    )


def written(before: Conversation, contact: ContactSnapshot, *items: Incoming) -> Folded:
    return fold(before, list(items), MessageIndex(), Surroundings(NOW, contact))


def blocked(before: Conversation) -> Conversation:
    """As the block's own compare-and-set leaves it."""
    draft = Draft(evolve(before, contact=replace(before.contact, blocked=True)), NOW)
    draft.move(Move(Trigger.BLOCK, NOW), actor=SYSTEM)
    return draft.conversation


def test_regression_message_right_behind_a_block_does_not_reopen_the_chat():
    """The contact was looked up before its block had reached the projection."""
    closed = blocked(written(conversation(), LUZ, message(1)).conversation)
    after = written(closed, LUZ, message(2))
    assert [fate for _, fate in after.fates] == [Fate.BLOCKED]
    assert after.conversation == closed


def test_regression_message_right_behind_an_unblock_is_stored():
    closed = blocked(written(conversation(), LUZ, message(1)).conversation)
    free = evolve(closed, contact=replace(closed.contact, blocked=False))
    after = written(free, replace(LUZ, blocked=True), message(2))
    assert [fate for _, fate in after.fates] == [Fate.STORED]
    assert after.conversation.status is Status.ON_HOLD
    assert not after.conversation.contact.blocked


def test_regression_echo_of_the_phone_leaves_the_block():
    closed = blocked(written(conversation(), LUZ, message(1)).conversation)
    after = written(closed, LUZ, message(2, "phone"))
    assert [fate for _, fate in after.fates] == [Fate.STORED]
    assert after.conversation.contact.blocked


@pytest.mark.parametrize("is_blocked", [True, False])
def test_new_conversation_takes_the_block_from_its_contact(is_blocked: bool):
    after = written(conversation(), replace(LUZ, blocked=is_blocked), message(1))
    assert [fate for _, fate in after.fates] == [Fate.BLOCKED if is_blocked else Fate.STORED]


def test_regression_new_conversation_begins_with_its_contacts_labels():
    assert written(conversation(), LUZ, message(1)).conversation.labels == ("vip",)


def test_regression_deleted_conversation_tells_nothing_of_its_contact():
    draft = Draft(written(conversation(), LUZ, message(1)).conversation, NOW)
    draft.move(Move(Trigger.DELETE, NOW), actor=SYSTEM)
    gone = draft.conversation
    assert gone.contact == ContactSnapshot("k1")
    assert gone.last_message is None
    assert gone.last_inbound_wamid is None
