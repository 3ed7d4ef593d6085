"""The ledger's counters: each record counted once, by its offset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from services.inbox.model.tally import (
    REFUSED,
    Again,
    DayTally,
    Lane,
    Outcome,
    Place,
    Refusal,
    Run,
    Tally,
)
from shared.contracts.errors import TransientError
from shared.mongo.client import DUPLICATE_KEY, Database, Document, transient_errors
from shared.mongo.client import Collection as Documents

TALLIES = "ledger"
REFUSALS = "ledger_refused"
REPEATS = "ledger_repeats"
STARTS = "ledger_starts"
TALLIES_KEPT = timedelta(days=400)
REFUSALS_KEPT = timedelta(days=30)
"""Of repeats, too. What was released since is kept as long as its tally, which it corrects."""
_ROUNDS = 10
_SHOWN = 100


class TallyStore:
    """One document for each tenant, day and topic, with a part for each partition.

    `upto` of a part is the last offset that is counted in it. Records of a partition are counted in
    the order of their offsets, and an offset is committed only afterwards. So whatever is in a part
    is a prefix of its lane, and a record that comes again is known by its offset alone.
    """

    def __init__(self, database: Database) -> None:
        self._tallies = database[TALLIES]
        self._refusals = database[REFUSALS]
        self._repeats = database[REPEATS]
        self._starts = database[STARTS]
        self._started: set[str] = set()

    async def ensure_indexes(self) -> None:
        with transient_errors():
            await self._tallies.create_index([("tenant", 1), ("day", 1)], name="days")
            await self._tallies.create_index([("topic", 1), ("day", 1)], name="topic")
            await self._tallies.create_index(
                "day", name="kept", expireAfterSeconds=int(TALLIES_KEPT.total_seconds())
            )
            await self._refusals.create_index("expires_at", name="kept", expireAfterSeconds=0)
            await self._refusals.create_index([("tenant", 1), ("now", 1), ("day", 1)], name="since")
            await self._refusals.create_index(
                [("tenant", 1), ("item", 1)],
                name="item",
                partialFilterExpression={"item": {"$type": "string"}},
            )
            await self._repeats.create_index("expires_at", name="kept", expireAfterSeconds=0)
            await self._repeats.create_index([("tenant", 1), ("item", 1)], name="item")

    # -- counting

    async def add(
        self, runs: Sequence[Run], refusals: Sequence[Refusal], repeats: Sequence[Again] = ()
    ) -> None:
        """Counts records that were not counted yet; raises TransientError, then call it again."""
        await self._begin(runs)
        await self._insert(self._repeats, [*map(_repeat_document, repeats)])
        noted = await self._note(refusals)
        known = await self._count(runs)
        if known:
            await self._settle_known(known, noted)

    async def _begin(self, runs: Iterable[Run]) -> None:
        """Where the counting of each partition began: what is before it was never counted."""
        firsts: dict[str, int] = {}
        for run in runs:
            partition = f"{run.lane.topic}/{run.lane.partition}"
            if partition not in self._started:
                firsts[partition] = min(firsts.get(partition, run.first), run.first)
        if not firsts:
            return
        with transient_errors():
            await self._starts.bulk_write(
                [
                    UpdateOne({"_id": partition}, {"$setOnInsert": {"first": first}}, upsert=True)
                    for partition, first in firsts.items()
                ],
                ordered=False,
            )
        self._started |= firsts.keys()

    async def _note(self, refusals: Sequence[Refusal]) -> set[str]:
        """Keeps them; the ids of those that were not there."""
        known = await self._insert(self._refusals, [*map(_refusal_document, refusals)])
        return {each.place.id for at, each in enumerate(refusals) if at not in known}

    async def _insert(self, collection: Documents, documents: Sequence[Document]) -> set[int]:
        """Inserts what is not there; the positions of what is."""
        if not documents:
            return set()
        with transient_errors():
            try:
                await collection.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                return _duplicates(error)
        return set()

    async def _count(self, runs: Sequence[Run]) -> list[Run]:
        """Adds what is above each document's `upto`; the rest was counted before."""
        known: list[Run] = []
        left = list(runs)
        for _ in range(_ROUNDS):
            together = _by_document(left)
            refused: set[int] = set()
            with transient_errors():
                try:
                    await self._tallies.bulk_write([*map(_addition, together)], ordered=False)
                except BulkWriteError as error:
                    # An `upto` is not below its run: there is a document, but not for the filter.
                    refused = _duplicates(error)
            if refused:
                left, before = await self._split([run for at in refused for run in together[at]])
                known += before
            if not refused or not left:
                return known
        raise TransientError("ledger: contended")

    async def _split(self, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
        """What is above `upto` as the majority has it, and what is not."""
        with transient_errors():
            docs = await self._tallies.find(
                {"_id": {"$in": list({_document_id(run.lane) for run in runs})}}
            ).to_list(None)
        upto = {tally.lane: tally.upto for doc in docs for tally in _tallies(doc)}
        above: list[Run] = []
        below: list[Run] = []
        for run in runs:
            reached = upto.get(run.lane, -1)
            for part, taken in (
                (above, tuple(each for each in run.records if each[0] > reached)),
                (below, tuple(each for each in run.records if each[0] <= reached)),
            ):
                if taken:
                    part.append(Run(run.lane, taken))
        return above, below

    async def _settle_known(self, runs: Sequence[Run], noted: set[str]) -> None:
        """Records that were counted before, and whose outcome may be another one this time."""
        stray: list[str] = []
        changed: defaultdict[Outcome, list[str]] = defaultdict(list)
        for run in runs:
            for offset, outcome in run.records:
                place = Place(run.lane.topic, run.lane.partition, offset).id
                if outcome in REFUSED:
                    if place in noted:
                        stray.append(place)  # it was taken the first time
                elif outcome is not None:
                    changed[outcome].append(place)
        with transient_errors():
            if stray:
                await self._refusals.delete_many({"_id": {"$in": stray}})
            for outcome, places in changed.items():
                await self._refusals.update_many(
                    {"_id": {"$in": places}, "now": None}, [{"$set": _now(outcome)}]
                )

    async def release(self, place: Place, outcome: Outcome) -> bool:
        """A refused record is taken after all; False: it was not counted as refused."""
        with transient_errors():
            found = await self._refusals.update_one({"_id": place.id}, [{"$set": _now(outcome)}])
        return bool(found.matched_count)

    # -- reading

    async def days(self, tenant: str, since: date, until: date) -> list[DayTally]:
        """A tenant's days that have records, the latest first; both ends are part of it."""
        span = {"$gte": _moment(since), "$lte": _moment(until)}
        received: Counter[date] = Counter()
        outcomes: defaultdict[date, Counter[Outcome]] = defaultdict(Counter)
        with transient_errors():
            docs = await self._tallies.find({"tenant": tenant, "day": span}).to_list(None)
            corrections = await self._refusals.aggregate(
                [
                    {"$match": {"tenant": tenant, "day": span, "now": {"$type": "string"}}},
                    {
                        "$group": {
                            "_id": {"day": "$day", "was": "$outcome", "now": "$now"},
                            "count": {"$sum": 1},
                        }
                    },
                ]
            ).to_list(None)
        for tally in (tally for doc in docs for tally in _tallies(doc)):
            received[tally.lane.day] += tally.received
            outcomes[tally.lane.day].update(tally.outcomes)
        for each in corrections:
            day = each["_id"]["day"].date()
            outcomes[day][Outcome(each["_id"]["was"])] -= each["count"]
            outcomes[day][Outcome(each["_id"]["now"])] += each["count"]
        return [DayTally(day, received[day], outcomes[day]) for day in sorted(received)[::-1]]

    async def of_topic(self, topic: str, since: date) -> list[Tally]:
        """Every lane of a topic from a day on, as counted (without what was released since)."""
        query = {"day": {"$gte": _moment(since)}, "topic": topic}
        with transient_errors():
            docs = await self._tallies.find(query).to_list(None)
        return [tally for doc in docs for tally in _tallies(doc)]

    async def starts(self, topic: str) -> dict[int, int]:
        """The first offset of each partition that was ever counted."""
        with transient_errors():
            docs = await self._starts.find().to_list(None)
        found: dict[int, int] = {}
        for doc in docs:
            name, _, partition = doc["_id"].rpartition("/")
            if name == topic:
                found[int(partition)] = doc["first"]
        return found

    async def refusals(self, places: Collection[Place]) -> dict[Place, Refusal]:
        """The refusals among records."""
        with transient_errors():
            docs = await self._refusals.find(
                {"_id": {"$in": [place.id for place in places]}}
            ).to_list(None)
        return {refusal.place: refusal for refusal in map(_refusal, docs)}

    async def blocked(self, tenant: str, items: Sequence[str]) -> list[Refusal]:
        """When a message with one of the ids came, of a contact whom the tenant has blocked."""
        query = {
            "tenant": tenant,
            "item": {"$type": "string", "$in": list(items)},
            "outcome": Outcome.BLOCKED.value,
        }
        with transient_errors():
            docs = await self._refusals.find(query).limit(_SHOWN).to_list(None)
        return [*map(_refusal, docs)]

    async def repeats(self, tenant: str, items: Sequence[str]) -> list[datetime]:
        """When a message with one of the ids came again, the first time first."""
        query = {"tenant": tenant, "item": {"$in": list(items)}}
        with transient_errors():
            docs = await self._repeats.find(query, {"at": 1}).limit(_SHOWN).to_list(None)
        return sorted(doc["at"] for doc in docs)


def _document_id(lane: Lane) -> str:
    return f"{lane.tenant}/{lane.day.isoformat()}/{lane.topic}"


def _by_document(runs: Iterable[Run]) -> list[list[Run]]:
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(_document_id(run.lane), []).append(run)
    return list(together.values())


def _addition(runs: Sequence[Run]) -> UpdateOne:
    """Adds runs of one document, all of them or none; twelve updates would cost twelve times."""
    lane = runs[0].lane
    guard: Document = {"_id": _document_id(lane)}
    added: Document = {}
    reached: Document = {}
    firsts: Document = {}
    for run in runs:
        part = f"parts.{run.lane.partition}"
        guard[f"{part}.upto"] = {"$not": {"$gte": run.first}}
        reached[f"{part}.upto"] = run.last
        firsts[f"{part}.first"] = run.first
        added[f"{part}.received"] = len(run.records)
        counts = Counter(outcome for _, outcome in run.records if outcome is not None)
        for outcome, count in counts.items():
            added[f"{part}.outcomes.{outcome.value}"] = count
    about = {"tenant": lane.tenant, "day": _moment(lane.day), "topic": lane.topic}
    return UpdateOne(
        guard,
        {"$inc": added, "$set": reached, "$min": firsts, "$setOnInsert": about},
        upsert=True,
    )


def _duplicates(error: BulkWriteError) -> set[int]:
    """The positions of what was there; raises for what is another error."""
    details = error.details
    failed = details["writeErrors"]
    if details.get("writeConcernErrors") or any(e["code"] != DUPLICATE_KEY for e in failed):
        raise error
    return {e["index"] for e in failed}


def _now(outcome: Outcome) -> Document:
    kept_ms = int(TALLIES_KEPT.total_seconds() * 1000)
    return {"now": outcome.value, "expires_at": {"$add": ["$day", kept_ms]}}


def _moment(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _refusal_document(refusal: Refusal) -> Document:
    place = refusal.place
    return {
        "_id": place.id,
        "tenant": refusal.tenant,
        "day": _moment(refusal.day),
        "topic": place.topic,
        "partition": place.partition,
        "offset": place.offset,
        "outcome": refusal.outcome.value,
        "item": refusal.item,
        "at": refusal.at,
        "expires_at": datetime.now(UTC) + REFUSALS_KEPT,
    }


def _repeat_document(repeat: Again) -> Document:
    return {
        "_id": repeat.place.id,
        "tenant": repeat.tenant,
        "item": repeat.item,
        "at": repeat.at,
        "expires_at": datetime.now(UTC) + REFUSALS_KEPT,
    }


def _refusal(doc: Mapping[str, Any]) -> Refusal:
    now = doc.get("now")
    return Refusal(
        Place(doc["topic"], doc["partition"], doc["offset"]),
        doc["tenant"],
        doc["day"].date(),
        Outcome(doc["outcome"]),
        doc["item"],
        None if now is None else Outcome(now),
        doc.get("at"),
    )


def _tallies(doc: Mapping[str, Any]) -> Iterator[Tally]:
    for partition, part in doc["parts"].items():
        outcomes = part.get("outcomes", {})
        yield Tally(
            Lane(doc["tenant"], doc["day"].date(), doc["topic"], int(partition)),
            part["first"],
            part["upto"],
            part["received"],
            Counter({Outcome(name): count for name, count in outcomes.items()}),
        )
