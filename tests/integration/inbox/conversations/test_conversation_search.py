"""Search over what was said: within what one sees, by an index and without a sort."""

import asyncio
import itertools
import json
import uuid
from typing import Any

import pytest

from services.inbox.app.foundation import now
from services.inbox.storage.conversations import SEARCH, WORDS
from services.inbox.storage.entries import CONVERSATIONS
from services.inbox.storage.searching import (
    OF_CONVERSATION,
    ORDER,
    having,
    search_query,
    within_query,
)
from services.inbox.storage.sights import FEW
from shared.contracts.views import Conversation, Message
from tests.integration.inbox.conversations.office import Office, days_ago


async def test_messages_are_found_within_what_one_sees(office: Office):
    chat = await office.opened_by(office.ana, text="¿Cuánto cuesta el CAFÉ de olla?")
    await office.write(chat, "Quiero dos cafés", "y un cafe con leche")
    await office.ana.send(chat, text="El café cuesta 30 pesos")
    theirs = await office.opened_by(office.bea, text="cafe americano")
    waiting = await office.arrive("cafe helado", team=office.support)

    async def found(who: Any, query: str) -> list[str]:
        texts: list[str] = []
        cursor = ""
        while True:
            answer = await who("GET", f"/search/messages?limit=2&q={query}{cursor}")
            assert answer.status == 200, answer.raw
            for each in answer.body["items"]:
                assert Conversation.model_validate(each["conversation"])
                texts.append(Message.model_validate(each["message"]).text or "")
            if answer.body["next_cursor"] is None:
                return texts
            cursor = f"&cursor={answer.body['next_cursor']}"

    everything = [
        "cafe helado",
        "cafe americano",
        "El café cuesta 30 pesos",
        "y un cafe con leche",
        "¿Cuánto cuesta el CAFÉ de olla?",
    ]
    async with asyncio.timeout(20):
        while len(await found(office.sue, "cafe")) < len(everything):  # noqa: ASYNC110 - Kafka
            await asyncio.sleep(0.05)
    assert await found(office.sue, "Caf%C3%A9") == everything
    assert await found(office.ana, "cafe") == everything[2:]
    assert await found(office.carl, "cafe") == ["cafe helado"]
    assert await found(office.ana, "cuanto%20cafe") == everything[4:]
    assert await found(office.ana, "caf") == []
    assert await found(office.ana, f"cafe&conversation={chat}") == everything[2:]
    hidden = await office.ana("GET", f"/search/messages?q=cafe&conversation={theirs}")
    assert hidden.status == 404
    for wrong in ("q=", "q=%20", "q=a", "q=cafe&cursor=x", ""):
        assert (await office.ana("GET", f"/search/messages?{wrong}")).status == 422

    await office.ana("DELETE", f"/conversations/{chat}")
    await office.carl.act(waiting, "accept")
    assert await found(office.sue, "cafe") == everything[:2]
    assert await found(office.ana, "cafe") == []
    search = office.base.database[SEARCH]
    async with asyncio.timeout(20):
        while await search.find_one({"conversation": chat}):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("within", [None, ["c1"], ["c1", "c2"]], ids=["all", "one", "few"])
@pytest.mark.parametrize("words", [["cafe"], ["cuanto", "cafe"]], ids=len)
@pytest.mark.parametrize("after", [None, (now(), "m1")], ids=["first", "next"])
async def test_search_has_an_index_and_no_sort(
    inbox: Any, words: list[str], within: list[str] | None, after: Any
):
    collection = inbox.service._base.database[SEARCH]
    # An index that never saw two words in one document is planned as if there were none such.
    known = {"tenant": "t1", "conversation": "c1", "seq": 1, "at": now(), "words": ["a", "b"]}
    await collection.replace_one({"_id": "m1"}, known, upsert=True)
    if within is None:
        asked = [(search_query("t1", words, after), WORDS)]
    else:
        query = within_query("t1", within, words[0], after)
        read = having(query, words, (days_ago(2), "m0"))
        asked = [(query, OF_CONVERSATION), (read, OF_CONVERSATION)]
    for query, index in asked:
        plan = await collection.find(query).sort(ORDER).hint(index).limit(20).explain()
        stages = json.dumps(plan["queryPlanner"]["winningPlan"], default=str)
        assert '"COLLSCAN"' not in stages
        assert '"SORT"' not in stages
        assert "IXSCAN" in stages


async def test_agents_find_all_that_they_see(office: Office):
    """However much of it is out of their sight, and however many chats are theirs."""
    theirs = [await office.opened_by(office.ana, text=f"cafe {number}") for number in range(3)]
    others = await office.opened_by(office.bea, text="nada")
    search = office.base.database[SEARCH]
    words = {"tenant": office.tenant.id, "seq": 1, "words": ["cafe"]}
    await search.insert_many(
        [
            {**words, "_id": uuid.uuid4().hex, "conversation": others, "at": days_ago(-1)}
            for _ in range(2500)
        ]
    )
    async with asyncio.timeout(20):
        while await search.count_documents({"conversation": {"$in": theirs}}) < len(theirs):  # noqa: ASYNC110 - Kafka
            await asyncio.sleep(0.05)

    async def found() -> tuple[list[str], int]:
        homes: list[str] = []
        cursor = ""
        for calls in itertools.count(1):
            page = await office.ana("GET", f"/search/messages?limit=2&q=cafe{cursor}")
            assert page.status == 200, page.raw
            homes += [each["conversation"]["id"] for each in page.body["items"]]
            if page.body["next_cursor"] is None:
                return homes, calls
            cursor = f"&cursor={page.body['next_cursor']}"
        raise AssertionError

    homes, calls = await found()
    assert homes == theirs[::-1]
    assert calls == 2
    # With more chats than can be merged, the hits are gone through.
    await office.base.database[CONVERSATIONS].insert_many(
        [
            {
                "_id": uuid.uuid4().hex,
                "tenant": office.tenant.id,
                "assignee": office.ana.id,
                "status": "closed",
                "deleted": False,
            }
            for _ in range(FEW)
        ]
    )
    homes, calls = await found()
    assert homes == theirs[::-1]
    assert calls == 5
