"""What facts leave of the message that they are about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from services.inbox.decisions.draft import Draft, blank
from services.inbox.decisions.fold import Fate, MessageIndex, Surroundings, fold
from services.inbox.decisions.sending import resend
from services.inbox.model.conversation import (
    UNNAMED,
    AuthorRef,
    ContactSnapshot,
    Conversation,
    Media,
    Message,
    SendFailure,
    Stamp,
)
from services.inbox.model.events import ActorRef
from services.inbox.model.items import (
    Body,
    EditFact,
    Fact,
    MessageFact,
    OutcomeFact,
    ReactionFact,
    StatusFact,
)
from shared.contracts.views import ActorKind, MessageStatus
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


def resent(outcome: MessageStatus = MessageStatus.QUEUED, *first: str) -> Message:
    """A message of ours that was sent again after its first attempt."""
    again = replace(ours(), attempt=2, outcome=outcome, status=outcome)
    return replace(again, earlier={"old": dict.fromkeys(first, NOW)})


def unanswered(outcome: MessageStatus = MessageStatus.QUEUED) -> Message:
    """The same, where nobody knows what WhatsApp called the first attempt."""
    return replace(resent(outcome), earlier={UNNAMED: {}})


def named(was: Message) -> Message:
    """The same, as delivery named it."""
    return replace(was, outcome=MessageStatus.ACCEPTED, wamid="wamid.new", wamid_key="new")


def old(name: str, wamid: str = "old") -> StatusFact:
    return StatusFact(name, NOW, REFUSED if name == "failed" else None, f"wamid.{wamid}", wamid)


def new(name: str) -> StatusFact:
    return old(name, "new")


REFUSED = SendFailure(131026)
QUEUED, UNKNOWN, FAILED = MessageStatus.QUEUED, MessageStatus.UNKNOWN, MessageStatus.FAILED


@pytest.mark.parametrize(
    ("was", "facts", "status"),
    [
        pytest.param(named(resent()), [new("sent"), old("failed")], "sent", id="failed late"),
        pytest.param(resent(), [new("sent"), old("failed")], "sent", id="not named by delivery"),
        pytest.param(resent(), [new("failed"), old("sent")], "sent", id="nor then"),
        pytest.param(resent(), [old("failed")], "queued", id="failed before the next is sent"),
        pytest.param(resent(UNKNOWN), [old("failed")], "unknown", id="failed in doubt"),
        pytest.param(
            named(resent(QUEUED, "sent", "failed")), [new("failed")], "failed", id="both failed"
        ),
        pytest.param(named(resent()), [old("sent"), new("failed")], "sent", id="first on its way"),
        pytest.param(
            named(resent()),
            [old("sent"), new("failed"), old("failed")],
            "failed",
            id="both failed, the first one last",
        ),
        pytest.param(resent(UNKNOWN), [old("sent")], "sent", id="in doubt, the first sent"),
        pytest.param(resent(), [old("sent")], "queued", id="queued, the first sent"),
        pytest.param(
            named(resent()), [old("delivered"), new("failed")], "delivered", id="first delivered"
        ),
        pytest.param(named(resent()), [new("delivered"), old("read")], "read", id="first read"),
        pytest.param(resent(FAILED), [old("delivered")], "delivered", id="given up, delivered"),
        pytest.param(
            named(unanswered()), [new("sent"), old("failed")], "sent", id="unanswered, failed late"
        ),
        pytest.param(unanswered(), [old("failed")], "queued", id="of which one nobody knows"),
        pytest.param(unanswered(UNKNOWN), [old("failed")], "unknown", id="both in doubt"),
        pytest.param(unanswered(UNKNOWN), [old("sent")], "sent", id="both in doubt, one sent"),
        pytest.param(unanswered(), [old("delivered")], "delivered", id="whichever it is"),
    ],
)
def test_statuses_of_an_earlier_attempt_raise_a_message_and_never_fail_it(
    was: Message, facts: list[MessageFact], status: str
):
    for order in permutations(facts):
        after = told(list(order), was=was)
        assert after.status == status
        assert (after.error == REFUSED) is (status == "failed")
        again = told(facts, was=after)
        assert again == after


def test_what_may_be_of_two_attempts_is_the_ones_that_delivery_names():
    told_of = told([old("sent"), old("delivered")], was=unanswered(UNKNOWN))
    assert (told_of.status, told_of.wamid) == ("delivered", None)
    for key, facts, earlier in (
        ("old", {"sent": NOW, "delivered": NOW}, {UNNAMED: {}}),
        ("new", {}, {UNNAMED: {}, "old": {"sent": NOW, "delivered": NOW}}),
    ):
        late = OutcomeFact(MessageStatus.ACCEPTED, 2, NOW, f"wamid.{key}", key)
        after = told([late], was=replace(told_of, v=1))
        assert (after.status, after.wamid_key) == ("delivered", key)
        assert (after.facts or {}, after.earlier) == (facts, earlier)


def test_a_resend_keeps_what_was_told_of_each_command():
    draft = Draft(evolve(conversation(), version=1), NOW)
    actor = ActorRef(ActorKind.AGENT, "a1")
    first = told([old("sent"), old("failed")], was=replace(ours(), attempt=1))
    second = resend(draft, first, actor, None)
    assert (second.status, second.wamid, second.error) == ("queued", None, None)
    failed = told([new("failed")], was=second)
    third = resend(draft, failed, actor, None)
    assert third.earlier == {"old": {"sent": NOW, "failed": NOW}, "new": {"failed": NOW}}
    assert (third.attempt, third.facts) == (3, None)
    assert told([old("failed"), new("failed"), old("sent")], was=third) == third
