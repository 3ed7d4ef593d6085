"""What facts leave of the message that they are about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.inbox.decisions.draft import blank
from services.inbox.decisions.fold import Fate, MessageIndex, Surroundings, fold
from services.inbox.model.conversation import (
    AuthorRef,
    ContactSnapshot,
    Conversation,
    Media,
    Message,
    Stamp,
)
from services.inbox.model.items import (
    Body,
    EditFact,
    Fact,
    MessageFact,
    OutcomeFact,
    ReactionFact,
    StatusFact,
)
from shared.contracts.views import MessageStatus
from shared.value import evolve

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LUZ = ContactSnapshot("k1", name="Luz", wa_id="5215500000001")
PICTURE = Media("ready", id="f1", mime_type="image/jpeg", size=7)


def conversation(group: str | None = None) -> Conversation:
    return blank(
        "c1", tenant="t", number_id="n", contact=LUZ, group_id=group, generation=1, now=NOW
    )


def picture() -> Message:
    return Message(
        id="m1",
        tenant="t",
        number_id="n",
        conversation_id="c1",
        v=1,
        seq=1,
        direction="in",
        type="image",
        received_at=NOW,
        author=AuthorRef("contact", "k1"),
        text="before",
        media=PICTURE,
        content={"referral": {"source_id": "ad"}},
    )


def stamp(seconds: int) -> Stamp:
    return Stamp(NOW + timedelta(seconds=seconds), f"wamid.{seconds}")


def told(
    facts: list[MessageFact], *, group: str | None = None, was: Message | None = None
) -> Message:
    """The message after the facts, each as an item of one batch."""
    index = MessageIndex([was or picture()])
    items = [Fact(f"f{n}", ("m1",), fact) for n, fact in enumerate(facts)]
    before = evolve(conversation(group), version=1)
    folded = fold(before, list(items), index, Surroundings(NOW, LUZ))
    assert {fate for _, fate in folded.fates} <= {Fate.APPLIED, Fate.UNCHANGED}
    found = index.get("m1")
    assert found is not None
    return found


def test_regression_edited_caption_leaves_the_file():
    """An edit names the file under a new id, and nobody fetched that one."""
    said = Body("image", "after", Media("pending", whatsapp_id="2"), {})
    after = told([EditFact(said, stamp(1))])

    assert (after.text, after.edited) == ("after", True)
    assert after.media == PICTURE
    assert after.content == {"referral": {"source_id": "ad"}}


def test_regression_edit_that_is_not_understood_leaves_the_words():
    after = told([EditFact(Body("unsupported", None, None, {"raw_type": "x"}), stamp(1))])

    assert (after.text, after.edited) == ("before", True)


def test_regression_one_customer_is_one_reactor_however_a_webhook_shows_them():
    after = told(
        [
            ReactionFact("contact", "by-phone", "A", stamp(1)),
            ReactionFact("contact", "by-bsuid", "B", stamp(2)),
        ]
    )

    assert [(each.by, each.emoji) for each in after.reactions] == [("k1", "B")]


def test_reactor_stays_the_one_that_was_shown_when_contacts_become_one():
    reacted = told([ReactionFact("contact", "x", "A", stamp(1))])
    merged = replace(reacted, reactions=(replace(reacted.reactions[0], by="k0"),))
    after = told([ReactionFact("contact", "x", None, stamp(2))], was=merged)

    assert [(each.by, each.emoji) for each in after.reactions] == [("k0", None)]


def test_members_of_a_group_are_reactors_of_their_own():
    after = told(
        [
            ReactionFact("contact", "one", "A", stamp(1)),
            ReactionFact("contact", "two", "B", stamp(2)),
        ],
        group="g1",
    )

    assert [each.by for each in after.reactions] == ["one", "two"]


def test_regression_fact_does_not_bring_back_what_was_deleted_with_its_chat():
    """Between the deletion and the erasure of the messages they are found as they were."""
    gone = evolve(conversation(), version=2, deleted=True)
    item = Fact("f1", ("m1",), ReactionFact("contact", "x", "A", stamp(1)))
    folded = fold(gone, [item], MessageIndex([picture()]), Surroundings(NOW, LUZ))

    assert (folded.events, folded.fates) == ([], [(item, Fate.UNCHANGED)])


@pytest.mark.parametrize(("size", "events"), [(10, 40), (400_000, 3)])
def test_regression_facts_about_a_long_message_come_in_several_changes(size: int, events: int):
    """Each event repeats its message: a hundred of a long one were more than a document holds."""
    items = [
        Fact(f"f{n}", ("m1",), ReactionFact("contact", "x", str(n), stamp(n))) for n in range(40)
    ]
    long = replace(picture(), text="A" * size)
    before = evolve(conversation(), version=1)
    folded = fold(before, list(items), MessageIndex([long]), Surroundings(NOW, LUZ))

    assert len(folded.events) == events
    assert len(folded.left) == 40 - events


def ours() -> Message:
    """A message of ours whose sending was never answered."""
    return replace(picture(), direction="out", outcome=MessageStatus.UNKNOWN, media=None)


def test_regression_a_status_names_the_message_whose_answer_was_lost():
    """Else nobody finds the message that a later reaction or reply names by its wamid."""
    sent = told([StatusFact("sent", NOW, None, "wamid.ours", "key")], was=ours())
    assert (sent.status, sent.wamid, sent.wamid_key) == ("sent", "wamid.ours", "key")
    late = told([OutcomeFact(MessageStatus.ACCEPTED, 1, NOW, "wamid.ours", "key")], was=sent)
    assert (late.status, late.wamid) == ("sent", "wamid.ours")


def test_a_status_renames_no_message():
    named = replace(ours(), wamid="wamid.ours", wamid_key="key")
    sent = told([StatusFact("sent", NOW, None, "wamid.other", "other")], was=named)
    assert (sent.wamid, sent.wamid_key) == ("wamid.ours", "key")
