"""Lists, counts, threads, and what one sees of them."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.decisions.lifecycle import Trigger
from services.inbox.decisions.listing import (
    Sort,
)
from services.inbox.storage.contacts import CONTACTS
from services.inbox.storage.entries import CONVERSATIONS
from services.inbox.storage.listing import CANDIDATES
from shared.contracts.views import Activity, Conversation, Message
from tests.integration.inbox.conversations.office import Member, Office, days_ago
from tests.integration.inbox.inbox_rig import INTERNAL_TOKEN


async def _crowd(office: Office) -> dict[str, str]:
    """One conversation of each kind, the oldest first."""
    made: dict[str, str] = {}
    for number, (name, team) in enumerate(
        [
            ("free", None),
            ("sales", office.sales),
            ("support", office.support),
            ("bot", None),
            ("ana_open", office.sales),
            ("bea_open", office.sales),
            ("ana_closed", office.sales),
            ("deleted", None),
        ]
    ):
        at = days_ago(2 - number / 10)
        made[name] = await office.arrive(team=team, bot=name == "bot", sent_at=at)
    for name, agent in (
        ("ana_open", office.ana),
        ("bea_open", office.bea),
        ("ana_closed", office.ana),
    ):
        await office.move(made[name], Trigger.ROUTED, agent.id)
    await office.move(made["ana_closed"], Trigger.CLOSE)
    await office.move(made["deleted"], Trigger.DELETE)
    return made


async def test_lists_show_exactly_what_one_sees(office: Office):
    made = await _crowd(office)

    async def names(who: Any, query: str) -> list[str]:
        back = {value: name for name, value in made.items()}
        return [back[each] for each in await who.ids(query)]

    assert await names(office.ana, "view=open") == ["ana_open"]
    assert await names(office.ana, "view=on_hold") == ["free", "sales"]
    assert await names(office.ana, "view=closed") == ["ana_closed"]
    assert await names(office.ana, "view=bot") == []
    assert await names(office.bea, "view=closed") == []
    assert await names(office.carl, "view=on_hold") == ["free", "support"]
    assert await names(office.dora, "view=on_hold") == ["free"]
    assert await names(office.sue, "view=open") == []
    assert await names(office.sue, "view=open&scope=all") == ["bea_open", "ana_open"]
    assert await names(office.sue, "view=open&scope=all&sort=oldest") == ["ana_open", "bea_open"]
    assert await names(office.sue, f"view=open&scope=all&agent={office.bea.id}") == ["bea_open"]
    assert await names(office.sue, "view=on_hold") == ["free", "sales", "support"]
    assert await names(office.sue, "view=on_hold&sort=newest") == ["support", "sales", "free"]
    assert await names(office.sue, f"view=on_hold&team={office.support}") == ["support"]
    assert await names(office.ana, f"view=on_hold&team={office.support}") == []
    assert await names(office.ana, f"view=open&agent={office.bea.id}") == []
    assert await names(office.sue, "view=bot") == ["bot"]
    assert await names(office.sue, "view=closed&scope=all") == ["ana_closed"]

    refused = await office.ana("GET", "/conversations?scope=all")
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_counts_are_those_of_the_lists(office: Office):
    await _crowd(office)

    async def counts(who: Any) -> tuple[int, ...]:
        body = (await who("GET", "/conversations/counts")).body
        return tuple(body[name] for name in ("open", "on_hold", "closed", "bot", "unread"))

    assert await counts(office.ana) == (1, 2, 1, 0, 3)
    assert await counts(office.carl) == (0, 2, 0, 0, 2)
    assert await counts(office.sue) == (2, 3, 1, 1, 5)
    [open_] = await office.ana.ids("view=open")
    await office.ana.act(open_, "read")
    assert await counts(office.ana) == (1, 2, 1, 0, 2)
    assert await office.ana.ids("view=open&unread=true") == []
    assert await office.ana.ids("view=open&unread=false") == [open_]


@pytest.mark.parametrize("sort", list(Sort))
async def test_pages_follow_without_gap_or_repeat(office: Office, sort: Sort):
    at = [days_ago(1), days_ago(0.5), days_ago(0.5), days_ago(0.5), now(), now(), now()]
    made = [await office.arrive(sent_at=each) for each in at]
    await office.base.database[CONVERSATIONS].update_many(
        {"_id": {"$in": made[2:4]}}, {"$set": {"window_closes_at": None, "waiting_since": None}}
    )
    whole = await office.dora.ids(f"view=on_hold&sort={sort.value}&limit=100")
    assert set(whole) == set(made)
    for limit in (1, 2, 3):
        assert await office.dora.ids(f"view=on_hold&sort={sort.value}&limit={limit}") == whole


async def test_regression_windows_that_close_in_one_minute_are_in_order(office: Office):
    minute = days_ago(0.5).replace(second=0, microsecond=0)
    seconds = (31, 4, 58, 17, 40, 3, 22)
    made = [await office.arrive(sent_at=minute + timedelta(seconds=each)) for each in seconds]
    soonest = [chat for _, chat in sorted(zip(seconds, made, strict=True))]
    assert await office.dora.ids("view=on_hold&sort=window&limit=2") == soonest


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_regression_a_time_outside_of_the_calendar_is_refused(shared_office: Office, at: str):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    told = at.replace("+", "%2B")
    body: dict[str, Any] = {"until": at}
    for who, method, path, sent in (
        (office.ana, "GET", f"/conversations?view=open&from={told}", None),
        (office.ana, "GET", f"/conversations?view=open&to={told}", None),
        (Member("", office.tenant.admin), "GET", f"/admin/audit?from={told}", None),
        (office.ana, "PUT", f"/conversations/{conversation}/snooze", body),
        (
            office.ana,
            "POST",
            "/conversations/bulk",
            {"ids": [conversation], "action": "snooze", **body},
        ),
        (office.ana, "PUT", "/me/mentions/seen", body),
    ):
        assert (await who(method, path, sent)).code == "validation", path


async def test_cursor_belongs_to_its_order(shared_office: Office):
    for _ in range(2):
        await shared_office.arrive()
    page = await shared_office.sue("GET", "/conversations?view=on_hold&limit=1")
    cursor = page.body["next_cursor"]
    for query in (f"sort=newest&cursor={cursor}", "cursor=nonsense", "cursor=WzFd", "cursor=%00"):
        refused = await shared_office.sue("GET", f"/conversations?view=on_hold&{query}")
        assert (refused.status, refused.code) == (422, "validation")


@pytest.mark.parametrize("way", ["gathered", "walked"])
async def test_words_find_names_phones_and_last_lines(office: Office, way: str, request: Any):
    if way == "walked":  # what very many have is come across on the way down the list
        await _namesakes(office, CANDIDATES + 1)
    luz = await office.arrive("hola", contact=await office.contact("Lucía Peña"))
    ana = await office.arrive("Quiero un CAFÉ (grande)", contact=await office.contact("Ana"))
    eva = await office.arrive("adios", contact=await office.contact("Eva", username="eva.s-café"))
    phone = (await office.document(luz))["contact"]["wa_id"]
    cases = {
        "lucia": [luz],
        "PENA": [luz],
        "pe%20luc": [luz],
        "Pen%CC%83a": [luz],
        "ena": [],
        "cafe%20(": [ana, eva],
        "ana%20eva": [],
        phone[:8]: [luz, ana, eva],
        f"%2B{phone}": [luz],
        f"52%201%20{phone[3:]}": [luz],
        phone[-6:]: [luz],
        phone[4:9]: [],
        ".*": [],
        "lu%00cia": [luz],
        "%20": [luz, ana, eva],
    }
    async with asyncio.timeout(20):  # search follows the events
        while await office.sue.ids("view=on_hold&q=cafe") != [ana, eva]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for query, expected in cases.items():
        for sort in ("waiting", "newest", "window"):
            found = await office.sue.ids(f"view=on_hold&sort={sort}&limit=2&q={query}")
            assert sorted(found) == sorted(expected), (query, sort)


@pytest.mark.parametrize("way", ["gathered", "walked"])
async def test_regression_words_find_what_was_said_before_the_last_line(office: Office, way: str):
    if way == "walked":
        await _namesakes(office, CANDIDATES + 1)
    said = await office.opened_by(office.ana)
    await office.write(said, "¿Y un CAFÉ con leche?", "gracias")
    other = await office.opened_by(office.bea)
    await office.write(other, "Otro café", "adios")
    async with asyncio.timeout(20):  # search follows the events
        while len(await office.sue.ids("scope=all&q=cafe")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await office.ana.ids("q=cafe") == [said]
    assert await office.ana.ids("q=leche%20caf") == [said]
    assert await office.ana.ids("q=cafe%20gracias") == []
    assert await office.bea.ids("q=leche") == []
    assert await office.ana.ids("view=closed&q=cafe") == []


async def _namesakes(office: Office, number: int) -> None:
    """Contacts who never wrote, with every name that is looked for."""
    words = ["lucia", "pena", "cafe", "ana", "eva", "ena", "52155", "<"]
    await office.base.database[CONTACTS].insert_many(
        [
            {"_id": uuid.uuid4().hex, "tenant": office.tenant.id, "words": words}
            for _ in range(number)
        ]
    )


async def test_label_filter_finds_labelled_chats(office: Office):
    made = await office.arrive()
    await office.arrive()
    label = await office.tenant.admin("POST", "/v1/admin/labels", {"name": "vip"})
    contact = (await office.sue.get(made))["contact"]["id"]
    await office.sue("PUT", f"/contacts/{contact}/labels", {"labels": [label.body["id"]]})
    assert await office.sue.ids(f"view=on_hold&label={label.body['id']}") == [made]


# -- plans


async def _seqs(office: Office, conversation: str, query: str = "") -> tuple[list[int], Any]:
    answer = await office.sue("GET", f"/conversations/{conversation}/messages?{query}")
    assert answer.status == 200, answer.raw
    for item in answer.body["items"]:
        Message.model_validate(item)
    return [item["seq"] for item in answer.body["items"]], answer.body["next_cursor"]


@pytest.mark.parametrize("published", [True, False], ids=["in_documents", "in_the_outbox"])
async def test_thread_pages_overlaid_with_the_outbox(shared_office: Office, published: bool):
    office = shared_office
    conversation = await office.arrive("1")
    await office.write(conversation, "2", "3", "4", publish=published)
    await office.write(conversation, "5", "6", "7", publish=published)
    assert await _seqs(office, conversation) == ([7, 6, 5, 4, 3, 2, 1], None)
    assert await _seqs(office, conversation, "limit=3") == ([7, 6, 5], 5)
    assert await _seqs(office, conversation, "limit=3&before=5") == ([4, 3, 2], 2)
    assert await _seqs(office, conversation, "limit=3&before=2") == ([1], None)
    assert await _seqs(office, conversation, "limit=2&after=3") == ([5, 4], 4)
    assert await _seqs(office, conversation, "after=0") == ([7, 6, 5, 4, 3, 2, 1], None)
    assert await _seqs(office, conversation, "after=7") == ([], None)
    assert await _seqs(office, conversation, "limit=4&around=4") == ([6, 5, 4, 3], 3)
    assert await _seqs(office, conversation, "limit=1&around=4") == ([4], 4)
    wrong = await office.sue("GET", f"/conversations/{conversation}/messages?before=1&after=1")
    assert wrong.status == 422


async def test_thread_read_while_documents_are_written_has_no_hole(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)

    async def send() -> None:
        for _ in range(15):
            answer = await office.ana.send(conversation)
            assert answer.status == 202
            seqs, _ = await _seqs(office, conversation, "limit=100")
            assert seqs[0] >= answer.body["seq"]
            assert seqs == list(range(seqs[0], 0, -1))

    await asyncio.gather(send(), send(), send())


async def test_internal_log_names_its_actors(shared_office: Office):
    office = shared_office
    conversation = await office.opened_by(office.ana)
    await office.ana.act(conversation, "hold")
    await office.bea.act(conversation, "accept")
    await office.bea.act(conversation, "close")
    pages: list[Any] = []
    cursor = ""
    while True:
        path = f"/conversations/{conversation}/activities?limit=2{cursor}"
        page = (await office.bea("GET", path)).body
        pages += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    lines = [Activity.model_validate(each) for each in pages]
    assert [(line.type, line.actor.name) for line in lines] == [
        ("conversation.closed", "bea"),
        ("conversation.assigned", "bea"),
        ("conversation.held", "ana"),
        ("conversation.assigned", "ana"),
        ("conversation.opened", "Luz"),
    ]
    assert lines[1].data["by"] == "accept"


async def test_conversation_fits_the_contract(shared_office: Office):
    conversation = await shared_office.opened_by(shared_office.ana, team=shared_office.sales)
    shown = await shared_office.ana.get(conversation)
    assert Conversation.model_validate(shown).team is not None
    assert set(shown) == set(Conversation.model_fields)


# -- internal


async def test_internal_list_has_what_is_not_closed(office: Office, shared_office: Office):
    made = await _crowd(office)
    elsewhere = await shared_office.arrive()
    http = office.tenant.inbox.http.as_(INTERNAL_TOKEN)

    async def active(query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = await http("GET", f"/internal/v1/conversations?{query}{cursor}")
            assert answer.status == 200, answer.raw
            found += answer.body["items"]
            if answer.body["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.body['next_cursor']}"

    own = await active(f"tenant={office.tenant.id}&limit=2")
    gone = {made["ana_closed"], made["deleted"]}
    assert sorted(each["id"] for each in own) == sorted(set(made.values()) - gone)
    held = next(each for each in own if each["id"] == made["ana_open"])
    document = await office.document(made["ana_open"])
    assert held == {
        "id": made["ana_open"],
        "tenant": office.tenant.id,
        "version": document["version"],
        "status": "open",
        "episode": 1,
        "epoch": 2,
        "assignee": office.ana.id,
        "team": office.sales,
        "number": office.number,
        "waiting_since": None,
        "held_by_agent": False,
        "snoozed_until": None,
    }
    everywhere = [each["id"] for each in await active("limit=3")]
    assert {elsewhere, made["free"]} <= set(everywhere)
    assert len(everywhere) == len(set(everywhere))


@pytest.mark.parametrize("token", [None, "wrong", uuid.uuid4().hex])
async def test_internal_list_is_closed_to_others(inbox: Any, token: str | None):
    answer = await inbox.http.as_(token)("GET", "/internal/v1/conversations")
    assert answer.status == 401
