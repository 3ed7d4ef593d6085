"""The demo tenant as its agents see it, over REST and on their sockets."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from deploy.local.demo.people import Cast, DemoChangedError, ensure_people
from deploy.local.demo.places import ANA, Places
from deploy.local.demo.rest import PAGE, Rest
from deploy.local.demo.samples import JAVIER, SAMPLES, SOFIA
from deploy.local.demo.screen import Screen
from deploy.local.demo.seeding import Seeded, conversations, deliver, seed
from deploy.local.demo.story import Story
from deploy.local.errors import LocalStackError
from shared.testing.webhooks import (
    Number,
    Wamids,
    customers,
    messages_change,
    text_message,
    webhook,
)
from tests.support.services import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.timeout(180)]

Json = dict[str, Any]
CUSTOMERS = [one.customer for one in SAMPLES]


@pytest.fixture(scope="module")
def places(deployment: Deployment) -> Places:
    return Places.from_environment(deployment.environment)


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture(scope="module")
async def seeded(session: aiohttp.ClientSession, places: Places) -> Seeded:
    return await seed(session, places)


@pytest.fixture
async def cast(seeded: Seeded, session: aiohttp.ClientSession, places: Places) -> Cast:
    return await ensure_people(session, places)


async def _seen(person: Rest, view: str, **query: str) -> dict[str, Json]:
    """A list of conversations by the customers' names."""
    items = await person.items("/v1/conversations", view=view, **query)
    return {item["contact"]["name"]: item for item in items}


async def _messages(person: Rest, chat: Json) -> list[Json]:
    """All messages, oldest first."""
    return (await person.items(f"/v1/conversations/{chat['id']}/messages"))[::-1]


async def _work(admin: Rest) -> dict[str, Json]:
    """What people and customers did to the samples, by customer.

    Versions also count statuses and pictures, which still arrive after an earlier test.
    """
    members = ("status", "episode", "epoch", "assignee", "team", "labels")
    work = {}
    for key, chat in (await conversations(admin, CUSTOMERS)).items():
        done = {name: chat[name] for name in members}
        work[key] = done | {"messages": [one["id"] for one in await _messages(admin, chat)]}
    return work


async def _waiting_page(admin: Rest) -> dict[str, Json]:
    """The first page of who waits, as soon as it is full."""
    async with asyncio.timeout(30):
        while True:
            page = await _seen(admin, "on_hold", scope="all")
            if len(page) == PAGE:
                return page
            await asyncio.sleep(0.1)


async def _played(session: aiohttp.ClientSession, places: Places, cast: Cast) -> str:
    paper = io.StringIO()
    screen = Screen(Console(file=paper, width=120))
    await Story(session, places, cast, screen=screen, pace=0).tell()
    return paper.getvalue()


async def test_all_sample_conversations_arrive(seeded: Seeded, cast: Cast):
    there = await conversations(cast.admin, CUSTOMERS)

    assert seeded.new == len(SAMPLES)
    assert {one.customer.user_id for one in SAMPLES} <= there.keys()


async def test_ana_sees_her_chats_and_the_queue_of_her_team(cast: Cast):
    assert "Lucía Fernández" in await _seen(cast.ana, "open")
    assert "James Miller" not in await _seen(cast.ana, "open")
    waiting = await _seen(cast.ana, "on_hold")
    assert {"Sofía Rojas", "Olivia Brown"} <= waiting.keys()
    assert waiting["Emma Clark"]["team"]["name"] == "Ventas"


async def test_luis_does_not_see_the_other_teams_queue(cast: Cast):
    opened = await _seen(cast.luis, "open")
    assert [one["name"] for one in opened["James Miller"]["labels"]] == ["Pedido"]
    assert "Noah Wilson" in await _seen(cast.luis, "closed")
    waiting = await _seen(cast.luis, "on_hold")
    assert "Sofía Rojas" in waiting
    assert "Emma Clark" not in waiting


async def test_a_hidden_phone_is_a_username(cast: Cast):
    contact = (await _seen(cast.ana, "on_hold"))[str(SOFIA.name)]["contact"]

    assert (contact["wa_id"], contact["username"]) == (None, "sofia.rojas")


async def test_messages_keep_their_order_and_types(cast: Cast):
    lucia = (await _seen(cast.ana, "open"))["Lucía Fernández"]
    emma = (await _seen(cast.ana, "on_hold"))["Emma Clark"]
    olivia = (await _seen(cast.ana, "on_hold"))["Olivia Brown"]

    first = await _messages(cast.ana, lucia)
    assert [one["type"] for one in first[:3]] == ["text", "text", "image"]
    assert first[0]["text"] == "Hola, buenos días 👋"
    assert [one["direction"] for one in first[:4]] == ["in", "in", "in", "out"]
    assert [one["type"] for one in await _messages(cast.ana, emma)] == ["text", "location"]
    replied, asked = await _messages(cast.ana, olivia)
    assert (replied["type"], replied["text"]) == ("interactive", "Saturday, 10:00")
    assert [one["emoji"] for one in asked["reactions"]] == ["🙏"]


async def test_a_second_seed_changes_nothing(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    before = await _work(cast.admin)

    again = await seed(session, places)

    assert again.new == 0
    assert await _work(cast.admin) == before


async def test_a_seed_leaves_a_chat_alone_that_somebody_took(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    diego = (await _seen(cast.admin, "on_hold"))["Diego Torres"]
    luis = await cast.luis.get("/v1/me")
    await cast.admin.post(f"/v1/conversations/{diego['id']}/transfer", {"agent_id": luis["id"]})

    await seed(session, places)

    assert "Diego Torres" in await _seen(cast.luis, "open")


async def test_a_sample_is_found_behind_a_full_page(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    crowd = customers(PAGE + 10, seed=7)
    ids = Wamids(seed=7)
    await deliver(
        places,
        [
            webhook(messages_change(Number(), [text_message("hi", one, ids.inbound(one))], [one]))
            for one in crowd
        ],
    )
    await _waiting_page(cast.admin)
    javier = (await conversations(cast.admin, [JAVIER]))[str(JAVIER.user_id)]
    luis = await cast.luis.get("/v1/me")
    path = f"/v1/conversations/{javier['id']}"
    await cast.admin.post(f"{path}/transfer", {"agent_id": luis["id"]})
    await cast.admin.post(f"{path}/hold")
    assert JAVIER.name not in await _waiting_page(cast.admin)

    again = await seed(session, places)

    assert again.new == 0


async def test_a_replys_statuses_arrive_on_the_socket(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    told = await _played(session, places, cast)

    statuses = [line.split()[-1] for line in told.splitlines() if "message.status" in line]
    assert {"sent", "delivered", "read"} <= set(statuses)
    assert "message.media_ready" in told
    assert "already_assigned" in told


async def test_the_show_can_be_repeated_from_where_somebody_left_it(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    await _played(session, places, cast)
    carmen = (await _seen(cast.admin, "closed", scope="all"))["Carmen Vidal"]
    luis = await cast.luis.get("/v1/me")
    await cast.admin.post(f"/v1/conversations/{carmen['id']}/reopen")
    await cast.admin.post(f"/v1/conversations/{carmen['id']}/transfer", {"agent_id": luis["id"]})

    told = await _played(session, places, cast)

    assert "conversation.closed" in told


async def test_the_command_line_seeds_and_signs_in(deployment: Deployment, seeded: Seeded):
    said = await asyncio.to_thread(deployment.run, "deploy.local.demo", "seed")

    assert "was there already" in said


async def test_a_changed_password_is_told(
    session: aiohttp.ClientSession, places: Places, cast: Cast
):
    ana = next(one for one in await cast.admin.items("/v1/admin/agents") if one["email"] == ANA)
    path = f"/v1/admin/agents/{ana['id']}"
    await cast.admin.patch(path, {"password": "another"})
    try:
        with pytest.raises(DemoChangedError, match="another password"):
            await ensure_people(session, places)
    finally:
        await cast.admin.patch(path, {"password": "demo"})


async def test_a_service_that_does_not_answer_is_named(session: aiohttp.ClientSession):
    nowhere = Rest(session, "http://127.0.0.1:9", None)

    with pytest.raises(LocalStackError, match=r"127\.0\.0\.1:9/v1/me does not answer"):
        await nowhere.get("/v1/me")
