"""The notes in which one is named: only from chats that one sees, page after page."""

import asyncio
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.storage.entries import ACTIVITIES
from services.inbox.storage.mentions import MENTIONS, mentions_query
from shared.contracts.views import Activity, Conversation
from tests.integration.inbox.conversations.office import Member, Office


async def _note(who: Member, chat: str, text: str, *mentions: str, **more: Any) -> None:
    body = {"client_id": uuid.uuid4().hex, "text": text, "mentions": list(mentions), **more}
    answer = await who("POST", f"/conversations/{chat}/notes", body)
    assert answer.status == 201, answer.raw


async def _all(who: Member, limit: int = 2) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    cursor = ""
    while True:
        answer = await who("GET", f"/me/mentions?limit={limit}{cursor}")
        assert answer.status == 200, answer.raw
        for each in answer.body["items"]:
            assert Conversation.model_validate(each["conversation"])
            line = Activity.model_validate(each["activity"])
            found.append((line.data["text"], each["unread"]))
        if answer.body["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.body['next_cursor']}"


async def test_mentions_are_those_of_chats_that_one_sees(office: Office):
    waiting = await office.arrive(team=office.sales)
    theirs = await office.opened_by(office.bea)
    own = await office.opened_by(office.ana)
    await _note(office.bea, waiting, "first", office.ana.id, office.carl.id)
    await _note(office.bea, theirs, "hidden", office.ana.id)
    await _note(office.bea, waiting, "nobody")
    await _note(office.sue, own, "second", office.ana.id)
    await _note(office.sue, theirs, "whisper", office.ana.id, office.bea.id, whisper=True)
    await _note(office.ana, own, "third", office.ana.id)
    expected = [("third", True), ("second", True), ("first", True)]
    async with asyncio.timeout(10):  # a line's document is written behind the answer
        while await _all(office.ana) != expected:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.05)
    assert await _all(office.bea) == [("whisper", True)]
    assert await _all(office.carl) == []  # a chat of another team
    assert await _all(office.sue) == []

    # What is in sight is judged now: the chat may come, go or be deleted; a whisper stays hidden.
    await office.sue.act(theirs, "transfer", agent_id=office.ana.id)
    assert [text for text, _ in await _all(office.ana)] == ["third", "second", "hidden", "first"]
    await office.ana("DELETE", f"/conversations/{own}")
    assert [text for text, _ in await _all(office.ana)] == ["hidden", "first"]


async def test_what_one_has_seen_is_not_unread(office: Office):
    chat = await office.opened_by(office.ana)
    for text in ("first", "second"):
        await _note(office.sue, chat, text, office.ana.id)
    async with asyncio.timeout(10):
        while len(await _all(office.ana)) < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    page = (await office.ana("GET", "/me/mentions")).body
    older = page["items"][1]["activity"]["at"]

    async def see(until: str) -> datetime:
        answer = await office.ana("PUT", "/me/mentions/seen", {"until": until})
        assert answer.status == 200, answer.raw
        return datetime.fromisoformat(answer.body["seen_until"])

    assert await see(older) == datetime.fromisoformat(older)
    assert await _all(office.ana) == [("second", True), ("first", False)]
    assert await see((now() - timedelta(days=9)).isoformat()) == datetime.fromisoformat(older)
    assert await see((now() + timedelta(days=9)).isoformat()) <= now()
    assert await _all(office.ana) == [("second", False), ("first", False)]
    for wrong in ("limit=0", "cursor=x"):
        assert (await office.ana("GET", f"/me/mentions?{wrong}")).status == 422


@pytest.mark.parametrize("after", [None, (now(), "c1:1")], ids=["first", "next"])
async def test_mentions_have_an_index_and_no_sort(inbox: Any, after: Any):
    found = inbox.service._base.database[ACTIVITIES].find(mentions_query("t1", "a1", after))
    plan = await found.sort([("at", -1), ("_id", -1)]).hint(MENTIONS).limit(21).explain()
    stages = json.dumps(plan["queryPlanner"]["winningPlan"], default=str)
    assert '"COLLSCAN"' not in stages
    assert '"SORT"' not in stages
