"""Reads back what became of a run, from every place that keeps something of it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import aiohttp
import orjson
import pymongo
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts import topics
from shared.contracts.topics import Topic
from tests.fault.office import Office
from tests.fault.recording import Head, Recording, Shown, Standing, Stored, Told, View
from tests.fault.system import System

_ACCEPTING = {"queued", "retry"}
_AT_ONCE = 8


class Harvest:
    """The places of one system."""

    def __init__(self, system: System, office: Office, session: aiohttp.ClientSession) -> None:
        self._system = system
        self._office = office
        self._session = session
        self._mongo: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            system.stack.mongo_url, serverSelectionTimeoutMS=5000
        )
        self.quarantined = 0
        """What stood in quarantine before the load: not the run's."""

    def close(self) -> None:
        self._mongo.close()

    @property
    def _inbox(self) -> Any:
        return self._mongo.get_database("atrio_inbox", read_concern=_majority())

    @property
    def _delivery(self) -> Any:
        return self._mongo.get_database("atrio_delivery", read_concern=_majority())

    # -- how far it is

    async def unsettled(self, acknowledged: int) -> str | None:
        """What is still on its way, None when nothing is."""
        return await asyncio.to_thread(self._unsettled, acknowledged) or await self._pending()

    def _unsettled(self, acknowledged: int) -> str | None:
        inbound = self._inbox.messages.count_documents({"direction": "in"})
        if inbound < acknowledged:
            return f"{acknowledged - inbound} messages of {acknowledged} are not stored"
        for name in self._inbox.list_collection_names():
            full = self._inbox[name].count_documents({"outbox.0": {"$exists": True}})
            if full:
                return f"{full} outboxes of {name} are not empty"
        queued = self._inbox.messages.count_documents({"status": "queued"})
        started = self._delivery.sends.count_documents({"status": "started"})
        if queued > started:
            return f"{queued - started} messages are queued"
        if waiting := self._waiting_while_free():
            return f"{waiting} conversations wait while an agent is free"
        return None

    async def _pending(self) -> str | None:
        async with self._session.get(self._system.url("graph") + "/_control/state") as answer:
            state = await answer.json()
        pending = state["webhooks"]["pending"] + state["webhooks"]["in_flight"]
        return f"{pending} webhooks of statuses are pending" if pending else None

    def _waiting_while_free(self) -> int:
        """Conversations that routing could hand to somebody. All agents are present here."""
        chats = self._inbox.conversations
        free: set[str] = set()
        for agent in self._office.agents:
            held = chats.count_documents({"status": "open", "assignee": agent.id})
            if held < self._office.capacity:
                free |= set(agent.teams)
        if not free:
            return 0
        query = {
            "status": "on_hold",
            "held_by_agent": {"$ne": True},
            "$or": [{"team": None}, {"team": {"$in": sorted(free)}}],
        }
        return int(chats.count_documents(query))

    # -- what is there

    async def gather(self, recording: Recording) -> None:
        """Fill in what was found."""
        await asyncio.to_thread(self._read_mongo, recording)
        await self._read_topics(recording)
        await self._read_graph(recording)
        for person in self._office.people:
            recording.rest[person.name] = await person.conversations()
        await self._read_threads(recording)

    def _read_mongo(self, recording: Recording) -> None:
        inbox, delivery = self._inbox, self._delivery
        recording.stored = [
            Stored(m["_id"], m["conversation"], m["seq"], m.get("wamid"), m.get("client_id"))
            for m in inbox.messages.find({})
        ]
        recording.heads = [
            Head(c["_id"], c["version"], len(c.get("outbox") or ()))
            for c in inbox.conversations.find({})
        ]
        recording.doubtful = {
            send["message_id"]
            for send in delivery.sends.find({"status": {"$in": ["started", "unknown"]}})
        }
        left = recording.leftovers
        for database in (inbox, delivery):
            for name in database.list_collection_names():
                if name == "parked":
                    left[f"{database.name}.parked"] = database[name].count_documents({})
                elif name != "conversations":
                    full = database[name].count_documents({"outbox.0": {"$exists": True}})
                    left[f"outboxes of {database.name}.{name}"] = full
        left["delivery's open sends"] = delivery.sends.count_documents(
            {"status": {"$in": sorted(_ACCEPTING)}}
        )
        left["conversations that wait while an agent is free"] = self._waiting_while_free()

    async def _read_topics(self, recording: Recording) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._system.stack.kafka_servers, enable_auto_commit=False
        )
        await consumer.start()
        try:
            for topic in topics.ALL:
                if topic.dead_letters:
                    count = await _length(consumer, topic, topic.dead_name())
                    recording.leftovers[topic.dead_name()] = count
            recording.leftovers["quarantine"] = await self._quarantined(consumer)
            places = _places(topics.CONVERSATION_EVENTS, topics.CONVERSATION_EVENTS.name())
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while [p for p in places if await consumer.position(p) < ends[p]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    recording.told += map(_told, records)
        finally:
            await consumer.stop()

    async def count_quarantined(self) -> None:
        """Take what is in quarantine now as not the run's."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._system.stack.kafka_servers, enable_auto_commit=False
        )
        await consumer.start()
        try:
            self.quarantined = await self._quarantined(consumer)
        finally:
            await consumer.stop()

    async def _quarantined(self, consumer: AIOKafkaConsumer) -> int:
        topic = topics.QUARANTINE
        return await _length(consumer, topic, topic.name()) - self.quarantined

    async def _read_graph(self, recording: Recording) -> None:
        url = self._system.url("graph") + "/_control/sent?limit=200000"
        async with self._session.get(url) as answer:
            sent = (await answer.json())["items"]
        recording.delivered = [one["biz_opaque_callback_data"] for one in sent]

    async def _read_threads(self, recording: Recording) -> None:
        supervisor = self._office.supervisor
        conversations = list(recording.rest[supervisor.name])
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(conversation: str) -> list[View]:
            async with gate:
                return await supervisor.thread(conversation)

        for messages in await asyncio.gather(*map(read, conversations)):
            for one in messages:
                recording.rest_messages[one["id"]] = one
                emojis = tuple(reaction["emoji"] for reaction in one["reactions"])
                recording.shown.append(
                    Shown(one["id"], one["conversation_id"], one["seq"], one["status"], emojis)
                )


def _majority() -> Any:
    return pymongo.read_concern.ReadConcern("majority")


def _places(topic: Topic, name: str) -> list[TopicPartition]:
    return [TopicPartition(name, partition) for partition in range(topic.partitions)]


async def _length(consumer: AIOKafkaConsumer, topic: Topic, name: str) -> int:
    partitions = await consumer._client.fetch_all_metadata()
    present = partitions.partitions_for_topic(name)
    if not present:
        return 0
    places = [TopicPartition(name, partition) for partition in present]
    begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    return sum(ends[place] - begins[place] for place in places)


def _told(record: Any) -> Told:
    headers = dict(record.headers)
    data = orjson.loads(record.value)
    digest = hashlib.sha256(repr((record.key, record.value, record.headers)).encode()).digest()
    message = data.get("message") or {}
    actor = data.get("actor") or {}
    return Told(
        conversation=record.key.decode(),
        version=int(headers["ce_sequence"]),
        digest=digest,
        type=headers["ce_type"].decode().removeprefix("atrio.").removesuffix(".v1"),
        standing=Standing.of(data["conversation"]),
        message=message.get("id"),
        seq=message.get("seq"),
        actor=actor.get("id") if actor.get("kind") == "agent" else None,
        by=data.get("by"),
    )
