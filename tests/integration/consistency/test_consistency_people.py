"""Whose message it is: people with several spellings of a phone, and tenants side by side."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from services.inbox.decisions.parsing import GroupName
from services.inbox.model.items import Person
from services.inbox.storage.contacts import contact_change, contact_of
from services.inbox.workflows.contacts import Want
from shared.contracts.envelope import Envelope, timestamp
from shared.contracts.inbound import InboundType
from tests.support.pods import World

pytestmark = pytest.mark.integration

LONG, SHORT = "5511987654321", "551187654321"


async def contacts_of(world: World, *rounds: tuple[Person, ...]) -> list[str | None]:
    """The contact of each person; the rounds are given to pods of their own, all at once."""
    pods = [world.pod() for _ in rounds]
    found = await asyncio.gather(
        *(
            pod.inbox.resolver.resolve([Want(world.tenant, person, world.now) for person in people])
            for pod, people in zip(pods, rounds, strict=True)
        )
    )
    return [contact.id if contact else None for each in found for contact in each.contacts]


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(((Person(wa_id=LONG), Person(wa_id=SHORT)),), id="one-batch"),
        pytest.param(((Person(wa_id=LONG),), (Person(wa_id=SHORT),)), id="two-pods"),
        pytest.param(
            ((Person(wa_id=SHORT), Person("BR.1", LONG), Person(wa_id=LONG)),), id="with-a-bsuid"
        ),
        pytest.param(((Person("BR.1", LONG), Person(wa_id="+" + SHORT)),), id="behind-a-bsuid"),
    ],
)
async def test_regression_a_phone_in_two_spellings_is_one_contact(
    world: World, rounds: tuple[tuple[Person, ...], ...]
):
    await contacts_of(world, *rounds)
    everybody = tuple(person for people in rounds for person in people)

    assert len(set(await contacts_of(world, everybody))) == 1


async def test_two_users_whose_phones_look_alike_stay_two(world: World):
    """A landline, and the mobile with a 9 in front."""
    people = (Person("BR.1", SHORT), Person("BR.2", LONG), Person(wa_id=SHORT), Person(wa_id=LONG))
    one, other, *later = await contacts_of(world, people)

    assert one != other
    assert later == [one, other]
    assert await contacts_of(world, people[2:]) == [one, other]


async def test_regression_a_status_changes_no_message_of_another_tenant(world: World):
    """Whoever has an app of their own signs what they like, another's message id included."""
    pod = world.pod()
    await pod.consume(world.echo("m1"))
    (message_id,) = world.messages
    status = world.status("m1", "failed")
    item = (
        b'{"item":{"id":"wamid.other","status":"failed","biz_opaque_callback_data":"%s"},'
        b'"contacts":[],"number_id":"number","received_at":"%s"}'
    ) % (message_id.encode(), timestamp(world.now).encode())
    headers = Envelope(
        uuid.uuid4().hex, InboundType.STATUS.value, "ingest", timestamp(world.now), "another"
    ).headers()

    await pod.inbox.intake.handle([replace(status, value=item, headers=tuple(headers))])
    await pod.inbox.log.sweep()

    (message,) = await pod.inbox.messages.look_up([message_id], [])
    assert message.facts is None


async def test_regression_a_contact_that_is_linked_keeps_its_labels_and_its_block(world: World):
    pod = world.pod()
    both = (Person(wa_id="12025550111"), Person("US.7"))
    actor = {"kind": "system", "id": None, "name": None}
    for number, contact_id in enumerate(await contacts_of(world, both)):
        (head,) = (await pod.inbox.contacts.load([contact_id or ""])).values()
        name = f"of-{number}"
        given = replace(
            contact_of(head),
            labels=(name,),
            attributes={name: name},
            notes=name,
            blocked=number == 1,
        )
        change = contact_change(given, labels=(), at=timestamp(world.now), actor=actor)
        assert await pod.inbox.contacts.commit([change])

    (one,) = await contacts_of(world, (Person("US.7", "12025550111"),))
    (kept,) = (await pod.inbox.contacts.load([one or ""])).values()
    contact = contact_of(kept)

    assert contact.blocked
    assert set(contact.labels) == {"of-0", "of-1"} == set(contact.attributes)
    assert {*(contact.notes or "").split()} == {"of-0", "of-1"}
    assert await contacts_of(world, both) == [one, one]


async def test_regression_who_changed_the_phone_writes_on_in_the_same_chat(world: World):
    """In one batch, and told again days later."""
    pod = world.pod()
    moved = world.moved("moved", to=2)
    handle = pod.inbox.intake.handle
    await handle([world.message("before"), moved, world.message("after", who=2)])
    await handle([moved])

    # Either phone's contact may be the one that stays.
    chats = [world.conversation(who) for who in (1, 2)]
    (head,) = (await pod.inbox.log.load(chats)).values()

    assert head.state["seq"] == 3
    assert head.state["contact"]["wa_id"] == world.phone(2)


async def test_regression_who_changed_the_phone_is_reached_there_from_every_chat(world: World):
    """Customer 3 has the phone of customer 1 from now on, who is the older contact."""
    world.now += timedelta(seconds=1)
    await world.prepare(customers=3)
    pod = world.pod()
    handle = pod.inbox.intake.handle
    await handle([world.message("one"), world.message("other", who=3)])
    moved = world.moved("moved", to=1, who=3)
    await handle([moved])
    await handle([moved])  # the older contact has the name that it shows from now on

    other = world.conversation(3)
    (before,) = (await pod.inbox.log.load([other])).values()
    await handle([moved])
    (after,) = (await pod.inbox.log.load([other])).values()

    assert before.state["contact"]["wa_id"] == world.phone(1)
    assert after.version == before.version


async def test_regression_who_gets_a_phone_that_was_left_is_somebody_else(world: World):
    pod = world.pod()
    handle = pod.inbox.intake.handle
    await handle([world.by(world.message("first"), user="US.1")])
    await handle([world.moved("moved", to=5)])
    left = world.phone(1)
    known = (Person("US.1"), Person("US.2", left), Person("US.1", left), Person("US.2"))
    before, stranger, *later = await contacts_of(world, known)

    assert before != stranger
    assert later == [before, stranger]
    assert await contacts_of(world, (Person(wa_id=world.phone(5)),)) == [before]
    # By the phone alone, and what the first one wrote before, told late.
    assert await contacts_of(world, (Person(wa_id=left), Person("US.1", left))) == [
        stranger,
        before,
    ]
    assert await contacts_of(world, known) == [before, stranger, before, stranger]


async def test_regression_who_writes_from_anothers_phone_is_not_merged_with_them(world: World):
    one, other = world.phone(7), world.phone(8)
    first, second = await contacts_of(world, (Person("US.1", one), Person("US.2", other)))
    assert await contacts_of(world, (Person("US.1", other),)) == [first]
    assert await contacts_of(world, (Person("US.2"), Person("US.1"))) == [second, first]


async def test_regression_who_moves_to_a_phone_that_was_left_stays_alone(world: World):
    handle = world.pod().inbox.intake.handle
    await handle([world.by(world.message("first", who=2), user="US.2")])
    await handle([world.by(world.moved("left", to=3, who=2), user="US.2")])
    await handle([world.by(world.message("other"), user="US.1")])
    await handle([world.by(world.moved("taken", to=2), user="US.1")])
    known = (Person("US.2"), Person("US.1"), Person("US.1", world.phone(2)))
    before, other, again = await contacts_of(world, known)

    assert before != other
    assert other == again


async def test_regression_a_late_message_does_not_bring_the_former_phone_back(world: World):
    """Webhooks come in any order, also beside the one that tells of the move."""
    pod = world.pod()
    handle = pod.inbox.intake.handle
    moved = world.moved("moved", to=5)
    await handle([world.message("first")])
    await handle([moved])
    await handle([world.message("late"), moved])
    await handle([world.message("later")])
    (settled,) = (await pod.inbox.log.load([world.conversation()])).values()

    world.now += timedelta(days=1)
    await handle([world.message("as-before")])
    (back,) = (await pod.inbox.log.load([world.conversation()])).values()

    assert settled.state["contact"]["wa_id"] == world.phone(5)
    assert back.state["contact"]["wa_id"] == world.phone(1)
    assert back.state["seq"] == 5


@pytest.mark.parametrize("kind", ["reaction", "status"])
async def test_regression_what_shows_phone_and_bsuid_keeps_one_chat_without_the_phone(
    world: World, kind: str
):
    """The customer reacts, adopts a username and writes without a phone from then on."""
    pod = world.pod()
    await pod.inbox.intake.handle([world.message("first")])
    shown = world.reaction("first") if kind == "reaction" else world.status("first", "read")
    await pod.inbox.intake.handle([world.by(shown, user="US.9")])
    known = await contacts_of(world, (Person("US.9"), Person(wa_id=world.phone(1))))

    assert len(set(known)) == 1
    assert None not in known


async def test_what_shows_somebody_unknown_creates_nobody(world: World):
    pod = world.pod()
    shown = world.by(world.status("first", "read", who=7), user="US.9")
    await pod.inbox.intake.handle([shown])

    assert await pod.inbox.resolver.known(world.tenant, Person("US.9", world.phone(7))) is None


async def test_a_call_opens_the_window_of_the_chat_that_is_there(world: World):
    pod = world.pod()
    await pod.inbox.intake.handle([world.message("m1")])
    world.now += timedelta(hours=30)
    call = world.call()
    await pod.inbox.intake.handle([call, world.call(who=2)])
    await pod.inbox.intake.handle([call])

    heads = await pod.inbox.log.load([world.conversation(), world.conversation(2)])

    assert list(heads) == [world.conversation()]
    state = heads[world.conversation()].state
    closes = (world.now + timedelta(hours=24)).replace(microsecond=0)
    assert state["window_closes_at"].replace(tzinfo=UTC) == closes
    assert (state["seq"], state["unread"]) == (1, 1)


async def test_group_is_shown_by_its_subject_whoever_writes(world: World):
    resolver = world.pod().inbox.resolver
    await resolver.name_group(world.tenant, GroupName("G1", "Neighbours"))
    await resolver.name_group(world.tenant, GroupName("G1", "Street"))

    found = await resolver.resolve(
        [Want(world.tenant, Person("US.1", name="Luz"), world.now, "G1")]
    )

    (contact,) = found.contacts
    assert contact is not None
    assert (contact.name, contact.user_id) == ("Street", None)
    assert found.publications == []
