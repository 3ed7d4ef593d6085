"""The show: customers write, agents answer, and every frame of the agents' sockets is printed."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from deploy.local.demo.people import Cast
from deploy.local.demo.places import Places
from deploy.local.demo.rest import Json, RefusedError, Rest
from deploy.local.demo.samples import PICTURE_ID, message_id
from deploy.local.demo.screen import Screen
from deploy.local.demo.seeding import accept, conversations, deliver, say
from deploy.local.demo.sockets import Viewer, watching
from shared.testing.webhooks import (
    Customer,
    Number,
    messages_change,
    reaction_message,
    text_message,
    webhook,
)

CARMEN: Final = Customer("34600000111", "ES.10000000000000000111", "Carmen Vidal")
LIAM: Final = Customer("12025550131", "US.10000000000000000112", "Liam Carter")


class Story:
    """One run of the show. Nothing of it depends on an earlier run having ended well."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        places: Places,
        cast: Cast,
        *,
        screen: Screen,
        pace: float,
    ) -> None:
        self._session = session
        self._places = places
        self._cast = cast
        self._screen = screen
        self._pace = pace
        self._run = secrets.token_hex(4)
        self._sent = 0
        self._ana = Viewer("ana", "magenta", screen)
        self._luis = Viewer("luis", "blue", screen)

    async def tell(self) -> None:
        """Play it. Raises `LocalStackError` when an agent does not receive what is due."""
        await self._clear_stage()
        people = await self._cast.admin.items("/v1/agents")
        self._screen.names = {one["id"]: one["name"] for one in people}
        self._screen.begin()
        self._screen.caption("Ana and Luis open their WebSockets.")
        async with (
            watching(self._session, self._places, self._cast.ana, self._ana),
            watching(self._session, self._places, self._cast.luis, self._luis),
        ):
            await self._breathe()
            carmen = await self._first_message()
            await self._race(carmen)
            await self._reply(carmen)
            liam = await self._second_customer()
            await self._picture(carmen)
            await self._end(carmen, liam)
            await self._breathe()

    async def _breathe(self) -> None:
        await asyncio.sleep(self._pace)

    async def _clear_stage(self) -> None:
        """Close what an interrupted run, or somebody who tried things, left open."""
        there = await conversations(self._cast.admin, [CARMEN, LIAM])
        for customer, agent in ((CARMEN, self._cast.ana), (LIAM, self._cast.luis)):
            chat = there.get(customer.user_id or "")
            if chat is None or chat["status"] == "closed":
                continue
            await self._hand_to(agent, chat)
            await agent.post(f"/v1/conversations/{chat['id']}/close")

    async def _hand_to(self, agent: Rest, chat: Json) -> None:
        me = await agent.get("/v1/me")
        try:
            await accept(agent, chat)
        except RefusedError as refused:
            if refused.status not in {404, 409}:
                raise
            transfer = {"agent_id": me["id"]}
            await self._cast.admin.post(f"/v1/conversations/{chat['id']}/transfer", transfer)

    async def _write(self, customer: Customer, build: Callable[[str, int], Json]) -> None:
        """The customer's message arrives as a signed webhook."""
        self._sent += 1
        message = build(message_id(customer, self._sent, self._run), int(time.time()))
        await deliver(self._places, [webhook(messages_change(Number(), [message], [customer]))])

    async def _text(self, customer: Customer, text: str) -> None:
        self._screen.caption(f"{customer.name} writes: “{text}”")
        await self._write(customer, lambda id_, at: text_message(text, customer, id_, timestamp=at))

    async def _first_message(self) -> Json:
        text = "Hola, ¿a qué hora abren mañana?"
        await self._text(CARMEN, text)
        received = await self._ana.seen("a first message", _is_received(CARMEN, text))
        await self._luis.seen("a first message", _is_received(CARMEN, text))
        await self._breathe()
        chat: Json = received["data"]["conversation"]
        return chat

    async def _race(self, chat: Json) -> None:
        self._screen.caption(
            "Both accept it at once: one gets it, the other is told who was faster."
        )
        answers = await asyncio.gather(
            accept(self._cast.ana, chat), accept(self._cast.luis, chat), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, RefusedError) and answer.code == "already_assigned":
                winner = answer.problem["holder"]["name"]
                self._screen.caption(f"409 already_assigned: {winner} has it.")
            elif isinstance(answer, BaseException):
                raise answer
        await self._breathe()
        if isinstance(answers[0], BaseException):
            self._screen.caption("Luis was faster; the admin transfers the chat to Ana.")
            before = len(self._ana.events)
            await self._hand_to(self._cast.ana, chat)
            await self._ana.seen("the transfer", _is("conversation.transferred", chat), before)
        else:
            await self._luis.seen("the chat's end for Luis", _is("conversation.assigned", chat))
        await self._breathe()

    async def _reply(self, chat: Json) -> None:
        text = "¡Hola, Carmen! De 9:00 a 20:00."
        self._screen.caption(f"Ana answers: “{text}”")
        sent = await say(self._cast.ana, chat, text, f"{self._run}-1")
        last: Json = {}
        for status in ("sent", "delivered", "read"):
            last = await self._ana.seen(f"the status {status}", _is_status(sent, status))
        await self._breathe()
        self._screen.caption("Carmen reacts to it.")
        wamid = last["data"]["message"]["wamid"]
        await self._write(
            CARMEN, lambda id_, at: reaction_message(wamid, "❤️", CARMEN, id_, timestamp=at)
        )
        await self._ana.seen("the reaction", _is("message.reacted", chat))
        await self._breathe()

    async def _second_customer(self) -> Json:
        text = "Hello, I was charged twice for order 4712 😟"
        await self._text(LIAM, text)
        received = await self._luis.seen("a second customer", _is_received(LIAM, text))
        chat: Json = received["data"]["conversation"]
        await self._breathe()
        answer = "Hi Liam, sorry about that! I am sending the second one back."
        self._screen.caption(f"Luis accepts and answers: “{answer}”")
        await accept(self._cast.luis, chat)
        sent = await say(self._cast.luis, chat, answer, f"{self._run}-2")
        await self._luis.seen("the status read", _is_status(sent, "read"))
        await self._breathe()
        return chat

    async def _picture(self, chat: Json) -> None:
        self._screen.caption("Carmen sends a picture; it is fetched from WhatsApp and kept.")
        told = {
            "phone_number_id": Number().phone_number_id,
            "from": CARMEN.wa_id,
            "user_id": CARMEN.user_id,
            "name": CARMEN.name,
            "type": "image",
            "media_id": PICTURE_ID,
            "caption": "¿Y tienen estas?",
            "wait": True,
        }
        url = f"{self._places.graph}/_control/inbound"
        async with self._session.post(url, json=told) as answer:
            answer.raise_for_status()
        await self._ana.seen("the picture's file", _is("message.media_ready", chat))
        await self._breathe()

    async def _end(self, carmen: Json, liam: Json) -> None:
        self._screen.caption("Ana and Luis close their chats.")
        await self._cast.ana.post(f"/v1/conversations/{carmen['id']}/close")
        await self._cast.luis.post(f"/v1/conversations/{liam['id']}/close")
        await self._ana.seen("the closing", _is("conversation.closed", carmen))
        await self._luis.seen("the closing", _is("conversation.closed", liam))


def _is(kind: str, chat: Json) -> Callable[[str, Json], bool]:
    return lambda _, event: event["type"] == kind and event.get("conversation_id") == chat["id"]


def _is_received(customer: Customer, text: str) -> Callable[[str, Json], bool]:
    def judge(_: str, event: Json) -> bool:
        return bool(
            event["type"] == "message.received"
            and event["data"]["message"]["text"] == text
            and event["data"]["conversation"]["contact"]["user_id"] == customer.user_id
        )

    return judge


def _is_status(sent: Json, status: str) -> Callable[[str, Json], bool]:
    def judge(_: str, event: Json) -> bool:
        if event["type"] != "message.status":
            return False
        message = event["data"]["message"]
        return bool(message["id"] == sent["id"] and message["status"] == status)

    return judge
